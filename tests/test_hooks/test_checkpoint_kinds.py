"""What mmengine writes into checkpoints is of the kinds that are expected."""

import pytest
import torch

from mmseg_ssprompt.plain import find_misfit
from mmseg_ssprompt.weights.checkpoint_kinds import CHECKPOINT, TRAINING

OPTIMIZER = dict(state={0: dict(step=1)}, param_groups=[dict(params=[0], lr=0.1)])
SCHEDULES = [dict(last_step=1)]
HISTORY = dict(log_history=torch.ones(2), count_history=torch.ones(2), max_length=10)


@pytest.mark.parametrize(
    'content',
    [
        dict(optimizer=OPTIMIZER, param_schedulers=SCHEDULES),
        dict(optimizer=dict(a=OPTIMIZER, b=OPTIMIZER), param_schedulers=dict(a=SCHEDULES, b=[])),
    ],
)
def test_one_optimiser_and_several(content):
    assert find_misfit(content, TRAINING) is None


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (dict(optimizer=dict(a=OPTIMIZER, b=3)), 'optimizer: expected the state of an optimiser'),
        (dict(optimizer={}), 'optimizer: expected the state of an optimiser'),
        (dict(param_schedulers=dict(a=SCHEDULES, b=[3])), 'param_schedulers: expected a list of'),
        (dict(param_schedulers=dict(a=SCHEDULES, b=3)), 'param_schedulers: expected a list of'),
    ],
)
def test_one_of_several_is_of_another_kind(content, expected):
    assert find_misfit(content, TRAINING).startswith(expected)


def hub(**changes):
    return dict(message_hub=dict(log_scalars=dict(loss=dict(HISTORY, **changes))))


def test_histories():
    assert find_misfit(hub(), CHECKPOINT) is None
    for changes in (
        dict(log_history=torch.ones(3)),
        dict(log_history=torch.ones(2, 1), count_history=torch.ones(2, 1)),
        dict(count_history=torch.arange(2)),
        dict(max_length=-1),
    ):
        found = find_misfit(hub(**changes), CHECKPOINT)
        assert found.startswith('message_hub.log_scalars.loss: expected a history'), changes
