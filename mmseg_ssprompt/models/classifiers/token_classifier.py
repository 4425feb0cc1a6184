"""Labels for masks: the similarity of each mask's token to the semantic prompts."""

import math
from typing import Optional

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Self

from ...weights.state_dicts import load_strictly, read_checkpoint, resolve_checkpoint_path
from ..base import Decoded, ImageFeatures

__all__ = ['TokenClassifier']

CLIP_LOGIT_SCALE = 1 / 0.07  # CLIP's initial value, see openai/CLIP model.py
MAX_LOGIT_SCALE = 100.0  # CLIP's bound in training (arXiv 2103.00020, section 2.5)


@MODELS.register_module()
class TokenClassifier(BaseModule):
    """Class logits from SAM's mask tokens: the smallest bridge to the text space (ours).

    ``logits = scale * cos(projection(mask token), [semantic prompts; no-object row])``. SAM gives
    its masks no class scores, so a linear projection takes its mask tokens to the text space. The
    projection trains with the prompts, unless it came pre-trained with the base model. Everything
    here is computed in float32, under autocast too.

    Args:
        token_dims: ``D``, the width of the mask tokens.
        embed_dims: ``E``, the width of the text space.
        checkpoint: A file with a projection pre-trained for the base model. Defaults to None.
        trainable: Whether projection, no-object row and logit scale train. Defaults to None:
            they train if they are not pre-trained.
    """

    def __init__(
        self,
        token_dims: int,
        embed_dims: int,
        checkpoint: Optional[str] = None,
        trainable: Optional[bool] = None,
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(token_dims, embed_dims)
        self.no_object = nn.Parameter(F.normalize(torch.randn(embed_dims), dim=0))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(CLIP_LOGIT_SCALE)))
        if checkpoint is not None:
            path = resolve_checkpoint_path(checkpoint)
            load_strictly(self, read_checkpoint(path), f'checkpoint {str(path)!r}')
        self.trainable = checkpoint is None if trainable is None else trainable
        self.requires_grad_(self.trainable)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Enter training mode only if the classifier trains."""
        super().train(mode and self.trainable)
        return self

    def describe(self) -> str:
        """What prompts were trained through, for their metadata."""
        return type(self).__name__

    def forward(
        self, decoded: Decoded, semantic_prompts: Tensor, features: Optional[ImageFeatures] = None
    ) -> Tensor:
        """Class logits of each mask: (B, N, C + 1)."""
        with torch.autocast(decoded.tokens.device.type, enabled=False):
            tokens = F.normalize(self.projection(decoded.tokens.float()), dim=-1)
            no_object = F.normalize(self.no_object, dim=0).unsqueeze(0)
            rows = torch.cat([semantic_prompts.float(), no_object])  # (C + 1, E)
            return self.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE) * tokens @ rows.t()
