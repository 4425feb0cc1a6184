"""A cache that is being made survives kills, and several that make it at once."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict

import pytest

from test_end_to_end.tools import CONFIGS, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.process]
CONFIG = CONFIGS / 'ssprompt_sam-tiny_shapes_cached.py'
KILLS = max(4, int(os.environ.get('MMSEG_SSPROMPT_KILLS', '10')) // 3)
SEED = int(os.environ.get('MMSEG_SSPROMPT_KILLS_SEED', '0'))
IMAGES = 'train_dataloader.dataset.dataset.num_images=256'  # in 16 shards


def start(folder: Path) -> subprocess.Popen:
    command = ['cache', CONFIG, '--split', 'train', '--cache-dir', folder]
    with open(f'{folder}.txt', 'a') as log:
        return subprocess.Popen(
            [sys.executable, '-m', 'mmseg_ssprompt', *command, '--cfg-options', IMAGES],
            env=dict(os.environ, OMP_NUM_THREADS='1'),
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def finish(process: subprocess.Popen, folder: Path) -> None:
    assert process.wait(300) == 0, Path(f'{folder}.txt').read_text()[-6000:]


def content_of(folder: Path) -> Dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / 'train').iterdir()}


def shards_of(folder: Path) -> int:
    return len(list((folder / 'train').glob('[0-9]*.safetensors')))


@pytest.fixture(scope='module')
def expected(tmp_path_factory) -> Dict[str, bytes]:
    folder = tmp_path_factory.mktemp('whole') / 'cache'
    finish(start(folder), folder)
    content = content_of(folder)
    assert len(content) == 16 + 1
    return content


@pytest.mark.timeout(120 + 40 * KILLS)
def test_a_cache_that_was_killed_is_completed(tmp_path, expected):
    moments = random.Random(SEED)
    kills = runs = 0
    while kills < KILLS:
        folder = tmp_path / str(runs)
        while kills < KILLS:
            process = start(folder)
            begun = shards_of(folder)
            while process.poll() is None and shards_of(folder) == begun:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.5))
            process.kill()
            if process.wait() == 0:
                break
            kills += 1
            if 'index.json' not in content_of(folder):
                assert set(content_of(folder)) != set(expected)
        finish(start(folder), folder)
        assert content_of(folder) == expected
        runs += 1


def test_several_that_make_the_same_cache_at_once(tmp_path, expected):
    folder = tmp_path / 'cache'
    processes = [start(folder) for _ in range(3)]
    try:
        while shards_of(folder) < 2:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
        processes[0].kill()
        for process in processes[1:]:
            finish(process, folder)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    found = content_of(folder)
    leftovers = {name for name in found if name.endswith('.tmp')}
    assert {name: found[name] for name in found if name not in leftovers} == expected
