"""What is saved is small and plain, and comes back as it was."""

import copy
import logging
import re
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleLR
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmseg_ssprompt.hooks import PromptCheckpointHook
from mmseg_ssprompt.models.segmentors import PromptStateError
from mmseg_ssprompt.plain import NotPlainError, to_plain
from mmseg_ssprompt.weights import safe_checkpoint_loading
from mmseg_ssprompt.weights.tensor_checks import NonFinitePromptsError
from tiny_model import names_of_trainable

FROZEN = (
    'backbone.',
    'decode_head.segmenter.prompt_encoder.',
    'decode_head.segmenter.mask_decoder.',
)


class Foreign:
    """What no checkpoint has a place for."""


def histories() -> Dict[str, HistoryBuffer]:
    """One that logged, one that is full, one that never logged."""
    loss, full = HistoryBuffer(), HistoryBuffer([1.0, 2.0], [1, 2], max_length=2)
    for step in range(5):
        loss.update(0.1 * step, step + 1)
    full.update(3.5)
    return OrderedDict({'train/loss': loss, 'train/full': full, 'train/none': HistoryBuffer()})


def checkpoint_of(model: nn.Module, **runtime_info: Any) -> Dict[str, Any]:
    """What mmengine's runner hands to the hooks."""
    hub = dict(
        log_scalars=histories(),
        runtime_info=OrderedDict(iter=7, **runtime_info),
        resumed_keys=OrderedDict(iter=True),
    )
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    return dict(
        meta=dict(iter=7, dataset_meta=dict(classes=('cat', 'dog'), label_map=None)),
        state_dict=model.state_dict(),
        message_hub=hub,
        optimizer=optimizer.state_dict(),
    )


def save(model: nn.Module, checkpoint: Dict[str, Any]) -> Dict[str, Any]:
    PromptCheckpointHook().before_save_checkpoint(SimpleNamespace(model=model), checkpoint)
    return checkpoint


def save_and_read(model: nn.Module, checkpoint: Dict[str, Any], path: Path) -> Dict[str, Any]:
    torch.save(save(model, checkpoint), path)
    return torch.load(path, weights_only=True)


def assert_same_history(found: HistoryBuffer, expected: HistoryBuffer) -> None:
    assert isinstance(found, HistoryBuffer)
    assert found.max_length == expected.max_length
    for a, b in zip(found.data, expected.data):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def linear() -> nn.Module:
    """A model of somebody else's, without ``without_frozen``."""
    return nn.Linear(2, 2)


def test_histories_load_safely_and_come_back(linear, tmp_path):
    found = save_and_read(linear, checkpoint_of(linear), tmp_path / 'a.pth')
    PromptCheckpointHook().after_load_checkpoint(SimpleNamespace(model=linear), found)
    scalars = found['message_hub']['log_scalars']
    assert list(scalars) == list(histories())
    for name, expected in histories().items():
        assert_same_history(scalars[name], expected)


def test_a_restored_history_goes_on(linear):
    checkpoint = save(linear, checkpoint_of(linear))
    PromptCheckpointHook().after_load_checkpoint(SimpleNamespace(model=linear), checkpoint)
    for name, expected in histories().items():
        found = checkpoint['message_hub']['log_scalars'][name]
        for history in (found, expected):
            history.update(9.0, 3)
        assert_same_history(found, expected)
        assert found.statistics('mean', 2) == expected.statistics('mean', 2)
        assert found.statistics('current') == 9.0


def test_numpy_in_runtime_info_becomes_plain(linear, tmp_path):
    info = dict(
        best=np.float64(0.25),
        count=np.int64(3),
        flag=np.bool_(True),
        text=np.str_('a'),
        rows=np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::-1],
        nested=dict(a=[(np.float32(1.5), None)]),
    )
    found = save_and_read(linear, checkpoint_of(linear, **info), tmp_path / 'a.pth')
    read = found['message_hub']['runtime_info']
    rows = read.pop('rows')
    assert rows.dtype == torch.int32
    assert rows.tolist() == [[2, 1, 0], [5, 4, 3]]
    expected = dict(iter=7, best=0.25, count=3, flag=True, text='a', nested=dict(a=[(1.5, None)]))
    assert read == expected
    kinds = [type(read[key]) for key in ('best', 'count', 'flag', 'text')]
    assert kinds == [float, int, bool, str]


def test_foreign_runtime_info_is_left_out_with_a_warning(linear, tmp_path, log):
    checkpoint = checkpoint_of(linear, visualizer=dict(inner=[Foreign()]), best=0.5)
    found = save_and_read(linear, checkpoint, tmp_path / 'a.pth')
    assert found['message_hub']['runtime_info'] == dict(iter=7, best=0.5)
    (record,) = (record for record in log.records if record.levelno == logging.WARNING)
    text = record.getMessage()
    assert 'message_hub.runtime_info.visualizer.inner[0] is a ' in text
    assert text.endswith('Foreign: it is not saved')


