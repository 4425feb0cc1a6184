"""Run the demo, CamVid and the analyses that pages speak of, and keep what they found.

    python -m dev.measured_runs                          # demo of seed 0, CamVid, analyses
    python -m dev.measured_runs --demo seem:semantic:3   # the demo on SEEM with seed 3 alone

The figures go into ``docs/evidence/runs.json``, pictures into ``docs/images``; entries of other
runs stay. CamVid's photographs are expected in ``data/CamVid`` of the current folder. What is
complete in the work_dir is not run again. Digits are those of one thread.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from mmseg_ssprompt.cli.parser import output_folder
from mmseg_ssprompt.cli.records import read_last_validation, read_metrics
from mmseg_ssprompt.files import write_json

from .provenance import describe_code
from .studies.processes import ROOT

RUNS, IMAGES = ROOT / 'docs' / 'evidence' / 'runs.json', ROOT / 'docs' / 'images'
CONFIGS = dict(shapes='ssprompt_sam-tiny_shapes', camvid='ssprompt_sam-tiny_camvid_subset')
#: The JSON file and the pictures of each command.
ANALYSES = dict(
    explain=('prompts', ('semantic_prompts', 'spatial_prompts')),
    masks=('masks', ('masks',)),
    failures=('failures', ('error_types', 'worst_images')),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Run what pages speak of, and keep the figures')
    parser.add_argument('--work-dir', type=output_folder, default=Path('work_dirs/measured'))
    parser.add_argument(
        '--demo', nargs='+', metavar='BASE:TASK:SEED', help='such as sam:semantic:1; nothing else'
    )
    return parser.parse_args()


def start(*command: Any) -> None:
    """Run a command of the package or a tool, with one thread."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    print('$ ' + ' '.join(map(str, command)), flush=True)
    subprocess.run([sys.executable, *map(str, command)], check=True, env=environment)


def run_demo(base: str, task: str, seed: int, work_dir: Path) -> Dict[str, Any]:
    """The demo's summary, without what differs from run to run."""
    summary = work_dir / 'summary.json'
    if not summary.is_file():
        options = ('--base', base, '--task', task, '--seed', seed, '--work-dir', work_dir)
        start('-m', 'mmseg_ssprompt', 'demo', *options)
    found: Dict[str, Any] = json.loads(summary.read_text(encoding='utf-8'))
    return {
        key: value
        for key, value in found.items()
        if key not in ('checkpoint', 'base', 'seed', 'train_seconds')
    }


def run_camvid(work_dir: Path) -> Dict[str, Dict[str, float]]:
    """Validation mIoU before and after training on the subset of CamVid."""
    config = ROOT / 'configs' / f'{CONFIGS["camvid"]}.py'
    before, train = work_dir / 'camvid_before', work_dir / 'camvid'
    if not list(before.glob('*/*.json')):
        start(ROOT / 'tools' / 'test.py', config, '--work-dir', before)
    if not (train / 'iter_300.pth').is_file():
        start(ROOT / 'tools' / 'train.py', config, '--work-dir', train)
    keys = ('mIoU', 'mIoU.things', 'mIoU.stuff')
    after = {key: read_last_validation(train, key)[key] for key in keys}
    return dict(before={key: read_metrics(before)[key] for key in keys}, after=after)


def analyse(data: str, checkpoint: Path) -> Dict[str, Any]:
    """What learned prompts mean, are used for and do wrong, with the pictures of it."""
    config, reports = ROOT / 'configs' / f'{CONFIGS[data]}.py', {}
    for command, (name, pictures) in ANALYSES.items():
        folder = checkpoint.parent / 'analysis' / command
        if not (folder / f'{name}.json').is_file():
            start('-m', 'mmseg_ssprompt', command, config, checkpoint, '--out-dir', folder)
        reports[name] = json.loads((folder / f'{name}.json').read_text(encoding='utf-8'))
        for each in pictures:
            if (data, each) != ('camvid', 'worst_images'):  # photographs are not published here
                shutil.copy(folder / f'{each}.png', IMAGES / f'interpretation_{data}_{each}.png')
    return dict(
        semantic=summarise_semantic(reports['prompts']['semantic']),
        spatial=summarise_spatial(reports['prompts']['spatial']),
        masks=summarise_masks(reports['masks']['masks']),
        failures=summarise_failures(reports['failures']['totals']),
    )


