"""Pre-train sam-tiny, its text encoder and its projection on ShapesWorld.

    python -m dev.pretrain_sam_tiny --out-dir mmseg_ssprompt/assets

Stage 1 teaches the image encoder and the text encoder with the decoder's read-outs alone; stage
2 starts the decoder's transformer from a lookup of the prompt's place and trains everything.
``docs/sam-tiny.md`` says why, and what came out.
"""

import argparse
import json
import logging
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import torch
from torch import Tensor

from mmseg_ssprompt.miniature.shapes_world import get_world

from .sam_tiny.data import Scenes, Vocabulary, render_scenes
from .sam_tiny.gate import GATE, measure
from .sam_tiny.losses import Targets, stage1_losses, stage2_losses
from .sam_tiny.model import SamTiny, initialise_decoder
from .sam_tiny.optimisation import decay_matrices, warm_up_and_decay

logger = logging.getLogger('pretrain_sam_tiny')
WORLD = 'pretraining'
LOG_NAME = 'sam-tiny_shapes.json'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Pre-train sam-tiny on ShapesWorld')
    parser.add_argument('--out-dir', type=Path, required=True, help='where weights and log go')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--scenes', type=int, default=6000, help='training scenes')
    parser.add_argument('--held-out', type=int, default=200, help='scenes of the gate')
    parser.add_argument('--stage1-iters', type=int, default=2500)
    parser.add_argument('--stage2-iters', type=int, default=3500)
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--lr', type=float, default=1.5e-3)
    parser.add_argument('--grid', type=int, default=6, help='side of the training grid')
    parser.add_argument('--points', type=int, default=4, help='single points per image')
    parser.add_argument('--stuff-named', type=float, default=0.2, help='how often stuff is named')
    parser.add_argument('--log-every', type=int, default=50)
    parser.add_argument('--gate-every', type=int, default=250)
    parser.add_argument('--resume', type=Path, help='a folder with weights to start stage 2 from')
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
        self.model = SamTiny()
        self.log: Dict[str, Any] = dict(seed=args.seed, world=WORLD, losses=[], gates=[])

    def gate(self, held_out: Scenes) -> Dict[str, float]:
        """The gate's figures on held-out scenes."""
        with torch.no_grad():
            text = self.model.text(self.vocabulary.plain())
        return measure(self.model, held_out, text, self.num_things)

    def run_stage(self, stage: int, iters: int, scenes: Scenes, loss: Callable[..., Any]) -> None:
        """Train everything with one warm-up and one cosine decay."""
        optimizer = torch.optim.AdamW(self._groups(stage), betas=(0.9, 0.98))
        schedule = warm_up_and_decay(optimizer, iters)
        self.model.train()
        sums: Dict[str, float] = {}
        start = time.time()
        for step, (images, targets, text) in enumerate(self._batches(scenes, iters), 1):
            losses = loss(self.model, images, targets, text)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.item() / self.args.log_every
            if step % self.args.log_every == 0 or step == iters:
                entry = dict(stage=stage, step=step, seconds=round(time.time() - start))
                entry.update({name: round(value, 4) for name, value in sums.items()})
                self._record('losses', entry)
                sums = {}
            if stage == 2 and (step % self.args.gate_every == 0 or step == iters):
                self._measure(stage, step)

    def _measure(self, stage: int, step: int) -> None:
        self._record('gates', dict(stage=stage, step=step, **self.gate(self.held_out)))
        self.save()

    def _record(self, kind: str, entry: Dict[str, Any]) -> None:
        self.log[kind].append(entry)
        logger.info(' '.join(f'{key}={value}' for key, value in entry.items()))

    def save(self) -> None:
        """Write weights and log."""
        self.model.save(self.args.out_dir)
        log = json.dumps(self.log, indent=1)
        (self.args.out_dir / LOG_NAME).write_text(log + '\n')

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


def main() -> None:
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    run = Pretraining(args)
    if args.evaluate:
        run.model.load(args.out_dir)
        logger.info(json.dumps(run.gate(run.held_out)))
        return
    run.log['arguments'] = {k: v for k, v in vars(args).items() if isinstance(v, (int, float))}
    scenes = render_scenes(WORLD, 'train', args.scenes, args.threads)
    if args.resume:
        run.model.load(args.resume)
    else:
        run.run_stage(1, args.stage1_iters, scenes, stage1_losses)
        run.save()
    initialise_decoder(run.model.sam)

    def stage2(*batch: Any) -> Dict[str, Tensor]:
        return stage2_losses(*batch, side=args.grid, points=args.points)

    run.run_stage(2, args.stage2_iters, scenes, stage2)
    figures = run.log['gates'][-1]
    run.log['passed'] = all(figures[name] >= least for name, least in GATE.items())
    run.save()
    logger.info('gate %s', 'passed' if run.log['passed'] else 'NOT passed')


if __name__ == '__main__':
    main()
