"""The model around which hooks and optimiser are tested."""

import pytest
from mmengine.config import Config
from torch import nn

from tiny_model import build_tiny, tiny_config


@pytest.fixture
def config() -> Config:
    """SSPrompt on sam-tiny, as it is shipped."""
    return tiny_config()


@pytest.fixture
def model() -> nn.Module:
    """A new model for each test."""
    return build_tiny()
