"""Evaluators and writers are tried before the first step."""

from pathlib import Path
from typing import Any, Dict, Sequence

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS, init_default_scope
from mmengine.runner import Runner

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.hooks.rehearsal import rehearse
from mmseg_ssprompt.label_ids import LabelIds, resolve_label_ids
from own_photographs import NAMES, make_photographs, own_config

META = dict(classes=NAMES, palette=[[0, 0, 0], [200, 0, 0]], reduce_zero_label=False)


@METRICS.register_module()
class OwnMetric(BaseMetric):
    """A metric as people write them, with one mistake of choice."""

    default_prefix = 'own'

    def __init__(self, mistake: str = '', out_file: str = '', **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mistake == 'build':
            raise TypeError('no such thing')
        self.mistake, self.out_file = mistake, out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            assert tuple(data_batch['inputs'][0].shape[1:]) == tuple(sample['ori_shape'])
            if self.mistake == 'process':
                sample['pred_instances']
            if self.mistake == 'scores':
                sample['seg_logits']
            self.results.append(sample['pred_sem_seg']['data'].float().mean())
        if self.out_file:
            Path(self.out_file).write_text('written')

    def compute_metrics(self, results: list) -> Dict[str, Any]:
        if self.mistake == 'file':
            Path('only_at_the_end.json').read_text()
        if self.mistake == 'compute':
            return dict(mean=results[len(results)])
        if self.mistake == 'nothing':
            return {}
        return dict(mean=float('nan') if self.mistake == 'nan' else float(results[0]))


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return own_config(tmp_path)


def fails(cfg: Config, split: str = 'val', **options: Any) -> str:
    with pytest.raises(DatasetError) as raised:
        rehearse(cfg, split, META, LabelIds(2), **options)
    return str(raised.value)


def test_figures_of_a_made_up_prediction(cfg, tmp_path):
    tried = rehearse(cfg, 'val', META, LabelIds(2))
    assert {'mIoU', 'aAcc', 'IoU.background', 'IoU.crack'} <= set(tried)
    assert tried['mIoU'] == 100.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'ids', [resolve_label_ids(1, None, 0), resolve_label_ids(1, None, 255), LabelIds(300, 65535)]
)
def test_one_class_and_many(cfg, ids):
    names = [f'class {i}' for i in range(ids.num_classes)]
    cfg.val_evaluator.output_dir = 'written'
    tried = rehearse(cfg, 'val', dict(classes=names), ids)
    assert tried['mIoU'] == 100.0
    assert not Path('written').exists()


@pytest.mark.parametrize(
    ('mistake', 'raised'),
    [
        ('build', 'TypeError: '),
        ('process', "KeyError: 'pred_instances'"),
        ('compute', 'IndexError: '),
    ],
)
def test_a_metric_of_ones_own_that_fails(cfg, mistake, raised):
    cfg.val_evaluator = [dict(type='GroupedIoUMetric'), dict(type='OwnMetric', mistake=mistake)]
    message = fails(cfg)
    assert 'val_evaluator[1]: OwnMetric fails, tried with a made-up prediction of 2 cl' in message
    assert raised in message


def test_scores_that_are_not_predicted(cfg):
    cfg.val_evaluator = dict(type='OwnMetric', mistake='scores')
    cfg.model.test_cfg.logits = True
    assert rehearse(cfg, 'val', META, LabelIds(2)) == {'own/mean': 0.5}
    cfg.model.test_cfg.logits = False
    assert 'set model.test_cfg.logits=True' in fails(cfg)


def test_files_that_only_the_data_set_has_are_no_error(cfg, log):
    cfg.val_evaluator = dict(type='OwnMetric', mistake='file')
    assert rehearse(cfg, 'val', META, LabelIds(2)) == {}
    (said,) = (record.getMessage() for record in log.records)
    assert 'val_evaluator (OwnMetric) was not tried before: FileNotFoundError' in said


def test_what_is_written_goes_elsewhere(cfg, tmp_path):
    cfg.val_evaluator = dict(type='OwnMetric', out_file=str(tmp_path / 'figures.txt'))
    assert rehearse(cfg, 'val', META, LabelIds(2)) == {'own/mean': 0.5}
    assert list(tmp_path.iterdir()) == []


def test_metrics_of_mmseg_that_cannot_have_these_numbers(cfg):
    cfg.test_evaluator = [dict(type='IoUMetric')]
    with pytest.raises(DatasetError, match=r'test_evaluator\[0\]: .* IoUMetric: knows no rest'):
        rehearse(cfg, 'test', dict(classes=['crack']), resolve_label_ids(1, None, 0))
    assert rehearse(cfg, 'test', META, LabelIds(2))['mIoU'] == 100.0


def test_settings_that_are_read_at_the_end_only(cfg):
    cfg.val_evaluator.iou_metrics = ['mIOU']
    assert 'KeyError: ' in fails(cfg)


def test_two_metrics_with_one_name(cfg):
    cfg.val_evaluator = [dict(type='GroupedIoUMetric'), dict(type='IoUMetric')]
    message = fails(cfg)
    assert "val_evaluator[1] returns ['aAcc', 'mAcc', 'mIoU'], which another" in message
    assert 'val_evaluator[1].prefix' in message
    cfg.val_evaluator[1].prefix = 'second'
    assert 'second/mIoU' in rehearse(cfg, 'val', META, LabelIds(2))


def test_pictures_without_labels(cfg):
    cfg.val_evaluator = dict(type='IoUMetric')
    message = fails(cfg, truths=())
    assert 'without a label map' in message
    assert 'format_only=True' in message


# What asks for results


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('default_hooks.checkpoint.save_best', 'mIoU.thing'),
        ('custom_hooks', [dict(type='EarlyStoppingHook', monitor='miou')]),
        ('param_scheduler', [dict(type='ReduceOnPlateauLR', monitor='loss')]),
    ],
)
def test_results_that_nobody_returns(cfg, key, value):
    cfg.merge_from_dict({key: value})
    message = fails(cfg)
    assert key in message
    assert "which val_evaluator does not return: expected one of ['aAcc', 'mIoU'" in message


# In a training


@pytest.fixture
def runner(tmp_path) -> Any:
    def make(**settings: Any) -> Runner:
        cfg = own_config(make_photographs(tmp_path))
        cfg.experiment_name = f'{tmp_path.name}_{len(settings)}'
        cfg.merge_from_dict(settings)
        return Runner.from_cfg(cfg)

    return make


def test_a_training_ends_before_its_first_step(runner):
    made = runner(val_evaluator=dict(type='OwnMetric', mistake='compute', _delete_=True))
    with pytest.raises(DatasetError, match='val_evaluator: OwnMetric fails.*IndexError'):
        made.train()
    assert made.iter == 0
    assert made.val_evaluator.metrics[0].results == []


def test_a_good_training_goes_through(runner):
    made = runner()
    torch.manual_seed(5)
    state = np.random.get_state()[1].tolist()
    rehearse(made.cfg, 'val', META, LabelIds(2))
    assert np.random.get_state()[1].tolist() == state
    made.train()
    assert made.iter == 2
    assert made.val_evaluator.metrics[0].results == []


def test_the_log_goes_on_after_it(tmp_path, log):
    """What evaluators say of made-up predictions is kept out of it, and nothing else is."""
    logger = MMLogger.get_current_instance()
    rehearse(own_config(tmp_path), 'val', META, LabelIds(2))
    assert not log.records
    logger.info('after')
    logger.warning('after')
    assert [record.levelname for record in log.records] == ['INFO', 'WARNING']
