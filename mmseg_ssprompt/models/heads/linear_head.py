"""The baseline without prompts and without a mask decoder: a linear classifier of places."""

import inspect
from typing import Any, Mapping, Optional, Sequence

import torch
from mmseg.models.decode_heads import FCNHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor

from ..losses.class_weight import check_class_weight
from ..prompts.semantic import resolve_class_names
from .settings import find_label_ids, refuse_settings

__all__ = ['LinearEmbeddingHead']

#: Settings of mmseg's heads that a linear classifier has.
_SETTINGS = [
    name
    for name in inspect.signature(BaseDecodeHead).parameters
    if name not in ('in_channels', 'channels', 'num_classes', 'out_channels', 'threshold')
]


@MODELS.register_module()
class LinearEmbeddingHead(FCNHead):
    """A linear classifier on the frozen image embedding (ours, the usual linear probe).

    mmseg's ``FCNHead`` without convolutions before its classifier: a 1 x 1 convolution, with
    mmseg's loss and prediction. It shows what the image embedding alone says of the classes.

    Args:
        in_channels: ``D``, the width of the image embedding.
        num_classes: ``C``. Defaults to None: the number of class names.
        class_names: The C class names. Defaults to None: those of ``dataset``.
        dataset: Registered type of the data set whose classes are told apart.
        classes: Some of the data set's classes, by its own names. Defaults to None: all.
        dropout_ratio: Defaults to 0: none.
        ignore_index: Number of pixels that do not count. Defaults to None: 255, or 65535 where
            255 counts (:func:`resolve_label_ids`).
        rest_id: With one class, the number of all pixels that do not show it, 0 or 255: see
            :class:`SSPromptHead`. Defaults to None.
        **kwargs: Further arguments of ``BaseDecodeHead``.

    Attributes:
        label_ids: Which numbers label maps and predictions hold.

    Shape:
        Input: features, whose last is the image embedding (B, D, h, w).
        Output: logits (B, K, h, w), float32 under autocast too; K is C, or 2 with one class: the
        rest, then the class.

    Raises:
        ValueError: If the class names are not valid (see :func:`resolve_class_names`), or
            ``num_classes`` is not their number, the numbers of label maps contradict each other,
            or a setting is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: Optional[int] = None,
        class_names: Optional[Sequence[str]] = None,
        dataset: Optional[str] = None,
        classes: Optional[Sequence[str]] = None,
        dropout_ratio: float = 0,
        ignore_index: Optional[int] = None,
        rest_id: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        refuse_settings(
            'decode_head (LinearEmbeddingHead)',
            {key: value for key, value in kwargs.items() if key not in _SETTINGS},
            ('in_channels', 'num_classes', 'class_names', 'ignore_index', 'rest_id', *_SETTINGS),
        )
        names = resolve_class_names(class_names, dataset, classes)
        label_ids = find_label_ids(num_classes, names, ignore_index, rest_id)
        _check_class_weights(kwargs.get('loss_decode'), names, rest_id)
        super().__init__(
            num_convs=0,
            concat_input=False,
            in_channels=in_channels,
            channels=in_channels,
            # Given, because mmseg otherwise advises one output for two classes.
            num_classes=len(label_ids.channels),
            out_channels=len(label_ids.channels),
            dropout_ratio=dropout_ratio,
            ignore_index=label_ids.ignore_index,
            **kwargs,
        )
        self.class_names = names
        self.label_ids = label_ids
        self.num_classes = label_ids.num_classes

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Classify each place, in float32 under autocast too: (B, D, h, w) -> (B, C, h, w)."""
        with torch.autocast(feat.device.type, enabled=False):
            logits: Tensor = super().cls_seg(feat.float())
        return logits

    def _stack_batch_gt(self, batch_data_samples: SampleList) -> Tensor:
        """Label maps (B, 1, H, W) with the number of a channel of the logits at each pixel."""
        return self.label_ids.to_channels(super()._stack_batch_gt(batch_data_samples))


def _check_class_weights(losses: Any, class_names: Sequence[str], rest_id: Optional[int]) -> None:
    """Refuse weights that mmseg's losses would only find at the first step not to fit."""
    names = class_names if rest_id is None else ('rest', *class_names)
    for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
        weights = loss.get('class_weight') if isinstance(loss, Mapping) else None
        check_class_weight(weights, len(names), names, with_no_object=False)
