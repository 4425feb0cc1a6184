"""Measure ours against the official modules, side by side in one run.

    python -m dev.benchmark decode
    python -m dev.benchmark seem
    python -m dev.benchmark all --json work_dirs/benchmark.json

Ours and the reference take turns, after their results were compared: a ratio of different numbers
would say nothing; so float32 is float32 on GPUs, in both, and not the TF32 that cuDNN takes by
default. Times are medians, their ratio has the range of the ratios of all turns. Peak memory is
that of a process of its own, above what the model takes.
"""

import argparse
from dataclasses import asdict
from typing import Any, Callable, Dict, Iterator, List

import torch

from mmseg_ssprompt.analysis.complexity.measuring import count_cores, describe_machine
from mmseg_ssprompt.cli.parser import output_file
from mmseg_ssprompt.files import write_json

from .benchmarks import (
    checkpoint,
    classify,
    decode,
    encode,
    label_maps,
    predict,
    scaling,
    seem,
    segments,
    startup,
    text,
    train,
)
from .benchmarks.rows import Row

BENCHMARKS: Dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    'decode': decode.compare,
    'encode': encode.compare,
    'train': train.compare,
    'segments': segments.compare,
    'classify': classify.compare,
    'predict': predict.compare,
    'label-maps': label_maps.compare,
    'text': text.compare,
    'checkpoint': checkpoint.compare,
    'scaling': scaling.compare,
    'import': startup.compare,
    'seem': seem.compare,
}
PEAKS = {
    name: peak
    for module in (decode, segments, classify, predict, label_maps, seem)
    for name, peak in module.PEAKS.items()
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Ours against the official modules')
    parser.add_argument('benchmark', choices=[*BENCHMARKS, 'all'])
    parser.add_argument('--variant', default='vit_b', help='of SAM')
    parser.add_argument('--seem-variant', default='focal_t', help='of SEEM: one with FocalNet-T')
    parser.add_argument('--prompts', type=int, default=100, help='N, a square number')
    parser.add_argument('--classes', type=int, default=150, help='C')
    parser.add_argument('--batch', type=int, default=1, help='images; seem takes 1 and 2')
    parser.add_argument('--repeats', type=int, default=5, help='turns of each')
    parser.add_argument('--threads', type=int, default=count_cores(), help='on the CPU')
    parser.add_argument('--device', default='cpu', help='e.g. cpu, cuda:0')
    parser.add_argument('--small', action='store_true', help='miniatures, for a quick look')
    parser.add_argument('--json', type=output_file('.json'), help='where the table goes')
    # One case, measured in this process.
    parser.add_argument('--peak', choices=list(PEAKS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small:
        args.variant, args.seem_variant = 'tiny', 'focal_tiny'
    return args


def describe_run(args: argparse.Namespace, benchmark: str) -> Dict[str, Any]:
    """What the figures depend on."""
    sizes = dict(variant='variant', prompts='prompts', classes='classes', batch='batch')
    if benchmark == 'seem':
        sizes = dict(variant='seem_variant', classes='classes')
    sizes['repeats'] = 'repeats'
    return {
        **describe_machine(args.device),
        **{name: getattr(args, option) for name, option in sizes.items()},
    }


def main() -> None:
    args = parse_args()
    chosen = args.benchmark
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False
    if args.peak:
        print(PEAKS[args.peak](args))
        return
    names = list(BENCHMARKS) if chosen == 'all' else [chosen]
    rows: List[Row] = []
    for name in names:
        args.benchmark = name
        for row in BENCHMARKS[name](args):
            rows.append(row)
            print_row(row)
    if args.json:
        table = dict(machine=describe_run(args, chosen), rows=[asdict(row) for row in rows])
        write_json(table, args.json)


def print_row(row: Row) -> None:
    """Name, both figures, their ratio with its range, and what is wanted."""
    wanted = '' if row.must is None else f'  must {row.must:.4g}, aim {row.aim:.4g}'
    wanted += ' MISSED' if row.missed else ''
    print(
        f'{row.name:66} {row.ours:9.4g} {row.reference:9.4g} {row.unit:3}'
        f' ratio {row.ratio:.4f} ({row.ratio_low:.4f} to {row.ratio_high:.4f}){wanted}',
        flush=True,
    )


if __name__ == '__main__':
    main()
