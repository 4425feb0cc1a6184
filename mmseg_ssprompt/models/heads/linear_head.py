"""The baseline without prompts and without a mask decoder: a linear classifier of places."""

from typing import Any, Optional, Sequence

import torch
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor

from ...config_entries import each_entry
from ..losses.class_weight import check_class_weight
from ..prompts.semantic import resolve_class_names
from .settings import find_label_ids

__all__ = ['LinearEmbeddingHead']


@MODELS.register_module()
class LinearEmbeddingHead(FCNHead):
    """A linear classifier on the frozen image embedding (ours, the usual linear probe).

    mmseg's ``FCNHead`` without convolutions before its classifier: a 1 x 1 convolution, with
    mmseg's loss and prediction. It shows what the image embedding alone says of the classes.

    Args:
        in_channels: ``D``, the width of the image embedding.
        num_classes: ``C``. Defaults to None: the number of class names.
        class_names, dataset, classes: As for :func:`resolve_class_names`.
        loss_decode: One or several of mmseg's losses. Defaults to None: ``CrossEntropyLoss``.
        dropout_ratio, sampler: As for ``BaseDecodeHead``. Default to none.
        ignore_index, rest_id: As for :class:`SSPromptHead`.

    Attributes:
        label_ids: Which numbers label maps and predictions hold.

    Shape:
        Input: features, whose last is the image embedding (B, D, h, w).
        Output: logits (B, K, h, w), float32 under autocast too; K is C, or 2 with one class: the
        rest, then the class.

    Raises:
        ValueError: If class names, numbers of label maps or weights of classes are not valid or
            contradict each other.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: Optional[int] = None,
        class_names: Optional[Sequence[str]] = None,
        dataset: Optional[str] = None,
        classes: Optional[Sequence[str]] = None,
        loss_decode: Any = None,
        dropout_ratio: float = 0,
        sampler: Any = None,
        ignore_index: Optional[int] = None,
        rest_id: Optional[int] = None,
    ) -> None:
        names = resolve_class_names(class_names, dataset, classes)
        label_ids = find_label_ids(num_classes, names, ignore_index, rest_id)
        count = len(label_ids.channels)
        loss_decode = loss_decode or dict(type='CrossEntropyLoss')
        what = 'one number for each class' if rest_id is None else 'for the rest and the class'
        for _, loss in each_entry(loss_decode, 'loss_decode'):
            # mmseg's losses find out in the first step.
            check_class_weight(loss.get('class_weight'), count, what)
        super().__init__(
            num_convs=0,
            concat_input=False,
            in_channels=in_channels,
            channels=in_channels,
            # Given, because mmseg otherwise advises one output for two classes.
            num_classes=count,
            out_channels=count,
            dropout_ratio=dropout_ratio,
            loss_decode=loss_decode,
            sampler=sampler,
            ignore_index=label_ids.ignore_index,
        )
        self.class_names = names
        self.label_ids = label_ids
        self.num_classes = label_ids.num_classes

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Classify each place: (B, D, h, w) -> (B, K, h, w)."""
        with torch.autocast(feat.device.type, enabled=False):
            logits: Tensor = super().cls_seg(feat.float())
        return logits

    def _stack_batch_gt(self, batch_data_samples: SampleList) -> Tensor:
        """Label maps (B, 1, H, W) with the number of a channel of the logits at each pixel."""
        return self.label_ids.to_channels(super()._stack_batch_gt(batch_data_samples))
