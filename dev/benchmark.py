"""Measure ours against the official modules, side by side in one run.

    python -m dev.benchmark decode
    python -m dev.benchmark seem
    python -m dev.benchmark all --json docs/evidence/performance_cpu_1.json

Ours and the reference take turns, after their results were compared: a ratio of different numbers
would say nothing; so float32 is float32 on GPUs, in both, and not the TF32 that cuDNN takes by
default. Times are medians, their ratio has the range of the ratios of all turns. Peak memory is
that of a process of its own, above what the model takes. ``scaling`` has how times grow with sizes,
each with its exponent. ``make figures`` makes the page of what ``all`` has written.
"""

import argparse
import time
from dataclasses import asdict
from typing import Any, Dict

import torch

from mmseg_ssprompt.analysis.complexity.measuring import count_cores, describe_machine
from mmseg_ssprompt.cli.parser import output_file
from mmseg_ssprompt.files import write_json

from .benchmarks.exponents import Scaling
from .benchmarks.parts import BENCHMARKS, CASES
from .benchmarks.rows import Row, find_unmeasured, has_targets
from .profile_decoding import measure as profile_decoding
from .provenance import describe_code, describe_commit, describe_versions


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Ours against the official modules')
    parser.add_argument('benchmark', choices=[*BENCHMARKS, 'all'])
    parser.add_argument('--variant', default='vit_b', help='of SAM')
    parser.add_argument('--seem-variant', default='focal_t', help='of SEEM: one with FocalNet-T')
    parser.add_argument('--prompts', type=int, default=100, help='N, a square number')
    parser.add_argument('--classes', type=int, default=150, help='C')
    parser.add_argument('--batch', type=int, default=1, help='images')
    parser.add_argument('--repeats', type=int, default=2, help='turns of each, at most')
    parser.add_argument('--threads', type=int, default=count_cores(), help='on the CPU')
    parser.add_argument('--device', default='cpu', help='e.g. cpu, cuda:0')
    parser.add_argument('--small', action='store_true', help='miniatures, for a quick look')
    parser.add_argument('--note', help='what else is to be known of this run, for its page')
    parser.add_argument('--json', type=output_file('.json'), help='where the table goes')
    # One case, measured in this process.
    parser.add_argument('--case', choices=list(CASES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small:
        args.variant, args.seem_variant = 'tiny', 'focal_tiny'
    return args


def describe_run(args: argparse.Namespace) -> Dict[str, Any]:
    """What the figures depend on: machine, versions, commit and sizes."""
    sizes = ('variant', 'seem_variant', 'prompts', 'classes', 'batch', 'repeats')
    return dict(
        machine=describe_machine(args.device),
        versions=describe_versions(),
        commit=describe_commit(),
        code=describe_code(),
        sizes={name: getattr(args, name) for name in sizes},
        **(dict(note=args.note) if args.note else {}),
    )


def main() -> None:
    args = parse_args()
    chosen = args.benchmark
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False
    if args.case:
        print(CASES[args.case](args))
        return
    table: Dict[str, Any] = dict(**describe_run(args), seconds={}, rows=[], scaling=[], profile={})
    for name in BENCHMARKS if chosen == 'all' else [chosen]:
        args.benchmark = name
        start = time.monotonic()
        for line in BENCHMARKS[name](args):
            is_row = isinstance(line, Row)
            table['rows' if is_row else 'scaling'].append(dict(part=name, **asdict(line)))
            print(format_row(line) if is_row else format_scaling(line), flush=True)
        if name == 'scaling' and args.device == 'cpu':
            counts = (args.prompts, 4 * args.prompts)
            table['profile'] = {count: profile_decoding(args, count) for count in counts}
        table['seconds'][name] = round(time.monotonic() - start, 1)
    if args.json:
        write_json(table, args.json)
    unmeasured = find_unmeasured([row['name'] for row in table['rows']])
    if chosen == 'all' and has_targets(args) and unmeasured:
        raise SystemExit(f'no row has the name of these targets: {unmeasured}')


def format_row(row: Row) -> str:
    """Name, both figures, their ratio with its range, and what is wanted."""
    wanted = '' if row.must is None else f'  must {row.must:.4g}, aim {row.aim:.4g}'
    wanted += ' MISSED' if row.missed else ''
    return (
        f'{row.name:66} {row.ours:9.4g} {row.reference:9.4g} {row.unit:3}'
        f' ratio {row.ratio:.4f} ({row.ratio_low:.4f} to {row.ratio_high:.4f}){wanted}'
    )


def format_scaling(line: Scaling) -> str:
    """Name, the figure of each size, and the exponent."""
    values = ', '.join(f'{size}: {value:.4g}' for size, value in zip(line.sizes, line.values))
    return f'{line.name}, {line.size} {values} {line.unit}  exponent {line.exponent:.2f}'


if __name__ == '__main__':
    main()
