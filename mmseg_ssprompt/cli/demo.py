"""Learn prompts on the embedded data with the ordinary tools, and show what they change.

    mmseg-ssprompt demo
    mmseg-ssprompt demo --base seem
    mmseg-ssprompt demo --task panoptic
    mmseg-ssprompt demo --base seem --task instance

writes ``summary.json`` and ``comparison.png`` into ``work_dirs/demo``, or ``work_dirs/demo_seem``,
``work_dirs/demo_panoptic`` and ``work_dirs/demo_seem_instance``.
"""

import argparse
import contextlib
import copy
import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from ..analysis.figures import Comparison, PromptMark, Scene, draw_comparison
from ..config_files import find_config, find_home
from ..files import write_json
from ..hooks.segment_visualizer import list_instances, list_panoptic, list_truth
from ..models.heads.ssprompt_head import HeadOutput, SSPromptHead, enlarge, find_frame
from ..models.prompts.spatial import point_grid
from ..segment_drawing import DrawnSegment, draw_segments, find_middle
from ..segments import number_things
from ..weights.checkpoint_loader import safe_checkpoint_loading
from .logged import run_logged
from .records import read_metrics, read_train_seconds

from mmseg.apis import init_model  # isort: skip  (after mmseg_ssprompt, which makes it possible)
from mmseg.models.segmentors import BaseSegmentor  # isort: skip
from mmseg.registry import DATASETS  # isort: skip

#: The first scenes of the test set, not chosen ones.
SCENES_SHOWN = (0, 1, 2)
#: Objects with a lower score are not drawn.
MIN_SCORE = 0.3


class Task(NamedTuple):
    """What the demo learns.

    Attributes:
        config: What its configs are called after the name of the data.
        mean: The name of its main result.
        of_class: The same of a class, before the name of the class and a point.
        groups: Groups of classes that have a mean of their own.
        measure: What results of classes are called.
        mean_measure: What their mean is called.
    """

    config: str
    mean: str
    of_class: str
    groups: Tuple[str, ...]
    measure: str
    mean_measure: str


TASKS = dict(
    semantic=Task('', 'mIoU', 'IoU', ('things', 'stuff'), 'IoU', 'mIoU'),
    panoptic=Task('_panoptic', 'PQ', 'PQ', ('things', 'stuff'), 'PQ', 'PQ'),
    instance=Task('_instance', 'segm_mAP', 'segm_AP', (), 'AP', 'mAP'),
)


def find_configs(base: str, task: str) -> Tuple[Path, Path]:
    """The configs of handcrafted and of learned prompts."""
    name = f'ssprompt_{base}-tiny_shapes{TASKS[task].config}'
    return find_config(f'{name}_zero-shot'), find_config(name)


def run_tool(name: str, log: Path, *args: Any) -> float:
    """Run one of the tools as a user would, and return how long it took, in seconds."""
    command = [sys.executable, str(find_home() / 'tools' / name), *map(str, args)]
    shown = [_shorten(part) for part in ('python', *command[1:])]
    print('\n$ ' + ' '.join(shown), flush=True)
    return run_logged(command, log)


def _shorten(part: str) -> str:
    """A path inside the current folder, as it is typed there."""
    path, here = Path(part), Path.cwd()
    return os.path.relpath(path, here) if here in path.parents else part


def show_scenes(
    zero_shot: BaseSegmentor, learned: BaseSegmentor, dataset: Any, task: str
) -> List[Scene]:
    """Segment a few scenes of the test set with both models."""
    scenes = []
    for index in SCENES_SHOWN:
        batch = pseudo_collate([dataset[index]])
        image = batch['inputs'][0].permute(1, 2, 0).numpy()[..., ::-1]
        truth = show_truth(batch['data_samples'][0], dataset.metainfo, task)
        before, its_prompts = show_model(zero_shot, batch, dataset.metainfo, task)
        after, own_prompts = show_model(learned, batch, dataset.metainfo, task)
        scenes.append(Scene(image, truth, (before, after), (its_prompts, own_prompts)))
    return scenes