@pytest.mark.parametrize(
    ('place', 'path'),
    [
        (dict(extra=np.datetime64('2020-01-01')), r'extra is a datetime\.date'),
        (dict(extra=np.longdouble(1)), r'extra is a numpy\.longdouble'),
        (dict(extra={Foreign(): 1}), r'extra is a .*\.Foreign'),
        (dict(meta=dict(a=[1, (2, Foreign())])), r'meta\.a\[1\]\[1\] is a .*\.Foreign'),
        (dict(extra=Foreign()), r'extra is a .*\.Foreign'),
        (dict(extra={'a.b': {1, 2}}), r'extra\.a\.b is a builtins\.set'),
        (dict(extra=[np.array([Foreign()])]), r'extra\[0\] is a numpy\.ndarray'),
        (dict(extra=test_a_restored_history_goes_on), r'extra is a builtins\.function'),
    ],
)
def test_foreign_values_elsewhere_are_errors_with_the_path(linear, place, path):
    with pytest.raises(NotPlainError, match=f'tensors and plain values only.*but {path}'):
        save(linear, dict(checkpoint_of(linear), **place))


def test_only_what_belongs_to_no_frozen_part_is_saved(model, tmp_path):
    full = model.state_dict()
    found = save_and_read(model, checkpoint_of(model), tmp_path / 'a.pth')['state_dict']
    assert set(found) == {key for key in full if not key.startswith(FROZEN)}
    assert all(torch.equal(found[key], full[key]) for key in found)
    assert (tmp_path / 'a.pth').stat().st_size < 500_000


def test_the_moving_average_is_saved_without_frozen_parts_and_resumes(model, tmp_path):
    runner = SimpleNamespace(model=model, iter=0, _resume=True)
    hook = EMAHook(strict_load=True)
    hook.before_run(runner)
    for name in names_of_trainable(model):
        hook.ema_model.module.get_parameter(name).data.add_(1)
    average = {key: value.clone() for key, value in hook.ema_model.state_dict().items()}
    checkpoint = checkpoint_of(model)
    hook.before_save_checkpoint(runner, checkpoint)
    found = save_and_read(model, checkpoint, tmp_path / 'a.pth')
    prompts = model.without_frozen(model.state_dict())
    assert found['ema_state_dict'].keys() == {'steps', *(f'module.{key}' for key in prompts)}
    assert all(torch.equal(found['state_dict'][k], average[f'module.{k}']) for k in prompts)

    again = EMAHook(strict_load=True)
    again.before_run(runner)
    again.after_load_checkpoint(runner, found)
    resumed = again.ema_model.state_dict()
    assert all(torch.equal(resumed[f'module.{k}'], average[f'module.{k}']) for k in prompts)
    assert all(torch.equal(found['state_dict'][k], value) for k, value in prompts.items())


def test_functions_of_a_scheduler_are_left_out(linear, tmp_path):
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    scheduler = OneCycleLR(optimizer, eta_max=0.5, total_steps=10)
    checkpoint = dict(checkpoint_of(linear), param_schedulers=[scheduler.state_dict()])
    found = save_and_read(linear, checkpoint, tmp_path / 'a.pth')['param_schedulers']
    again = OneCycleLR(torch.optim.SGD(linear.parameters(), lr=0.1), eta_max=0.5, total_steps=10)
    again.load_state_dict(found[0])
    for either in (scheduler, again):
        either.optimizer.step()
        either.step()
    assert again.get_last_value() == scheduler.get_last_value()


def test_metainfo_of_a_config(linear, tmp_path, log):
    config = ConfigDict(groups=dict(far=['sky'], near=('cat', 'dog')), extra={1})
    checkpoint = dict(checkpoint_of(linear), meta=dict(iter=1, dataset_meta=dict(config)))
    found = save_and_read(linear, checkpoint, tmp_path / 'a.pth')['meta']
    expected = dict(groups=dict(far=['sky'], near=('cat', 'dog')))
    assert found == dict(iter=1, dataset_meta=expected)
    assert 'meta.dataset_meta.extra is a builtins.set' in log.text


def test_keys_become_plain(linear, tmp_path):
    table = {np.int64(1): 'a', (np.str_('b'), 2): 'c'}
    found = save_and_read(linear, dict(checkpoint_of(linear), table=table), tmp_path / 'a.pth')
    assert found['table'] == {1: 'a', ('b', 2): 'c'}


def test_a_wrapped_model_is_unwrapped(model):
    checkpoint = checkpoint_of(model)
    save(nn.DataParallel(model), checkpoint)
    assert checkpoint['state_dict'].keys() == model.without_frozen(model.state_dict()).keys()


def test_the_weights_of_other_models_are_all_saved(linear):
    checkpoint = save(linear, checkpoint_of(linear))
    assert checkpoint['state_dict'].keys() == linear.state_dict().keys()


