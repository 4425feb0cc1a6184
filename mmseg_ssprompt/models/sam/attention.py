"""SAM's attention with the official weights: fused for many tokens, written out for few."""

import torch
import torch.nn.functional as F
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

from ..base.linear import project

__all__ = [
    'attend',
    'attend_to_image',
    'attend_to_tokens',
    'attend_to_tokens_at_first',
]


def attend(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The official ``Attention`` without its map in memory: (B, Lq, D), (B, Lk, D) twice."""
    query = _project_to_heads(attention, attention.q_proj, query)
    key = _project_to_heads(attention, attention.k_proj, key)
    value = _project_to_heads(attention, attention.v_proj, value)
    out = F.scaled_dot_product_attention(query, key, value)
    return project(attention.out_proj, out.transpose(-2, -3).flatten(-2))


# A prompt of its own has G = 7 or 8 tokens against thousands of places, where fused attention
# spends its time on all but arithmetic. Written out, its map is (heads * G, places), and what would
# be done to each place is done to tokens: ``q (x Wk)^T = (q Wk^T) x^T``, ``A (x Wv) = (A x) Wv``.
# A product with heads * G = 56 rows takes half of the multiplications of a projection to 128, and
# no projected copy of the image is kept for gradients. Rows of one head are zero in the others'
# channels, so that each product is one of plain matrices.


def attend_to_image(
    attention: Attention, query: Tensor, image: Tensor, positions: Tensor
) -> Tensor:
    """Tokens of each prompt attend to that prompt's own image stream.

    Args:
        attention: Its weights.
        query: (P, G, D), the tokens of P prompts with their positions.
        image: (P, hw, D), without positions.
        positions: (hw, D'), those of the image, projected to keys, with their bias.

    Returns:
        (P, G, D).
    """
    rows = _spread_heads(attention, _scale(attention, project(attention.q_proj, query)))
    scores = _score_places(rows, attention.k_proj, image, positions)
    seen = torch.bmm(scores.softmax(dim=-1), image)  # (P, heads * G, D)
    seen = _gather_heads(attention, F.linear(seen, attention.v_proj.weight))
    return project(attention.out_proj, seen + attention.v_proj.bias)


def attend_to_tokens(
    attention: Attention, image: Tensor, positions: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """The image stream of each prompt attends to that prompt's tokens.

    Args:
        attention: Its weights.
        image: (P, hw, D), without positions.
        positions: (hw, D'), those of the image, projected to queries, with their bias.
        key: (P, G, D), tokens with their positions.
        value: (P, G, D), tokens without.

    Returns:
        (P, hw, D), the image plus what it sees.
    """
    rows = _spread_heads(attention, _scale(attention, project(attention.k_proj, key)))
    scores = _score_places(rows, attention.q_proj, image, positions)
    return _add_seen(attention, image, scores, value)


def attend_to_tokens_at_first(
    attention: Attention, image: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """:func:`attend_to_tokens` from an image stream that the prompts still share.

    Args:
        attention: Its weights.
        image: (B, hw, D), without positions.
        query: (B, hw, D'), the image with its positions, projected.
        key: (B, N, G, D), tokens with their positions.
        value: (B, N, G, D), tokens without.

    Returns:
        (B * N, hw, D).
    """
    num_prompts = key.shape[1]
    key, value = key.flatten(0, 1), value.flatten(0, 1)
    rows = _spread_heads(attention, _scale(attention, project(attention.k_proj, key)))
    rows = rows.unflatten(0, (-1, num_prompts))  # (B, N, heads * G, D')
    scores = torch.bmm(rows.flatten(1, 2), query.transpose(1, 2))
    scores = scores.unflatten(1, (num_prompts, -1)).flatten(0, 1)
    image = image.unsqueeze(1).expand(-1, num_prompts, -1, -1).flatten(0, 1)
    return _add_seen(attention, image, scores, value)


def _score_places(rows: Tensor, layer: nn.Linear, image: Tensor, positions: Tensor) -> Tensor:
    """Products of rows (P, heads * G, D') with all places, as ``layer`` projects these.

    Returns:
        (P, heads * G, hw), of an image (P, hw, D) and its positions (hw, D'), projected already.
    """
    return torch.baddbmm(rows @ positions.t(), rows @ layer.weight, image.transpose(1, 2))


def _add_seen(attention: Attention, image: Tensor, scores: Tensor, value: Tensor) -> Tensor:
    """The image (P, hw, D) and what it sees of tokens (P, G, D) by scores (P, heads * G, hw)."""
    heads = attention.num_heads
    shares = scores.unflatten(1, (heads, -1)).softmax(dim=2).flatten(1, 2)
    rows = _spread_heads(attention, project(attention.v_proj, value))
    # The shares of a head add up to one, so each of its tokens may bring its part of the bias.
    seen = F.linear(rows, attention.out_proj.weight, attention.out_proj.bias / heads)
    return torch.baddbmm(image, shares.transpose(1, 2), seen)


def _scale(attention: Attention, projected: Tensor) -> Tensor:
    scale: float = (attention.internal_dim // attention.num_heads) ** -0.5
    return projected * scale


def _spread_heads(attention: Attention, x: Tensor) -> Tensor:
    """(P, G, D') -> (P, heads * G, D'), where the rows of a head have its channels alone."""
    return (x.unsqueeze(1) * _channels_of_heads(attention, x)).flatten(1, 2)


def _gather_heads(attention: Attention, x: Tensor) -> Tensor:
    """(P, heads * G, D') -> (P, G, D'), the channels of each head from its rows."""
    rows = x.unflatten(1, (attention.num_heads, -1))
    gathered: Tensor = (rows * _channels_of_heads(attention, x)).sum(dim=1)
    return gathered


def _channels_of_heads(attention: Attention, like: Tensor) -> Tensor:
    """(heads, 1, D'), 1 where a channel is that head's and elsewhere 0."""
    heads = attention.num_heads
    eye = torch.eye(heads, dtype=like.dtype, device=like.device)
    return eye.repeat_interleave(attention.internal_dim // heads, dim=1).unsqueeze(1)


def _project_to_heads(attention: Attention, layer: nn.Linear, x: Tensor) -> Tensor:
    """(..., L, D) -> (..., heads, L, D' / heads)."""
    heads: Tensor = project(layer, x).unflatten(-1, (attention.num_heads, -1))
    return heads.transpose(-2, -3)
