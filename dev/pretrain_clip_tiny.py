"""Pre-train a miniature CLIP pair on ShapesWorld, by contrast of photographs and captions.

    python -m dev.pretrain_clip_tiny --out-dir mmseg_ssprompt/assets

First both towers, from photographs of single pieces and from the pieces of whole scenes; then the
projection of sam-tiny's mask tokens to the pair's text space. ``docs/sam-tiny.md`` says why, and
what came out.
"""

import argparse
import json
import logging
import math
import time
from pathlib import Path
from typing import Any, Dict

import torch
from torch import Tensor

import mmseg_ssprompt
from mmseg_ssprompt.miniature.shapes_world import get_world

from .clip_tiny.data import Photographs
from .clip_tiny.gate import GATE, measure
from .clip_tiny.losses import contrastive_loss
from .clip_tiny.model import ClipPair
from .clip_tiny.projection import load_sam, save_projection, train_projection
from .sam_tiny.data import Scenes, Vocabulary, render_scenes
from .sam_tiny.gate import measure as measure_sam
from .sam_tiny.losses import UNKNOWN
from .sam_tiny.optimisation import decay_matrices, warm_up_and_decay

logger = logging.getLogger('pretrain_clip_tiny')
WORLD = 'pretraining'
LOG_NAME = 'clip-pair-tiny_shapes.json'
ASSETS = Path(mmseg_ssprompt.__file__).parent / 'assets'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Pre-train a miniature CLIP pair on ShapesWorld')
    parser.add_argument('--out-dir', type=Path, required=True, help='where weights and log go')
    parser.add_argument('--sam-dir', type=Path, default=ASSETS, help="where sam-tiny's weights are")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--scenes', type=int, default=6000, help='training scenes')
    parser.add_argument('--held-out', type=int, default=200, help='scenes of the gate')
    parser.add_argument('--iters', type=int, default=8000)
    parser.add_argument('--batch-size', type=int, default=16, help='whole scenes of a step')
    parser.add_argument('--photographs', type=int, default=16, help='beside them')
    parser.add_argument('--lr', type=float, default=1.5e-3)
    parser.add_argument('--stuff-named', type=float, default=0.2, help='how often stuff is named')
    parser.add_argument('--projection-iters', type=int, default=600)
    parser.add_argument('--projection-batch-size', type=int, default=16)
    parser.add_argument('--projection-lr', type=float, default=5e-3)
    parser.add_argument('--grid', type=int, default=6, help="side of the projection's grid")
    parser.add_argument('--log-every', type=int, default=50)
    parser.add_argument('--gate-every', type=int, default=1000)
    parser.add_argument('--evaluate', action='store_true', help='measure what is in --out-dir')
    return parser.parse_args()


class Pretraining:
    """Data, model and log of one run."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.args = args
        self.world = get_world(WORLD)
        self.num_things = len(self.world.things)
        self.vocabulary = Vocabulary(self.world)
        self.held_out = render_scenes(WORLD, 'test', args.held_out, args.threads)
        self.model = ClipPair()
        self.log: Dict[str, Any] = dict(seed=args.seed, world=WORLD, losses=[], gates=[])

    def gate(self) -> Dict[str, float]:
        """The gate's figures on held-out scenes."""
        with torch.no_grad():
            text = self.model.text(self.vocabulary.plain())
        return measure(self.model, self.held_out, text, self.num_things)

    def train_pair(self, scenes: Scenes) -> None:
        """Train both towers."""
        args, model = self.args, self.model
        photographs = Photographs(scenes, self.num_things, args.stuff_named, args.seed)
        optimizer = torch.optim.AdamW(
            decay_matrices(model.parameters(), args.lr), betas=(0.9, 0.98)
        )
        schedule = warm_up_and_decay(optimizer, args.iters)
        total, start = 0.0, time.time()
        for step in range(1, args.iters + 1):
            model.train()
            loss = self._photograph_loss(photographs) + self._pieces_loss(photographs)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            model.logit_scale.data.clamp_(max=math.log(100))
            total += loss.item() / args.log_every
            if step % args.log_every == 0 or step == args.iters:
                seconds = round(time.time() - start)
                self._record('losses', dict(step=step, seconds=seconds, loss=round(total, 4)))
                total = 0.0
            if step % args.gate_every == 0 or step == args.iters:
                self._record('gates', dict(step=step, **self.gate()))
                self.save()

    def _photograph_loss(self, photographs: Photographs) -> Tensor:
        images, classes = photographs.sample(self.args.photographs, self.model.variant.image_size)
        return self._contrast(self.model.encode_image(images), classes, photographs)

    def _pieces_loss(self, photographs: Photographs) -> Tensor:
        """Of pieces of whole scenes, as both read-outs see them through their masks.

        As RegionCLIP contrasts boxes with their names (arXiv 2112.09106): without it, what a
        small CLIP knows of a picture hardly shows at single places.
        """
        places = self.world.size // self.model.variant.patch_size
        images, masks, classes = photographs.sample_pieces(self.args.batch_size, places)
        kept = classes != UNKNOWN
        found = self.model.encode_pieces(images, masks).values()
        return sum(self._contrast(x[kept], classes[kept], photographs) for x in found)

    def _contrast(self, found: Tensor, classes: Tensor, photographs: Photographs) -> Tensor:
        text = self.model.text(self.vocabulary.caption(classes, photographs.generator))
        return contrastive_loss(found, text, classes, self.model.logit_scale.exp())

    def train_projection(self, scenes: Scenes) -> None:
        """Train the projection of sam-tiny's mask tokens to the text space, and measure it."""
        args = self.args
        sam = load_sam(args.sam_dir, self.model.text)
        start = time.time()
        loss = train_projection(
            sam,
            scenes,
            self.num_things,
            self.vocabulary,
            iters=args.projection_iters,
            batch_size=args.projection_batch_size,
            lr=args.projection_lr,
            grid=args.grid,
            stuff_named=args.stuff_named,
            seed=args.seed,
        )
        seconds = round(time.time() - start)
        save_projection(sam, args.out_dir)
        with torch.no_grad():
            text = self.model.text(self.vocabulary.plain())
        figures = measure_sam(sam, self.held_out, text, self.num_things)
        self.log['projection'] = dict(seconds=seconds, loss=round(loss, 4), **figures)
        logger.info(json.dumps(self.log['projection']))

    def _record(self, kind: str, entry: Dict[str, Any]) -> None:
        self.log[kind].append(entry)
        logger.info(' '.join(f'{key}={value}' for key, value in entry.items()))

    def save(self) -> None:
        """Write weights and log."""
        self.model.save(self.args.out_dir)
        log = json.dumps(self.log, indent=1)
        (self.args.out_dir / LOG_NAME).write_text(log + '\n')


def main() -> None:
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    run = Pretraining(args)
    if args.evaluate:
        run.model.load(args.out_dir)
        logger.info(json.dumps(run.gate()))
        return
    run.log['arguments'] = {k: v for k, v in vars(args).items() if isinstance(v, (int, float))}
    scenes = render_scenes(WORLD, 'train', args.scenes, args.threads)
    run.train_pair(scenes)
    run.train_projection(scenes)
    figures = run.log['gates'][-1]
    run.log['passed'] = max(figures['dense'], figures['token']) >= GATE
    run.save()
    logger.info('gate %s', 'passed' if run.log['passed'] else 'NOT passed')


if __name__ == '__main__':
    main()
