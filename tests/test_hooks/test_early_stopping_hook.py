"""Training that gets no better ends, and an interruption does not change when."""

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmseg_ssprompt.hooks import ResumableEarlyStoppingHook

SCORES = [1.0, 3.0, 2.0, 2.5, 2.9, 2.8]


def make_runner(name, info=None):
    hub = MessageHub(name, runtime_info=info)
    logger = SimpleNamespace(info=lambda text: None, warning=lambda text: None)
    return SimpleNamespace(
        message_hub=hub, logger=logger, train_loop=SimpleNamespace(stop_training=False)
    )


def make_hook():
    return ResumableEarlyStoppingHook('mIoU', rule='greater', min_delta=0.0, patience=3)


def validate(runner, hook, scores):
    """How many validations there are until training ends; None if it does not."""
    hook.before_train(runner)
    for count, score in enumerate(scores, start=1):
        hook.after_val_epoch(runner, {'mIoU': score})
        if runner.train_loop.stop_training:
            return count
    return None


@pytest.mark.parametrize('interrupted', range(1, 5))
def test_a_resumed_training_ends_where_another_does(interrupted):
    assert validate(make_runner('whole'), make_hook(), SCORES) == 5
    first = make_runner('first')
    assert validate(first, make_hook(), SCORES[:interrupted]) is None
    second = make_runner('second', dict(first.message_hub.runtime_info))
    left = validate(second, make_hook(), SCORES[interrupted:])
    assert interrupted + left == 5


def test_progress_goes_on():
    assert validate(make_runner('better'), make_hook(), range(10)) is None
