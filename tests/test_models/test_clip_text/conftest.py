"""A small CLIP, and the ways to save it."""

from pathlib import Path
from typing import Callable, Dict

import pytest
from torch import Tensor, nn

import mmseg_ssprompt  # noqa: F401
from clip_files import WRITERS, make_clip, openai_state_dict


@pytest.fixture(scope='session')
def tiny_clip() -> nn.Module:
    return make_clip('tiny')


@pytest.fixture
def tiny_state(tiny_clip: nn.Module) -> Dict[str, Tensor]:
    return openai_state_dict(tiny_clip)


@pytest.fixture(params=sorted(WRITERS))
def save_clip(request: pytest.FixtureRequest) -> Callable[[Dict[str, Tensor], Path], None]:
    """Each of the three ways to write a file."""
    return WRITERS[request.param]