@torch.no_grad()
def show_model(
    model: BaseSegmentor, batch: Dict[str, Any], metainfo: Dict[str, Any], task: str
) -> Tuple[np.ndarray, List[PromptMark]]:
    """What a model finds in an image, and the prompts that it finds it with."""
    prepared = model.data_preprocessor(copy.deepcopy(batch), False)
    frame = find_frame([prepared['data_samples'][0].metainfo])
    output = model.decode_head(model.extract_feat(prepared['inputs']))
    marks = mark_prompts(model.decode_head, output, frame)
    return show_prediction(model.test_step(batch)[0], metainfo, task), marks


def mark_prompts(
    head: SSPromptHead, output: HeadOutput, frame: Tuple[int, int]
) -> List[PromptMark]:
    """Each prompt with the class of its mask, at the point that it starts from.

    SEEM's own queries have no place: they are in the middle of their masks, if those are not empty.
    The image fills the frame, as it does in all scenes of the miniature.
    """
    masks = enlarge(output.mask_logits, frame)[0].numpy() > 0
    if head.segmenter.default_prompts() is None:
        places = (point_grid(len(masks)) * torch.tensor(frame[::-1])).tolist()
    else:
        places = [find_middle(mask) if mask.any() else None for mask in masks]
    labels, no_object = output.class_logits[0].argmax(dim=-1).tolist(), len(head.class_names)
    return [
        PromptMark(place[0], place[1], None if label == no_object else label)
        for place, label in zip(places, labels)
        if place is not None
    ]


def show_truth(sample: Any, metainfo: Dict[str, Any], task: str) -> np.ndarray:
    """A true label map, or a picture of true segments."""
    if task == 'semantic':
        labels: np.ndarray = sample.gt_sem_seg.data[0].numpy()
        return labels
    things = number_things(metainfo['classes'], metainfo['thing_classes'])
    return paint(list_truth(sample, things), sample, metainfo)


def show_prediction(sample: Any, metainfo: Dict[str, Any], task: str) -> np.ndarray:
    """A predicted label map, or a picture of predicted segments."""
    if task == 'semantic':
        labels: np.ndarray = sample.pred_sem_seg.data[0].numpy().copy()
        return labels
    found = list_panoptic(sample) if task == 'panoptic' else list_instances(sample, MIN_SCORE)
    return paint(found, sample, metainfo)


