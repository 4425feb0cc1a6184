"""``nn.MultiheadAttention`` without the attention map in memory, and with masks of SEEM's kind."""

from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['attend']


def attend(
    attention: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Optional[Tensor] = None,
    is_causal: bool = False,
) -> Tensor:
    """Attention of torch's module, whose weights are used, by ``scaled_dot_product_attention``.

    Args:
        attention: The module, whose projections have a bias each.
        query: (B, Lq, D).
        key: (B, Lk, D).
        value: (B, Lk, D).
        allowed: (B, Lq, Lk) bool, where a query may look at a key; the same for all heads.
            Defaults to None: everywhere.
        is_causal: Whether a query may only look at keys that are not behind it. Defaults to False.

    Returns:
        (B, Lq, D).
    """
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3)
    query, key, value = (
        _split_heads(F.linear(x, weight, bias), attention.num_heads)
        for x, weight, bias in zip((query, key, value), weights, biases)
    )
    mask = None if allowed is None else allowed.unsqueeze(1)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal)
    attended: Tensor = attention.out_proj(out.transpose(1, 2).flatten(2))
    return attended


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    heads: Tensor = x.unflatten(-1, (num_heads, -1))  # (B, L, heads, D / heads)
    return heads.transpose(1, 2)
