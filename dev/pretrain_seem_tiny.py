"""Pre-train seem-tiny, SEEM at small size, on ShapesWorld.

    python -m dev.pretrain_seem_tiny --out-dir mmseg_ssprompt/assets

The modules are the package's own, with random weights; all of them train at once. ``--resume``
goes on with a run that was interrupted. ``docs/sam-tiny.md`` says why.
"""

import argparse
import time
from pathlib import Path
from typing import Any, Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.losses import MaskClassificationLoss
from mmseg_ssprompt.models.seem.seem_text_encoder import SEEM_TEMPLATES

from .pretraining import Pretraining, is_due, logger, make_parser
from .sam_tiny.data import Scenes, Vocabulary
from .sam_tiny.losses import Targets
from .sam_tiny.optimisation import decay_matrices, warm_up_and_decay
from .seem_tiny.gate import GATE, measure
from .seem_tiny.losses import class_losses, click_losses, object_losses
from .seem_tiny.model import FRAME, SeemTiny

STATE = Path('work_dirs/pretrain_seem_tiny.pth')


def parse_args() -> argparse.Namespace:
    parser = make_parser('Pre-train seem-tiny on ShapesWorld', gate_every=500)
    parser.set_defaults(batch_size=8, log_every=100)
    parser.add_argument('--iters', type=int, default=7000)
    parser.add_argument('--clicks', type=int, default=4, help='clicks per image')
    parser.add_argument('--points', type=int, default=1024, help='at which masks are compared')
    parser.add_argument('--state', type=Path, default=STATE, help='what --resume goes on from')
    parser.add_argument('--resume', action='store_true', help='go on with an interrupted run')
    return parser.parse_args()


class SeemPretraining(Pretraining):
    """One stage."""

    log_name = 'seem-tiny_shapes.json'
    build_model = SeemTiny
    measure = staticmethod(measure)

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.vocabulary = Vocabulary(self.world, SEEM_TEMPLATES, ['background'])
        self.loss = MaskClassificationLoss(len(self.world.classes), num_points=args.points)

    def passes(self, figures: Dict[str, float]) -> bool:
        """Whether figures pass the gate."""
        return all(figures[name] >= least for name, least in GATE.items())

    def class_embeddings(self) -> Tensor:
        """Each class's own name in all templates, and the background: (C + 1, E)."""
        tokens = self.vocabulary.tokens[:, 0]  # (C + 1, P, L)
        texts = self.model.text(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return F.normalize(texts.mean(dim=1), dim=-1)

    def train(self, scenes: Scenes) -> None:
        """Train everything with one warm-up and one cosine decay."""
        args = self.args
        optimizer = torch.optim.AdamW(
            decay_matrices(self.model.parameters(), args.lr), betas=(0.9, 0.98)
        )
        schedule = warm_up_and_decay(optimizer, args.iters)
        state = dict(model=self.model, optimizer=optimizer, schedule=schedule)
        first, before = self._resume(state) if args.resume else (1, 0.0)
        sums: Dict[str, float] = {}
        start = time.time() - before
        for step in range(first, args.iters + 1):
            losses = self._losses(scenes, step)
            self.optimise(sum(losses.values()), optimizer, schedule)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.item() / args.log_every
            seconds = round(time.time() - start)
            if is_due(step, args.log_every, args.iters):
                entry = {name: round(value, 4) for name, value in sums.items()}
                self.record('losses', dict(step=step, seconds=seconds, **entry))
                sums = {}
            if is_due(step, args.gate_every, args.iters):
                self.record('gates', dict(step=step, seconds=seconds, **self.gate()))
                self.save()
                self._keep(state, step, seconds)
        args.state.unlink()

    def _losses(self, scenes: Scenes, step: int) -> Dict[str, Tensor]:
        """Those of a step, whose draws depend on its number alone."""
        args = self.args
        torch.manual_seed(args.seed * 1_000_000 + step)
        indices = torch.randint(len(scenes.images), (args.batch_size,))
        images, labels, regions = scenes.batch(indices, bool(torch.rand(()) < 0.5))
        text = self.model.text(self.vocabulary.sample_alike(torch.default_generator))
        features = self.model.encode_image(images)
        losses = object_losses(self.model, features, labels, text, self.loss)
        losses.update(class_losses(self.model, features, labels, self.num_things, text))
        named = torch.ones(len(images), len(self.world.classes)) > 0
        targets = Targets(labels, regions, self.num_things, named, FRAME // 4)
        losses.update(click_losses(self.model, features, targets, args.clicks, images.shape[-1]))
        return losses

    def _keep(self, state: Dict[str, Any], step: int, seconds: int) -> None:
        """Write what an interrupted run needs to go on."""
        kept = {name: part.state_dict() for name, part in state.items()}
        self.args.state.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(kept, step=step, seconds=seconds, log=self.log), self.args.state)

    def _resume(self, state: Dict[str, Any]) -> Tuple[int, float]:
        """Take the state up again; the next step, and the seconds that were spent."""
        kept = torch.load(self.args.state, weights_only=True)
        for name, part in state.items():
            part.load_state_dict(kept[name])
        self.log.update(kept['log'])
        logger.info('resumed after step %d', kept['step'])
        return kept['step'] + 1, kept['seconds']


if __name__ == '__main__':
    SeemPretraining(parse_args()).run()
