"""A process that dies, a disk that is full, a folder that may not be written into."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from test_end_to_end.tools import CONFIGS, ROOT, free_port, start_process

pytestmark = pytest.mark.process
CONFIG = CONFIGS / 'ssprompt_sam-tiny_shapes.py'
OPTIONS = (
    *('train_dataloader.dataset.num_images=8', 'train_dataloader.batch_size=2'),
    *('val_dataloader.dataset.num_images=2', 'train_cfg.max_iters=2000'),
    *('train_cfg.val_interval=1000', 'default_hooks.checkpoint.interval=2'),
    'default_hooks.logger.interval=1',
)


def start(work_dir: Path, *options: str, log: Path, limits=None, **environment: str):
    """Start ``tools/train.py`` on a small training that would take minutes."""
    command = [sys.executable, ROOT / 'tools' / 'train.py', CONFIG, '--work-dir', work_dir]
    env = dict(os.environ, OMP_NUM_THREADS='1', **environment)
    with open(log, 'w') as out:
        if limits is None:
            return start_process([*command, *options], cwd=ROOT, env=env, stdout=out)
        return subprocess.Popen(
            [*map(str, command), *options],
            env=env,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=limits,
        )


def wait_for(text: str, log: Path, process: subprocess.Popen) -> None:
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()[-6000:]
        time.sleep(0.1)


def complete_checkpoints(work_dir: Path) -> list:
    files = sorted(work_dir.glob('iter_*.pth'))
    for file in files:
        torch.load(file, weights_only=True)
    return files


@pytest.mark.slow
def test_when_one_process_dies_the_other_ends(tmp_path):
    """Without a launcher that would end it."""
    shared = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(), WORLD_SIZE='2')
    logs = [tmp_path / f'{rank}.txt' for rank in range(2)]
    processes = [
        start(
            tmp_path / 'work',
            *('--launcher', 'pytorch', '--cfg-options', *OPTIONS),
            log=log,
            **shared,
            RANK=str(rank),
            LOCAL_RANK=str(rank),
        )
        for rank, log in enumerate(logs)
    ]
    try:
        wait_for('Iter(train) [   4/', logs[0], processes[0])
        processes[1].send_signal(signal.SIGKILL)
        assert processes[0].wait(120) != 0
    finally:
        for process in processes:
            process.kill()
    assert re.search('Connection closed by peer|Connection reset|closed', logs[0].read_text())
    assert complete_checkpoints(tmp_path / 'work')


@pytest.mark.slow
def test_a_full_disk_ends_training_and_keeps_the_last_checkpoint(tmp_path):
    """Files may not grow beyond what a checkpoint of this training takes: as a full disk."""
    work_dir, log = tmp_path / 'work', tmp_path / 'log.txt'
    first = start(work_dir, '--cfg-options', *OPTIONS, log=log)
    wait_for('Saving checkpoint at 4 iterations', log, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    (before, *_) = complete_checkpoints(work_dir)[::-1]
    content, size = before.read_bytes(), before.stat().st_size

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    options = ('--resume', '--cfg-options', *OPTIONS, 'default_hooks.logger.interval=1000')
    second = start(work_dir, *options, log=log, limits=limit)
    assert second.wait(300) != 0
    text = log.read_text()
    assert 'OSError' in text
    assert re.search(r"cannot write '.*/iter_\d+\.pth': [\d,]+ bytes are needed, [\d,]+ are", text)
    assert before.read_bytes() == content
    assert not list(work_dir.glob('*.tmp'))

    third = start(work_dir, '--resume', '--cfg-options', *OPTIONS, log=log)
    try:
        wait_for('resumed epoch: 0, iter: ', log, third)
        wait_for('Saving checkpoint at ', log, third)
    finally:
        third.kill()
        third.wait()


@pytest.mark.parametrize('kind', ['file', 'read-only'])
def test_a_work_dir_that_cannot_be_written_into(tmp_path, kind):
    work_dir, log = tmp_path / 'work', tmp_path / 'log.txt'
    with contextlib.ExitStack() as stack:
        if kind == 'file':
            work_dir.write_text('something else')
        else:
            stack.enter_context(read_only(work_dir))
        process = start(work_dir, '--cfg-options', *OPTIONS, log=log)
        assert process.wait(120) != 0
    text = log.read_text()
    assert f'cannot write into {str(work_dir)!r}' in text
    assert 'Iter(train)' not in text


@contextlib.contextmanager
def read_only(folder: Path):
    """Not even for root: a mount, where that may be made."""
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f'root may write anywhere, and may not mount here: {done.stderr.strip()}')
    try:
        yield
    finally:
        subprocess.run(['umount', str(folder)], check=True)


def test_two_trainings_in_one_folder(tmp_path):
    work_dir, logs = tmp_path / 'work', [tmp_path / '1.txt', tmp_path / '2.txt']
    first = start(work_dir, '--cfg-options', *OPTIONS, log=logs[0])
    try:
        wait_for('Iter(train) [   1/', logs[0], first)
        folders = set(work_dir.iterdir())
        config = (work_dir / 'ssprompt_sam-tiny_shapes.py').read_text()
        second = start(work_dir, '--cfg-options', *OPTIONS, 'randomness.seed=7', log=logs[1])
        assert second.wait(120) != 0
        assert f'found process {first.pid} on ' in logs[1].read_text()
        assert {path for path in work_dir.iterdir() if path.is_dir()} <= folders
        assert (work_dir / 'ssprompt_sam-tiny_shapes.py').read_text() == config
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    third = start(work_dir, '--cfg-options', *OPTIONS, log=logs[1])
    try:
        wait_for('Iter(train) [   1/', logs[1], third)
    finally:
        third.kill()
        third.wait()
