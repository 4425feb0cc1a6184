"""CLIP's image tower: mmseg's vision transformer and the projection to the text space.

The last block is left to the caller, because it is where a class token of the whole image, of a
part of it, and features of single places come apart.
"""

import math
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.models.backbones import VisionTransformer
from torch import Tensor, nn

from .variants import CLIPImageVariant

__all__ = [
    'CLIPImageTower',
    'encode_patches',
    'init_as_clip',
    'read_class_token',
    'read_dense_features',
]


class CLIPImageTower(nn.Module):
    """What OpenAI's files call ``visual``.

    Args:
        variant: Its geometry.

    Attributes:
        transformer: mmseg's ``VisionTransformer``, whose final norm is CLIP's ``ln_post``.
        projection: (width, E), to the space that is shared with texts.
    """

    def __init__(self, variant: CLIPImageVariant) -> None:
        super().__init__()
        # mmseg's encoder looks its activation up in mmseg's scope, which may not be the default.
        with DefaultScope.overwrite_default_scope('mmseg'):
            self.transformer = VisionTransformer(
                img_size=variant.image_size,
                patch_size=variant.patch_size,
                patch_pad=0,
                embed_dims=variant.width,
                num_layers=variant.layers,
                num_heads=variant.heads,
                norm_cfg=dict(type='LN', eps=1e-5),
                act_cfg=dict(type='QuickGELU'),
                patch_bias=False,
                pre_norm=True,
                final_norm=True,
                interpolate_mode='bicubic',
            )
        self.projection = nn.Parameter(torch.zeros(variant.width, variant.embed_dims))


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
        query, key, value = _project_to_attend(block, tokens)
        attended = _join_heads(F.scaled_dot_product_attention(query, key, value))
        tokens = _finish_block(block, tokens, attended)
    return tokens, tuple(size)


def read_class_token(
    tower: CLIPImageTower, tokens: Tensor, masks: Optional[Tensor] = None
) -> Tensor:
    """The last block for class tokens: of the whole image, or of what each mask shows.

    With masks, attention of a class token to a patch has the logarithm of the mask there as a
    bias, as in SAN (arXiv 2302.12242) and MaskCLIP++ (arXiv 2412.11464); a class token does not
    look at itself.

    Args:
        tower: The image tower.
        tokens: (B, 1 + h w, width), of :func:`encode_patches`.
        masks: (B, N, h w), not negative. Defaults to None: one class token that sees everything,
            as CLIP's own.

    Returns:
        Embeddings in the text space, not of unit length: (B, E), or (B, N, E) of masks.
    """
    block = tower.transformer.layers[-1]
    query, key, value = _project_to_attend(block, tokens)
    query = query[:, :, :1]  # (B, heads, 1, C)
    residual = tokens[:, :1]
    if masks is None:
        attended = F.scaled_dot_product_attention(query, key, value)
    else:
        key, value = key[:, :, 1:], value[:, :, 1:]
        scores = query @ key.mT / math.sqrt(query.shape[-1])  # (B, heads, 1, h w)
        bias = masks.clamp(min=torch.finfo(masks.dtype).tiny).log().unsqueeze(1)
        attended = (scores + bias).softmax(dim=-1) @ value  # (B, heads, N, C)
    out = _project_to_text(tower, _finish_block(block, residual, _join_heads(attended)))
    return out.squeeze(1) if masks is None else out


def read_dense_features(tower: CLIPImageTower, tokens: Tensor) -> Tensor:
    """The last block without mixing places: each patch attends to itself alone.

    MaskCLIP's way (arXiv 2112.01071, section 3.2) to read CLIP's text space at every place: the
    value and output projections of the last attention stay, queries and keys go.

    Args:
        tower: The image tower.
        tokens: (B, 1 + h w, width), of :func:`encode_patches`.

    Returns:
        Features in the text space, not of unit length: (B, h w, E).
    """
    block = tower.transformer.layers[-1]
    patches = tokens[:, 1:]
    _, _, value = _project_to_attend(block, patches)
    return _project_to_text(tower, _finish_block(block, patches, _join_heads(value)))


def _project_to_attend(block: nn.Module, tokens: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values: (B, heads, L, C) each."""
    attention = block.attn.attn
    projected = F.linear(block.norm1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return query, key, value


def _join_heads(attended: Tensor) -> Tensor:
    return attended.transpose(1, 2).flatten(2)  # (B, L, width)


def _finish_block(block: nn.Module, tokens: Tensor, attended: Tensor) -> Tensor:
    """What follows the attention of a pre-norm block."""
    tokens = tokens + block.attn.attn.out_proj(attended)
    return block.ffn(block.norm2(tokens), identity=tokens)


def _project_to_text(tower: CLIPImageTower, tokens: Tensor) -> Tensor:
    return tower.transformer.norm1(tokens) @ tower.projection
