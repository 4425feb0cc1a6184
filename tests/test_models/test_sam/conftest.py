"""SAM with weights that matter everywhere, and official-format files of it."""

from pathlib import Path

import pytest
import torch
from segment_anything.modeling import Sam

import mmseg_ssprompt  # noqa: F401
from mmseg_ssprompt.models.sam.variants import build_sam


def randomised_sam(variant: str) -> Sam:
    """The official model; also what it initialises with zeros (positions) is random."""
    torch.manual_seed(0)
    sam = build_sam(variant)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return sam


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
