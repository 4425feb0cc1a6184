"""Studies on real data: their plan and scripts, and what is said of what came back."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Sequence

import pytest
import torch

from commands import run_here
from dev.provenance import describe_code
from dev.studies import cluster_cost, cluster_job
from dev.studies.cluster_cost import describe_cost, hours_of, seconds_of_steps
from dev.studies.cluster_gather import gather, write_pages
from dev.studies.cluster_plan import Plan, StudyError
from dev.studies.cluster_results import BEGUN, ENDED, LOCK, RESULT, find_state, read_run
from dev.studies.cluster_scripts import join_numbers, parse_sbatch
from dev.studies.real_page import format_results
from dev.studies.real_rows import BASES, CONFIGS, DATA, make_study
from mmseg_ssprompt.files import take_lock
from mmseg_ssprompt.models.sam.sam_variants import build_sam
from seem_files import save_official_file
from trees import make_cityscapes_tree

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ('sam_vit_b_01ec64.pth', 'ViT-B-16.pt', 'seem_focalt_v1.pt')
SEEM = ('--base', 'seem-focal-t', '--data', 'cityscapes')
SAM = ('--base', 'sam-vit-b', '--data', 'cityscapes')
OUT = Path('work_dirs/studies/seem-focal-t_cityscapes')
STEPS = 8


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
    """A folder with Cityscapes' layout and names of weights."""
    folder = tmp_path_factory.mktemp('study')
    make_cityscapes_tree(folder / 'data' / 'cityscapes')
    (folder / 'weights').mkdir()
    for name in WEIGHTS:
        (folder / 'weights' / name).touch()
    return folder


def command(*arguments: str) -> int:
    """The exit status of ``python -m dev.studies``."""
    with pytest.raises(SystemExit) as left:
        run_here('dev.studies', *arguments)
    return left.value.code


