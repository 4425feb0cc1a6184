"""What all tests share."""

import pytest
from mmengine.registry import DefaultScope

import mmseg_ssprompt  # noqa: F401  (before anything imports mmseg.models)


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Build from mmseg's registries, as ``default_scope = 'mmseg'`` in a config does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield
