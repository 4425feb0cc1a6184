"""Pre-train sam-tiny, its text encoder and its projection on ShapesWorld.

    python -m dev.pretrain_sam_tiny --out-dir mmseg_ssprompt/assets

Stage 1 teaches the image encoder and the text encoder with the decoder's read-outs alone; stage
2 starts the decoder's transformer from a lookup of the prompt's place and trains everything.
``docs/sam-tiny.md`` says why, and what came out.
"""

import argparse
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import torch
from torch import Tensor

from .pretraining import Pretraining, is_due, make_parser
from .sam_tiny.data import Scenes
from .sam_tiny.gate import GATE, measure
from .sam_tiny.losses import Targets, stage1_losses, stage2_losses
from .sam_tiny.model import SamTiny, initialise_decoder
from .sam_tiny.optimisation import decay_matrices, warm_up_and_decay


def parse_args() -> argparse.Namespace:
    parser = make_parser('Pre-train sam-tiny on ShapesWorld', gate_every=250)
    parser.add_argument('--grid', type=int, default=6, help='side of the training grid')
    parser.add_argument('--stuff-named', type=float, default=0.2, help='how often stuff is named')
    parser.add_argument('--stage1-iters', type=int, default=2500)
    parser.add_argument('--stage2-iters', type=int, default=3500)
    parser.add_argument('--points', type=int, default=4, help='single points per image')
    parser.add_argument('--resume', type=Path, help='a folder with weights to start stage 2 from')
    return parser.parse_args()


class SamPretraining(Pretraining):
    """Two stages."""

    log_name = 'sam-tiny_shapes.json'
    build_model = SamTiny
    measure = staticmethod(measure)

    def train(self, scenes: Scenes) -> None:
        """Run both stages, or the second from weights that are there."""
        args = self.args
        if args.resume:
            self.model.load(args.resume)
        else:
            self._run_stage(1, args.stage1_iters, scenes, stage1_losses)
            self.save()
        initialise_decoder(self.model.sam)

        def stage2(*batch: Any) -> Dict[str, Tensor]:
            return stage2_losses(*batch, side=args.grid, points=args.points)

        self._run_stage(2, args.stage2_iters, scenes, stage2)

    def passes(self, figures: Dict[str, float]) -> bool:
        """Whether figures pass the gate."""
        return all(figures[name] >= least for name, least in GATE.items())

    def _run_stage(self, stage: int, iters: int, scenes: Scenes, loss: Callable[..., Any]) -> None:
        """Train everything with one warm-up and one cosine decay."""
        optimizer = torch.optim.AdamW(self._groups(stage), betas=(0.9, 0.98))
        schedule = warm_up_and_decay(optimizer, iters)
        self.model.train()
        sums: Dict[str, float] = {}
        start = time.time()
        for step, (images, targets, text) in enumerate(self._batches(scenes, iters), 1):
            losses = loss(self.model, images, targets, text)
            self.optimise(sum(losses.values()), optimizer, schedule)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.item() / self.args.log_every
            if is_due(step, self.args.log_every, iters):
                entry = dict(stage=stage, step=step, seconds=round(time.time() - start))
                entry.update({name: round(value, 4) for name, value in sums.items()})
                self.record('losses', entry)
                sums = {}
            if stage == 2 and is_due(step, self.args.gate_every, iters):
                self.record('gates', dict(stage=stage, step=step, **self.gate()))
                self.save()

    def _groups(self, stage: int) -> List[Dict[str, Any]]:
        """In stage 2 what stage 1 has taught moves more slowly than the decoder."""
        model, lr = self.model, self.args.lr
        taught = [*model.sam.image_encoder.parameters(), *model.text.parameters()]
        taught += [*model.projection.parameters(), model.no_object, model.logit_scale]
        fresh = [*model.sam.mask_decoder.parameters(), *model.sam.prompt_encoder.parameters()]
        slow = lr if stage == 1 else 0.4 * lr
        return decay_matrices(taught, slow) + decay_matrices(fresh, lr)

    def _batches(self, scenes: Scenes, iters: int) -> Iterator[Tuple[Tensor, Targets, Tensor]]:
        """Images, targets and the text of a random synonym and template of each class."""
        classes = len(self.world.classes)
        size = (self.args.batch_size,)
        generator = torch.Generator().manual_seed(self.args.seed)
        for _ in range(iters):
            indices = torch.randint(len(scenes.images), size, generator=generator)
            images, labels, regions = scenes.batch(indices, bool(torch.rand(()) < 0.5))
            named = torch.rand(len(images), classes) < self.args.stuff_named
            named[:, : self.num_things] = True
            text = self.model.text(self.vocabulary.sample(generator))
            yield images, Targets(labels, regions, self.num_things, named), text


if __name__ == '__main__':
    SamPretraining(parse_args()).run()