@pytest.fixture(scope='module')
def written(tree) -> Path:
    """A study of three arms with two seeds, by its folder: job 0 trains nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tree)
        arms = ('--arms', 'zero-shot', 'semantic', 'ssprompt', '--seeds', '0', '3')
        assert command(*SEEM, *arms, '--lr', '1e-3', 'semantic=0.02') == 0
    return tree / OUT


@pytest.fixture
def plan(written) -> Plan:
    return Plan.read(written)


def test_every_row_has_a_config():
    for base in BASES:
        for data in DATA:
            for few_shot in (False, True):
                study, arms = make_study(base, data, few_shot)
                assert all((CONFIGS / row.config).is_file() for row in arms.values())
                names = [row.name for row in study.rows]
                assert len(set(names)) == len(names)
                assert study.reference in names
                assert sum(not row.trains for row in study.rows) == 1


def test_jobs_are_arms_and_seeds(plan):
    assert [(job.arm, job.seed) for job in plan.jobs] == [
        *(('zero-shot', None), ('semantic', 0), ('semantic', 3), ('ssprompt', 0), ('ssprompt', 3)),
    ]
    assert [job.index for job in plan.jobs] == [0, 1, 2, 3, 4]
    assert [job.lr for job in plan.jobs] == [None, 0.02, 0.02, 1e-3, 1e-3]
    assert {job.iterations for job in plan.jobs if job.trains} == {40000}
    assert 'randomness.seed=3' in plan.jobs[2].options
    assert 'train_cfg.val_interval=40000' in plan.jobs[2].options
    assert plan.code == describe_code()
    assert not plan.caches


def test_the_same_command_again_changes_nothing_and_another_is_refused(
    tree, written, plan, monkeypatch, capsys
):
    monkeypatch.chdir(tree)
    arms = ('--arms', 'zero-shot', 'semantic', 'ssprompt', '--seeds', '0', '3')
    assert command(*SEEM, *arms, '--lr', '1e-3', 'semantic=0.02') == 0
    assert Plan.read(written) == plan
    assert 'sbatch work_dirs/studies/seem-focal-t_cityscapes/array.sh' in capsys.readouterr().out
    assert command(*SEEM, *arms, '--lr', '1e-3') == 1
    assert 'expected no study or this one, found one with other jobs' in capsys.readouterr().err
    assert Plan.read(written) == plan


def test_what_is_missing_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(*SAM) == 1
    said = capsys.readouterr().err
    assert "'weights/sam_vit_b_01ec64.pth' does not exist" in said
    assert 'https://github.com/facebookresearch/segment-anything' in said
    assert "data folder 'data/cityscapes/leftImg8bit/train' does not exist" in said
    assert 'docs/datasets.md says where each data set comes from' in said
    make_cityscapes_tree(tmp_path / 'data' / 'cityscapes')
    for file in (tmp_path / 'data' / 'cityscapes' / 'leftImg8bit' / 'train').rglob('*.png'):
        file.unlink()
    (tmp_path / 'weights').mkdir()
    for name in WEIGHTS:
        (tmp_path / 'weights' / name).touch()
    assert command(*SAM) == 1
    assert 'leftImg8bit/train' in capsys.readouterr().err
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (('--base', 'sam-vit-z', '--data', 'ade20k'), 'invalid choice'),
        (('--base', 'sam-vit-b', '--data', 'imagenet'), 'invalid choice'),
        ((*SEEM, '--arms', 'projection'), '--arms: expected arms of zero-shot, spatial, '),
        ((*SEEM, '--lr', 'fast'), "--lr: expected a positive number, or ARM=NUMBER, found 'fast'"),
        ((*SEEM, '--lr', 'x=1'), '--lr: expected arms of zero-shot, '),
        ((*SEEM, '--seeds', '1', '1'), '--seeds: expected each seed once, found 1 twice'),
        ((*SEEM, '--seeds', '-1'), '--seeds: expected numbers from 0'),
        ((*SEEM, '--cached'), 'ssprompt_seem_focal-t_cityscapes.py has no form for cached'),
        ((*SEEM, '--sbatch=--array=0-9'), '--sbatch: --array is set by the study'),
        ((*SEEM, '--sbatch=gpu'), '--sbatch: expected options such as'),
        ((*SEEM, '--out', 'data/cityscapes/gtFine/train/out'), 'it lies in a folder of data'),
        ((*SEEM, '--out', 'weights'), 'expected a new or empty folder'),
        ((*SEEM, '--gather', '--out', 'nowhere'), 'write the study first'),
        ((*SAM, '--gather', '--out', str(OUT)), 'expected sam-vit-b on cityscapes, found seem'),
    ],
)
@pytest.mark.usefixtures('written')
def test_wrong_arguments(tree, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tree)
    before = sorted(tree.rglob('*'))
    assert command(*arguments) in (1, 2)
    error = capsys.readouterr().err
    assert said in error
    assert 'Traceback' not in error
    assert sorted(tree.rglob('*')) == before


def test_a_draw_and_its_cache_belong_to_a_seed(tree, monkeypatch, capsys):
    monkeypatch.chdir(tree)
    few = ('--shots', '16', '--cached', '--arms', 'spatial', 'ssprompt', '--seeds', '1', '2')
    assert command(*SEEM, *few, '--out', 'few') == 0
    plan = Plan.read(tree / 'few')
    first = [option for option in plan.jobs[0].options if 'manifest' in option]
    assert first == [option for option in plan.jobs[2].options if 'manifest' in option]
    assert first != [option for option in plan.jobs[1].options if 'manifest' in option]
    assert 'train_dataloader.dataset.dataset.seed=2' in plan.jobs[1].options
    folder = 'data/embeddings/ssprompt_seem_focal-t_cityscapes_16shot'
    expected = [f'{folder}/train_seed_1', f'{folder}/val', f'{folder}/train_seed_2']
    assert [cache.folder for cache in plan.caches] == expected
    submit = 'sbatch --dependency=afterok:$(sbatch --parsable few/cache.sh) few/array.sh'
    assert submit in capsys.readouterr().out
    (tree / folder / 'val').mkdir(parents=True)
    (tree / folder / 'val' / 'index.json').touch()
    said = '\n'.join(gather(plan, tree / 'few').describe())
    assert '$(sbatch --parsable --array=0,2 ' in said


def test_the_script_asks_slurm_for_what_the_user_wants(tree, monkeypatch):
    monkeypatch.chdir(tree)
    wanted = '--sbatch=--partition=gpu -t 01:00:00 --gres gpu:a100:1'
    assert command(*SEEM, '--arms', 'ssprompt', '--out', 'with space', wanted) == 0
    text = (tree / 'with space' / 'array.sh').read_text()
    lines = [line for line in text.splitlines() if line.startswith('#SBATCH')]
    assert f'#SBATCH --output="{tree}/with space/logs/%a.log"' in lines
    for line in ('--partition=gpu', '-t 01:00:00', '--gres gpu:a100:1', '--array=0-4', '--requeue'):
        assert f'#SBATCH {line}' in lines
    assert not [line for line in lines if '--time' in line or 'gpu:1' in line.replace('a100:1', '')]
    assert subprocess.run(['bash', '-n', tree / 'with space' / 'array.sh']).returncode == 0


def test_numbers_as_slurm_takes_them():
    assert join_numbers([5, 0, 1, 2, 7, 8]) == '0-2,5,7-8'
    assert parse_sbatch('--a=1 -p gpu --exclusive') == ['--a=1', '-p gpu', '--exclusive']


def write(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def give_result(plan: Plan, folder: Path, number: int, miou: float, **changes: object) -> Path:
    """The result of a job, as it leaves it."""
    job = plan.jobs[number]
    result = dict(
        job=vars(job),
        code=plan.code,
        iterations=job.iterations,
        metrics={'mIoU': miou},
        losses_are_finite=True,
        trainable_parameters=7 if job.trains else 0,
        train_seconds=12.0,
    )
    write(folder / job.place / RESULT, {**result, **changes})
    return folder / job.place


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(code='0123'), 'made by other code: expected the digest'),
        (dict(iterations=39999), 'expected 40000 iterations, found 39999'),
        (dict(losses_are_finite=False), 'a loss in its log is not finite'),
        (dict(metrics={'mIoU': None}), 'expected a mIoU from 0 to 100, found None'),
        (dict(metrics={'mIoU': 101.0}), 'expected a mIoU from 0 to 100, found 101.0'),
        (dict(metrics=[]), 'expected a mIoU from 0 to 100, found None'),
        (dict(job={'lr': 1}), 'made with other settings'),
        (dict(job=None), 'made with other settings'),
        (dict(train_seconds=None), 'expected numbers as train_seconds'),
    ],
)
def test_a_result_that_cannot_be_used(plan, tmp_path, changes, said):
    give_result(plan, tmp_path, 1, 50.0, **changes)
    state = find_state(plan, plan.jobs[1], tmp_path)
    assert state.kind == 'invalid'
    assert said in state.text


def test_a_result_with_another_learning_rate_is_not_taken(plan, tmp_path):
    job = plan.jobs[1]
    give_result(plan, tmp_path, 1, 50.0, job=vars(dataclasses.replace(job, lr=0.5)))
    assert 'other settings (lr)' in find_state(plan, job, tmp_path).text
    (tmp_path / job.place / RESULT).write_text('{"job": ')
    assert find_state(plan, job, tmp_path).kind == 'invalid'


def test_how_far_jobs_are(plan, tmp_path):
    jobs = plan.jobs
    assert find_state(plan, jobs[0], tmp_path).text.startswith('never started: ')
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'logs' / '1.log').write_text('something\nModuleNotFoundError: no torch\n\n')
    assert 'ends with: ModuleNotFoundError: no torch' in find_state(plan, jobs[1], tmp_path).text

    train = tmp_path / jobs[2].place / 'train'
    entries = [dict(loss=1.0, step=step, time=0.5) for step in (50, 100)]
    scalars = train / '20260101' / 'vis_data' / 'scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text('\n'.join(map(json.dumps, entries)) + '\n{"loss": 2.0, "st')
    (train / 'iter_60.pth').touch()
    killed = find_state(plan, jobs[2], tmp_path)
    assert killed.kind == 'killed'
    assert 'at about iteration 100 of 40000: it goes on from iter_60.pth' in killed.text
    lock = take_lock(tmp_path / jobs[2].place / LOCK)
    try:
        running = gather(plan, tmp_path)
    finally:
        lock.release()
    assert running.states[2].kind == 'running'
    assert '--array=0-1,3-4 ' in running.describe()[-1]
    write(tmp_path / jobs[2].place / ENDED, dict(status='stopped', text='stopped by SIGUSR1'))
    assert 'stopped by SIGUSR1 at about iteration 100' in find_state(plan, jobs[2], tmp_path).text
    write(tmp_path / jobs[2].place / ENDED, dict(status='failed', text='no\n room'))
    assert find_state(plan, jobs[2], tmp_path).text.startswith('failed: no room; log: ')


def test_figures_of_a_run_that_was_resumed(plan, tmp_path):
    job = dataclasses.replace(plan.jobs[1], iterations=4)
    train = tmp_path / 'train'
    runs = {
        'a': [(1, 1.0, 2.0), (2, 1.0, 2.0), (3, float('nan'), 9.0)],
        'b': [(3, 0.5, 1.0), (4, 0.5, 1.0)],
    }
    for name, steps in runs.items():
        (train / name / 'vis_data').mkdir(parents=True)
        lines = [json.dumps(dict(step=s, loss=loss, time=time)) for s, loss, time in steps]
        lines += [json.dumps(dict(step=4, mIoU=61.5))] if name == 'b' else []
        (train / name / 'vis_data' / 'scalars.json').write_text('\n'.join(lines))
    (train / 'a' / 'a.log').write_text('Trainable: 1,234 parameters in 2 tensors')
    (train / 'iter_4.pth').touch()
    found = read_run(job, tmp_path)
    assert found == dict(
        iterations=4,
        metrics={'mIoU': 61.5},
        losses_are_finite=True,  # iteration 3 was done again
        trainable_parameters=1234,
        train_seconds=6.0,
    )


def test_a_table_of_some_seeds(plan, tmp_path):
    give_result(plan, tmp_path, 0, 20.0)
    give_result(plan, tmp_path, 1, 50.0)
    give_result(plan, tmp_path, 3, 60.0)
    give_result(plan, tmp_path, 4, 62.0)
    gathered = gather(plan, tmp_path)
    assert [job.index for job in gathered.missing] == [2]
    page = write_pages(gathered, tmp_path).read_text()
    assert "| SEEM's own prompts (zero-shot) | 20.0 ± 0.0 | -41.0 ± 12.7 |  | 0 | " in page
    assert '| SemPrompt (1 of 2 seeds) | 50.0 | -10.0 | 0.02 | 7 | 12 |' in page
    assert '| SSPrompt | 61.0 ± 1.4 | reference | 0.001 | 7 | 12 |' in page
    assert 'Not run: SpaPrompt; ' in page
    assert '- job 2, SemPrompt, seed 3: never started' in page
    content = json.loads((tmp_path / f'{plan.key}.json').read_text())
    assert [row['miou'] for row in content['rows']] == [[20.0, 20.0], [50.0, None], [60.0, 62.0]]
    assert content['missing'] == ['job 2, SemPrompt, seed 3']
    table = format_results('seem-focal-t', tmp_path)
    assert '| SSPrompt | 61.0 ± 1.4 |  |  |' in table
    assert '| SemPrompt | 50.0 |  |' in table
    assert '| SpaPrompt |  |  |' in table


def test_a_job_of_other_code_or_another_run_is_refused(written, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_job.runpy, 'run_path', lambda *_, **__: pytest.fail('it ran'))
    other = dataclasses.replace(plan, code='of other code')
    with pytest.raises(StudyError, match='have changed since the study was written'):
        cluster_job.run_job(other, plan.jobs[1], tmp_path)
    job = plan.jobs[1]
    write(tmp_path / job.place / BEGUN, dict(job=vars(plan.jobs[2]), code=plan.code))
    with pytest.raises(StudyError, match='found a run with other settings or of other code'):
        cluster_job.run_job(plan, job, tmp_path)
    give_result(plan, tmp_path, 3, 60.0)
    cluster_job.run_job(plan, plan.jobs[3], tmp_path)  # complete


@pytest.mark.parametrize(
    ('error', 'status', 'text'),
    [
        (SystemExit(138), 'stopped', 'stopped by SIGUSR1'),
        (OSError('no room'), 'failed', 'no room'),
        (RuntimeError('CUDA out of memory'), 'failed', 'RuntimeError: CUDA out of memory'),
    ],
)
def test_a_job_says_how_it_ended(plan, tmp_path, monkeypatch, error, status, text):
    def run(path: str, run_name: str) -> None:
        assert sys.argv[1].endswith('ssprompt_seem_focal-t_cityscapes.py')
        assert '--resume' in sys.argv
        raise error

    monkeypatch.setattr(cluster_job.runpy, 'run_path', run)
    monkeypatch.setattr(sys, 'argv', [])
    with pytest.raises(type(error)):
        cluster_job.run_job(plan, plan.jobs[1], tmp_path)
    place = tmp_path / plan.jobs[1].place
    assert json.loads((place / ENDED).read_text()) == dict(status=status, text=text)
    assert find_state(plan, plan.jobs[1], tmp_path).kind == status


def test_cost_follows_from_measured_steps():
    sam = seconds_of_steps('sam-vit-b')
    assert 0 < sam['cached'] < sam['step'] < 1
    one = hours_of('sam-vit-b', 'cityscapes', 40000)
    assert one == pytest.approx((40000 * sam['step'] + 500 * sam['predict']) / 3600)
    assert hours_of('sam-vit-b', 'cityscapes', 40000, cached=True) < one
    assert hours_of('sam-vit-b', 'cityscapes', 0) < one / 10


def test_a_step_that_was_not_measured_has_no_cost(plan, tmp_path, monkeypatch):
    """SEEM's on a GPU follow from those on a CPU, unless they were measured there."""

    def rows(**seconds: Sequence[float]) -> dict:
        tail = 'training step from embedded samples, over one with our encoder'
        names = dict(sam=tail, seem=f'SEEM {tail}', encoder='vit_b encoder at 1024 x 1024, float32')
        names['predict'] = 'predict, C = 150, time'
        found = [
            dict(name=names[key], ours=ours, reference=reference)
            for key, (ours, reference) in seconds.items()
        ]
        return dict(machine=dict(device='a GPU'), rows=found)

    cached_functions = (cluster_cost._read_runs, cluster_cost.seconds_of_steps)

    def use(name: str, content: dict) -> None:
        write(tmp_path / name, content)
        for each in cached_functions:
            each.cache_clear()

    monkeypatch.setattr(cluster_cost, 'EVIDENCE', tmp_path)
    sam = dict(sam=(1, 4), encoder=(2, 9), predict=(3, 9))
    try:
        use('performance_gpu.json', rows(**sam))
        assert seconds_of_steps('sam-vit-b') == dict(step=4, cached=1, predict=5)
        assert seconds_of_steps('seem-focal-t') is None
        assert describe_cost(plan) == 'what they cost was not measured'
        use('performance_cpu_1.json', rows(sam=(10, 40), seem=(20, 120)))
        assert seconds_of_steps('seem-focal-t') == dict(step=12, cached=2, predict=15)
        assert 'hours of one a GPU' in describe_cost(plan)
        use('performance_gpu.json', rows(**sam, seem=(2, 5)))
        assert seconds_of_steps('seem-focal-t') == dict(step=5, cached=2, predict=6.25)
    finally:
        for each in cached_functions:
            each.cache_clear()


