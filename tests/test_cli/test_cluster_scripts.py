"""The scripts for clusters pass their arguments on as they are."""

import os
import subprocess
from pathlib import Path

import pytest

from mmseg_ssprompt.cli.arguments import slurm_port

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def fake(tmp_path):
    """Put programs on the path that print their arguments, one a line."""
    for name in ('srun', 'python'):
        program = tmp_path / name
        program.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$(basename "$0")" "$@"\n')
        program.chmod(0o755)
    unset = ('PYTHON', 'GPUS', 'SRUN_ARGS', 'NNODES', 'PORT', 'MASTER_ADDR', 'MASTER_PORT')
    environment = {k: v for k, v in os.environ.items() if k not in unset}
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


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({}, ['--standalone', '--local_addr=127.0.0.1']),
        (dict(PORT='1234'), ['--master_addr=127.0.0.1', '--master_port=1234']),
        (dict(NNODES='1', PORT=''), ['--standalone', '--local_addr=127.0.0.1']),
        (dict(NNODES='2', MASTER_ADDR='a'), ['--master_addr=a', '--master_port=29500']),
    ],
)
def test_processes_of_one_node_meet_at_a_free_port(fake, script, variables, expected):
    code, words, _ = call(
        script, 'c.py', *(['c.pth'] * ('test' in script)), '2', env=fake, **variables
    )
    assert code == 0
    (first,) = (i for i, word in enumerate(words) if word.startswith('--nproc_per_node'))
    assert words[first + 1 : first + 3] == expected
    assert words[first + 3].endswith('.py')


@pytest.mark.parametrize('script', ['one_node', 'several_nodes'])
def test_sbatch(fake, script):
    code, words, _ = call(
        *(f'sbatch/{script}.sbatch', 'a config.py', '--amp', '--cfg-options', 'a=[1,2]'),
        env=fake,
        SLURM_CPUS_PER_TASK='7',
    )
    assert code == 0
    assert words == [
        *('srun', '--cpus-per-task=7', '--kill-on-bad-exit=1'),
        *('python', '-u', 'tools/train.py', 'a config.py', '--launcher', 'slurm', '--resume'),
        *('--amp', '--cfg-options', 'a=[1,2]'),
    ]


@pytest.mark.parametrize('seed', ['0', '3'])
def test_each_task_of_an_array_has_its_seed_and_its_work_dir(fake, seed):
    code, words, _ = call(
        *('sbatch/seeds.sbatch', 'configs/a b.py', '--cfg-options', 'a=1'),
        env=fake,
        SLURM_CPUS_PER_TASK='7',
        SLURM_ARRAY_TASK_ID=seed,
    )
    assert code == 0
    assert words == [
        *('srun', '--cpus-per-task=7', 'python', '-u', 'tools/train.py', 'configs/a b.py'),
        *('--work-dir', f'work_dirs/a b/seed_{seed}', '--resume', '--cfg-options', 'a=1'),
        *('--cfg-options', f'randomness.seed={seed}'),
    ]


@pytest.mark.parametrize('path', sorted((TOOLS / 'sbatch').iterdir()), ids=lambda path: path.name)
def test_sbatch_scripts_can_be_requeued(path):
    lines = path.read_text().splitlines()
    options = {line.split()[1] for line in lines if line.startswith('#SBATCH')}
    # Without "B:" the signal goes to srun's tasks, not to this script.
    assert {'--requeue', '--signal=USR1@120', '--open-mode=append'} <= options
    assert not any(line.startswith('#SBATCH') for line in lines[lines.index('set -euo pipefail') :])


@pytest.fixture
def port(monkeypatch):
    """What a task of srun takes as MASTER_PORT."""

    def get(job, step='0'):
        monkeypatch.setenv('SLURM_JOB_ID', job)
        monkeypatch.setenv('SLURM_STEP_ID', step)
        return slurm_port()

    return get


def test_jobs_and_steps_have_ports_of_their_own(port):
    assert port('4711') == port('4711')
    assert len({port('4711'), port('4711', '1'), port('4712'), port('4713')}) == 4
    for job in ('1', '19999', '67108863'):
        assert 1024 < port(job) < 32768


@pytest.mark.parametrize(
    ('script', 'args'),
    [
        ('sbatch/one_node.sbatch', []),
        ('sbatch/several_nodes.sbatch', []),
        ('sbatch/seeds.sbatch', []),
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
