"""Semantic prompts: one learned embedding per class in the text encoder's space (SemPrompt)."""

from typing import Any, Dict, Optional, Sequence, Tuple

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ...class_names import check_class_names
from ...readable_names import readable_class_names
from .fusion import PromptFusion

__all__ = ['SemanticPromptLearner', 'resolve_class_names']


def resolve_class_names(
    class_names: Optional[Sequence[str]] = None,
    dataset: Optional[str] = None,
    classes: Optional[Sequence[str]] = None,
) -> Tuple[str, ...]:
    """The class names that are given, or those of a registered data set, normalised.

    Args:
        class_names: The names themselves. Where they are given the data set does not count, so
            that a config need not know what its base says.
        dataset: Registered type of a data set, e.g. ``'ADE20KDataset'``. Names that it spells for
            machines are written as people do.
        classes: Some of the data set's classes, by its own names, as in
            ``metainfo=dict(classes=...)`` of a data set. Defaults to None: all.

    Raises:
        ValueError: If neither ``class_names`` nor ``dataset`` are given, or a name is empty,
            unknown or twice there.
    """
    if class_names is not None:
        return tuple(check_class_names(class_names))
    if dataset is None:
        given = '' if classes is None else f' (classes={classes!r} are some of a dataset)'
        raise ValueError(
            f'no class names: give either class_names, or a dataset that names them{given}'
        )
    return tuple(check_class_names(readable_class_names(dataset, classes)))


@MODELS.register_module()
class SemanticPromptLearner(BaseModule):
    """Semantic prompts learned in the space of the text encoder (SemPrompt).

    The default prompts are unit-length embeddings of the class names; :class:`PromptFusion` mixes
    each with a learned embedding, and the mixture is normalised again so that the classifier's
    logit scale keeps its meaning (ours). The text encoder is used once and dropped.

    Args:
        text_encoder: Config of a class-name encoder, such as ``CLIPClassNameEncoder``.
        class_names, dataset, classes: As for :func:`resolve_class_names`.
        fusion: Arguments of :class:`PromptFusion`.

    Attributes:
        embed_dims: ``E``, the width of the text space.

    Raises:
        ValueError: As :func:`resolve_class_names`, or if a name is too long for the text encoder.
    """

    def __init__(
        self,
        text_encoder: Dict[str, Any],
        class_names: Optional[Sequence[str]] = None,
        dataset: Optional[str] = None,
        classes: Optional[Sequence[str]] = None,
        fusion: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        self.class_names = resolve_class_names(class_names, dataset, classes)
        encoder = MODELS.build(text_encoder)
        self.templates = tuple(encoder.templates)
        self.text_encoder_fingerprint = encoder.fingerprints().get('text_encoder')
        default = encoder.encode(self.class_names)  # (C, E)
        self.embed_dims = default.shape[-1]
        self.fusion = PromptFusion(default, **(fusion or {}))

    def forward(self, weight: Optional[float] = None) -> Tensor:
        """The semantic prompts: (C, E), of unit length.

        Args:
            weight: As for :class:`PromptFusion`.
        """
        return F.normalize(self.fusion(weight=weight), dim=-1)
