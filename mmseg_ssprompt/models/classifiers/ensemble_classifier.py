"""Two classifiers that decide together."""

from typing import Any, Dict, Union

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Self

from ...plain import is_number
from ..base import Decoded, ImageFeatures

__all__ = ['EnsembleClassifier']


@MODELS.register_module()
class EnsembleClassifier(BaseModule):
    """The geometric mean of two classifiers' probabilities (as FC-CLIP, arXiv 2308.02487).

    ``log p = (1 - share) log p_token + share log p_region``, up to a constant, which the softmax
    that follows takes away.

    Args:
        token_dims: ``D``, the width of the mask tokens.
        embed_dims: ``E``, the width of the text space.
        token: Config of the first classifier, such as ``dict(type='TokenClassifier')``.
        region: Config of the second, such as ``dict(type='CLIPRegionClassifier')``.
        share: Of the second, between 0 and 1. Defaults to 0.5.
        learned: Whether the share trains, from the one given. Defaults to False.

    Shape:
        As for the two classifiers.

    Raises:
        ValueError: If the share is not between 0 and 1, or is 0 or 1 and is to be learned.
    """

    def __init__(
        self,
        token_dims: int,
        embed_dims: int,
        token: Dict[str, Any],
        region: Dict[str, Any],
        share: float = 0.5,
        learned: bool = False,
    ) -> None:
        super().__init__()
        if not is_number(share) or not 0 <= share <= 1 or (learned and share in (0, 1)):
            raise ValueError(
                f'share: expected a number between 0 and 1{", but neither" if learned else ""}, '
                f'got {share!r}'
            )
        widths = dict(token_dims=token_dims, embed_dims=embed_dims)
        self.token = MODELS.build(token, default_args=widths)
        self.region = MODELS.build(region, default_args=widths)
        self._fixed_share = None if learned else float(share)
        if learned:
            self.share_logit = nn.Parameter(torch.logit(torch.tensor(float(share))))
        self.train()

    @property
    def share(self) -> Union[float, Tensor]:
        """The share of the second classifier: between 0 and 1; a scalar if it is learned."""
        return self.share_logit.sigmoid() if self._fixed_share is None else self._fixed_share

    @property
    def trainable(self) -> bool:
        """Whether anything in it is meant to train."""
        return self._fixed_share is None or self.token.trainable or self.region.trainable

    def describe(self) -> str:
        """What prompts were trained through, for their metadata."""
        share = 'learned' if self._fixed_share is None else self._fixed_share
        parts = f'token={self.token.describe()}, region={self.region.describe()}'
        return f'{type(self).__name__}(share={share}, {parts})'

    def train(self, mode: bool = True) -> Self:
        """Enter training mode only if something trains."""
        super().train(mode and self.trainable)
        return self

    def forward(
        self, decoded: Decoded, semantic_prompts: Tensor, features: ImageFeatures
    ) -> Tensor:
        """Class logits of each mask: (B, N, C + 1)."""
        inputs = (decoded, semantic_prompts, features)
        with torch.autocast(semantic_prompts.device.type, enabled=False):
            token, region = (
                classifier(*inputs).log_softmax(dim=-1) for classifier in (self.token, self.region)
            )
            return torch.lerp(token, region, self.share)
