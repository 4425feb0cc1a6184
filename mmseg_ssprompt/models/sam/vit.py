"""SAM's image encoder on its own weights, without attention maps in memory."""

from typing import Callable, Tuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import (
    Attention,
    Block,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor

from ..base.exporting import is_exporting
from ..base.linear import project
from .mlp import apply_mlp

__all__ = ['attend_with_relative_positions', 'encode_block', 'encode_image', 'encode_patches']

#: Largest bias, in numbers, that is made at once; more heads are attended one after the other.
_MAX_BIAS_NUMBERS = 2**24


@torch.no_grad()
def encode_block(block: Block, x: Tensor) -> Tensor:
    """``segment_anything.modeling.image_encoder.Block.forward``: (B, h, w, width), as ``x``."""
    attended = block.norm1(x)
    if block.window_size > 0:
        windows, padded = window_partition(attended, block.window_size)
        windows = attend_with_relative_positions(block.attn, windows)
        attended = window_unpartition(windows, block.window_size, padded, x.shape[1:3])
    else:
        attended = attend_with_relative_positions(block.attn, attended)
    x = x + attended
    return x + apply_mlp(block.mlp, block.norm2(x))


@torch.no_grad()
def encode_image(
    encoder: ImageEncoderViT,
    images: Tensor,
    encode_block: Callable[[Block, Tensor], Tensor] = encode_block,
) -> Tensor:
    """``ImageEncoderViT.forward`` with fused attention.

    Args:
        encoder: The official module.
        images: (B, 3, S, S).
        encode_block: What computes a block, such as a compiled :func:`encode_block`.

    Returns:
        (B, D, h, w), equal to the official module's up to rounding (1e-5 in float32).
    """
    tokens = encode_patches(encoder, images, encode_block)
    embedding: Tensor = encoder.neck(tokens.permute(0, 3, 1, 2))
    return embedding


@torch.no_grad()
def encode_patches(
    encoder: ImageEncoderViT,
    images: Tensor,
    encode_block: Callable[[Block, Tensor], Tensor] = encode_block,
) -> Tensor:
    """As :func:`encode_image`, without the neck: (B, h, w, encoder width)."""
    x: Tensor = encoder.patch_embed(images)
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed
    for block in encoder.blocks:
        x = encode_block(block, x)
    return x


@torch.no_grad()
def attend_with_relative_positions(attention: Attention, x: Tensor) -> Tensor:
    """``segment_anything.modeling.image_encoder.Attention.forward``, fused: (B, H, W, width)."""
    size = x.shape[1:3]
    qkv = project(attention.qkv, x).flatten(1, 2).unflatten(2, (3, attention.num_heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, HW, C) each
    biases = _relative_biases(attention, query, size)
    attend = attend_with_extended_keys if x.is_cuda else attend_with_bias
    if is_exporting():
        attend = attend_head_by_head
    out = attend(query, key, value, *biases).transpose(1, 2).flatten(2)  # (B, HW, width)
    projected: Tensor = project(attention.proj, out).unflatten(1, size)
    return projected


def attend_with_bias(
    query: Tensor, key: Tensor, value: Tensor, along_y: Tensor, along_x: Tensor
) -> Tensor:
    """The decomposed relative positions are the bias of ``scaled_dot_product_attention``.

    Queries, keys, values and what is returned are (B, heads, HW, C), what each place adds for each
    row is (B, heads, H, W, H), and for each column (B, heads, H, W, W).
    """
    num_heads, places = query.shape[1:3]
    heads_at_once = max(1, min(num_heads, _MAX_BIAS_NUMBERS // (len(query) * places**2)))
    # One buffer for the biases of all heads: fresh memory costs more than the sums that fill it.
    size = along_y.shape[2:4]
    buffer = query.new_empty(len(query), heads_at_once, *size, *size)
    attended = []
    parts = (t.split(heads_at_once, dim=1) for t in (query, key, value, along_y, along_x))
    for q, k, v, bias_y, bias_x in zip(*parts):
        bias = buffer[:, : q.shape[1]]  # (B, heads, H, W, H, W)
        torch.add(bias_y.unsqueeze(-1), bias_x.unsqueeze(-2), out=bias)
        mask = bias.flatten(4).flatten(2, 3)  # (B, heads, HW, HW)
        attended.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    return torch.cat(attended, dim=1)


def attend_with_extended_keys(
    query: Tensor, key: Tensor, value: Tensor, along_y: Tensor, along_x: Tensor
) -> Tensor:
    """As :func:`attend_with_bias`, without a bias in memory; faster on GPUs, slower on CPUs.

    What a query adds for each row and column is appended to it, and the one-hot codes of its own
    row and column to each key: their product is the bias.
    """
    height, width = along_y.shape[-1], along_x.shape[-1]
    rows, columns = (torch.eye(side).to(key) for side in (height, width))
    codes = torch.cat([rows.repeat_interleave(width, dim=0), columns.repeat(height, 1)], dim=1)
    biases = torch.cat([along_y, along_x], dim=-1).flatten(2, 3)
    query = torch.cat([query * query.shape[-1] ** -0.5, biases], dim=-1)
    key = torch.cat([key, codes.expand(*key.shape[:2], -1, -1)], dim=-1)
    padding = (0, -query.shape[-1] % 8)  # what fused kernels ask for
    query, key = F.pad(query, padding), F.pad(key, padding)
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


def attend_head_by_head(
    query: Tensor, key: Tensor, value: Tensor, along_y: Tensor, along_x: Tensor
) -> Tensor:
    """As :func:`attend_with_bias`, in the plain form that is exported.

    Where attention is global, other runtimes have the scores of one head in memory at a time.
    """
    num_heads, places = query.shape[1:3]
    heads_at_once = max(1, min(num_heads, _MAX_BIAS_NUMBERS // places**2))
    attended = []
    parts = (t.split(heads_at_once, dim=1) for t in (query, key, value, along_y, along_x))
    for q, k, v, bias_y, bias_x in zip(*parts):
        bias = (bias_y.unsqueeze(-1) + bias_x.unsqueeze(-2)).flatten(4).flatten(2, 3)
        attended.append(F.scaled_dot_product_attention(q, k, v, attn_mask=bias))
    return torch.cat(attended, dim=1)


def _relative_biases(
    attention: Attention, query: Tensor, size: torch.Size
) -> Tuple[Tensor, Tensor]:
    """The two parts of ``add_decomposed_rel_pos``: (B, heads, H, W, H) and (B, heads, H, W, W)."""
    height, width = size
    grid = query.unflatten(2, size)  # (B, heads, H, W, C)
    rows = get_rel_pos(height, height, attention.rel_pos_h).to(query)  # (H, H, C)
    columns = get_rel_pos(width, width, attention.rel_pos_w).to(query)  # (W, W, C)
    along_y = torch.einsum('bnhwc,hkc->bnhwk', grid, rows)
    return along_y, torch.einsum('bnhwc,wkc->bnhwk', grid, columns)
