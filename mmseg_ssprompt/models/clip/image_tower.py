"""CLIP's image tower: mmseg's vision transformer and the projection to the text space."""

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.registry import DefaultScope
from mmseg.models.backbones import VisionTransformer
from torch import Tensor, nn

from .clip_file import ACTIVATIONS
from .clip_variants import CLIPVariant
from .read_out import ReadOut, finish_block, join_heads, project_to_attend

__all__ = ['CLIPImageTower', 'encode_patches', 'init_as_clip', 'init_blocks']


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
    for parameter in (vit.cls_token, vit.pos_embed, tower.projection):
        nn.init.normal_(parameter, std=vit.cls_token.shape[-1] ** -0.5)
    init_blocks([(block.attn.attn, block.ffn) for block in vit.layers])


def init_blocks(blocks: Sequence[Tuple[nn.MultiheadAttention, FFN]]) -> None:
    """Draw the weights of blocks, given their attention and feed-forward networks."""
    for attention, ffn in blocks:
        width_std = attention.embed_dim**-0.5
        residual_std = width_std * (2 * len(blocks)) ** -0.5
        nn.init.normal_(attention.in_proj_weight, std=width_std)
        nn.init.zeros_(attention.in_proj_bias)
        nn.init.normal_(attention.out_proj.weight, std=residual_std)
        nn.init.normal_(ffn.layers[0][0].weight, std=(2 * attention.embed_dim) ** -0.5)
        nn.init.normal_(ffn.layers[1].weight, std=residual_std)


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
    tokens = torch.cat([vit.cls_token.expand(images.shape[0], -1, -1), patches], dim=1)
    tokens = vit.pre_ln(vit._pos_embeding(tokens, size, vit.pos_embed))
    for block in vit.layers[:-1]:
        attended = F.scaled_dot_product_attention(*project_to_attend(block, tokens))
        tokens = finish_block(block, tokens, join_heads(attended))
    return tokens, tuple(size)
