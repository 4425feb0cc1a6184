"""Two classifiers that decide together."""

from typing import Any, Dict

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ...plain import is_number
from ..base import Decoded, ImageFeatures

__all__ = ['EnsembleClassifier']


@MODELS.register_module()
class EnsembleClassifier(BaseModule):
    """The geometric mean of two classifiers' probabilities (as FC-CLIP, arXiv 2308.02487).

    ``log p = (1 - share) log p_token + share log p_region``, up to a constant, which the softmax
    that follows takes away.

    Args:
        token_dims, embed_dims: As for the two classifiers.
        token: Config of the first classifier, such as ``dict(type='TokenClassifier')``.
        region: Config of the second, such as ``dict(type='CLIPRegionClassifier')``.
        share: Of the second, between 0 and 1. Defaults to 0.5.

    Raises:
        ValueError: If the share is not between 0 and 1.
    """

    def __init__(
        self,
        token_dims: int,
        embed_dims: int,
        token: Dict[str, Any],
        region: Dict[str, Any],
        share: float = 0.5,
    ) -> None:
        super().__init__()
        if not is_number(share) or not 0 <= share <= 1:
            raise ValueError(f'share: expected a number between 0 and 1, got {share!r}')
        widths = dict(token_dims=token_dims, embed_dims=embed_dims)
        self.token = MODELS.build(token, default_args=widths)
        self.region = MODELS.build(region, default_args=widths)
        self.share = float(share)
        self.trainable = self.token.trainable or self.region.trainable

    def describe(self) -> str:
        """What prompts were trained through, for their metadata."""
        parts = f'token={self.token.describe()}, region={self.region.describe()}'
        return f'{type(self).__name__}(share={self.share}, {parts})'

    def forward(
        self, decoded: Decoded, semantic_prompts: Tensor, features: ImageFeatures
    ) -> Tensor:
        """Class logits of each mask: (B, N, C + 1)."""
        with torch.autocast(semantic_prompts.device.type, enabled=False):
            token, region = (
                classifier(decoded, semantic_prompts, features).log_softmax(dim=-1)
                for classifier in (self.token, self.region)
            )
            return torch.lerp(token, region, self.share)
