"""What the pre-training of all miniatures shares: arguments, held-out scenes, log and gate."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any, Callable, Dict

import torch

from mmseg_ssprompt.miniature.shapes_world import get_world

from .sam_tiny.data import Scenes, Vocabulary, render_scenes

WORLD = 'pretraining'
logger = logging.getLogger('pretraining')


def make_parser(description: str, gate_every: int) -> argparse.ArgumentParser:
    """A parser of what all scripts take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--out-dir', type=Path, required=True, help='where weights and log go')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--scenes', type=int, default=6000, help='training scenes')
    parser.add_argument('--held-out', type=int, default=200, help='scenes of the gate')
    parser.add_argument('--batch-size', type=int, default=16, help='whole scenes of a step')
    parser.add_argument('--lr', type=float, default=1.5e-3)
    parser.add_argument('--log-every', type=int, default=50)
    parser.add_argument('--gate-every', type=int, default=gate_every)
    parser.add_argument('--evaluate', action='store_true', help='measure what is in --out-dir')
    return parser


def is_due(step: int, every: int, iters: int) -> bool:
    """Whether something that is done every so many steps, and after the last, is due."""
    return step % every == 0 or step == iters


class Pretraining:
    """Data, model and log of one run.

    Attributes:
        log_name: Name of the log's file.
        build_model: Builds a model that saves and loads itself, and embeds texts.
        measure: The gate's figures of a model on scenes.
    """

    log_name: str
    build_model: Callable[[], Any]
    measure: Callable[..., Dict[str, float]]

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.args = args
        self.world = get_world(WORLD)
        self.num_things = len(self.world.things)
        self.vocabulary = Vocabulary(self.world)
        self.held_out = render_scenes(WORLD, 'test', args.held_out, args.threads)
        self.model = self.build_model()
        self.log: Dict[str, Any] = dict(seed=args.seed, world=WORLD, losses=[], gates=[])

    def train(self, scenes: Scenes) -> None:
        """Train everything."""
        raise NotImplementedError

    def passes(self, figures: Dict[str, float]) -> bool:
        """Whether figures pass the gate."""
        raise NotImplementedError

    def class_embeddings(self) -> torch.Tensor:
        """The text embeddings that the gate is measured with."""
        embeddings: torch.Tensor = self.model.text(self.vocabulary.plain())
        return embeddings

    def gate(self) -> Dict[str, float]:
        """The gate's figures on held-out scenes."""
        with torch.no_grad():
            text = self.class_embeddings()
        return self.measure(self.model, self.held_out, text, self.num_things)

    def optimise(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """Make one step."""
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    def record(self, kind: str, entry: Dict[str, Any]) -> None:
        """Add an entry to the log."""
        self.log[kind].append(entry)
        logger.info(' '.join(f'{key}={value}' for key, value in entry.items()))

    def save(self) -> None:
        """Write weights and log."""
        self.model.save(self.args.out_dir)
        log = json.dumps(self.log, indent=1)
        (self.args.out_dir / self.log_name).write_text(log + '\n')

    def run(self) -> None:
        """Train, or measure what is there, as the arguments say."""
        logging.basicConfig(level=logging.INFO, format='%(message)s')
        args = self.args
        if args.evaluate:
            self.model.load(args.out_dir)
            print(json.dumps(self.gate()))
            return
        self.log['arguments'] = {k: v for k, v in vars(args).items() if isinstance(v, (int, float))}
        self.train(render_scenes(WORLD, 'train', args.scenes, args.threads))
        self.log['passed'] = self.passes(self.log['gates'][-1])
        self.save()
        logger.info('gate %s', 'passed' if self.log['passed'] else 'NOT passed')
