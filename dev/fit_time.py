r"""Time ``fit`` on photographs, beside trainings that encode their images in each step.

    python -m dev.fit_time --images DIR --labels DIR --classes "sky,road" \
        --weights sam_vit_b_01ec64.pth --clip-weights ViT-B-16.pt

``fit`` runs as a command, with all arms. Then steps of one image are measured, with the image's
features at hand and with the image encoder in each; the naive time is that of as many steps as
``fit`` took, each with the encoder, without any validation.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch

from mmseg_ssprompt.analysis.complexity.measuring import (
    count_cores,
    describe_machine,
    measure_seconds,
)
from mmseg_ssprompt.cli.parser import output_file
from mmseg_ssprompt.files import write_json

from .benchmarks.train import TrainingStep
from .provenance import describe_commit, describe_versions
from .studies.processes import ROOT


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time fit beside the naive way')
    for name in ('images', 'labels', 'classes', 'weights', 'clip-weights'):
        parser.add_argument(f'--{name}', required=True, help='as for fit')
    parser.add_argument('--turns', type=int, default=5, help='steps of each kind')
    parser.add_argument('--out', type=Path, help="fit's folder; by default one that is removed")
    parser.add_argument(
        '--json', type=output_file('.json'), default=ROOT / 'docs' / 'evidence' / 'fit_cpu.json'
    )
    return parser.parse_args()


def run_fit(args: argparse.Namespace, out: Path) -> float:
    """Seconds of the command, all arms."""
    options = dict(images=args.images, labels=args.labels, classes=args.classes, out=out)
    options.update({'base': 'sam-vit-b', 'weights': args.weights, 'device': 'cpu'})
    options['clip-weights'] = args.clip_weights
    command = [sys.executable, '-m', 'mmseg_ssprompt', 'fit']
    for name, value in options.items():
        command += [f'--{name}', str(value)]
    start = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - start


def count_steps(out: Path) -> Dict[str, int]:
    """Steps of each arm: those of all its short runs, folds and trainings."""
    steps: Dict[str, int] = {}
    for file in (out / 'runs').glob('*/*/result.json'):
        arm = file.parent.parent.name
        steps[arm] = steps.get(arm, 0) + len(json.loads(file.read_text())['losses'])
    return steps


def measure_steps(turns: int, num_classes: int) -> Dict[str, float]:
    """Median seconds of a step of one image with N = 100, in turns."""
    args = argparse.Namespace(
        variant='vit_b', prompts=100, classes=num_classes, batch=1, small=False, device='cpu'
    )
    case = TrainingStep(args)
    kinds: Dict[str, Callable[[], Any]] = dict(
        from_embedding=case.from_embedding, with_encoder=case.from_images
    )
    for run in kinds.values():
        run()
    seconds: Dict[str, List[float]] = {name: [] for name in kinds}
    for _ in range(turns):
        for name, run in kinds.items():
            seconds[name].append(measure_seconds(run, torch.device('cpu')))
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    args = parse_args()
    torch.set_num_threads(count_cores())
    with tempfile.TemporaryDirectory() as folder:
        out = args.out or Path(folder) / 'out'
        seconds = run_fit(args, out)
        results = json.loads((out / 'results.json').read_text())
        data = json.loads((out / 'data.json').read_text())
        steps = count_steps(out)
    step = measure_steps(args.turns, len(data['classes']))
    found = dict(
        machine=describe_machine('cpu'),
        versions=describe_versions(),
        commit=describe_commit(),
        base=results['base'],
        pictures=len(data['pictures']),
        classes=len(data['classes']),
        steps=steps,
        seconds=round(seconds, 1),
        stages=results['seconds'],
        seconds_of_a_step={name: round(value, 3) for name, value in step.items()},
        naive_seconds=round(sum(steps.values()) * step['with_encoder'], 1),
    )
    write_json(found, args.json)
    print(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
