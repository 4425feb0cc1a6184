"""Labels for masks: the similarity of each mask's token to the semantic prompts."""

import math
from typing import Any, Dict, Optional

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Self

from ...weights.state_dicts import load_strictly, read_checkpoint, resolve_checkpoint_path
from ..base import Decoded, ImageFeatures
from ..prompts import BridgeFusion, PromptFusion

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
        bridge: Arguments of :class:`BridgeFusion`, which learns beside a pre-trained projection
            that stays as it is; the no-object row is fused as prompts are, and the logit scale
            trains. Not with ``trainable``. Defaults to None: no bridge.

    Raises:
        ValueError: If there is a bridge and no pre-trained projection, or ``trainable`` is given.
    """

    def __init__(
        self,
        token_dims: int,
        embed_dims: int,
        checkpoint: Optional[str] = None,
        trainable: Optional[bool] = None,
        bridge: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        if bridge is not None and (checkpoint is None or trainable is not None):
            raise ValueError(
                'classifier.bridge learns beside a pre-trained projection: expected a checkpoint '
                f'and no trainable, found checkpoint={checkpoint!r} and trainable={trainable!r}. '
                'Leave bridge out where there is no such file: the projection itself trains then'
            )
        self.projection = nn.Linear(token_dims, embed_dims)
        self.no_object = nn.Parameter(F.normalize(torch.randn(embed_dims), dim=0))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(CLIP_LOGIT_SCALE)))
        if checkpoint is not None:
            path = resolve_checkpoint_path(checkpoint)
            load_strictly(self, read_checkpoint(path), f'checkpoint {str(path)!r}')
        self.trainable = checkpoint is None if trainable is None else trainable
        self.requires_grad_(self.trainable)
        self.bridge: Optional[BridgeFusion] = None
        self.no_object_prompt: Optional[PromptFusion] = None
        if bridge is not None:
            self.trainable = True
            self.bridge = BridgeFusion(token_dims, embed_dims, **bridge)
            row = F.normalize(self.no_object.detach(), dim=0)
            self.no_object_prompt = PromptFusion(row[None])
            self.logit_scale.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Enter training mode only if the classifier trains."""
        super().train(mode and self.trainable)
        return self

    def describe(self) -> str:
        """What prompts were trained through, for their metadata."""
        name = type(self).__name__
        return name if self.bridge is None else f'{name}, bridge of {self.bridge.describe()}'

    def forward(
        self, decoded: Decoded, semantic_prompts: Tensor, features: Optional[ImageFeatures] = None
    ) -> Tensor:
        """Class logits of each mask: (B, N, C + 1)."""
        with torch.autocast(decoded.tokens.device.type, enabled=False):
            tokens = self.projection(decoded.tokens.float())
            if self.bridge is not None:
                tokens = self.bridge(tokens, decoded.tokens.float())
            tokens = F.normalize(tokens, dim=-1)
            no_object = self.no_object.unsqueeze(0)
            if self.no_object_prompt is not None:
                no_object = self.no_object_prompt()
            no_object = F.normalize(no_object, dim=-1)
            rows = torch.cat([semantic_prompts.float(), no_object])  # (C + 1, E)
            return self.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE) * tokens @ rows.t()