def paint(segments: Sequence[DrawnSegment], sample: Any, metainfo: Dict[str, Any]) -> np.ndarray:
    """A picture of segments alone; what belongs to none is black."""
    black = np.zeros((*sample.ori_shape[:2], 3), np.uint8)
    classes, palette = metainfo['classes'], metainfo['palette']
    return draw_segments(black, segments, classes, palette, alpha=1.0, with_labels=False)


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Let what models and loggers print go into a file."""
    print(f'\ndrawing the figure\n  (all output goes to {log})', flush=True)
    with open(log, 'w', encoding='utf-8') as file, contextlib.redirect_stdout(file):
        with contextlib.redirect_stderr(file):
            yield


@safe_checkpoint_loading()
def compare(work_dir: Path, checkpoint: str, args: argparse.Namespace) -> Dict[str, Any]:
    """Write both results as JSON and as a picture.

    Returns:
        What is written as JSON.
    """
    task = TASKS[args.task]
    train_dir, test_dirs = work_dir / 'train', (work_dir / 'zero-shot', work_dir / 'test')
    before, after = (read_metrics(folder) for folder in test_dirs)
    zero_shot_config, config = find_configs(args.base, args.task)
    zero_shot = init_model(str(zero_shot_config), device='cpu')
    learned = init_model(str(config), checkpoint, device='cpu')
    dataset = DATASETS.build(Config.fromfile(config).test_dataloader.dataset)
    semantic_weights = learned.decode_head.semantic_prompts.fusion.weight.detach().numpy()
    class_names = list(dataset.metainfo['classes'])
    before_of, after_of = (
        {each: metrics[f'{task.of_class}.{each}'] for each in class_names}
        for metrics in (before, after)
    )
    measure, mean_measure = task.measure.lower(), task.mean_measure.lower()
    of_groups = {
        f'{prompts}_{group}_{mean_measure}': metrics[f'{task.mean}.{group}']
        for group in task.groups
        for prompts, metrics in (('zero_shot', before), ('ssprompt', after))
    }
    summary = {
        'base': args.base,
        'seed': args.seed,
        f'zero_shot_{mean_measure}': before[task.mean],
        f'ssprompt_{mean_measure}': after[task.mean],
        **of_groups,
        'per_class': {
            each: {
                f'zero_shot_{measure}': before_of[each],
                f'ssprompt_{measure}': after_of[each],
                'semantic_weight': round(float(weight), 4),
            }
            for each, weight in zip(class_names, semantic_weights)
        },
        'trainable_parameters': sum(p.numel() for p in learned.parameters() if p.requires_grad),
        'frozen_parameters': sum(p.numel() for p in learned.parameters() if not p.requires_grad),
        'train_seconds': round(read_train_seconds(train_dir), 1),
        'checkpoint': checkpoint,
    }
    summary_file, picture = work_dir / 'summary.json', work_dir / 'comparison.png'
    write_json(summary, summary_file)
    draw_comparison(
        Comparison(
            class_names=class_names,
            palette=np.array(dataset.metainfo['palette']),
            scenes=show_scenes(zero_shot, learned, dataset, args.task),
            of_classes=(before_of, after_of),
            means=(before[task.mean], after[task.mean]),
            measure=task.measure,
            mean_measure=task.mean_measure,
        ),
        picture,
    )
    return summary


def run(args: argparse.Namespace) -> None:
    """Test handcrafted prompts, train, test again, and compare."""
    others = [f'_{name}' for name in (args.base, args.task) if name not in ('sam', 'semantic')]
    work_dir = args.work_dir or Path('work_dirs') / ''.join(['demo', *others])
    zero_shot, config = find_configs(args.base, args.task)
    train_dir, test_dirs = work_dir / 'train', (work_dir / 'zero-shot', work_dir / 'test')
    seeds = (f'randomness.seed={args.seed}', f'train_dataloader.dataset.seed={args.seed}')

    logs = [work_dir / f'{step}.log' for step in ('zero-shot', 'train', 'test', 'figure')]
    run_tool('test.py', logs[0], zero_shot, '--work-dir', test_dirs[0])
    run_tool('train.py', logs[1], config, '--work-dir', train_dir, '--cfg-options', *seeds)
    checkpoint = (train_dir / 'last_checkpoint').read_text().strip()
    run_tool('test.py', logs[2], config, checkpoint, '--work-dir', test_dirs[1])

    with output_to(logs[3]):
        summary = compare(work_dir, checkpoint, args)
    print_summary(summary, TASKS[args.task])
    print(f'\n{work_dir / "summary.json"}\n{work_dir / "comparison.png"}')


def print_summary(summary: Dict[str, Any], task: Task) -> None:
    """A table of both results."""
    measure, mean = task.measure.lower(), task.mean_measure.lower()
    rows = [
        (each, row[f'zero_shot_{measure}'], row[f'ssprompt_{measure}'], row['semantic_weight'])
        for each, row in summary['per_class'].items()
    ]
    shown = [(*row[:3], f'{row[3]:.2f}') for row in rows]
    for group in (*task.groups, 'all'):
        key = mean if group == 'all' else f'{group}_{mean}'
        values = (summary[f'{prompts}_{key}'] for prompts in ('zero_shot', 'ssprompt'))
        shown.append((f'{task.mean_measure} {group}', *values, ''))
    title = f'{task.measure} (%) on the test split'
    print(f'\n{title:26}{"zero-shot":>10}{"SSPrompt":>10}{"weight":>8}')
    for name, before, after, weight in shown:
        print(f'{name:26}{before:10.1f}{after:10.1f}{weight:>8}')
    print(
        f'\n{summary["trainable_parameters"]:,} parameters trained in '
        f'{summary["train_seconds"]:.0f} s, {summary["frozen_parameters"]:,} frozen'
    )
