"""What all tests share."""

import os

# The suite holds what CPUs compute, to the bit where it says so; "make test-cuda" is for a GPU.
# mmengine chooses its device when it is imported.
if os.environ.get('MMSEG_SSPROMPT_CUDA') != '1':
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

# Each of several workers has a core of its own: more threads would wait for each other.
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

import mmseg_ssprompt  # noqa: F401  (before anything imports mmseg.models)


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Build from mmseg's registries, as ``default_scope = 'mmseg'`` in a config does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def log(caplog) -> pytest.LogCaptureFixture:
    """The records of mmengine's current logger, which pass by pytest otherwise."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
