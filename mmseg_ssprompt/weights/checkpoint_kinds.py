"""What mmengine's checkpoints hold, as far as it is used without being looked at."""

from typing import Mapping

from ..plain import DICT, NAMES, Kind

__all__ = ['CHECKPOINT', 'VALIDATION_DUE']

#: In the message hub, and so in checkpoints: whether a validation follows on the last iteration.
#: (The log has all that begins with 'val'.)
VALIDATION_DUE = 'is_validation_due'

_STATE_DICT = Kind(
    'a state dict (a dict of tensors by name)',
    lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
)

#: What every checkpoint may hold, and what counts when weights are loaded.
CHECKPOINT = {
    'state_dict': _STATE_DICT,
    'ema_state_dict': _STATE_DICT,
    'meta': DICT,
    'meta.dataset_meta': DICT.or_none(),
    'meta.dataset_meta.classes': NAMES.or_none(),
    'message_hub': DICT.or_none(),
}
