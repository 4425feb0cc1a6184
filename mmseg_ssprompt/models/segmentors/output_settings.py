"""What masks are made into: the settings of it, checked when the model is built."""

from typing import Any, Dict, Tuple

from mmengine.config import ConfigDict

from ...plain import is_number
from ..heads import SSPromptHead

__all__ = ['OUTPUTS', 'check_outputs']

#: What ``test_cfg.outputs`` may name.
OUTPUTS = ('semantic', 'panoptic', 'instances')
#: As in SEEM and Mask2Former.
_DEFAULTS: Dict[str, Any] = dict(
    outputs=('semantic',),
    object_mask_threshold=0.8,
    overlap_threshold=0.8,
    max_per_image=100,
    predicted_iou=False,
)


def check_outputs(test_cfg: ConfigDict, head: Any) -> Tuple[str, ...]:
    """Fill in the settings of outputs, and refuse those that cannot be.

    Args:
        test_cfg: ``model.test_cfg``, with its mode; is changed. ``outputs`` is one or several of
            ``OUTPUTS``. ``object_mask_threshold`` and ``overlap_threshold``, between 0 and 1, are
            those of :func:`panoptic`, ``max_per_image`` is that of :func:`instances`, and
            ``predicted_iou`` says whether the base model's own estimate of each mask's IoU is part
            of the scores of both.
        head: The decode head.

    Returns:
        ``outputs``.

    Raises:
        ValueError: If a setting has another value, objects are asked for of windows, of a head that
            has no masks or does not know which classes are things, or predicted IoUs of a base
            model that predicts none.
    """
    for key, default in _DEFAULTS.items():
        test_cfg.setdefault(key, default)
    outputs = test_cfg.outputs
    if not (
        isinstance(outputs, (list, tuple))
        and outputs
        and all(name in OUTPUTS for name in outputs)
        and len(set(outputs)) == len(outputs)
    ):
        raise ValueError(
            f'model.test_cfg.outputs: expected one or several of {OUTPUTS}, found {outputs!r}'
        )
    for key in ('object_mask_threshold', 'overlap_threshold'):
        value = test_cfg[key]
        if not is_number(value) or not 0 <= value <= 1:
            raise ValueError(
                f'model.test_cfg.{key}: expected a number from 0 to 1, found {value!r}'
            )
    count = test_cfg.max_per_image
    if type(count) is not int or count < 1:
        raise ValueError(
            f'model.test_cfg.max_per_image: expected a positive integer, found {count!r}'
        )
    if type(test_cfg.predicted_iou) is not bool:
        raise ValueError(
            'model.test_cfg.predicted_iou: expected True or False, found '
            f'{test_cfg.predicted_iou!r}'
        )
    wanted = [name for name in outputs if name != 'semantic']
    if wanted:
        _check_objects(wanted, test_cfg, head)
    return tuple(outputs)


def _check_objects(wanted: Any, test_cfg: ConfigDict, head: Any) -> None:
    """Refuse to find objects where they cannot be found."""
    what = f'model.test_cfg.outputs asks for {wanted}'
    if not isinstance(head, SSPromptHead):
        raise ValueError(
            f'{what}: expected a head with masks, SSPromptHead, found {type(head).__name__}, which '
            "has scores of classes alone. Leave outputs out, or set outputs=('semantic',)"
        )
    if test_cfg.mode == 'slide':
        raise ValueError(
            f"{what}, but its mode is 'slide': each window has masks of its own, and an object "
            "that lies in several would be several. Set mode='whole', and let the pipeline of "
            'tests resize images to the frame'
        )
    if head.things is None:
        raise ValueError(
            f'{what}, but nothing says which classes are things, whose objects are told apart. Set '
            'decode_head.thing_classes to their names, some of '
            f'{list(head.class_names)}; all others are stuff'
        )
    if test_cfg.predicted_iou and not head.segmenter.predicts_iou:
        raise ValueError(
            'model.test_cfg.predicted_iou is True, but the base model '
            f'{head.segmenter.kind!r} predicts no IoU of its masks: leave it out'
        )
