"""Say where joint decoding spends its time, for numbers of prompts.

    python -m dev.profile_decoding --prompts 100 400

Forward and backward through SAM's mask decoder with random weights, as torch's profiler sees the
operators on the CPU.
"""

import argparse
from collections import Counter
from typing import Dict, Tuple

import torch
from torch.profiler import ProfilerActivity, profile

from .benchmarks.decode import Decoding

#: Parts of operators' names, the first that fits.
GROUPS: Dict[str, Tuple[str, ...]] = {
    'attention': ('scaled_dot_product',),
    'product of masks': ('::bmm',),
    'linear layers and upscaling': ('::mm', '::addmm', 'convolution'),
    'everything else': ('',),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Where joint decoding spends its time')
    parser.add_argument('--prompts', type=int, nargs='+', default=[100, 400], help='N, squares')
    parser.add_argument('--variant', default='vit_b', help='of SAM')
    parser.add_argument('--batch', type=int, default=1, help='images')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    args.device = 'cpu'
    return args


def measure(args: argparse.Namespace, prompts: int) -> Dict[str, float]:
    """Milliseconds of each group, of one forward and backward pass."""
    case = Decoding(args, prompts)
    case.ours('joint', True)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(args.repeats):
            case.ours('joint', True)
    spent: Counter = Counter()
    for operator in profiler.key_averages():
        group = next(g for g, parts in GROUPS.items() if any(p in operator.key for p in parts))
        spent[group] += operator.self_cpu_time_total / 1e3 / args.repeats
    return dict(spent)


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    spent = [measure(args, prompts) for prompts in args.prompts]
    print('| | ' + ' | '.join(f'N = {prompts}' for prompts in args.prompts) + ' |')
    print('|---' * (len(spent) + 1) + '|')
    for group in GROUPS:
        print(f'| {group} | ' + ' | '.join(f'{s.get(group, 0):.0f} ms' for s in spent) + ' |')
    print('| all | ' + ' | '.join(f'{sum(s.values()):.0f} ms' for s in spent) + ' |')


if __name__ == '__main__':
    main()
