"""Two processes with B images each train and evaluate as one process with 2B images."""

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Dict, Tuple

import pytest
import torch

from repeatable_points import read_losses_of_ranks

from .tools import CONFIGS, ROOT, free_port, run

pytestmark = pytest.mark.process
CONFIG = CONFIGS / 'ssprompt_sam-tiny_shapes.py'
STEPS = 8
#: Five images are no multiple of two processes, nor of their batches of two.
REPEATABLE = f"""
_base_ = [{str(CONFIG)!r}]
custom_imports = dict(imports=['mmseg_ssprompt', 'repeatable_points'])
custom_hooks = [*_base_.custom_hooks, dict(type='RepeatablePointsHook')]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
model = dict(decode_head=dict(classifier=dict(trainable=True)))
train_cfg = dict(max_iters={STEPS}, val_interval={STEPS})
train_dataloader = dict(dataset=dict(num_images=12))
val_dataloader = dict(batch_size=2, dataset=dict(num_images=5))
test_dataloader = dict(batch_size=2, dataset=dict(num_images=5))
default_hooks = dict(checkpoint=dict(interval={STEPS}), logger=dict(interval=1))
"""


def tool(name: str, processes: int, files: list, *args, cwd: Path) -> str:
    """Run ``train`` or ``test`` in one process or several, with the helpers of the tests."""
    helpers = [str(ROOT / 'tests'), os.environ.get('PYTHONPATH')]
    environment = dict(PYTHONPATH=os.pathsep.join(filter(None, helpers)), OMP_NUM_THREADS='1')
    command = (sys.executable, ROOT / 'tools' / f'{name}.py', *files)
    if processes == 1:
        return run(*command, *args, cwd=cwd, **environment)
    environment.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(), WORLD_SIZE=str(processes))
    ranks = [dict(environment, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(processes)]
    with ThreadPoolExecutor() as pool:  # what dist_train.sh and dist_test.sh do, without torchrun
        start = partial(run, *command, *args, '--launcher', 'pytorch', cwd=cwd)
        done = [pool.submit(start, **rank) for rank in ranks]
        return done[0].result() + ''.join(other.result() for other in done[1:])


def train(folder: Path, processes: int, batch_size: int, *options: str) -> Path:
    """Train; the folder has the losses of every rank, and the checkpoint."""
    folder.mkdir()
    (folder / 'config.py').write_text(REPEATABLE)
    options = ('--cfg-options', f'train_dataloader.batch_size={batch_size}', *options)
    tool('train', processes, ['config.py'], '--work-dir', folder, *options, cwd=folder)
    return folder


def trained_tensors(folder: Path) -> Dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / f'iter_{STEPS}.pth', weights_only=True)
    return checkpoint['state_dict']


@pytest.fixture(
    scope='module',
    params=[1, pytest.param(2, marks=pytest.mark.slow)],
    ids=['every_step', 'accumulated'],
)
def runs(request, tmp_path_factory) -> Tuple[Path, Path]:
    """One process with four images, and two processes with two images each."""
    folder = tmp_path_factory.mktemp('distributed')
    option = f'optim_wrapper.accumulative_counts={request.param}'
    return train(folder / 'one', 1, 4, option), train(folder / 'two', 2, 2, option)


def test_losses_are_those_of_one_process(runs):
    expected, found = map(read_losses_of_ranks, runs)
    assert len(expected) == len(found) == STEPS
    for step, reference in enumerate(expected):
        names = {name for name in reference if 'loss' in name}
        assert len(names) == 4
        for name in names:
            assert found[step][name] == pytest.approx(reference[name], rel=1e-4), (step, name)


def test_ranks_see_other_images(runs):
    """Else the comparison would say nothing of what is averaged."""
    ranks = [json.loads(file.read_text()) for file in sorted(runs[1].glob('losses_*.json'))]
    assert len(ranks) == 2
    assert all(a['loss'] != pytest.approx(b['loss'], rel=1e-3) for a, b in zip(*ranks))


def test_parameters_are_those_of_one_process(runs):
    expected, found = map(trained_tensors, runs)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def test_evaluation_is_that_of_one_process(runs):
    """No image counts twice where they do not divide evenly among the processes."""
    folder = runs[0]
    outputs = [
        tool('test', processes, ['config.py', folder / f'iter_{STEPS}.pth'], cwd=folder)
        for processes in (1, 2)
    ]
    expected, found = map(metrics_in_log, outputs)
    assert sum(name.startswith('IoU.') for name in expected) == 10
    assert {'mIoU', 'mIoU.things', 'mIoU.stuff'} <= expected.keys()
    assert found == expected


@pytest.mark.slow
def test_a_model_in_which_nothing_trains(tmp_path):
    """torch refuses to wrap it."""
    config = CONFIGS / 'ssprompt_sam-tiny_shapes_zero-shot.py'
    options = ('--cfg-options', 'env_cfg.dist_cfg.backend=gloo', 'test_dataloader.batch_size=2')
    options = (*options, 'test_dataloader.dataset.num_images=5')
    expected, found = (
        metrics_in_log(tool('test', processes, files, *options, cwd=tmp_path))
        for processes, files in ((1, [config]), (2, [config]))
    )
    assert 'mIoU' in expected and found == expected


def metrics_in_log(output: str) -> Dict[str, str]:
    """From the log: with two processes mmengine writes the JSON file twice at once."""
    line = re.search(r'Iter\(test\) \[\d+/\d+\] .* mIoU: .*', output)[0]
    return dict(re.findall(r'(\S*IoU\S*(?: \w+)*): ([\d.]+|nan)', line))


@pytest.mark.slow
def test_the_scripts_start_two_processes(tmp_path):
    """With torchrun, as ``dist_train.sh`` and ``dist_test.sh`` do it; a test may have no file."""
    (tmp_path / 'config.py').write_text(REPEATABLE)
    shell = partial(run, 'bash', cwd=tmp_path, OMP_NUM_THREADS='1')
    path = os.pathsep.join(filter(None, [str(ROOT / 'tests'), os.environ.get('PYTHONPATH')]))
    shell = partial(shell, PYTHONPATH=path)
    train, test = (ROOT / 'tools' / f'dist_{name}.sh' for name in ('train', 'test'))
    shell(train, 'config.py', 2, '--work-dir', tmp_path, PORT=free_port())
    checkpoint = tmp_path / f'iter_{STEPS}.pth'
    for file in (checkpoint, ''):
        output = shell(test, 'config.py', file, 2, PORT=free_port())
        assert 'mIoU' in metrics_in_log(output)
