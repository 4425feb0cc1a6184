"""Draw a few-shot training set and write it down, as ``FewShotDataset`` would in its first run.

    mmseg-ssprompt few-shot CONFIG --shots 16 --seed 1 --out few_shot/camvid_16_1.json

Training then takes the file: ``dict(type='FewShotDataset', manifest='few_shot/camvid_16_1.json',
shots=16, seed=1, dataset=...)``.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

from mmengine.config import DictAction
from mmengine.registry import init_default_scope

from ..dataset_wrappers import build_dataset, find_configs
from ..datasets.checks import explain_dataset_errors
from ..datasets.few_shot_manifest import make_manifest, write_manifest
from ..outputs import find_inputs
from .inputs import output_file, prepare_outputs, read_config

DEFAULTS = dict(shots=16, seed=1, min_pixels=1)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw K training images for each class')
    parser.add_argument('config', help='its train_dataloader.dataset is drawn from')
    parser.add_argument(
        '--out', type=output_file('.json'), required=True, help='the manifest, a JSON file'
    )
    group = parser.add_argument_group(
        'the draw', "where not given: as in the config's FewShotDataset, else 16 shots, seed 1"
    )
    group.add_argument('--shots', type=int, help='images to be credited to each class')
    group.add_argument('--seed', type=int, help='which draw')
    group.add_argument(
        '--min-pixels', type=int, help='from how many pixels on an image contains a class'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='as for tools/train.py: key=value'
    )
    return parser.parse_args()


def find_source(dataset: Any) -> Tuple[Any, Dict[str, int]]:
    """The config of what is drawn from, and the draw that its FewShotDataset asks for."""
    asking = list(find_configs(dataset, 'FewShotDataset'))
    if len(asking) > 1:
        sys.exit(
            f'train_dataloader.dataset: expected at most one FewShotDataset, found {len(asking)}. '
            'Draw for each of them, from a config that has only the one'
        )
    if not asking:
        return dataset, dict(DEFAULTS)
    draw = {key: asking[0].get(key, default) for key, default in DEFAULTS.items()}
    return asking[0]['dataset'], draw


def print_summary(manifest: Dict[str, Any], out: Path) -> None:
    """How many images each class has, and which have too few."""
    width = max(map(len, manifest['classes']))
    for name, count in manifest['counts'].items():
        missing = manifest['incomplete'].get(name)
        note = '' if missing is None else f'  incomplete: all {missing} images with it are drawn'
        print(f'{name:{width}}{count:6}{note}')
    print(
        f'{len(manifest["images"])} images, {manifest["shots"]} shots, seed {manifest["seed"]}: '
        f'{len(manifest["classes"]) - len(manifest["incomplete"])} classes complete, '
        f'{len(manifest["incomplete"])} incomplete\n{out}'
    )


@explain_dataset_errors()
def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, needs=['train_dataloader.dataset'])
    prepare_outputs({'--out': args.out}, find_inputs(cfg, files=[args.config]))
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset, draw = find_source(cfg.train_dataloader.dataset)
    draw.update({key: value for key in DEFAULTS if (value := getattr(args, key)) is not None})
    manifest = make_manifest(build_dataset(dataset), **draw)
    write_manifest(manifest, args.out)
    print_summary(manifest, args.out)


if __name__ == '__main__':
    main()
