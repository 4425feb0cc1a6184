"""The best checkpoint is kept by the result that decides, whatever else is returned and kept."""

import runpy
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub

from mmseg_ssprompt.cli import logged
from mmseg_ssprompt.hooks import AtomicCheckpointHook
from mmseg_ssprompt.hooks.atomic_checkpoint_hook import find_main_metric
from toy_training import StopAt, Stops, build_toy, log_of

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
#: Of the validations after 2, 4, 6 and 8 iterations.
MIOU = [10.0, 40.0, 30.0, 20.0]
AACC = [50.0, 60.0, 70.0, 80.0]  # which mmengine's 'auto' would take


class Scores(BaseMetric):
    """Numbers that were written down: a row for the validation after each other iteration."""

    def __init__(self, rows: List[Dict[str, float]], prefix: Optional[str] = None) -> None:
        super().__init__(prefix=prefix)
        self.rows = list(rows)

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(data_samples[0])

    def compute_metrics(self, results: List[float]) -> Dict[str, float]:
        return self.rows[MessageHub.get_current_instance().get_info('iter') // 2]


def rows(miou=MIOU, name='mIoU') -> List[Dict[str, float]]:
    return [{'aAcc': a, name: m} for a, m in zip(AACC, miou)]


def checkpoint(**options: Any) -> dict:
    return dict(
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, **options))
    )


def train(folder: Path, *metrics: BaseMetric, hooks=(), resume=False, **options: Any):
    options = dict(dict(interval=2, max_keep_ckpts=1), **options)
    runner = build_toy(folder, *hooks, **checkpoint(**options), resume=resume)
    runner.val_loop.evaluator.metrics = list(metrics)
    runner.train()
    return runner


def names(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.glob('*.pth'))


def test_the_best_by_miou_is_kept_beside_the_last(tmp_path):
    train(tmp_path, Scores(rows()))
    assert names(tmp_path) == ['best_mIoU_iter_4.pth', 'iter_8.pth']
    best = torch.load(tmp_path / 'best_mIoU_iter_4.pth', weights_only=True)
    assert best['meta']['iter'] == 4


@pytest.mark.parametrize(
    ('metrics', 'best'),
    [
        ([Scores(rows(), prefix='val')], 'best_val_mIoU_iter_4.pth'),
        ([Scores(rows(name='mDice'))], 'best_mDice_iter_4.pth'),
        ([Scores(rows(name='mFscore'))], 'best_mFscore_iter_4.pth'),
        ([Scores([dict(boundary=float(i)) for i in range(4)]), Scores(rows())], 'best_mIoU_iter_4'),
        (
            [Scores(rows(), prefix='a'), Scores(rows(AACC), prefix='b')],
            'best_a_mIoU_iter_4.pth',
        ),
    ],
    ids=['prefix', 'dice', 'fscore', 'own metric first', 'two evaluators'],
)
def test_lists_prefixes_and_other_metrics(tmp_path, metrics, best):
    train(tmp_path, *metrics)
    assert names(tmp_path)[0].startswith(best)
    assert len(names(tmp_path)) == 2


def test_none_is_kept_where_none_is_wanted(tmp_path):
    train(tmp_path, Scores(rows()), save_best=None)
    assert names(tmp_path) == ['iter_8.pth']


def test_another_result_can_decide(tmp_path):
    train(tmp_path, Scores(rows()), save_best='aAcc')
    assert names(tmp_path) == ['best_aAcc_iter_8.pth', 'iter_8.pth']


def test_own_results_need_to_be_named(tmp_path):
    train(tmp_path, Scores([dict(topology_error=1.0)] * 4))
    assert names(tmp_path) == ['iter_8.pth']
    said = log_of(tmp_path)
    assert said.count('No best checkpoint is kept') == 1
    assert "found ['topology_error']. Set default_hooks.checkpoint.save_best" in said


@pytest.mark.parametrize('resumed_after', [3, 5, 7])
def test_the_best_before_a_resume_goes_on_being_compared(tmp_path, resumed_after):
    """Stopped after the validations of 2, of 2 and 4, of 2 to 6 iterations."""
    with pytest.raises(Stops):
        train(tmp_path, Scores(rows()), hooks=[StopAt(resumed_after)])
    train(tmp_path, Scores(rows()), resume=True)
    assert names(tmp_path) == ['best_mIoU_iter_4.pth', 'iter_8.pth']


def test_a_validation_without_training_saves_nothing(tmp_path):
    runner = build_toy(tmp_path, **checkpoint(interval=2))
    runner.message_hub.update_info('iter', 0)
    runner.val_loop.evaluator.metrics = [Scores(rows())]
    assert runner.val()['mIoU'] == 10.0
    assert names(tmp_path) == []


def test_the_first_of_the_known_results_is_the_main_one():
    assert find_main_metric({'aAcc': 1, 'mDice': 2, 'mIoU': 3, 'IoU.mIoU': 4}) == 'mIoU'
    assert find_main_metric({'aAcc': 1, 'x/y/mIoU': 3, 'mIoU': 4}) == 'x/y/mIoU'
    assert find_main_metric({'mIoU.things': 1}) is None


@pytest.mark.parametrize('file', sorted(CONFIGS.glob('*.py')), ids=lambda file: file.stem)
def test_every_training_config_keeps_it(file):
    cfg = Config.fromfile(file)
    if cfg.get('train_cfg') is None:
        pytest.skip('only tested')
    hook = dict(cfg.default_hooks.checkpoint)
    assert hook.pop('type') == 'AtomicCheckpointHook'
    assert AtomicCheckpointHook(**hook).save_best == ['auto']


# What the steps of "make setup" and "make demo" print


LOGGED = logged.__file__
PRINTS = """
import sys
for i in range(1, 401):
    print(f'mmengine - INFO - Iter(train) [{i:3}/400]  lr: 1')
    print('more', file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def run_logged(tmp_path: Path, status: int) -> None:
    """As ``make`` does, but in this process."""
    log = tmp_path / 'logs' / 'step.log'
    command = [LOGGED, str(log), sys.executable, '-c', PRINTS, str(status)]
    with mock.patch.object(sys, 'argv', command):
        runpy.run_path(LOGGED, run_name='__main__')


def test_a_step_prints_less_than_a_screen_and_the_rest_is_in_the_log(tmp_path, capsys):
    run_logged(tmp_path, 0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert lines[0] == f'  (all output goes to {tmp_path}/logs/step.log)'
    assert lines[-1] == '  train: 400 of 400'
    log = (tmp_path / 'logs' / 'step.log').read_text()
    assert log.count('Iter(train)') == log.count('more') == 400


def test_a_step_that_fails_ends_with_the_log(tmp_path, capsys):
    with pytest.raises(SystemExit, match='3'):
        run_logged(tmp_path, 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert lines[-1] == f'see {tmp_path}/logs/step.log'
    assert lines[-2].startswith('failed with status 3: ')
    assert any('Iter(train) [400/400]' in line for line in lines[-13:])


def test_a_step_needs_a_command(capsys):
    with mock.patch.object(sys, 'argv', [LOGGED, 'log']):
        with pytest.raises(SystemExit, match='LOG COMMAND'):
            runpy.run_path(LOGGED, run_name='__main__')
