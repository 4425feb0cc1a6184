"""How times grow: with pictures, classes, prompts, the frame and processes; ours alone."""

import argparse
from functools import partial
from typing import Iterator

import torch
import torch.nn.functional as F

from . import processes
from .decode import Decoding
from .exponents import Scaling, measure_scaling
from .label_maps import FRAME, SMALL_FRAME, LabelMaps, draw_trained_scores
from .model import build_model
from .predict import Prediction
from .seem import Decoding as SEEMDecoding
from .train import make_embedded_step

__all__ = ['compare']

PICTURES = (1, 2, 4)
CLASSES = (19, 150, 1000)


def compare(args: argparse.Namespace) -> Iterator[Scaling]:
    """A line for each thing that is done and each size."""
    yield from _of_pictures(args)
    yield from _of_classes(args)
    yield _of_prompts(args)
    yield from _of_frames(args)
    yield from processes.compare(args)


def _with(args: argparse.Namespace, **changed: int) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(args), **changed})


def _of_pictures(args: argparse.Namespace) -> Iterator[Scaling]:
    measure = partial(measure_scaling, args)
    case = Prediction(args)
    runs = {count: partial(case.run, logits=False, count=count) for count in PICTURES}
    yield measure('predict label maps', 'pictures', runs)
    del case, runs
    model = build_model(args)
    steps = {
        count: make_embedded_step(model, args.variant, count).from_embedding for count in PICTURES
    }
    yield measure('training step from embedded samples', 'pictures', steps)
    decoded = {count: partial(SEEMDecoding(args, count).ours, True) for count in PICTURES}
    yield measure('SEEM decode, forward and backward', 'pictures', decoded)


def _of_classes(args: argparse.Namespace) -> Iterator[Scaling]:
    steps = {
        count: make_embedded_step(
            build_model(_with(args, classes=count)), args.variant, args.batch
        ).from_embedding
        for count in CLASSES
    }
    yield measure_scaling(args, 'training step from embedded samples', 'classes', steps)
    del steps
    maps = {
        count: LabelMaps(_with(args, classes=count), draw_trained_scores, times=1).ours
        for count in CLASSES
    }
    yield measure_scaling(args, 'label map of trained scores', 'classes', maps)


def _of_prompts(args: argparse.Namespace) -> Scaling:
    counts = (args.prompts // 4, args.prompts, 4 * args.prompts)
    runs = {count: partial(Decoding(args, count).ours, 'joint', True) for count in counts}
    return measure_scaling(args, 'joint decode, forward and backward', 'prompts', runs)


def _of_frames(args: argparse.Namespace) -> Iterator[Scaling]:
    frame = SMALL_FRAME if args.small else FRAME
    sides = (frame // 2, frame, 2 * frame)
    maps = {side: LabelMaps(args, draw_trained_scores, 1, side).ours for side in sides}
    yield measure_scaling(args, 'label map of trained scores', 'pixels of a side', maps)
    del maps
    runs = {side: _decode_frame(args, side / frame) for side in sides}
    yield measure_scaling(args, 'joint decode, forward and backward', 'pixels of a side', runs)


def _decode_frame(args: argparse.Namespace, times: float) -> 'partial[torch.Tensor]':
    """Joint decoding of a larger or smaller embedding."""
    case = Decoding(args)
    for name in ('image', 'image_pe', 'dense'):
        setattr(case, name, F.interpolate(getattr(case, name), scale_factor=times))
    return partial(case.ours, 'joint', True)
