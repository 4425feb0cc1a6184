"""What mmengine's checkpoints hold, which it does not look at before it uses it."""

from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from ..plain import BOOLEAN, COUNT, DICT, LIST, TEXT, Kind, is_plain
from .tensor_checks import find_unusable

__all__ = ['CHECKPOINT', 'TRAINING', 'VALIDATION_DUE']

#: In the message hub, and so in checkpoints: whether a validation follows on the last iteration.
#: (The log has all that begins with 'val'.)
VALIDATION_DUE = 'is_validation_due'


def _is_history(value: Any) -> bool:
    """Whether it is what ``PromptCheckpointHook`` makes of a history of the log, or one itself."""
    if isinstance(value, HistoryBuffer) or not isinstance(value, dict):
        return isinstance(value, HistoryBuffer)
    columns = [value.get(key) for key in ('log_history', 'count_history')]
    if any(find_unusable(x, torch.empty(0)) or x.dim() != 1 for x in columns):
        return False
    return len(columns[0]) == len(columns[1]) and COUNT.fits(value.get('max_length'))


def _is_optimizer(value: Any) -> bool:
    """Whether it is the state of an optimiser, or of several by name."""
    if not isinstance(value, dict) or not value:
        return False
    return {'state', 'param_groups'} <= value.keys() or all(map(_is_optimizer, value.values()))


def _are_schedulers(value: Any) -> bool:
    """Whether it is the states of schedulers, or of those of several optimisers by name."""
    lists = list(value.values()) if isinstance(value, dict) else [value]
    return all(isinstance(states, list) and all(map(DICT.fits, states)) for states in lists)


_NAMED = Kind('a dict with texts as keys', lambda x: DICT.fits(x) and all(map(TEXT.fits, x)))
_STATE_DICT = _NAMED._replace(name='a state dict (a dict of tensors by name)')
_STEPS = Kind('a tensor of one number', lambda x: isinstance(x, Tensor) and x.shape == ())
_HISTORY = Kind('a history (two tensors of numbers of the same length)', _is_history)
_SEED = Kind('a number below 2^32', lambda x: COUNT.fits(x) and x < 2**32)
# Nothing would be better than NaN.
_SCORE = Kind('a number', lambda x: isinstance(x, (int, float)) and x == x)
_RECORD = Kind('a dict of plain values', lambda x: DICT.fits(x) and is_plain(x))
_PARAM_GROUPS = LIST.of(DICT.of(params=LIST.of(COUNT)))

#: What every checkpoint may hold, and what counts when weights are loaded.
CHECKPOINT = DICT.of(
    state_dict=_STATE_DICT,
    ema_state_dict=_STATE_DICT.of(steps=_STEPS),
    meta=DICT.of(cfg=TEXT, dataset_meta=DICT.of(classes=LIST.of(TEXT).or_none()).or_none()),
    message_hub=DICT.of(log_scalars=_NAMED.of(_HISTORY)).or_none(),
)
#: What counts, too, when a training is resumed.
TRAINING = DICT.of(
    meta=DICT.of(epoch=COUNT, iter=COUNT, seed=_SEED.or_none()),
    message_hub=DICT.of(
        log_scalars=DICT,
        runtime_info=_NAMED.of(
            best_score=_SCORE,
            best_ckpt=TEXT,
            keep_ckpt_ids=LIST.of(COUNT),
            run_record=_RECORD,
            **{VALIDATION_DUE: BOOLEAN},
        ),
        resumed_keys=DICT.of(BOOLEAN),
    ),
    optimizer=Kind('the state of an optimiser (state, param_groups)', _is_optimizer).of(
        state=DICT.of(DICT), param_groups=_PARAM_GROUPS
    ),
    param_schedulers=Kind('a list of the states of schedulers (dicts)', _are_schedulers),
)