#: The small SEEM at small images, few iterations, and a checkpoint every second one.
SHORT = (
    'train_cfg.max_iters=8',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
    'param_scheduler.1.end=8',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.num_workers=1',
    'val_dataloader.num_workers=1',
    'test_dataloader.num_workers=1',
)
TINY_SEEM = (
    'model.decode_head.segmenter.variant=focal_tiny',
    'model.decode_head.semantic_prompts.text_encoder.variant=focal_tiny',
    "model.decode_head.semantic_prompts.text_encoder.templates=['{}.']",
    'model.decode_head.loss_decode.num_points=128',
)
TINY_SAM = (
    'model.backbone.variant=tiny',
    'model.decode_head.segmenter.variant=tiny',
    'model.decode_head.semantic_prompts.text_encoder.variant=tiny',
    'model.weights.clip=mmseg_ssprompt://clip-tiny_shapes.pth',
    'model.data_preprocessor.size=96,96',
    'model.data_preprocessor.test_cfg.size=96,96',
    'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    'model.decode_head.loss_decode.num_points=128',
)


def small_images(places: Dict[str, str]) -> List[str]:
    """Options for SEEM's resizing, by the data set's place and the step of its pipeline."""
    return [
        f'{place}.pipeline.{step}.{side}={size}'
        for place, step in places.items()
        for side, size in (('min_size', 48), ('max_size', 96))
    ]


