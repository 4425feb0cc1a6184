"""Runs as on a cluster: srun's tasks, signals, requeueing and resuming."""

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable, List

import pytest

from .tools import CONFIGS, ROOT, run, run_tool, start_process

pytestmark = pytest.mark.process
CONFIG = CONFIGS / 'ssprompt_sam-tiny_shapes.py'
SMALL = [
    '--cfg-options',
    'train_cfg.val_interval=1000',
    'train_dataloader.dataset.num_images=8',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=1',
    'val_dataloader.dataset.num_images=2',
    'default_hooks.checkpoint.interval=1000',
    'default_hooks.logger.interval=1',
    'env_cfg.dist_cfg.backend=gloo',
]
LONG = 'train_cfg.max_iters=100000'  # more than a test waits for


@pytest.fixture
def environment(tmp_path) -> dict:
    """A path with the programs of slurm: srun starts SLURM_NTASKS tasks, scontrol takes notes."""
    programs = dict(
        srun="""
            while [ "${1#-}" != "$1" ]; do shift; done
            for ((i = 0; i < SLURM_NTASKS; i++)); do
                SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_STEP_ID=0 "$@" & tasks+=($!)
            done
            for task in "${tasks[@]}"; do wait "$task" || status=$?; done
            exit "${status:-0}\"""",
        scontrol="""
            if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> "$NOTES"; fi""",
    )
    (tmp_path / 'bin').mkdir()
    for name, text in programs.items():
        program = tmp_path / 'bin' / name
        program.write_text(f'#!/usr/bin/env bash\n{text}\n')
        program.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(('SLURM_', 'MASTER_'))}
    return dict(
        kept,
        OMP_NUM_THREADS='1',
        PATH=f'{tmp_path / "bin"}:{os.environ["PATH"]}',
        PYTHON=sys.executable,
        NOTES=str(tmp_path / 'notes.txt'),
    )


@pytest.fixture
def start(tmp_path) -> Callable[..., Any]:
    """Start a command in a session of its own, and wait until it has trained a few iterations."""
    started = []

    def call(*command: Any, environment: dict) -> Any:
        log = tmp_path / 'log.txt'
        with open(log, 'w') as out:
            process = start_process(command, cwd=ROOT, env=environment, stdout=out)
        started.append(process)
        while 'Iter(train) [     3/' not in log.read_text():
            assert process.poll() is None, log.read_text()[-6000:]
            time.sleep(0.1)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.terminate()


def iterations(output: str) -> List[int]:
    return [int(found) for found in re.findall(r'Iter\(train\) \[ *(\d+)/', output)]


def test_a_preempted_job_is_requeued_and_goes_on(tmp_path, environment, start):
    work_dir, log = tmp_path / 'work', tmp_path / 'log.txt'
    arguments = ('train.py', CONFIG, '--work-dir', work_dir, '--resume', *SMALL)
    process = start(
        *(sys.executable, ROOT / 'tools' / arguments[0], *arguments[1:], LONG),
        environment=dict(environment, SLURM_JOB_ID='77'),
    )
    workers = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    assert workers
    for pid in (process.pid, *map(int, workers)):  # as slurm does without cgroups
        os.kill(pid, signal.SIGUSR1)
    assert process.wait(120) == 138
    assert 'has no checkpoint: starting from scratch' in log.read_text()
    assert (tmp_path / 'notes.txt').read_text() == 'requeue 77\n'
    assert 'Traceback' not in log.read_text()

    last = iterations(log.read_text())[-1]
    checkpoint = work_dir / f'iter_{last}.pth'
    assert (work_dir / 'last_checkpoint').read_text() == str(checkpoint)
    assert checkpoint.is_file()

    more = f'train_cfg.max_iters={last + 2}'
    output = run_tool(*arguments, more, 'load_from=nowhere.pth', cwd=ROOT)
    assert f'resumed epoch: 0, iter: {last}' in output
    assert iterations(output) == [last + 1, last + 2]
    assert (work_dir / f'iter_{last + 2}.pth').is_file()


@pytest.mark.slow
def test_processes_of_torchrun_agree_on_an_iteration(tmp_path, environment, start):
    log = tmp_path / 'log.txt'
    process = start(
        *('bash', ROOT / 'tools' / 'dist_train.sh', CONFIG, 2, '--work-dir', tmp_path),
        *(*SMALL, LONG),
        environment=environment,
    )
    process.terminate()  # torchrun, which passes it on
    assert process.wait(120) != 0
    (checkpoint,) = tmp_path.glob('iter_*.pth')
    last = int(checkpoint.stem[len('iter_') :])
    assert last % 10 == 0
    assert iterations(log.read_text())[-1] == last
    assert 'SIGTERM: saving' in log.read_text()
    assert 'killed by signal' not in log.read_text()


@pytest.mark.slow
def test_tasks_of_srun_find_each_other(tmp_path, environment):
    output = run(
        *('bash', ROOT / 'tools' / 'sbatch' / 'one_node.sbatch', CONFIG),
        *('--work-dir', tmp_path, *SMALL, 'train_cfg.max_iters=2'),
        cwd=ROOT,
        **environment,
        SLURM_JOB_ID='4711',
        SLURM_NTASKS='2',
        SLURM_NODELIST='node[1-2]',
        SLURM_CPUS_PER_TASK='1',
    )
    assert iterations(output) == [1, 2]
    assert 'Distributed launcher: slurm' in output
    assert 'GPU number: 2' in output  # mmengine's word for processes
    assert (tmp_path / 'iter_2.pth').is_file()
