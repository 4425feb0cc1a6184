"""Learn prompts on the embedded data with the ordinary tools, and show what they change.

    mmseg-ssprompt demo
    mmseg-ssprompt demo --base seem

writes ``work_dirs/demo/summary.json`` and ``work_dirs/demo/comparison.png``, or those of
``work_dirs/demo_seem``.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from ..analysis.figures import Comparison, Scene, draw_comparison
from ..weights.checkpoint_loader import safe_checkpoint_loading
from .configs import find_config, find_home
from .logged import run_logged
from .records import read_metrics, read_train_seconds

from mmseg.apis import init_model  # isort: skip  (after mmseg_ssprompt, which makes it possible)
from mmseg.models.segmentors import BaseSegmentor  # isort: skip
from mmseg.registry import DATASETS  # isort: skip

#: By base model. ``_zero-shot`` is added for that of the handcrafted prompts.
CONFIGS = dict(sam='ssprompt_sam-tiny_shapes', seem='ssprompt_seem-tiny_shapes')
WORK_DIRS = dict(sam=Path('work_dirs/demo'), seem=Path('work_dirs/demo_seem'))
#: What the spatial prompts of the figure are, which has rows of 8 of them.
SPATIAL_PROMPTS = dict(
    sam='place of the default point in the image', seem="SEEM's own queries, in rows of 8"
)
SCENES_SHOWN = (0, 1, 2, 3)


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


def class_ious(metrics: Dict[str, float]) -> Dict[str, float]:
    """IoU in percent by class name."""
    prefix = 'IoU.'
    return {k[len(prefix) :]: v for k, v in metrics.items() if k.startswith(prefix)}


def show_scenes(zero_shot: BaseSegmentor, learned: BaseSegmentor, dataset: Any) -> List[Scene]:
    """Segment a few scenes of the test set with both models."""
    scenes = []
    for index in SCENES_SHOWN:
        batch = pseudo_collate([dataset[index]])
        truth = batch['data_samples'][0].gt_sem_seg.data[0].numpy()
        image = batch['inputs'][0].permute(1, 2, 0).numpy()[..., ::-1]
        with torch.no_grad():
            found = [
                model.test_step(batch)[0].pred_sem_seg.data[0].numpy().copy()
                for model in (zero_shot, learned)
            ]
        scenes.append(Scene(image, truth, *found))
    return scenes


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Let what models and loggers print go into a file."""
    print(f'\ndrawing the figure\n  (all output goes to {log})', flush=True)
    with open(log, 'w', encoding='utf-8') as file, contextlib.redirect_stdout(file):
        with contextlib.redirect_stderr(file):
            yield


@safe_checkpoint_loading()
def compare(work_dir: Path, checkpoint: str, base: str, seed: int) -> Dict[str, Any]:
    """Write both results as JSON and as a picture.

    Returns:
        What is written as JSON.
    """
    train_dir, test_dirs = work_dir / 'train', (work_dir / 'zero-shot', work_dir / 'test')
    before, after = (read_metrics(folder) for folder in test_dirs)
    config = find_config(CONFIGS[base])
    zero_shot = init_model(str(find_config(f'{CONFIGS[base]}_zero-shot')), device='cpu')
    learned = init_model(str(config), checkpoint, device='cpu')
    dataset = DATASETS.build(Config.fromfile(config).test_dataloader.dataset)
    head = learned.decode_head
    semantic_weights = head.semantic_prompts.fusion.weight.detach().numpy()
    spatial_weights = head.spatial_prompts.fusion.weight.detach().numpy()
    class_names = list(dataset.metainfo['classes'])
    before_iou, after_iou = class_ious(before), class_ious(after)

    summary = dict(
        base=base,
        seed=seed,
        zero_shot_miou=before['mIoU'],
        ssprompt_miou=after['mIoU'],
        zero_shot_things_miou=before['mIoU.things'],
        ssprompt_things_miou=after['mIoU.things'],
        zero_shot_stuff_miou=before['mIoU.stuff'],
        ssprompt_stuff_miou=after['mIoU.stuff'],
        per_class={
            name: dict(
                zero_shot_iou=before_iou[name],
                ssprompt_iou=after_iou[name],
                semantic_weight=round(float(weight), 4),
            )
            for name, weight in zip(class_names, semantic_weights)
        },
        trainable_parameters=sum(p.numel() for p in learned.parameters() if p.requires_grad),
        frozen_parameters=sum(p.numel() for p in learned.parameters() if not p.requires_grad),
        train_seconds=round(read_train_seconds(train_dir), 1),
        checkpoint=checkpoint,
    )
    summary_file, picture = work_dir / 'summary.json', work_dir / 'comparison.png'
    summary_file.write_text(json.dumps(summary, indent=2) + '\n')
    draw_comparison(
        Comparison(
            class_names=class_names,
            palette=np.array(dataset.metainfo['palette']),
            scenes=show_scenes(zero_shot, learned, dataset),
            zero_shot_iou=before_iou,
            learned_iou=after_iou,
            zero_shot_miou=before['mIoU'],
            learned_miou=after['mIoU'],
            semantic_weights=semantic_weights,
            spatial_weights=spatial_weights.reshape(-1, 8),
            spatial_label=SPATIAL_PROMPTS[base],
        ),
        picture,
    )
    return summary


def run(args: argparse.Namespace) -> None:
    """Test handcrafted prompts, train, test again, and compare."""
    work_dir, config = args.work_dir or WORK_DIRS[args.base], find_config(CONFIGS[args.base])
    zero_shot_config = find_config(f'{CONFIGS[args.base]}_zero-shot')
    train_dir, test_dirs = work_dir / 'train', (work_dir / 'zero-shot', work_dir / 'test')
    seeds = (f'randomness.seed={args.seed}', f'train_dataloader.dataset.seed={args.seed}')

    logs = [work_dir / f'{step}.log' for step in ('zero-shot', 'train', 'test', 'figure')]
    run_tool('test.py', logs[0], zero_shot_config, '--work-dir', test_dirs[0])
    run_tool('train.py', logs[1], config, '--work-dir', train_dir, '--cfg-options', *seeds)
    checkpoint = (train_dir / 'last_checkpoint').read_text().strip()
    run_tool('test.py', logs[2], config, checkpoint, '--work-dir', test_dirs[1])

    with output_to(logs[3]):
        summary = compare(work_dir, checkpoint, args.base, args.seed)
    print_summary(summary)
    print(f'\n{work_dir / "summary.json"}\n{work_dir / "comparison.png"}')


def print_summary(summary: Dict[str, Any]) -> None:
    """A table of both results."""
    rows = [
        (name, row['zero_shot_iou'], row['ssprompt_iou'], f'{row["semantic_weight"]:.2f}')
        for name, row in summary['per_class'].items()
    ]
    for name, key in (('things', 'things_miou'), ('stuff', 'stuff_miou'), ('all', 'miou')):
        rows.append((f'mIoU {name}', summary[f'zero_shot_{key}'], summary[f'ssprompt_{key}'], ''))
    print(f'\n{"IoU (%) on the test split":26}{"zero-shot":>10}{"SSPrompt":>10}{"weight":>8}')
    for name, before, after, weight in rows:
        print(f'{name:26}{before:10.1f}{after:10.1f}{weight:>8}')
    print(
        f'\n{summary["trainable_parameters"]:,} parameters trained in '
        f'{summary["train_seconds"]:.0f} s, {summary["frozen_parameters"]:,} frozen'
    )
