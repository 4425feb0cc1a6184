"""CLIP's image tower: mmseg's vision transformer and the projection to the text space."""

from typing import Tuple

import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.models.backbones import VisionTransformer
from torch import Tensor, nn

from .clip_file import ACTIVATIONS
from .clip_variants import CLIPVariant
from .read_out import ReadOut, finish_block, join_heads, project_to_attend

__all__ = ['CLIPImageTower', 'encode_patches', 'init_as_clip']


class CLIPImageTower(nn.Module):
    """What OpenAI's files call ``visual``.

    Args:
        variant: Its geometry.
        activation: ``'quick_gelu'`` or ``'gelu'``, of the MLPs. Defaults to 'quick_gelu'.

    Attributes:
        transformer: mmseg's ``VisionTransformer``, whose final norm is CLIP's ``ln_post``.
        projection: (width, E), to the space that is shared with texts.
    """

    def __init__(self, variant: CLIPVariant, activation: str = 'quick_gelu') -> None:
        super().__init__()
        # mmseg's encoder looks its activation up in mmseg's scope, which may not be the default.
        with DefaultScope.overwrite_default_scope('mmseg'):
            self.transformer = VisionTransformer(
                img_size=variant.image_size,
                patch_size=variant.patch_size,
                patch_pad=0,
                embed_dims=variant.image.width,
                num_layers=variant.image.layers,
                num_heads=variant.image.heads,
                norm_cfg=dict(type='LN', eps=1e-5),
                act_cfg=ACTIVATIONS[activation],
                patch_bias=False,
                pre_norm=True,
                final_norm=True,
                interpolate_mode='bicubic',
            )
        self.projection = nn.Parameter(torch.zeros(variant.image.width, variant.embed_dims))

    @property
    def read_out(self) -> ReadOut:
        """What follows :func:`encode_patches`."""
        return ReadOut(self.transformer.layers[-1], self.transformer.norm1, self.projection)


def init_as_clip(tower: CLIPImageTower) -> None:
    """Draw weights as CLIP does before training (open_clip transformer.py)."""
    vit = tower.transformer
    width, layers = vit.cls_token.shape[-1], len(vit.layers)
    for parameter in (vit.cls_token, vit.pos_embed, tower.projection):
        nn.init.normal_(parameter, std=width**-0.5)
    for block in vit.layers:
        nn.init.normal_(block.attn.attn.in_proj_weight, std=width**-0.5)
        nn.init.zeros_(block.attn.attn.in_proj_bias)
        nn.init.normal_(block.attn.attn.out_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
        nn.init.normal_(block.ffn.layers[0][0].weight, std=(2 * width) ** -0.5)
        nn.init.normal_(block.ffn.layers[1].weight, std=width**-0.5 * (2 * layers) ** -0.5)


def encode_patches(tower: CLIPImageTower, images: Tensor) -> Tuple[Tensor, Tuple[int, int]]:
    """All of the tower but the last block.

    Positional embeddings are interpolated (bicubic) for images of other sizes than the tower was
    trained with.

    Args:
        tower: The image tower.
        images: (B, 3, H, W), normalised with CLIP's mean and standard deviation.

    Returns:
        The tokens that enter the last block, (B, 1 + h w, width), the class token first; and
        ``(h, w)``, the number of patches.
    """
    vit = tower.transformer
    patches, size = vit.patch_embed(images)
    tokens = torch.cat([vit.cls_token.expand(len(images), -1, -1), patches], dim=1)
    tokens = vit.pre_ln(vit._pos_embeding(tokens, size, vit.pos_embed))
    for block in vit.layers[:-1]:
        attended = F.scaled_dot_product_attention(*project_to_attend(block, tokens))
        tokens = finish_block(block, tokens, join_heads(attended))
    return tokens, tuple(size)
