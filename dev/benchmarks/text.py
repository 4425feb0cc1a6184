"""The text encoder while prompts are learned: it is used once, when the model is built."""

import argparse
import gc
from typing import Iterator

from .model import build_class_name_encoder, build_model
from .rows import Row, make_row
from .train import make_embedded_step

from mmseg.models.text_encoder import CLIPTextEncoder  # isort: skip  (after mmseg_ssprompt)

__all__ = ['compare']


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Its memory beside a model that trains."""
    step = make_embedded_step(build_model(args), args.variant, args.batch)
    step.from_embedding()
    in_memory = _megabytes_of_text_encoders()
    encoder = build_class_name_encoder(args)
    kept = _megabytes_of_text_encoders()
    del encoder
    yield make_row(args, 'text encoder in memory while training', 'MB', [(in_memory, kept)])


def _megabytes_of_text_encoders() -> float:
    """MB of the parameters of all text encoders in this process."""
    gc.collect()
    encoders = [thing for thing in gc.get_objects() if isinstance(thing, CLIPTextEncoder)]
    return sum(p.nbytes for encoder in encoders for p in encoder.parameters()) / 1e6
