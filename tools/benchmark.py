"""Measure ours against the official modules, side by side in one run.

    python tools/benchmark.py decode
    python tools/benchmark.py all --json work_dirs/benchmark.json

Ours and the reference take turns, after their results were compared: a ratio of different numbers
would say nothing. Times are medians, their ratio has the range of the ratios of all turns. Peak
memory is that of a process of its own, above what the model takes.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from mmseg_ssprompt.models import SAMImageEncoder, SAMMaskDecoder, SAMPromptEncoder
from mmseg_ssprompt.models.prompts.spatial import point_grid
from mmseg_ssprompt.models.sam.variants import build_image_encoder, get_variant

from mmseg.registry import MODELS  # isort: skip  (after mmseg_ssprompt, which makes it possible)

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4  # of results, in float32
Run = Callable[[], Any]

#: Ratios that must be reached at SAM's real size with N = 100 on two CPU cores, and that are aimed
#: at.
TARGETS: Dict[str, Tuple[float, float]] = {
    'joint decode, N = 100, forward and backward': (1 / 25, 1 / 40),
    'joint decode, N = 100, peak memory': (1 / 12, 1 / 20),
    'joint decode, N = 400 over N = 100, forward and backward': (2.0, 1.5),
    'independent decode, N = 100, forward': (0.7, 0.5),
    'independent decode, N = 100, peak memory': (1 / 8, 1 / 15),
    'vit_b encoder at 1024 x 1024, float32': (0.68, 0.5),
    'state dict on disk': (1 / 200, 1 / 400),
}


@dataclass
class Row:
    """One line of the table; ``ratio`` is ours / reference, so less is better."""

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    ratio_low: float
    ratio_high: float
    must: Optional[float]
    aim: Optional[float]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Ours against the official modules')
    parser.add_argument('benchmark', choices=[*BENCHMARKS, 'all'])
    parser.add_argument('--variant', default='vit_b', help='of SAM')
    parser.add_argument('--prompts', type=int, default=100, help='N, a square number')
    parser.add_argument('--batch', type=int, default=1, help='images')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--small', action='store_true', help='sam-tiny, for a quick look')
    parser.add_argument('--json', type=Path, help='where the table goes')
    parser.add_argument('--peak', help=argparse.SUPPRESS)  # measure one case in this process
    args = parser.parse_args()
    if args.small:
        args.variant = 'tiny'
    return args


class Decoding:
    """N prompts through SAM's mask decoder, with random weights."""

    def __init__(self, args: argparse.Namespace, prompts: Optional[int] = None) -> None:
        torch.manual_seed(0)
        self.encoder = SAMPromptEncoder(args.variant)
        self.decoder = SAMMaskDecoder(args.variant)
        size = get_variant(args.variant).embedding_size
        self.image = torch.randn(args.batch, self.encoder.embed_dim, size, size)
        count = prompts or args.prompts
        points = point_grid(count) * self.encoder.image_size
        labels = torch.ones(count, 1)
        with torch.no_grad():
            self.sparse = self.encoder.encode_points(points[:, None], labels)
        self.image_pe, self.dense = self.encoder.image_pe(), self.encoder.dense_prompt()

    def ours(self, decoding: str, backward: bool) -> Tensor:
        """Mask logits (B, N, 4h, 4w), after a backward pass if asked for."""
        self.decoder.decoding = decoding
        sparse = self.sparse.clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            masks = self.decoder(self.image, self.image_pe, sparse, self.dense).mask_logits
        return _backward(masks, sparse) if backward else masks

    def official(self, backward: bool, count: Optional[int] = None) -> Tensor:
        """The same by the official decoder, an image at a time, as it cannot take more."""
        sparse = self.sparse[:count].clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            masks = torch.stack(
                [
                    self.decoder.decoder(image[None], self.image_pe, sparse, self.dense, False)[0]
                    for image in self.image
                ]
            ).squeeze(2)
        return _backward(masks, sparse) if backward else masks


def _backward(masks: Tensor, sparse: Tensor) -> Tensor:
    """Gradient of a sum that every mask has a share in."""
    masks.square().mean().backward()
    return sparse.grad


def compare_decode(args: argparse.Namespace) -> Iterator[Row]:
    """Joint and independent decoding against the official decoder."""
    case = Decoding(args)
    count = f'N = {args.prompts}'
    for backward in (False, True):
        _check_equal(case.ours('independent', backward), case.official(backward))
        what = 'forward and backward' if backward else 'forward'
        for decoding in ('joint', 'independent'):
            yield _time(
                args,
                f'{decoding} decode, {count}, {what}',
                partial(case.ours, decoding, backward),
                partial(case.official, backward),
            )
    yield _time(
        args,
        f'joint decode, N = {4 * args.prompts} over {count}, forward and backward',
        partial(Decoding(args, prompts=4 * args.prompts).ours, 'joint', True),
        partial(case.ours, 'joint', True),
    )
    if not args.small:  # sam-tiny takes less than a process's own memory varies
        for decoding in ('joint', 'independent'):
            name = f'{decoding} decode, {count}, peak memory'
            yield _compare_peaks(args, name, f'decode-{decoding}', 'decode-official')


