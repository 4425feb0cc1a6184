"""Pre-train a miniature CLIP pair on ShapesWorld, by contrast of photographs and captions.

    python -m dev.pretrain_clip_tiny --out-dir mmseg_ssprompt/assets

First both towers, from photographs of single pieces and from the pieces of whole scenes; then the
projection of sam-tiny's mask tokens to the pair's text space. ``docs/sam-tiny.md`` says why, and
what came out.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Dict

import torch
from torch import Tensor

import mmseg_ssprompt

from .clip_tiny.data import Photographs
from .clip_tiny.gate import GATE, measure
from .clip_tiny.losses import contrastive_loss
from .clip_tiny.model import ClipPair
from .clip_tiny.projection import load_sam, save_projection, train_projection
from .pretraining import Pretraining, is_due, logger, make_parser
from .sam_tiny.data import Scenes
from .sam_tiny.gate import measure as measure_sam
from .sam_tiny.losses import UNKNOWN
from .sam_tiny.optimisation import decay_matrices, warm_up_and_decay

ASSETS = Path(mmseg_ssprompt.__file__).parent / 'assets'


def parse_args() -> argparse.Namespace:
    parser = make_parser('Pre-train a miniature CLIP pair on ShapesWorld', gate_every=1000)
    parser.add_argument('--grid', type=int, default=6, help='side of the training grid')
    parser.add_argument('--stuff-named', type=float, default=0.2, help='how often stuff is named')
    parser.add_argument('--sam-dir', type=Path, default=ASSETS, help="where sam-tiny's weights are")
    parser.add_argument('--iters', type=int, default=8000)
    parser.add_argument('--photographs', type=int, default=16, help='beside the scenes')
    parser.add_argument('--projection-iters', type=int, default=600)
    parser.add_argument('--projection-batch-size', type=int, default=16)
    parser.add_argument('--projection-lr', type=float, default=5e-3)
    return parser.parse_args()


class ClipPretraining(Pretraining):
    """Both towers, then the projection, for which ``--grid`` counts."""

    log_name = 'clip-pair-tiny_shapes.json'
    build_model = ClipPair
    measure = staticmethod(measure)

    def train(self, scenes: Scenes) -> None:
        """Train both towers, then the projection."""
        self._train_pair(scenes)
        self._train_projection(scenes)

    def passes(self, figures: Dict[str, float]) -> bool:
        """Whether figures pass the gate."""
        return max(figures['dense'], figures['token']) >= GATE

    def _train_pair(self, scenes: Scenes) -> None:
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
            self.optimise(loss, optimizer, schedule)
            model.logit_scale.data.clamp_(max=math.log(100))
            total += loss.item() / args.log_every
            if is_due(step, args.log_every, args.iters):
                seconds = round(time.time() - start)
                self.record('losses', dict(step=step, seconds=seconds, loss=round(total, 4)))
                total = 0.0
            if is_due(step, args.gate_every, args.iters):
                self.record('gates', dict(step=step, **self.gate()))
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

    def _train_projection(self, scenes: Scenes) -> None:
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


if __name__ == '__main__':
    ClipPretraining(parse_args()).run()