def test_the_optimiser_comes_back(model, tmp_path):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    sum((p**2).sum() for p in trained).backward()
    optimizer.step()
    checkpoint = dict(checkpoint_of(model), optimizer=optimizer.state_dict())
    found = save_and_read(model, checkpoint, tmp_path / 'a.pth')['optimizer']
    again = torch.optim.AdamW(trained)
    again.load_state_dict(found)
    for p in trained:
        assert torch.equal(again.state[p]['exp_avg'], optimizer.state[p]['exp_avg'])


def test_without_a_message_hub(linear):
    runner = SimpleNamespace(model=linear)
    checkpoint = dict(state_dict=linear.state_dict())
    PromptCheckpointHook().before_save_checkpoint(runner, checkpoint)
    PromptCheckpointHook().after_load_checkpoint(runner, checkpoint)
    assert checkpoint.keys() == {'state_dict'}


def test_histories_of_mmengines_own_checkpoints_stay(linear):
    checkpoint = checkpoint_of(linear)
    PromptCheckpointHook().after_load_checkpoint(SimpleNamespace(model=linear), checkpoint)
    assert_same_history(
        checkpoint['message_hub']['log_scalars']['train/loss'], histories()['train/loss']
    )


def test_plain_containers_are_copied_with_their_types():
    value = OrderedDict(a=[1, (2.5, 'b')], c={'d': None}, e='f', h=torch.ones(2))
    before = copy.deepcopy({key: value[key] for key in 'ace'})
    plain = to_plain(value)
    assert type(plain) is OrderedDict
    assert plain is not value
    assert plain['h'] is value['h']
    assert {key: plain[key] for key in 'ace'} == before
    plain['a'].append(3)
    assert len(value['a']) == 2


def test_a_copied_array_does_not_share_memory():
    array = np.zeros(2)
    to_plain(array)[0] = 1
    assert array.tolist() == [0, 0]


def test_runs_after_hooks_that_add_to_the_checkpoint():
    hook = HOOKS.build(dict(type='PromptCheckpointHook'))
    assert isinstance(hook, Hook)
    assert hook.priority == 'VERY_LOW'


def test_the_metadata_of_a_state_dict_stays(model, tmp_path):
    checkpoint = checkpoint_of(model)
    expected = checkpoint['state_dict']._metadata['']
    found = save_and_read(model, checkpoint, tmp_path / 'a.pth')['state_dict']._metadata
    assert found[''] == expected
    assert 'prompts' in expected
    assert not any(f'{name}.'.startswith(FROZEN) for name in found)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_prompts_that_are_not_finite_are_not_saved(model, value):
    model.decode_head.spatial_prompts.fusion.learned.data[3, 0, :2] = value
    with pytest.raises(NonFinitePromptsError) as caught:
        save(model, checkpoint_of(model))
    text = str(caught.value)
    assert text.startswith('state_dict.decode_head.spatial_prompts.fusion.learned: expected finite')
    assert re.search(r'found 2 of \d+ that are NaN or infinite\. Nothing was saved: go', text)
    assert text.endswith('with a lower learning rate, or bfloat16 in place of float16')


def build_runner(model: nn.Module, work_dir: Path) -> Runner:
    return Runner(
        model,
        str(work_dir),
        default_scope='mmseg',
        train_dataloader=DataLoader([0]),
        train_cfg=dict(by_epoch=False, max_iters=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='PromptCheckpointHook')],
        experiment_name=work_dir.name,
    )


def save_by_runner(runner: Runner, folder: Path) -> None:
    runner.save_checkpoint(str(folder), 'a.pth', save_optimizer=False, save_param_scheduler=False)


def test_a_runner_writes_nothing_over_good_prompts(model, tmp_path):
    runner = build_runner(model, tmp_path)
    save_by_runner(runner, tmp_path)
    before = (tmp_path / 'a.pth').read_bytes()
    model.decode_head.semantic_prompts.fusion.learned.data[0, 0] = float('nan')
    with pytest.raises(NonFinitePromptsError, match=r'semantic_prompts\.fusion\.learned'):
        save_by_runner(runner, tmp_path)
    assert (tmp_path / 'a.pth').read_bytes() == before


def test_a_runner_refuses_the_prompts_of_other_classes(model, tmp_path):
    runner = build_runner(model, tmp_path)
    save_by_runner(runner, tmp_path)
    runner.load_checkpoint(str(tmp_path / 'a.pth'))
    content = torch.load(tmp_path / 'a.pth', weights_only=True)
    content['state_dict']._metadata['']['prompts']['class_names'][3] = 'car'
    torch.save(content, tmp_path / 'b.pth')
    expected = r"b\.pth.*\n.*class names: expected 'tent', found 'car' as number 3"
    with safe_checkpoint_loading(), pytest.raises(PromptStateError, match=expected):
        runner.load_checkpoint(str(tmp_path / 'b.pth'))
