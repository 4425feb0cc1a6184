r"""Time what the studio does after each change, with sam-tiny, seem-tiny and SAM ViT-B.

    python -m dev.studio_time
    python -m dev.studio_time --weights sam_vit_b_01ec64.pth --clip-weights ViT-B-16.pt

Each change is one that was not made before, so that nothing of it is kept. ViT-B has 100
prompts and 20 classes; without files its weights are random, which takes as long.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.cli.parser import output_file
from mmseg_ssprompt.config_files import find_config
from mmseg_ssprompt.files import write_json
from mmseg_ssprompt.prediction.predictor import TrainedModel, read_model
from mmseg_ssprompt.prompt_files.prompt_file import write_prompts
from mmseg_ssprompt.studio import StudioModel
from mmseg_ssprompt.studio.workbench import Asked, Workbench
from mmseg_ssprompt.weights.state_dicts import resolve_checkpoint_path

from .studies.processes import ROOT

from mmseg.datasets import ADE20KDataset  # isort: skip  (after mmseg_ssprompt)
from mmseg.registry import MODELS  # isort: skip

#: Of ADE20K, so that ViT-B has as many classes as the studio's bound is stated for.
CLASSES = 20
NEW_NAMES = ('lighthouse', 'hot air balloon', 'wheelbarrow', 'espresso machine')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time the changes of the studio')
    parser.add_argument('--weights', help='of SAM ViT-B')
    parser.add_argument('--clip-weights', help='of CLIP ViT-B/16')
    parser.add_argument('--turns', type=int, default=5, help='changes of each kind')
    parser.add_argument('--base', nargs='+', choices=BASES, default=list(BASES))
    parser.add_argument(
        '--json', type=output_file('.json'), default=ROOT / 'docs' / 'evidence' / 'studio_cpu.json'
    )
    return parser.parse_args()


def read_sam_tiny(args: argparse.Namespace, folder: Path) -> TrainedModel:
    prompts = resolve_checkpoint_path('mmseg_ssprompt://prompts-tiny_shapes.safetensors')
    return read_model(find_config('ssprompt_sam-tiny_shapes'), prompts)


def read_seem_tiny(args: argparse.Namespace, folder: Path) -> TrainedModel:
    return with_first_prompts('ssprompt_seem-tiny_shapes', {}, folder)


def read_vit_b(args: argparse.Namespace, folder: Path) -> TrainedModel:
    names, palette = (list(ADE20KDataset.METAINFO[key][:CLASSES]) for key in ('classes', 'palette'))
    changes = {
        'model.weights': dict(sam=args.weights, clip=args.clip_weights),
        'model.decode_head.num_classes': CLASSES,
        'model.decode_head.semantic_prompts.class_names': names,
        'test_dataloader.dataset.metainfo': dict(classes=names, palette=palette),
    }
    return with_first_prompts('ssprompt_sam_ade20k', changes, folder)


def with_first_prompts(name: str, changes: Dict[str, Any], folder: Path) -> TrainedModel:
    """A model with the prompts of the start of a training, which take as long as learned ones."""
    config, file = find_config(name), folder / f'{name}.safetensors'
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(changes)
    torch.manual_seed(0)  # so that random weights are the same when it is built again
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    write_prompts(model.without_frozen(model.state_dict()), {}, file)
    torch.manual_seed(0)
    return TrainedModel(cfg, config, file, None)


BASES: Dict[str, Callable[[argparse.Namespace, Path], TrainedModel]] = {
    'sam-tiny': read_sam_tiny,
    'seem-tiny': read_seem_tiny,
    'sam-vit-b': read_vit_b,
}


def each_change(names: str, turn: int) -> Iterator[Tuple[str, Asked]]:
    """What a user may do, as the page asks for it."""
    share = 0.1 + 0.01 * turn
    yield 'spatial trust', Asked(spatial=share, spatial_as_trained=False)
    yield 'semantic trust', Asked(semantic=share, semantic_as_trained=False)
    yield 'a new name', Asked(names=f'{names}\n{NEW_NAMES[turn % len(NEW_NAMES)]} {turn}')
    yield 'a mask', Asked(prompt=turn)
    yield 'a point', Asked(closer='point')
    yield 'comparison', Asked(closer='compare', spatial=share + 0.005, spatial_as_trained=False)


def measure(model: StudioModel, turns: int) -> Dict[str, Any]:
    """Seconds of the opening of a picture, and of each change: medians and the largest."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(model, Path(folder))
        start = time.perf_counter()
        shown = bench.open_example('a', 0, Asked())
        assert shown.stage is not None, shown.status
        found: Dict[str, List[float]] = {'opening': [time.perf_counter() - start]}
        names = '\n'.join(model.head.class_names)
        for turn in range(turns + 1):
            for name, asked in each_change(names, turn):
                start = time.perf_counter()
                if name == 'a point':
                    shown = bench.point('a', 0.1 + 0.1 * turn % 0.8, 0.5, asked)
                else:
                    shown = bench.show('a', asked)
                assert shown.stage is not None, shown.status
                if turn:  # the first warms up
                    found.setdefault(name, []).append(time.perf_counter() - start)
        changes = {key: values for key, values in found.items() if key != 'opening'}
        return dict(
            opening=found['opening'][0],
            changes={key: statistics.median(values) for key, values in changes.items()},
            slowest=max(max(values) for values in changes.values()),
            prompts=model.head.spatial_prompts.num_prompts,
            classes=len(model.head.class_names),
        )


def main() -> None:
    args = parse_args()
    rows = {}
    for base in args.base:
        with tempfile.TemporaryDirectory() as folder:
            model = StudioModel(BASES[base](args, Path(folder)), 'cpu')
        rows[base] = measure(model, args.turns)
        print(base, json.dumps(rows[base], indent=1), flush=True)
    write_json(
        dict(machine=describe_machine('cpu'), turns=args.turns, bases=rows),
        args.json,
    )


if __name__ == '__main__':
    main()
