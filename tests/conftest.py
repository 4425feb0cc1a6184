"""What all tests share."""

import copy
import gc
import logging
import os
from pathlib import Path
from types import SimpleNamespace

# The suite holds what CPUs compute, to the bit where it says so; "make gpu" is for a GPU.
# mmengine chooses its device when it is imported.
if os.environ.get('MMSEG_SSPROMPT_GPU') != '1':
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

# Each of several workers has a core of its own: more threads would wait for each other.
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch
import torch.utils.data._utils as workers_of_torch
from mmengine.config import Config
from mmengine.config import config as mmengine_config
from mmengine.dataset import base_dataset
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from yapf.yapflib import yapf_api

import mmseg_ssprompt  # noqa: F401  (before anything imports mmseg.models)
import warm_processes
from mmseg_ssprompt.weights import state_dicts

# Runner writes and logs its config four times, each time in the layout of yapf, which takes longer
# than a training of some steps. Without it the text is Python all the same.
for module in (mmengine_config, yapf_api):  # OneDL's imports it when it is called
    module.FormatCode = lambda text, **_: (text, True)

# It collects garbage for each data set that it builds, which frees memory that workers would copy:
# tests have neither such memory nor such workers, and build thousands.
base_dataset.gc = SimpleNamespace(collect=lambda: 0)

# A training that a test stops leaves its data loader to the garbage collector, and then each worker
# waits for the next look at its parent: 5 s in torch, whatever test runs by then.
workers_of_torch.MP_STATUS_CHECK_INTERVAL = 0.2


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported for a test; pytest-xdist's first process runs none."""
    runs_tests = hasattr(config, 'workerinput') or not config.getoption('numprocesses', None)
    if runs_tests and not torch.cuda.is_available():  # CUDA does not go through a fork
        warm_processes.prepare()


def pytest_collection_finish() -> None:
    """Take what imports and collection have made out of the garbage collector's sight.

    mmengine collects garbage whenever it builds a data set, which takes half a second with the two
    million objects of torch, transformers and pytest.
    """
    gc.collect()
    gc.freeze()


def copy_tensors(content):
    """A state dict of its own, in a tenth of the time of ``copy.deepcopy``."""
    if isinstance(content, torch.Tensor):
        return content.clone()
    if not isinstance(content, dict):
        return copy.deepcopy(content)
    copied = copy.copy(content)
    copied.update({key: copy_tensors(value) for key, value in content.items()})
    return copied


@pytest.fixture(scope='session', autouse=True)
def shipped_weights_are_read_once():
    """Hundreds of tests build a model with the weights of the package; reading takes the most."""
    read, contents = state_dicts.read_torch_file, {}

    def read_once(file, *args, **options):
        if not state_dicts.is_asset(file):
            return read(file, *args, **options)
        status = file.stat()
        key = (file, status.st_mtime_ns, status.st_size, args, tuple(options.items()))
        if key not in contents:
            contents[key] = read(file, *args, **options)
        return copy_tensors(contents[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_dicts, 'read_torch_file', read_once)
        yield


@pytest.fixture(scope='session', autouse=True)
def shipped_configs_are_read_once():
    """Hundreds of tests begin with one of them, and each has up to ten base files."""
    read, contents = Config.fromfile, {}
    folder = Path(__file__).resolve().parents[1] / 'configs'

    def read_once(file, *args, **options):
        path = Path(file).resolve()
        if args or options or folder not in path.parents:
            return read(file, *args, **options)
        if path not in contents:
            contents[path] = read(path)
        config = copy.deepcopy(contents[path])
        object.__setattr__(config, '_filename', str(file))
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'fromfile', staticmethod(read_once))
        yield


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Build from mmseg's registries, as ``default_scope = 'mmseg'`` in a config does."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(autouse=True)
def no_visualizer_of_another_test():
    """mmengine keeps visualizers by their names, whatever type is asked for afterwards."""
    yield
    kinds = [Visualizer]
    for kind in kinds:  # each has instances of its own, which write into folders that are gone
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()


@pytest.fixture
def log(caplog) -> pytest.LogCaptureFixture:
    """The records of mmengine's current logger, which pass by pytest otherwise."""
    logger = MMLogger.get_current_instance()
    level = logger.level  # of the last run in this process, which may log errors alone
    logger.setLevel(logging.INFO)
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)