def compare_encode(args: argparse.Namespace) -> Iterator[Row]:
    """SAM's image encoder against the official module with the same weights."""
    torch.manual_seed(0)
    official = build_image_encoder(args.variant).eval()
    with torch.no_grad():
        for parameter in official.parameters():  # positions are zero at first
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    ours = SAMImageEncoder(args.variant)
    ours.model.load_state_dict(official.state_dict())
    side = get_variant(args.variant).image_size
    images = torch.randn(args.batch, 3, side, side)
    with torch.no_grad():
        _check_equal(ours(images)[0], official(images))
        name = f'{args.variant} encoder at {side} x {side}, float32'
        yield _time(args, name, partial(ours, images), partial(official, images))


def compare_checkpoint(args: argparse.Namespace) -> Iterator[Row]:
    """What a checkpoint needs to hold, without the optimiser, against the whole model."""
    init_default_scope('mmseg')
    config = 'ssprompt_sam-tiny_shapes.py' if args.small else 'ssprompt_sam_ade20k.py'
    cfg = Config.fromfile(ROOT / 'configs' / config).model
    head = cfg.decode_head
    random_weights = [cfg.backbone, head.prompt_encoder, head.mask_decoder]
    for part in (*random_weights, head.semantic_prompts.text_encoder):
        part.checkpoint = None
    model = MODELS.build(cfg)
    state = model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        sizes = []
        for name, content in (('prompts', model.without_frozen(state)), ('all', state)):
            torch.save(content, Path(folder) / name)
            sizes.append((Path(folder) / name).stat().st_size / 1e6)
    yield _row(args, 'state dict on disk', 'MB', [tuple(sizes)])


def _check_equal(ours: Tensor, reference: Tensor) -> None:
    """Refuse to compare the times of different results.

    Raises:
        AssertionError: With the largest difference.
    """
    torch.testing.assert_close(ours, reference, atol=TOLERANCE, rtol=TOLERANCE)


def _row(args: argparse.Namespace, name: str, unit: str, turns: List[Tuple[float, float]]) -> Row:
    """The line of pairs (ours, reference)."""
    ratios = [ours / reference for ours, reference in turns]
    ours, reference = (statistics.median(column) for column in zip(*turns))
    must, aim = (None, None) if args.small else TARGETS.get(name, (None, None))
    return Row(name, ours, reference, unit, ours / reference, min(ratios), max(ratios), must, aim)


def _time(args: argparse.Namespace, name: str, ours: Run, reference: Run) -> Row:
    """Let both take turns."""
    turns = [(_seconds(ours), _seconds(reference)) for _ in range(args.repeats)]
    return _row(args, name, 's', turns)


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _compare_peaks(args: argparse.Namespace, name: str, ours: str, reference: str) -> Row:
    """Peak memory of two cases, each in a process of its own."""
    return _row(args, name, 'GB', [(_measure_peak(args, ours), _measure_peak(args, reference))])


def _measure_peak(args: argparse.Namespace, case: str) -> float:
    command = [sys.executable, __file__, 'decode', '--peak', case, '--variant', args.variant]
    command += ['--prompts', args.prompts, '--batch', args.batch, '--threads', args.threads]
    done = subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return float(done.stdout.split()[-1])


def print_peak(args: argparse.Namespace) -> None:
    """GB of one case above what the process took before it.

    The official decoder is given 16 prompts, if there are more, and the rest is extrapolated:
    its memory grows with N, and N = 100 does not fit everywhere.
    """
    case = Decoding(args)
    case.ours('joint', False)  # threads and their buffers
    before = _peak_gb()
    if args.peak == 'decode-official':
        count = min(16, args.prompts)
        case.official(True, count)
        print((_peak_gb() - before) * args.prompts / count)
    else:
        case.ours(args.peak[len('decode-') :], True)
        print(_peak_gb() - before)


def _peak_gb() -> float:
    """Most memory that this process has had, in GB, as Linux counts it.

    ``resource.getrusage`` does not serve: a new process inherits its parent's maximum.
    """
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) / 1e6


BENCHMARKS: Dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = dict(
    decode=compare_decode, encode=compare_encode, checkpoint=compare_checkpoint
)


def describe_machine(args: argparse.Namespace) -> Dict[str, Any]:
    """What the figures depend on."""
    return dict(
        processor=platform.processor() or platform.machine(),
        threads=args.threads,
        torch=torch.__version__,
        python=platform.python_version(),
        variant=args.variant,
        batch=args.batch,
        repeats=args.repeats,
    )


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        print_peak(args)
        return
    names = list(BENCHMARKS) if args.benchmark == 'all' else [args.benchmark]
    rows = []
    for name in names:
        for row in BENCHMARKS[name](args):
            rows.append(row)
            print_row(row)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        table = dict(machine=describe_machine(args), rows=[asdict(row) for row in rows])
        args.json.write_text(json.dumps(table, indent=2) + '\n')


def print_row(row: Row) -> None:
    """Name, both figures, their ratio with its range, and what is wanted."""
    wanted = '' if row.must is None else f'  must {row.must:.4g}, aim {row.aim:.4g}'
    print(
        f'{row.name:62} {row.ours:9.3f} {row.reference:9.3f} {row.unit:3}'
        f' ratio {row.ratio:.4f} ({row.ratio_low:.4f} to {row.ratio_high:.4f}){wanted}',
        flush=True,
    )


if __name__ == '__main__':
    main()
