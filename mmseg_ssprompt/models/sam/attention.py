"""SAM's attention with the official weights: fused for many tokens, written out for few."""

import torch
import torch.nn.functional as F
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

from .linear import project

__all__ = [
    'attend',
    'attend_to_image',
    'attend_to_tokens',
    'attend_to_tokens_from',
    'project_places',
]


def attend(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The official ``Attention`` without its map in memory: (B, Lq, D), (B, Lk, D) twice."""
    query = _project_to_heads(attention, attention.q_proj, query)
    key = _project_to_heads(attention, attention.k_proj, key)
    value = _project_to_heads(attention, attention.v_proj, value)
    out = F.scaled_dot_product_attention(query, key, value)
    return project(attention.out_proj, out.transpose(-2, -3).flatten(-2))


def project_places(attention: Attention, layer: nn.Linear, image: Tensor) -> Tensor:
    """What the functions below want of an image: (B, hw, D) -> (B, heads, d, hw)."""
    return project(layer, image).unflatten(-1, (attention.num_heads, -1)).permute(0, 2, 3, 1)


# A prompt of its own has G = 7 or 8 tokens against thousands of places, where fused attention spends
# its time on all but arithmetic. Written out, its map is (heads * G, places), and the projections
# of places can be moved to the tokens: ``q (x Wk)^T = (q Wk^T) x^T``, and ``A (x Wv) = (A x) Wv``.
# A product with heads * G = 56 rows takes half of the multiplications of a projection to 128, and
# no projected copy of the image is kept for gradients.


def attend_to_image(
    attention: Attention, query: Tensor, image: Tensor, positions: Tensor
) -> Tensor:
    """A prompt's tokens attend to its own image stream.

    Args:
        attention: Its weights.
        query: (P, G, D), the tokens of P prompts with their positions.
        image: (P, hw, D), without positions.
        positions: (1, heads, d, hw), of the image, projected to keys; a bias of the keys adds the
            same to all scores of a query and may be left out.

    Returns:
        (P, G, D).
    """
    query = _project_scaled(attention, attention.q_proj, query)
    scores = torch.baddbmm(
        _scores_of_positions(query, positions),
        _to_rows(query, attention.k_proj.weight),
        image.transpose(1, 2),
    )  # (P, heads * G, hw)
    seen = torch.bmm(scores.softmax(dim=-1), image).unflatten(1, query.shape[1:3])
    weight = attention.v_proj.weight.unflatten(0, (attention.num_heads, -1))
    out = (seen @ weight.transpose(1, 2)).transpose(1, 2).flatten(2)  # (P, G, D')
    attended: Tensor = attention.out_proj(out + attention.v_proj.bias)
    return attended


def attend_to_tokens(
    attention: Attention, image: Tensor, positions: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """The image stream of each prompt attends to that prompt's tokens, which are added to it.

    Args:
        attention: Its weights.
        image: (P, hw, D), without positions.
        positions: (1, heads, d, hw), of the image, projected to queries with their bias.
        key: (P, G, D), tokens with their positions.
        value: (P, G, D), without.

    Returns:
        (P, hw, D), the image and what it sees.
    """
    key = _project_scaled(attention, attention.k_proj, key)
    scores = torch.baddbmm(
        _scores_of_positions(key, positions),
        _to_rows(key, attention.q_proj.weight),
        image.transpose(1, 2),
    )
    return _add_seen(attention, image, scores, value)


def attend_to_tokens_from(
    attention: Attention, image: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """:func:`attend_to_tokens` of an image stream that prompts still share.

    Args:
        attention: Its weights.
        image: (B, hw, D).
        query: (B, heads, d, hw), the image with its positions, projected.
        key: (B, N, G, D).
        value: (B, N, G, D).

    Returns:
        (B * N, hw, D).
    """
    key = _project_scaled(attention, attention.k_proj, key)
    scores = (key @ query.unsqueeze(1)).flatten(0, 1).flatten(1, 2)  # (B * N, heads * G, hw)
    image = image.unsqueeze(1).expand(-1, key.shape[1], -1, -1).flatten(0, 1)
    return _add_seen(attention, image, scores, value.flatten(0, 1))


def _add_seen(attention: Attention, image: Tensor, scores: Tensor, value: Tensor) -> Tensor:
    """The image (P, hw, D) and what it sees of tokens (P, G, D) by scores (P, heads * G, hw)."""
    heads = attention.num_heads
    shares = scores.unflatten(1, (heads, -1)).softmax(dim=2).flatten(1, 2)
    value = _project_to_heads(attention, attention.v_proj, value)
    # The shares of a head add up to one, so that each of its rows may bring its part of the bias.
    rows = _to_rows(value, attention.out_proj.weight.t()) + attention.out_proj.bias / heads
    return torch.baddbmm(image, shares.transpose(1, 2), rows)


def _project_to_heads(attention: Attention, layer: nn.Linear, x: Tensor) -> Tensor:
    """(..., L, D) -> (..., heads, L, D' / heads)."""
    heads: Tensor = project(layer, x).unflatten(-1, (attention.num_heads, -1))
    return heads.transpose(-2, -3)


def _project_scaled(attention: Attention, layer: nn.Linear, tokens: Tensor) -> Tensor:
    """:func:`_project_to_heads`, and what scores are multiplied by."""
    scale: float = (attention.internal_dim // attention.num_heads) ** -0.5
    return _project_to_heads(attention, layer, tokens) * scale


def _scores_of_positions(tokens: Tensor, positions: Tensor) -> Tensor:
    """(P, heads, G, d) and (1, heads, d, hw) -> (P, heads * G, hw)."""
    return (tokens @ positions).flatten(1, 2)


def _to_rows(tokens: Tensor, weight: Tensor) -> Tensor:
    """Tokens (P, heads, G, d), by each head's part of a weight (heads * d, D): (P, heads * G, D)."""
    return (tokens @ weight.unflatten(0, (tokens.shape[1], -1))).flatten(1, 2)