def summarise_semantic(report: Dict[str, Any]) -> Dict[str, Any]:
    classes, groups = report['classes'], report['weight_by_group']
    weights = [each['weight'] for each in classes]
    close = [each['baseline']['words']['share_as_close'] for each in classes]
    return dict(
        weight_min=min(weights),
        weight_max=max(weights),
        weight_by_group={name: group['mean'] for name, group in groups.items()},
        share_as_close_min=min(close),
        classes_far_from_words=sum(share >= 0.95 for share in close),
        classes={
            each['name']: dict(
                cosine_to_default=each['cosine_to_default'],
                share_as_close=share,
                **each['nearest_other_word'],
            )
            for each, share in zip(classes, close)
        },
    )


def summarise_spatial(report: Dict[str, Any]) -> Dict[str, Any]:
    points = [each for each in report['prompts'] if each['token'] == 0]
    moved = [each for each in points if each['displacement_pixels'] > 0]
    learned, random = report['summary']['learned'], report['summary']['random']
    return dict(
        drift_min=min(each['drift'] for each in points),
        drift_max=max(each['drift'] for each in points),
        at_default_point=len(points) - len(moved),
        moved=len(moved),
        displacement_max=max(each['displacement_pixels'] for each in points),
        positive=sum(each['nearest']['label'] == 'positive' for each in points),
        cosine_learned=learned['mean_cosine_to_nearest'],
        cosine_random=random['mean_cosine_to_nearest'],
        drift_of_each_token=learned['mean_drift_of_each_token'],
        distance_of_each_token=learned['mean_distance_of_each_token'],
    )


def summarise_masks(masks: List[Dict[str, Any]]) -> Dict[str, Any]:
    most = sorted(masks, key=lambda each: -each['won_share'])
    return dict(
        most_used=[
            dict(prompt=m['prompt'], share=m['won_share'], of=m['won_class']) for m in most[:4]
        ],
        share_of_3=sum(each['won_share'] for each in most[:3]),
        share_of_10=sum(each['won_share'] for each in most[:10]),
        share_of_others=sum(each['won_share'] for each in most[3:]),
        largest_of_others=most[3]['won_share'],
        never_winning=sum(each['won_share'] == 0 for each in masks),
        mostly_no_object=sum(each['label'] == 'no object' for each in masks),
    )


def summarise_failures(totals: Dict[str, Any]) -> Dict[str, Any]:
    def shares(errors: Dict[str, Any]) -> Dict[str, float]:
        return {kind: error['share_of_wrong'] for kind, error in errors.items()}

    things = totals['errors_by_group']['things']
    return dict(
        miou=totals['mIoU'],
        miou_by_group=totals['mIoU_by_group'],
        wrong=shares(totals['errors']),
        wrong_in_things=shares(things),
        wrong_masks_and_missed_in_things=sum(
            things[kind]['share_of_wrong'] for kind in ('wrong mask', 'missed')
        ),
        regions_with_wrong_label=totals['errors']['wrong label']['regions'],
        found_things=things['found']['regions'],
        outvoted_regions=totals['outvoted_regions'],
        fitting_in_class={
            each['name']: 1 - _unfit(shares(each['errors'])) for each in totals['classes']
        },
    )


def _unfit(wrong: Dict[str, float]) -> float:
    """The share of wrong pixels in regions that no mask fits."""
    return float(np.sum([wrong['wrong mask'], wrong['missed']]))


def keep(path: Sequence[str], content: Mapping[str, Any]) -> None:
    """Put an entry into ``runs.json``, with the digest of the code that made it."""
    runs = json.loads(RUNS.read_text(encoding='utf-8')) if RUNS.is_file() else {}
    place = runs
    for part in path[:-1]:
        place = place.setdefault(part, {})
    place[path[-1]] = dict(content, code=describe_code())
    write_json(runs, RUNS)


def main() -> None:
    args = parse_args()
    for name in args.demo or ():
        base, task, seed = name.split(':')
        work_dir = args.work_dir / f'demo_{base}_{task}_{seed}'
        keep(('demo', base, task, seed), run_demo(base, task, int(seed), work_dir))
    if args.demo:
        return
    demo = args.work_dir / 'demo'
    keep(('demo', 'sam', 'semantic', '0'), run_demo('sam', 'semantic', 0, demo))
    shutil.copy(demo / 'comparison.png', IMAGES)
    keep(('camvid',), run_camvid(args.work_dir))
    keep(('interpretation', 'shapes'), analyse('shapes', demo / 'train' / 'iter_300.pth'))
    keep(('interpretation', 'camvid'), analyse('camvid', args.work_dir / 'camvid' / 'iter_300.pth'))


if __name__ == '__main__':
    main()
