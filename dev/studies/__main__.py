"""A study on a published base model and data set: one slurm array, and its table.

    python -m dev.studies --base sam-vit-b --data cityscapes
    python -m dev.studies --base sam-vit-b --data cityscapes --gather

The first writes ``study.json`` and ``array.sh``, with one job for each arm and seed, and says how
to submit it. The second, at any time, checks what came back, writes the table, and names what is
missing, why, and the command that submits it again; its exit status is 1 while something is
missing. docs/real-data.md says more.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, Sequence

from mmseg_ssprompt.cli.parser import add_config_options, output_folder

from .cluster_cost import describe_cost
from .cluster_gather import gather, write_pages
from .cluster_jobs import make_plan
from .cluster_plan import Plan, StudyError
from .cluster_scripts import parse_sbatch, submit_commands, write_scripts
from .real_rows import BASES, DATA, SHOTS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m dev.studies', description='Write or gather a study on real data'
    )
    parser.add_argument('--base', choices=list(BASES), required=True)
    parser.add_argument('--data', choices=list(DATA), required=True)
    parser.add_argument(
        '--shots', type=int, choices=[SHOTS], help='training images for each class; all without it'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    parser.add_argument('--arms', nargs='+', help='rows to run; all of them by default')
    parser.add_argument(
        '--lr',
        nargs='+',
        default=[],
        metavar='RATE',
        help="the learning rate of all arms, or ARM=RATE; the config's by default",
    )
    parser.add_argument('--cached', action='store_true', help='train on embedded samples')
    parser.add_argument(
        '--sbatch', default='', help='options of sbatch: --sbatch="--partition=gpu --time=04:00:00"'
    )
    parser.add_argument('--out', type=output_folder, help='defaults to work_dirs/studies/BASE_DATA')
    parser.add_argument('--gather', action='store_true', help='read what came back')
    add_config_options(parser)
    return parser.parse_args()


def parse_rates(words: Sequence[str]) -> Dict[str, float]:
    """Learning rates by arm, ``''`` for all others, from ``1e-3`` and ``decoder=1e-4``.

    Raises:
        StudyError: If one is no positive number.
    """
    rates = {}
    for word in words:
        arm, _, number = word.rpartition('=')
        try:
            rates[arm] = float(number)
        except ValueError:
            rates[arm] = 0.0
        if not 0 < rates[arm] < float('inf'):
            raise StudyError(f'--lr: expected a positive number, or ARM=NUMBER, found {word!r}')
    return rates


def write(args: argparse.Namespace, folder: Path) -> int:
    """Check everything, then write the plan and its scripts, and say what to do with them."""
    if duplicates := {seed for seed in args.seeds if args.seeds.count(seed) > 1}:
        raise StudyError(f'--seeds: expected each seed once, found {min(duplicates)} twice')
    if not 0 <= min(args.seeds) <= max(args.seeds) < 2**32:
        raise StudyError(f'--seeds: expected numbers from 0 to 2^32 - 1, found {args.seeds}')
    sbatch = parse_sbatch(args.sbatch)
    plan = make_plan(
        args.base,
        args.data,
        few_shot=args.shots is not None,
        seeds=args.seeds,
        arms=args.arms,
        rates=parse_rates(args.lr),
        cached=args.cached,
        options=args.cfg_options or [],
        folder=folder,
    )
    plan.write(folder)
    write_scripts(plan, folder, sbatch)
    jobs, caches = range(len(plan.jobs)), range(len(plan.caches))
    count = f'{len(jobs)} jobs' if len(jobs) > 1 else '1 job'
    print(f'{folder}: {count}; {describe_cost(plan)}')
    print(f'to submit them:\n  {submit_commands(plan, folder, jobs, caches)}')
    return 0


def gather_all(args: argparse.Namespace, folder: Path) -> int:
    """Write the table and say what is missing."""
    plan = Plan.read(folder)
    if (plan.base, plan.data) != (args.base, args.data):
        raise StudyError(
            f'{str(folder)!r}: expected {args.base} on {args.data}, found {plan.base} on '
            f'{plan.data}. Give the --out of this study'
        )
    gathered = gather(plan, folder.absolute())
    print(*gathered.describe(), sep='\n')
    print(f'table: {write_pages(gathered, folder)}')
    return 1 if gathered.missing else 0


def main() -> int:
    args = parse_args()
    name = f'{args.base}_{args.data}' + ('' if args.shots is None else f'_{SHOTS}shot')
    folder = args.out or Path('work_dirs') / 'studies' / name
    try:
        return gather_all(args, folder) if args.gather else write(args, folder)
    except (ValueError, OSError) as error:  # those of the package are ValueErrors
        print(f'python -m dev.studies: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