@pytest.fixture(scope='module')
def workspace(tmp_path_factory) -> Path:
    """Cityscapes' layout, and random weights of small variants in files of the official formats."""
    folder = tmp_path_factory.mktemp('small')
    make_cityscapes_tree(folder / 'data' / 'cityscapes')
    (folder / 'weights').mkdir()
    save_official_file('tiny', folder / 'weights' / 'seem_focalt_v1.pt')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(build_sam('tiny').state_dict(), folder / 'weights' / 'sam_vit_b_01ec64.pth')
    return folder


def environment(**more: str) -> Dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith('SLURM_')}
    return dict(kept, OMP_NUM_THREADS='1', **more)


def run_script(script: Path, *numbers: int, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['bash', script, *map(str, numbers)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=1500,
    )


def as_slurm_does(tmp_path: Path) -> Dict[str, str]:
    """The environment of a job of an array, with a program in the place of srun."""
    program = tmp_path / 'bin' / 'srun'
    program.parent.mkdir()
    skip = 'while [ "${1#-}" != "$1" ]; do shift; done'
    program.write_text(f'#!/usr/bin/env bash\n{skip}\nexec "$@"\n')
    program.chmod(0o755)
    return dict(
        PATH=f'{program.parent}:{os.environ["PATH"]}', SLURM_JOB_ID='77', SLURM_CPUS_PER_TASK='1'
    )


def kill_in_training(script: Path, number: int) -> None:
    """Start a job, and kill all of its processes after three iterations."""
    log = script.parent / 'logs' / f'{number}.log'
    process = subprocess.Popen(
        ['bash', script, str(number)], env=environment(), start_new_session=True
    )
    try:
        while not log.is_file() or 'Iter(train) [3/8]' not in log.read_text():
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def said_by(capsys: pytest.CaptureFixture, arguments: Sequence[str], status: int) -> str:
    assert command(*arguments) == status
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(1800)  # nine processes that import torch
def test_a_study_with_a_failed_a_killed_and_a_missing_job(workspace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    arms = ('--arms', 'zero-shot', 'semantic', 'ssprompt', '--seeds', '0', '1', '--lr', '0.02')
    places = {'train_dataloader.dataset': '2'}
    places |= {f'{split}_dataloader.dataset': '1' for split in ('val', 'test')}
    options = ['model.backbone.variant=focal_tiny', *TINY_SEEM, *SHORT, *small_images(places)]
    said = said_by(capsys, [*SEEM, *arms, '--cfg-options', *options], 0)
    assert f'sbatch {OUT}/array.sh' in said
    script = workspace / OUT / 'array.sh'

    (label, *_) = sorted(workspace.glob('data/cityscapes/gtFine/train/*/*_labelTrainIds.png'))
    content = label.read_bytes()
    label.write_bytes(content[:100])
    failed = run_script(script, 1)
    assert failed.returncode == 1
    assert failed.stderr == f'job 1 failed: {script.parent}/logs/1.log\n'
    label.write_bytes(content)
    kill_in_training(script, 3)
    assert run_script(script, 0, 2).returncode == 0
    slurm = as_slurm_does(tmp_path)
    done = run_script(script, SLURM_ARRAY_TASK_ID='4', **slurm)
    assert done.returncode == 0, done.stdout + done.stderr
    (script.parent / 'logs' / '4.log').write_text(done.stdout + done.stderr)
    (script.parent / 'runs' / 'ssprompt' / 'seed_1').rename(tmp_path / 'lost')

    said = said_by(capsys, [*SEEM, '--gather'], 1)
    assert 'seem-focal-t_cityscapes: 2 of 5 results\nmissing: 3\n' in said
    assert re.search(r'job 1, SemPrompt, seed 0: failed: label map .*cut off.*logs/1\.log', said)
    assert re.search(
        r'job 3, SSPrompt, seed 0: was killed at about iteration \d of 8: it goes on from iter_2',
        said,
    )
    assert re.search(r"job 4, SSPrompt, seed 1: '.*seed_1' does not exist; .*logs/4\.log", said)
    assert f'sbatch --array=1,3-4 {script}' in said
    page = script.with_name('seem-focal-t_cityscapes.md').read_text()
    assert '| SemPrompt (1 of 2 seeds) |' in page
    assert 'Not run: SpaPrompt; ' in page and '; SSPrompt; ' in page
    assert 'Missing: 3 of 5 results.' in page

    assert run_script(script, 1, 3, 4).returncode == 0
    assert 'resumed epoch: 0, iter: 2' in (script.parent / 'logs' / '3.log').read_text()
    said = said_by(capsys, [*SEEM, '--gather'], 0)
    assert 'seem-focal-t_cityscapes: 5 of 5 results\n' in said
    assert 'missing' not in said
    page = script.with_name('seem-focal-t_cityscapes.md').read_text()
    assert 'Missing' not in page and ' of 2 seeds)' not in page
    lost, again = (
        json.loads((folder / RESULT).read_text())['metrics']
        for folder in (tmp_path / 'lost', script.parent / 'runs' / 'ssprompt' / 'seed_1')
    )
    assert again == lost


@pytest.mark.slow
@pytest.mark.process
def test_a_few_shot_study_makes_its_caches_first(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    encoders = [f'{split}_dataloader.dataset.encoder' for split in ('train', 'val')]
    encoders = [f'{each}.variant=focal_tiny' for each in ('model.backbone.encoder', *encoders)]
    places = {
        'train_dataloader.dataset.dataset.dataset': '2',
        'val_dataloader.dataset.dataset': '1',
    }
    short = [option for option in SHORT if 'test_' not in option]
    few = [*SEEM, '--shots', '16', '--out', 'few']
    said_by(
        capsys,
        [
            *(*few, '--cached', '--seeds', '3', '--arms', 'ssprompt', '--cfg-options'),
            *(*encoders, *TINY_SEEM, *short, *small_images(places)),
        ],
        0,
    )
    said = said_by(capsys, [*few, '--gather'], 1)
    assert 'sbatch --dependency=afterok:$(sbatch --parsable ' in said
    assert run_script(workspace / 'few' / 'cache.sh').returncode == 0
    assert run_script(workspace / 'few' / 'array.sh').returncode == 0
    assert '1 of 1 results' in said_by(capsys, [*few, '--gather'], 0)
    assert (workspace / 'few' / 'manifests' / 'seed_3.json').is_file()


@pytest.mark.slow
@pytest.mark.process
def test_a_study_on_sam(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    arms = ('--arms', 'projection', 'ssprompt', 'decoder', '--seeds', '0', '--out', 'sam')
    short = [option for option in SHORT if 'test_' not in option]
    said_by(capsys, [*SAM, *arms, '--cfg-options', *TINY_SAM, *short], 0)
    assert run_script(workspace / 'sam' / 'array.sh').returncode == 0
    assert '3 of 3 results' in said_by(capsys, [*SAM, '--out', 'sam', '--gather'], 0)
    page = (workspace / 'sam' / 'sam-vit-b_cityscapes.md').read_text()
    assert re.search(r'\| projection alone \| .* \| 6,273 \|', page)
    assert re.search(r'\| SSPrompt and projection \| .* \| reference \| ', page)
