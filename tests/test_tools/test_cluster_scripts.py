"""The scripts for clusters pass their arguments on as they are."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def fake(tmp_path):
    """Put programs on the path that print their arguments, one a line."""
    for name in ('srun', 'python'):
        program = tmp_path / name
        program.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$(basename "$0")" "$@"\n')
        program.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k not in ('PYTHON', 'GPUS', 'SRUN_ARGS')}
    return dict(environment, PATH=f'{tmp_path}:{os.environ["PATH"]}')


def call(script, *args, env, **variables):
    done = subprocess.run(
        ['bash', str(TOOLS / script), *args],
        env=dict(env, **variables),
        capture_output=True,
        text=True,
        cwd='/',
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_slurm_train(fake):
    code, words, _ = call(
        *('slurm_train.sh', 'gpu part', 'my job', 'a config.py'),
        *('--work-dir', 'with space', '--cfg-options', 'a=[1,2]'),
        env=fake,
        GPUS='16',
        GPUS_PER_NODE='8',
        SRUN_ARGS='--qos=high --exclusive',
    )
    assert code == 0
    assert words == [
        'srun',
        '--partition=gpu part',
        '--job-name=my job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--qos=high',
        '--exclusive',
        'python',
        '-u',
        str(TOOLS / 'train.py'),
        'a config.py',
        '--launcher',
        'slurm',
        '--work-dir',
        'with space',
        '--cfg-options',
        'a=[1,2]',
    ]


def test_slurm_test(fake):
    code, words, _ = call('slurm_test.sh', 'p', 'j', 'c.py', 'c.pth', '--tta', env=fake, GPUS='2')
    assert code == 0
    assert '--ntasks=2' in words
    assert '--gres=gpu:2' in words
    assert words[-7:] == [
        '-u',
        str(TOOLS / 'test.py'),
        'c.py',
        'c.pth',
        '--launcher',
        'slurm',
        '--tta',
    ]


def test_dist_train(fake):
    code, words, _ = call(
        *('dist_train.sh', 'a config.py', '8', '--resume'),
        env=fake,
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='node0',
        PORT='1234',
    )
    assert code == 0
    assert words == [
        'python',
        '-m',
        'torch.distributed.run',
        '--nnodes=2',
        '--node_rank=1',
        '--nproc_per_node=8',
        '--master_addr=node0',
        '--master_port=1234',
        str(TOOLS / 'train.py'),
        'a config.py',
        '--launcher',
        'pytorch',
        '--resume',
    ]


def test_dist_test(fake):
    code, words, _ = call('dist_test.sh', 'c.py', 'c.pth', '4', '--out', 'o', env=fake)
    assert code == 0
    assert words[-7:] == [
        *(str(TOOLS / 'test.py'), 'c.py', 'c.pth'),
        *('--launcher', 'pytorch', '--out', 'o'),
    ]


@pytest.mark.parametrize(
    ('script', 'args'),
    [
        ('dist_train.sh', ['c.py']),
        ('dist_test.sh', ['c.py', 'c.pth']),
        ('slurm_train.sh', ['p', 'j']),
        ('slurm_test.sh', ['p', 'j', 'c.py']),
    ],
)
def test_too_few_arguments(fake, script, args):
    code, words, errors = call(script, *args, env=fake)
    assert code == 2
    assert words == []
    assert 'usage' in errors
