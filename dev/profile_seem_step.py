"""Say what bounds a training step of SEEM from embedded samples.

    python -m dev.profile_seem_step --json docs/evidence/profile_seem_step.json

Counts of operations do not depend on the machine: ``bound`` is the share that they leave of a step
with the encoder, if both computed at one rate and all else cost nothing. Seconds are those of a
processor, on one thread.
"""

import argparse
import time
from typing import Any, Callable, Dict

import torch
from torch.utils.flop_counter import FlopCounterMode

from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.cli.parser import output_file
from mmseg_ssprompt.files import write_json

from .benchmarks.seem import TrainingStep
from .provenance import describe_commit, describe_versions

#: In operators' names: products of attention and of masks.
PRODUCTS = ('bmm', 'attention')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What bounds a step of SEEM's")
    parser.add_argument('--seem-variant', default='focal_t', help='one with FocalNet-T')
    parser.add_argument('--classes', type=int, default=150, help='C')
    parser.add_argument('--batch', type=int, default=1, help='images')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--json', type=output_file('.json'), help='where the figures go')
    args = parser.parse_args()
    args.device = 'cpu'
    return args


def count(run: Callable[[], Any]) -> Dict[str, int]:
    """Floating-point operations by operators."""
    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={operator: _count_attention}) as counter:
        run()
    return {str(name): flops for name, flops in counter.get_flop_counts()['Global'].items()}


def _count_attention(query: Any, key: Any, *args: Any, **kwargs: Any) -> int:
    """Two products of (B, heads, Lq, D) and (B, heads, Lk, D); torch does not count it on CPUs."""
    batch, heads, queries, dims = query
    return 4 * batch * heads * queries * key[2] * dims


def measure(run: Callable[[], Any], repeats: int) -> float:
    """Seconds of a processor, the least of all repeats."""
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        run()
        found.append(time.process_time() - begin)
    return min(found)


def profile(args: argparse.Namespace) -> Dict[str, Any]:
    """All figures."""
    case = TrainingStep(args, args.batch)
    output = case.head(case.features)
    output = output._replace(
        mask_logits=output.mask_logits.detach().requires_grad_(),
        class_logits=output.class_logits.detach().requires_grad_(),
    )
    losses = lambda: sum(case.head.loss_by_feat(output, case.samples).values()).backward()  # noqa: E731
    forward = lambda: case.head(case.features)  # noqa: E731
    encode = lambda: case.model.extract_feat(case.images)  # noqa: E731
    step = count(case.from_embedding)
    with torch.no_grad():  # where layers without bias are those of keys and values of the image
        keys = sum(n for name, n in count(forward).items() if name.endswith('.mm'))
    products = sum(n for name, n in step.items() if any(part in name for part in PRODUCTS))
    parts = {'keys and values': keys, 'attention and masks': products}
    parts['layers of queries'] = sum(step.values()) - sum(parts.values())
    in_step, in_encoder = sum(step.values()), sum(count(encode).values())
    return dict(
        gflop={part: flops / 1e9 for part, flops in parts.items()},
        gflop_of_step=in_step / 1e9,
        gflop_of_encoder=in_encoder / 1e9,
        bound=in_step / (in_step + in_encoder),
        seconds=dict(
            step=measure(case.from_embedding, args.repeats),
            losses=measure(losses, args.repeats),
            encoder=measure(encode, 1),
        ),
    )


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    record = dict(
        variant=args.seem_variant,
        batch=args.batch,
        **profile(args),
        machine=describe_machine('cpu'),
        versions=describe_versions(),
        commit=describe_commit(),
    )
    if args.json:
        write_json(record, args.json)
    for part, number in record['gflop'].items():
        print(f'{part}: {number:.1f} GFLOP')
    print(f'a step {record["gflop_of_step"]:.0f}, the encoder {record["gflop_of_encoder"]:.0f}')
    print(f'bound {record["bound"]:.3f}; seconds {record["seconds"]}')


if __name__ == '__main__':
    main()
