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
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    # Keys go without their bias, which adds the same to all scores of a query. What is added to
    # every value is added to what is seen, as the shares of values sum to one.
    projections = ((query, biases[0]), (key, None), (value, None))
    query, key, value = (
        _split_heads(F.linear(x, weight, bias), attention.num_heads)
        for (x, bias), weight in zip(projections, weights)
    )
    if allowed is not None and _trains_queries_alone(query, key, value):
        out = _FrozenKeys.apply(query, key, value, allowed)
    else:
        mask = None if allowed is None else _to_mask(allowed, query)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=is_causal)
    constant = biases[2] if shift is None else F.linear(shift, weights[2], biases[2])
    attended: Tensor = attention.out_proj(out.transpose(1, 2).flatten(2) + constant)
    return attended


def _split_heads(x: Tensor, num_heads: int) -> Tensor:
    heads: Tensor = x.unflatten(-1, (num_heads, -1))  # (B, L, heads, D / heads)
    return heads.transpose(1, 2)


def _trains_queries_alone(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether to use :class:`_FrozenKeys`; GPUs have a kernel that is faster all the same."""
    trains = torch.is_grad_enabled() and query.requires_grad
    return trains and not (key.requires_grad or value.requires_grad or query.is_cuda)


def _to_mask(allowed: Tensor, query: Tensor) -> Tensor:
    """(B, Lq, Lk) bool as a mask (B, 1, Lq, Lk) of ``scaled_dot_product_attention``.

    On CPUs it is one that is added: torch would make one of it, in several times the time.
    """
    mask = allowed if query.is_cuda else _to_summand(allowed, query.dtype)
    return mask.unsqueeze(1)


def _to_summand(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0 where a query may look, elsewhere the most negative number."""
    return allowed.logical_not().to(dtype).mul_(torch.finfo(dtype).min)


class _FrozenKeys(torch.autograd.Function):
    """Attention to keys and values that get no gradient.

    torch's own backward computes their gradients all the same: of an image with thousands of keys,
    two thirds of its work, and as much memory as keys and values.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        """Attend: (B, heads, Lq, D / heads), where ``allowed`` is (B, Lq, Lk)."""
        mask = _to_mask(allowed, query)
        out: Tensor = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        ctx.save_for_backward(query, key, value, allowed, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Tensor, None, None, None]:
        """The gradient of queries, one head after another."""
        query, key, value, allowed, out = ctx.saved_tensors
        summand = _to_summand(allowed, torch.float32)
        scale = gradient.shape[-1] ** -0.5
        # What softmax subtracts, the mean of the slopes by their shares.
        mean = (gradient.float() * out.float()).sum(dim=-1, keepdim=True)
        found = []
        for number in range(query.shape[1]):
            q, k, v, slope, centre = (
                x[:, number].float() for x in (query, key, value, gradient, mean)
            )
            scores = torch.baddbmm(summand, q, k.transpose(1, 2), alpha=scale)  # (B, Lq, Lk)
            slopes = torch.baddbmm(centre, slope, v.transpose(1, 2), beta=-1)
            slopes.mul_(scores.softmax(dim=-1))
            found.append((slopes @ k).mul_(scale).to(query.dtype))
        return torch.stack(found, dim=1), None, None, None
