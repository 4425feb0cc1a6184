"""``nn.MultiheadAttention`` without the attention map in memory, and with masks of SEEM's kind."""

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ['attend']


def attend(
    attention: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    allowed: Optional[Tensor] = None,
    is_causal: bool = False,
    shift: Optional[Tensor] = None,
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
        shift: (D,), added to every value, without a copy of them. Defaults to None.

    Returns:
        (B, Lq, D).
    """
    weights = attention.in_proj_weight.chunk(3)
    biases = [*attention.in_proj_bias.chunk(3)]
    if shift is not None:
        biases[2] = F.linear(shift, weights[2], biases[2])
    query, key, value = (
        _split_heads(F.linear(x, weight, bias), attention.num_heads)
        for x, weight, bias in zip((query, key, value), weights, biases)
    )
    mask = None if allowed is None else allowed.unsqueeze(1)
    if mask is not None and _trains_queries_alone(query, key, value):
        out = _FrozenKeys.apply(query, key, value, mask)
    else:
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal)
    attended: Tensor = attention.out_proj(out.transpose(1, 2).flatten(2))
    return attended


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    heads: Tensor = x.unflatten(-1, (num_heads, -1))  # (B, L, heads, D / heads)
    return heads.transpose(1, 2)


def _trains_queries_alone(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether to use :class:`_FrozenKeys`; GPUs have a kernel that is faster all the same."""
    trains = torch.is_grad_enabled() and query.requires_grad
    return trains and not (key.requires_grad or value.requires_grad or query.is_cuda)


class _FrozenKeys(torch.autograd.Function):
    """Attention to keys and values that get no gradient.

    torch's own backward computes their gradients all the same: of an image with thousands of keys,
    two thirds of its work, and as much memory as keys and values.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        """Attend: (B, heads, Lq, D / heads), where ``allowed`` is (B, 1, Lq, Lk)."""
        ctx.save_for_backward(query, key, value, allowed)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Tensor, None, None, None]:
        """The gradient of queries, one head after another."""
        *projected, allowed = ctx.saved_tensors
        forbidden = ~allowed[:, 0]
        scale = gradient.shape[-1] ** -0.5
        found = []
        for query, key, value, slope in zip(*(x.unbind(1) for x in (*projected, gradient))):
            scores = scale * query.float() @ key.float().transpose(1, 2)  # (B, Lq, Lk)
            shares = scores.masked_fill_(forbidden, -torch.inf).softmax(dim=-1)
            slopes = slope.float() @ value.float().transpose(1, 2)
            slopes = slopes.sub_((slopes * shares).sum(dim=-1, keepdim=True)).mul_(shares)
            found.append((scale * slopes @ key.float()).to(query.dtype))
        return torch.stack(found, dim=1), None, None, None
