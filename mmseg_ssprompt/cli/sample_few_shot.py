"""Draw a few-shot training set and write it down, as ``FewShotDataset`` would in its first run.

    mmseg-ssprompt few-shot CONFIG --shots 16 --seed 1 --out few_shot/camvid_16_1.json

Training then takes the file: ``dict(type='FewShotDataset', manifest='few_shot/camvid_16_1.json',
shots=16, seed=1, dataset=...)``.
"""

import argparse
from pathlib import Path
from typing import Any, Dict, Tuple

from mmengine.registry import init_default_scope

from ..dataset_wrappers import build_dataset, find_configs
from ..datasets.checks import explain_dataset_errors
from ..datasets.few_shot_manifest import make_manifest, write_manifest
from ..outputs import find_inputs
from .inputs import ConfigError, prepare_outputs, read_config

DEFAULTS = dict(shots=16, seed=1, min_pixels=1, unit='images')


def find_source(dataset: Any) -> Tuple[Any, Dict[str, Any]]:
    """The config of what is drawn from, and the draw that its FewShotDataset asks for."""
    asking = list(find_configs(dataset, 'FewShotDataset'))
    if len(asking) > 1:
        raise ConfigError(
            f'train_dataloader.dataset: expected at most one FewShotDataset, found {len(asking)}. '
            'Draw for each of them, from a config that has only the one'
        )
    if not asking:
        return dataset, dict(DEFAULTS)
    draw = {key: asking[0].get(key, default) for key, default in DEFAULTS.items()}
    return asking[0]['dataset'], draw


def print_summary(manifest: Dict[str, Any], out: Path) -> None:
    """How many images or objects each class has, and which have too few."""
    unit = manifest['unit']
    drawn = 'images with it' if unit == 'images' else unit
    width = max(map(len, manifest['classes']))
    for name, count in manifest['counts'].items():
        missing = manifest['incomplete'].get(name)
        note = '' if missing is None else f'  incomplete: all {missing} {drawn} are drawn'
        print(f'{name:{width}}{count:6}{note}')
    print(
        f'{len(manifest["images"])} images, {manifest["shots"]} shots, seed {manifest["seed"]}: '
        f'{len(manifest["classes"]) - len(manifest["incomplete"])} classes complete, '
        f'{len(manifest["incomplete"])} incomplete\n{out}'
    )


@explain_dataset_errors()
def run(args: argparse.Namespace) -> None:
    """Draw, and write the manifest."""
    cfg = read_config(args.config, args.cfg_options, needs=['train_dataloader.dataset'])
    prepare_outputs({'--out': args.out}, find_inputs(cfg, files=[args.config]))
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset, draw = find_source(cfg.train_dataloader.dataset)
    draw.update({key: value for key in DEFAULTS if (value := getattr(args, key)) is not None})
    manifest = make_manifest(build_dataset(dataset), **draw)
    write_manifest(manifest, args.out)
    print_summary(manifest, args.out)
