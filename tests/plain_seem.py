"""SEEM's decoder written as plain functions of official weights, as a judge of the port.

Written from the description of the official code, for one image, with every attention map and
every mask at full size, and with all kinds of queries in one sequence, as SEEM has them.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.seem.sine_position import encode_places

Weights = Dict[str, Tensor]


class Prompts(NamedTuple):
    """N spatial prompts: R queries each, in a row, and tokens of each level, coarse to fine."""

    content: Tensor  # (N * R, D)
    place: Tensor  # (N * R, D)
    tokens: Tensor  # (N, 3, P, D)


def plain_decode(
    weights: Weights,
    levels: Sequence[Tensor],
    mask_features: Tensor,
    prompts: Optional[Prompts] = None,
    *,
    heads: int,
    content: Optional[Tensor] = None,
    place: Optional[Tensor] = None,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Decode SEEM's object queries, and those of spatial prompts.

    Args:
        weights: By their names below ``sem_seg_head.predictor``.
        levels: (D, h, w) each, from coarse to fine.
        mask_features: (D, H, W).
        prompts: Defaults to None.
        heads: Attention heads.
        content: (Q, D). Defaults to None: SEEM's own.
        place: (Q, D). Defaults to None: SEEM's own.

    Returns:
        Mask logits (Q + N R, H, W), class embeddings (Q + N R, D) with the scale in them, and mask
        embeddings (Q + N R, D), object queries first.
    """
    x = weights['query_feat.weight'] if content is None else content
    at = weights['query_embed.weight'] if place is None else place
    num_objects = len(x)
    sources = [
        level.flatten(1).t() + embed for level, embed in zip(levels, weights['level_embed.weight'])
    ]
    places = [encode_places(level[None]).flatten(1).t() for level in levels]
    if prompts is not None:
        x, at = torch.cat([x, prompts.content]), torch.cat([at, prompts.place])
    depth = sum(key.endswith('linear1.weight') for key in weights)
    masks, _, _ = _predict(weights, x, mask_features)
    for index in range(depth):
        number = index % len(levels)
        size = levels[number].shape[-2:]
        resized = F.interpolate(masks[None], size=size, mode='bilinear', align_corners=False)[0]
        forbidden = (resized.sigmoid() < 0.5).flatten(1).detach()
        forbidden[forbidden.all(dim=1)] = False
        name = f'transformer_cross_attention_layers.{index}'
        source = sources[number]
        seen = _attend(
            *(weights, f'{name}.multihead_attn', heads),
            *(x + at, source + places[number], source, forbidden),
        )
        x = _norm(weights, f'{name}.norm', x + seen)
        x = _self_attention(weights, index, heads, x, at, num_objects, prompts)
        name = f'transformer_ffn_layers.{index}'
        hidden = F.relu(_linear(weights, f'{name}.linear1', x))
        x = _norm(weights, f'{name}.norm', x + _linear(weights, f'{name}.linear2', hidden))
        masks, classes, embeddings = _predict(weights, x, mask_features)
    return masks, classes, embeddings


def _self_attention(
    weights: Weights,
    index: int,
    heads: int,
    x: Tensor,
    at: Tensor,
    num_objects: int,
    prompts: Optional[Prompts],
) -> Tensor:
    count = len(x)
    owner = torch.full((count,), -1)
    values, positions = x, at
    if prompts is not None:
        num_prompts = len(prompts.tokens)
        owner[num_objects:] = torch.arange(num_prompts).repeat_interleave(
            len(prompts.content) // num_prompts
        )
        tokens = prompts.tokens[:, index % 3]  # (N, P, D)
        owner = torch.cat([owner, torch.arange(num_prompts).repeat_interleave(tokens.shape[1])])
        values = torch.cat([x, tokens.flatten(0, 1)])
        positions = torch.cat([at, tokens.flatten(0, 1).detach()])
    forbidden = owner[:, None] != owner  # each kind of query sees its own kind and its own tokens
    forbidden[count:, :count] = True  # and no token sees a query
    name = f'transformer_self_attention_layers.{index}'
    keys = values + positions
    seen = _attend(weights, f'{name}.self_attn', heads, keys, keys, values, forbidden)
    return _norm(weights, f'{name}.norm', values + seen)[:count]


def _predict(weights: Weights, x: Tensor, mask_features: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    out = _norm(weights, 'decoder_norm', x)
    embedding = out
    for number in range(3):
        embedding = _linear(weights, f'mask_embed.layers.{number}', embedding)
        embedding = F.relu(embedding) if number < 2 else embedding
    masks = torch.einsum('qd,dhw->qhw', embedding, mask_features)
    caption = out @ weights['class_embed']
    caption = caption / (caption.norm(dim=-1, keepdim=True) + 1e-7)
    return masks, weights['lang_encoder.logit_scale'].exp() * caption, embedding


def _attend(
    weights: Weights,
    name: str,
    heads: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    forbidden: Tensor,
) -> Tensor:
    parts: List[Tensor] = []
    for x, weight, bias in zip(
        (query, key, value),
        weights[f'{name}.in_proj_weight'].chunk(3),
        weights[f'{name}.in_proj_bias'].chunk(3),
    ):
        parts.append((x @ weight.t() + bias).unflatten(1, (heads, -1)).transpose(0, 1))
    q, k, v = parts
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    shares = scores.masked_fill(forbidden, -torch.inf).softmax(dim=-1)
    return _linear(weights, f'{name}.out_proj', (shares @ v).transpose(0, 1).flatten(1))


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f'{name}.weight'].t() + weights[f'{name}.bias']


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias'])
