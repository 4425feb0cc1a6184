"""What a checkpoint needs to hold, without the optimiser, against the whole model."""

import argparse
import tempfile
from pathlib import Path
from typing import Iterator

import torch

from .model import build_model
from .rows import Row, make_row

__all__ = ['compare']


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Sizes on disk."""
    model = build_model(args)
    state = model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        sizes = []
        for name, content in (('prompts', model.without_frozen(state)), ('all', state)):
            torch.save(content, Path(folder) / name)
            sizes.append((Path(folder) / name).stat().st_size / 1e6)
    yield make_row(args, 'state dict on disk', 'MB', [tuple(sizes)])
