"""The text encoder while prompts are learned: it is used once, when the model is built."""

import argparse
import gc
import time
from contextlib import contextmanager
from functools import partial
from typing import Any, Iterator, List
from unittest import mock

import torch
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_seconds
from mmseg_ssprompt.models.clip.text_encoder import TextTransformer

from .model import build_class_name_encoder
from .rows import Row, make_row, take_turns
from .train import TrainingStep

from mmseg.models.text_encoder import CLIPTextEncoder  # isort: skip  (after mmseg_ssprompt)

__all__ = ['compare']


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Its memory and time, and time of the semantic prompts that take its place."""
    with _timed_text_encoder() as seconds:
        step = TrainingStep(args)
        if not seconds:
            raise AssertionError('the text encoder was not seen when the model was built')
    in_memory = _megabytes_of_text_encoders()
    encoder = build_class_name_encoder(args)
    kept = _megabytes_of_text_encoders()
    yield make_row(args, 'text encoder in memory while training', 'MB', [(in_memory, kept)])

    step.from_embedding()
    turns = []
    for _ in range(args.repeats):
        with _timed_text_encoder() as seconds:
            in_step = measure_seconds(step.from_embedding, torch.device(args.device))
        turns.append((sum(seconds), in_step))
    yield make_row(args, 'time in the text encoder, of a training step', 's', turns)

    names = step.head.semantic_prompts.class_names
    encode = torch.no_grad()(partial(encoder.encode, names))
    encode()
    name = f'semantic prompts, C = {len(names)}, over encoding the class names'
    yield take_turns(args, name, step.head.semantic_prompts, encode)


def _megabytes_of_text_encoders() -> float:
    """MB of the parameters of all text encoders in this process."""
    gc.collect()
    encoders = [thing for thing in gc.get_objects() if isinstance(thing, CLIPTextEncoder)]
    return sum(p.nbytes for encoder in encoders for p in encoder.parameters()) / 1e6


@contextmanager
def _timed_text_encoder() -> Iterator[List[float]]:
    """The seconds of each pass through a text encoder, wherever it is."""
    seconds: List[float] = []
    forward = TextTransformer.forward

    def timed(*args: Any, **kwargs: Any) -> Tensor:
        start = time.perf_counter()
        embeddings = forward(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return embeddings

    with mock.patch.object(TextTransformer, 'forward', timed):
        yield seconds
