"""SAM with weights that matter everywhere, and official-format files of it."""

from pathlib import Path

import pytest
import torch
from segment_anything.modeling import Sam

from official_sam import randomised_sam


@pytest.fixture(scope='session')
def tiny_sam() -> Sam:
    """The official classes at tiny size."""
    return randomised_sam('tiny')


@pytest.fixture(scope='session')
def tiny_file(tiny_sam: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Meta AI saves it, of :func:`tiny_sam`."""
    path = tmp_path_factory.mktemp('sam') / 'sam_tiny.pth'
    torch.save(tiny_sam.state_dict(), path)
    return path
