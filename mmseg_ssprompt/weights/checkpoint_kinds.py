"""What mmengine's checkpoints hold, as far as it is used without being looked at."""

from ..plain import DICT, LIST, TEXT, Kind

__all__ = ['CHECKPOINT', 'VALIDATION_DUE']

#: In the message hub, and so in checkpoints: whether a validation follows on the last iteration.
#: (The log has all that begins with 'val'.)
VALIDATION_DUE = 'is_validation_due'

_STATE_DICT = Kind(
    'a state dict (a dict of tensors by name)', lambda x: DICT.fits(x) and all(map(TEXT.fits, x))
)
_CLASSES = DICT.of(classes=LIST.of(TEXT).or_none()).or_none()

#: What every checkpoint may hold, and what counts when weights are loaded.
CHECKPOINT = DICT.of(
    state_dict=_STATE_DICT,
    ema_state_dict=_STATE_DICT,
    meta=DICT.of(dataset_meta=_CLASSES),
    message_hub=DICT.or_none(),
)
