"""What was tried as a part of recipes, and is not in the package, as no study supports it."""

from typing import Any, Dict, Optional

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput, SSPromptHead
from mmseg_ssprompt.models.prompts import PromptFusion, SemanticPromptLearner

__all__ = ['SeveralPromptsHead', 'SeveralPromptsLearner']


@MODELS.register_module()
class SeveralPromptsLearner(SemanticPromptLearner):
    """K semantic prompts for each class, which share its trust weight.

    They start apart by the fusion's noise alone.

    Args:
        prompts_per_class: ``K``.
        fusion, **learner: As for :class:`SemanticPromptLearner`.
    """

    def __init__(
        self, prompts_per_class: int, fusion: Optional[Dict[str, Any]] = None, **learner: Any
    ) -> None:
        super().__init__(fusion=fusion, **learner)
        self.prompts_per_class = prompts_per_class
        default = self.fusion.default.unsqueeze(1).repeat(1, prompts_per_class, 1)  # (C, K, E)
        self.fusion = PromptFusion(default, **(fusion or {}))

    def forward(self, weight: Optional[float] = None) -> Tensor:
        """The semantic prompts: (C * K, E), of unit length, those of a class in a row."""
        return F.normalize(self.fusion(weight=weight), dim=-1).view(-1, self.embed_dims)


@MODELS.register_module()
class SeveralPromptsHead(SSPromptHead):
    """A class scores as the best of its prompts."""

    def forward(self, inputs: ImageFeatures) -> HeadOutput:
        """Masks and class logits, as :class:`SSPromptHead` gives them."""
        out = super().forward(inputs)
        return out._replace(class_logits=self.pool(out.class_logits))

    def pool(self, logits: Tensor) -> Tensor:
        """The logit of a class from those of its prompts: (..., C * K + 1) -> (..., C + 1)."""
        count = self.semantic_prompts.prompts_per_class
        of_classes = logits[..., :-1].unflatten(-1, (-1, count))
        return torch.cat([of_classes.amax(dim=-1), logits[..., -1:]], dim=-1)
