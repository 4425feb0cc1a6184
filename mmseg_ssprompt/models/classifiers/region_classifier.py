"""Labels for masks from CLIP's image encoder: what a mask shows, compared with class names."""

from os import PathLike
from typing import Optional, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ..base import Decoded, ImageFeatures
from ..clip import CLIPRegionReadOut, clip_variants
from ..clip.clip_variants import get_clip_variant
from ..clip.region_read_out import LOGIT_SCALE

__all__ = ['CLIPRegionClassifier']

_CERTAIN = 1e-3  # how near to 0 and 1 an estimate of IoU is believed


@MODELS.register_module()
class CLIPRegionClassifier(BaseModule):
    """Class logits from what CLIP sees under each mask (ours, not the paper's).

    ``logits = scale * cos(what the mask shows, semantic prompts)``, with CLIP's own scale, 100 in
    OpenAI's files. CLIP's image encoder already lives in the text space, so nothing here trains,
    and handcrafted class names label the masks of a SAM that was never told any. Gradients reach
    the semantic prompts and, through the masks, the spatial prompts.

    A mask is "no object" with the probability that the base model gives to its being wrong, one
    minus its predicted IoU; one half where it predicts none. Computed in float32, under autocast
    too.

    Args:
        token_dims: Of the mask tokens, which are not looked at.
        embed_dims: ``E``, the width of the text space.
        variant, checkpoint, activation: As of the backbone's :class:`CLIPImageEncoder`.
        read_out: How CLIP looks at a mask, see :class:`CLIPRegionReadOut`. Defaults to
            'class_token'.

    Raises:
        ValueError: If the text space of the variant is not that of the semantic prompts.
    """

    trainable = False
    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='clip', activation='clip_activation')

    where_to_get = staticmethod(clip_variants.where_to_get)

    def __init__(
        self,
        token_dims: int,
        embed_dims: int,
        variant: str = 'ViT-B/16',
        checkpoint: Optional[Union[str, 'PathLike[str]']] = None,
        read_out: str = 'class_token',
        activation: Optional[str] = None,
    ) -> None:
        super().__init__()
        self.width = get_clip_variant(variant).image.width
        self.region_read_out = CLIPRegionReadOut(variant, checkpoint, read_out, activation)
        if self.region_read_out.embed_dims != embed_dims:
            raise ValueError(
                f'the text space of CLIP {variant} has width {self.region_read_out.embed_dims}, '
                f'that of the semantic prompts {embed_dims}: give the text encoder of the same CLIP'
            )

    def describe(self) -> str:
        """What prompts were trained through, for their metadata."""
        return f'{type(self).__name__}(read_out={self.region_read_out.kind})'

    def forward(
        self, decoded: Decoded, semantic_prompts: Tensor, features: ImageFeatures
    ) -> Tensor:
        """Class logits of each mask: (B, N, C + 1).

        Raises:
            ValueError: If there are no tokens of CLIP.
        """
        tokens = features.companion
        if tokens is None or tokens.ndim != 3 or tokens.shape[-1] != self.width:
            found = 'none' if tokens is None else tuple(tokens.shape)
            raise ValueError(
                f'{type(self).__name__}: expected tokens of CLIP (B, 1 + h w, {self.width}) from '
                f'the backbone beside the image embedding, found {found}. Use backbone='
                "dict(type='SAMCLIPImageEncoder', sam=..., clip=...) with the same CLIP"
            )
        with torch.autocast(semantic_prompts.device.type, enabled=False):
            masks = decoded.mask_logits.float().sigmoid()
            regions = F.normalize(self.region_read_out(tokens.float(), masks), dim=-1)
            scale = self.region_read_out.logit_scale.exp().clamp(max=LOGIT_SCALE)
            logits = scale * regions @ semantic_prompts.float().t()  # (B, N, C)
            no_object = logits.logsumexp(dim=-1)
            if decoded.quality is not None:
                quality = decoded.quality.float().clamp(_CERTAIN, 1 - _CERTAIN)
                no_object = no_object - quality.logit()
            return torch.cat([logits, no_object.unsqueeze(-1)], dim=-1)
