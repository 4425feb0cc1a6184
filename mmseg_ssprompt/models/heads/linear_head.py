"""The baseline without prompts and without a mask decoder: a linear classifier of places."""

from typing import Any, Optional, Sequence

import torch
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from torch import Tensor

from ..prompts.semantic import resolve_class_names

__all__ = ['LinearEmbeddingHead']


@MODELS.register_module()
class LinearEmbeddingHead(FCNHead):
    """A linear classifier on the frozen image embedding (ours, the usual linear probe).

    mmseg's ``FCNHead`` without convolutions before its classifier: a 1 x 1 convolution, with
    mmseg's loss and prediction. It shows what the image embedding alone says of the classes.

    Args:
        in_channels: ``D``, the width of the image embedding.
        num_classes: ``C``.
        class_names: The C class names. Defaults to None: those of ``dataset``.
        dataset: Registered type of the data set whose classes are told apart.
        classes: Some of the data set's classes, by its own names. Defaults to None: all.
        dropout_ratio: Defaults to 0: none.
        **kwargs: Further arguments of ``BaseDecodeHead``.

    Shape:
        Input: features, whose last is the image embedding (B, D, h, w).
        Output: logits (B, C, h, w), float32 under autocast too.

    Raises:
        ValueError: If the class names are not valid (see :func:`resolve_class_names`), or
            ``num_classes`` is not their number.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        class_names: Optional[Sequence[str]] = None,
        dataset: Optional[str] = None,
        classes: Optional[Sequence[str]] = None,
        dropout_ratio: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_convs=0,
            concat_input=False,
            in_channels=in_channels,
            channels=in_channels,
            num_classes=num_classes,
            dropout_ratio=dropout_ratio,
            **kwargs,
        )
        self.class_names = resolve_class_names(class_names, dataset, classes)
        if num_classes != len(self.class_names):
            raise ValueError(
                f'decode_head.num_classes is {num_classes}, but there are '
                f'{len(self.class_names)} class names: {list(self.class_names)}. Set num_classes '
                'to the number of class names.'
            )

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Classify each place, in float32 under autocast too: (B, D, h, w) -> (B, C, h, w)."""
        with torch.autocast(feat.device.type, enabled=False):
            return super().cls_seg(feat.float())
