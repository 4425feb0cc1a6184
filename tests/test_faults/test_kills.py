"""A training that is killed at any moment goes on, and ends as if nothing had happened.

Ten kills; ``MMSEG_SSPROMPT_KILLS=100`` for more, ``MMSEG_SSPROMPT_KILLS_SEED`` for other moments.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict

import pytest
import torch

from test_end_to_end.tools import CONFIGS, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.process]
KILLS = int(os.environ.get('MMSEG_SSPROMPT_KILLS', '10'))
SEED = int(os.environ.get('MMSEG_SSPROMPT_KILLS_SEED', '0'))
ITERATIONS = 30
CONFIG = f"""
_base_ = [{str(CONFIGS / 'ssprompt_sam-tiny_shapes.py')!r}]
model = dict(decode_head=dict(classifier=dict(trainable=True)))
train_cfg = dict(max_iters={ITERATIONS}, val_interval=10)
train_dataloader = dict(batch_size=2, num_workers=2, persistent_workers=True,
                        dataset=dict(num_images=12))
val_dataloader = dict(dataset=dict(num_images=4))
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=1, max_keep_ckpts=2),  # and the best one
)
custom_hooks = [*_base_.custom_hooks, dict(type='EMAHook')]
"""


def start(folder: Path, work_dir: Path) -> subprocess.Popen:
    command = ['train.py', folder / 'config.py', '--work-dir', work_dir, '--resume']
    with open(folder / f'{work_dir.name}.txt', 'a') as log:
        return subprocess.Popen(
            [sys.executable, ROOT / 'tools' / command[0], *map(str, command[1:])],
            env=dict(os.environ, OMP_NUM_THREADS='1'),
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def finish(process: subprocess.Popen, log: Path) -> None:
    assert process.wait(300) == 0, log.read_text()[-6000:]


def state_of(work_dir: Path) -> Dict[str, Any]:
    """What the training has ended with."""
    checkpoint = torch.load(work_dir / f'iter_{ITERATIONS}.pth', weights_only=True)
    (best,) = work_dir.glob('best_mIoU_iter_*.pth')
    best_state = torch.load(best, weights_only=True)['state_dict']
    keys = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
    state = {key: checkpoint[key] for key in keys}
    return dict(state, best_name=best.name, best=best_state)


def assert_same(found: Any, expected: Any, where: str = '') -> None:
    """To the bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f'{where}.{key}')
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(found[index], value, f'{where}[{index}]')
    else:
        assert found == expected, where


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kills')
    (folder / 'config.py').write_text(CONFIG)
    return folder


@pytest.fixture(scope='module')
def expected(folder):
    """What an uninterrupted training ends with."""
    work_dir = folder / 'whole'
    finish(start(folder, work_dir), folder / 'whole.txt')
    return state_of(work_dir)


@pytest.mark.timeout(120 + 40 * KILLS)
def test_killed_trainings_end_as_the_whole(folder, expected):
    moments = random.Random(SEED)
    kills = runs = 0
    while kills < KILLS:
        work_dir = folder / f'run_{runs}'
        while kills < KILLS:
            process = start(folder, work_dir)
            kills += kill_somewhere(process, work_dir, moments)
            if process.wait() == 0:
                break
        log = folder / f'{work_dir.name}.txt'
        finish(start(folder, work_dir), log)
        assert_same(state_of(work_dir), expected, work_dir.name)
        # Python's own thread that hands files to the loader's workers may see the training die.
        _, *tracebacks = log.read_text().split('Traceback')
        failures = [text for text in tracebacks if 'resource_sharer.py' not in text[:200]]
        assert not failures, failures[0][:6000]
        runs += 1
    print(f'{kills} kills in {runs} trainings')


def kill_somewhere(process: subprocess.Popen, work_dir: Path, moments: random.Random) -> bool:
    """Kill a training in its first second or so of progress, one in five at any time before.

    Returns:
        Whether it was still running.
    """
    if moments.random() < 0.2:
        time.sleep(moments.uniform(0, 5))
    else:
        begun = newest(work_dir)
        while process.poll() is None and newest(work_dir) == begun:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 1))
    process.kill()
    return process.wait() != 0


def newest(work_dir: Path) -> int:
    names = [path.name for path in work_dir.glob('iter_*.pth')]
    return max((int(name[len('iter_') : -len('.pth')]) for name in names), default=0)
