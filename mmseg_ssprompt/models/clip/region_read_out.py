"""What masks show, in CLIP's text space."""

import math
from dataclasses import replace
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...weights.state_dicts import FilePath, warn_random_weights
from ..base import FrozenModule
from . import clip_variants
from .clip_file import (
    choose_activation,
    fingerprint_with_activation,
    load_read_out,
    read_clip_file,
)
from .clip_variants import get_clip_variant
from .image_tower import CLIPImageTower, init_as_clip
from .read_out import ReadOut, read_class_token, read_dense_features

__all__ = ['READ_OUTS', 'CLIPRegionReadOut', 'pool_regions']

#: Factor on cosines that OpenAI's models end up with, and are not let beyond (arXiv 2103.00020,
#: section 2.5).
LOGIT_SCALE = 100.0
#: Ways to read what a mask shows.
READ_OUTS = ('class_token', 'dense')
#: Masks that show less in all have no mean; less would make gradients infinite.
_NOTHING = 1e-12


class CLIPRegionReadOut(FrozenModule):
    """The frozen last block of CLIP's image tower, for any number of masks.

    Args:
        variant: A key of ``CLIP_VARIANTS``.
        checkpoint: As for :class:`CLIPImageEncoder`.
        kind: ``'class_token'``, a class token of each mask that sees what the mask shows
            (:func:`read_class_token`), or ``'dense'``, the mean of the features of single places
            under each mask (:func:`read_dense_features`, :func:`pool_regions`).
        activation: As for :class:`CLIPImageEncoder`, as errors are.

    Shape:
        - Input: tokens (B, 1 + h w, width) of :class:`CLIPImageEncoder`, of a square frame, and
          masks (B, N, H, W), not negative, over the same frame.
        - Output: (B, N, E), not of unit length.

    Attributes:
        logit_scale: Natural logarithm of the file's factor on cosines.
    """

    part = 'clip_read_out'

    def __init__(
        self,
        variant: str,
        checkpoint: Optional[FilePath],
        kind: str,
        activation: Optional[str] = None,
    ) -> None:
        super().__init__()
        if kind not in READ_OUTS:
            raise ValueError(f'read_out must be one of {READ_OUTS}, got {kind!r}')
        geometry = get_clip_variant(variant)
        self.kind, self.embed_dims = kind, geometry.embed_dims
        file = read_clip_file(checkpoint, variant, 'image')
        self.activation = choose_activation(file, activation)
        last_block = replace(geometry, image=geometry.image._replace(layers=1))
        with torch.random.fork_rng(devices=[]):  # other parts are the same with any checkpoint
            last = CLIPImageTower(last_block, self.activation)
            if file is None:
                init_as_clip(last)
        self.block, self.norm, self.projection = last.read_out
        self.logit_scale = nn.Parameter(torch.tensor(math.log(LOGIT_SCALE)))
        if file is None:
            part = f'the last block of the CLIP image encoder {variant}'
            warn_random_weights(part, clip_variants.where_to_get(variant))
        else:
            load_read_out(self, variant, file)
        self.pretrained = file is not None
        self.freeze()

    def _describe_weights(self, weights: str) -> str:
        return fingerprint_with_activation(weights, self.activation)

    @property
    def parts(self) -> ReadOut:
        """What the functions of ``read_out`` take."""
        return ReadOut(self.block, self.norm, self.projection)

    def forward(self, tokens: Tensor, masks: Tensor) -> Tensor:
        """What each mask shows: (B, N, E)."""
        side = round((tokens.shape[1] - 1) ** 0.5)
        masks = F.adaptive_avg_pool2d(masks, side).flatten(2)  # (B, N, h w)
        if self.kind == 'class_token':
            return read_class_token(self.parts, tokens, masks)
        return pool_regions(read_dense_features(self.parts, tokens), masks)


def pool_regions(features: Tensor, masks: Tensor) -> Tensor:
    """The mean of features (B, h w, E) under soft masks (B, N, h w), not negative: (B, N, E)."""
    total = masks.sum(dim=-1, keepdim=True).clamp(min=_NOTHING)
    return masks / total @ features
