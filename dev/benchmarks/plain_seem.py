"""SEEM written plainly: functions of official weights, in eager PyTorch, as a judge of the port.

Written from the description of the official code, with every attention map and every mask at full
size, all heads after every layer, and all kinds of queries in one sequence, as SEEM has them. Only
FocalNet-T and the transformer pyramid are here of the image encoders.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.seem.seem_variants import SEEMVariant

__all__ = ['Prompts', 'plain_decode', 'plain_encode', 'select_weights']

Weights = Dict[str, Tensor]

_PREDICTOR = 'sem_seg_head.predictor.'
_PIXEL_DECODER = 'sem_seg_head.pixel_decoder.'
_BACKBONE = 'backbone.'


class Prompts(NamedTuple):
    """N spatial prompts: R queries each, in a row, and tokens of each level, coarse to fine."""

    content: Tensor  # (N * R, D)
    place: Tensor  # (N * R, D)
    tokens: Tensor  # (B, N, 3, P, D)


def select_weights(weights: Weights, prefix: str) -> Weights:
    """The weights below a prefix, without it."""
    return {key[len(prefix) :]: w for key, w in weights.items() if key.startswith(prefix)}


# --- Image encoder


@torch.no_grad()
def plain_encode(
    weights: Weights, images: Tensor, variant: SEEMVariant
) -> Tuple[List[Tensor], Tensor]:
    """Encode images by FocalNet-T and the transformer pyramid.

    Args:
        weights: By their official names.
        images: (B, 3, H, W), normalised and padded.
        variant: The geometry.

    Returns:
        Levels (B, D, h, w), from coarse to fine, and mask features (B, D, H / 4, W / 4).
    """
    maps = _encode_by_focal_net(select_weights(weights, _BACKBONE), images, variant)
    return _decode_pixels(select_weights(weights, _PIXEL_DECODER), maps, variant)


def _encode_by_focal_net(weights: Weights, x: Tensor, variant: SEEMVariant) -> List[Tensor]:
    """Maps (B, D_i, h_i, w_i) of four stages, from fine to coarse."""
    x = _norm_channels(weights, 'patch_embed.norm', _convolve(weights, 'patch_embed.proj', x, 4, 3))
    maps = []
    for stage, depth in enumerate(variant.depths):
        for index in range(depth):
            x = _focal_block(weights, f'layers.{stage}.blocks.{index}', x, variant.focal_levels)
        maps.append(_norm_channels(weights, f'norm{stage}', x))
        if stage < len(variant.depths) - 1:
            name = f'layers.{stage}.downsample'
            x = _convolve(weights, f'{name}.proj', x, 2, 1)
            x = _norm_channels(weights, f'{name}.norm', x)
    return maps


def _focal_block(weights: Weights, name: str, x: Tensor, levels: int) -> Tensor:
    x = x + _depthwise(weights, f'{name}.dw1', x)
    y = _modulate(weights, f'{name}.modulation', x, levels)
    x = _norm_channels(weights, f'{name}.norm1', x + weights[f'{name}.gamma_1'][:, None, None] * y)
    x = x + _depthwise(weights, f'{name}.dw2', x)
    y = F.gelu(_linear(weights, f'{name}.mlp.fc1', x.permute(0, 2, 3, 1)))
    y = _linear(weights, f'{name}.mlp.fc2', y).permute(0, 3, 1, 2)
    return _norm_channels(
        weights, f'{name}.norm2', x + weights[f'{name}.gamma_2'][:, None, None] * y
    )


def _modulate(weights: Weights, name: str, x: Tensor, levels: int) -> Tensor:
    width = x.shape[1]
    projected = _linear(weights, f'{name}.f', x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    query, context, gates = projected.contiguous().split([width, width, levels + 1], dim=1)
    total = torch.zeros_like(query)
    for level in range(levels):
        context = F.gelu(_depthwise(weights, f'{name}.focal_layers.{level}.0', context))
        total = total + context * gates[:, level : level + 1]
    everywhere = F.gelu(context.mean(dim=(2, 3), keepdim=True))
    total = (total + everywhere * gates[:, levels:]) / (levels + 1)
    modulated = query * _convolve(weights, f'{name}.h', total)
    projected = _linear(weights, f'{name}.proj', modulated.permute(0, 2, 3, 1).contiguous())
    return projected.permute(0, 3, 1, 2)


def _decode_pixels(
    weights: Weights, maps: Sequence[Tensor], variant: SEEMVariant
) -> Tuple[List[Tensor], Tensor]:
    coarsest = _convolve(weights, 'input_proj', maps[-1])
    x, place = (_flatten(each) for each in (coarsest, _encode_places(coarsest)))
    nothing = torch.zeros(1, x.shape[1], dtype=torch.bool, device=x.device)
    for layer in range(variant.encoder_layers):
        name = f'transformer.encoder.layers.{layer}'
        keys = x + place
        seen = _attend(weights, f'{name}.self_attn', variant.num_heads, keys, keys, x, nothing)
        x = _norm(weights, f'{name}.norm1', x + seen)
        hidden = F.relu(_linear(weights, f'{name}.linear1', x))
        x = _norm(weights, f'{name}.norm2', x + _linear(weights, f'{name}.linear2', hidden))
    encoded = x.transpose(1, 2).reshape(coarsest.shape)
    y = F.relu(_norm_groups(weights, 'layer_4', _convolve(weights, 'layer_4', encoded, padding=1)))
    levels = [y]
    for number in (3, 2, 1):
        adapter, layer = f'adapter_{number}', f'layer_{number}'
        finer = _norm_groups(weights, adapter, _convolve(weights, adapter, maps[number - 1]))
        y = finer + F.interpolate(y, size=finer.shape[-2:], mode='nearest')
        y = F.relu(_norm_groups(weights, layer, _convolve(weights, layer, y, padding=1)))
        levels.append(y)
    finest = levels.pop()
    return levels, _convolve(weights, 'mask_features', finest, padding=1)


# --- Decoder


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
        weights: By their official names.
        levels: (B, D, h, w) each, from coarse to fine.
        mask_features: (B, D, H, W).
        prompts: Defaults to None.
        heads: Attention heads.
        content: (Q, D). Defaults to None: SEEM's own.
        place: (Q, D). Defaults to None: SEEM's own.

    Returns:
        Mask logits (B, Q + N R, H, W), class embeddings (B, Q + N R, D) with the scale in them, and
        mask embeddings (B, Q + N R, D), object queries first.
    """
    weights = select_weights(weights, _PREDICTOR)
    x = weights['query_feat.weight'] if content is None else content
    at = weights['query_embed.weight'] if place is None else place
    num_objects = len(x)
    sources = [
        _flatten(level) + embed for level, embed in zip(levels, weights['level_embed.weight'])
    ]
    places = [_flatten(_encode_places(level)) for level in levels]
    if prompts is not None:
        x, at = torch.cat([x, prompts.content]), torch.cat([at, prompts.place])
    x, at = (each.expand(len(mask_features), -1, -1) for each in (x, at))
    depth = sum(key.endswith('linear1.weight') for key in weights)
    masks, _, _ = _predict(weights, x, mask_features)
    for index in range(depth):
        number = index % len(levels)
        size = levels[number].shape[-2:]
        resized = F.interpolate(masks, size=size, mode='bilinear', align_corners=False)
        forbidden = (resized.sigmoid() < 0.5).flatten(2).detach()
        forbidden[forbidden.all(dim=-1)] = False
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
    count = x.shape[1]
    owner = torch.full((count,), -1, device=x.device)
    values, positions = x, at
    if prompts is not None:
        tokens = prompts.tokens[:, :, index % 3]  # (B, N, P, D)
        owners = torch.arange(tokens.shape[1], device=x.device)
        owner[num_objects:] = owners.repeat_interleave(len(prompts.content) // len(owners))
        owner = torch.cat([owner, owners.repeat_interleave(tokens.shape[2])])
        values = torch.cat([x, tokens.flatten(1, 2)], dim=1)
        positions = torch.cat([at, tokens.flatten(1, 2).detach()], dim=1)
    forbidden = owner[:, None] != owner  # each kind of query sees its own kind and its own tokens
    forbidden[count:, :count] = True  # and no token sees a query
    name = f'transformer_self_attention_layers.{index}'
    keys = values + positions
    seen = _attend(weights, f'{name}.self_attn', heads, keys, keys, values, forbidden)
    return _norm(weights, f'{name}.norm', values + seen)[:, :count]


def _predict(weights: Weights, x: Tensor, mask_features: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    out = _norm(weights, 'decoder_norm', x)
    embedding = out
    for number in range(3):
        embedding = _linear(weights, f'mask_embed.layers.{number}', embedding)
        embedding = F.relu(embedding) if number < 2 else embedding
    masks = torch.einsum('bqd,bdhw->bqhw', embedding, mask_features)
    caption = out @ weights['class_embed']
    caption = caption / (caption.norm(dim=-1, keepdim=True) + 1e-7)
    return masks, weights['lang_encoder.logit_scale'].exp() * caption, embedding


# --- What both have


def _attend(
    weights: Weights,
    name: str,
    heads: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    forbidden: Tensor,
) -> Tensor:
    """Attention with its map in memory; ``forbidden`` is (Lq or 1, Lk), or the same of B images."""
    parts: List[Tensor] = []
    for x, weight, bias in zip(
        (query, key, value),
        weights[f'{name}.in_proj_weight'].chunk(3),
        weights[f'{name}.in_proj_bias'].chunk(3),
    ):
        parts.append(F.linear(x, weight, bias).unflatten(-1, (heads, -1)).transpose(1, 2))
    q, k, v = parts  # (B, heads, L, D / heads)
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    mask = forbidden.unsqueeze(1) if forbidden.dim() == 3 else forbidden
    shares = scores.masked_fill(mask, -torch.inf).softmax(dim=-1)
    return _linear(weights, f'{name}.out_proj', (shares @ v).transpose(1, 2).flatten(2))


def _encode_places(like: Tensor) -> Tensor:
    """DETR's sine encoding of the places of a map: (1, D, h, w)."""
    dims, height, width = like.shape[1:]
    ones = torch.ones(1, height, width, device=like.device)
    numbers = torch.arange(dims // 2, dtype=torch.float32, device=like.device)
    periods = 10000 ** (2 * torch.div(numbers, 2, rounding_mode='floor') / (dims // 2))
    encoded = []
    for axis, length in ((1, height), (2, width)):
        places = ones.cumsum(axis) / (length + 1e-6) * 2 * torch.pi
        angles = places[..., None] / periods  # (1, h, w, D / 2)
        waves = torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1)
        encoded.append(waves.flatten(3))
    return torch.cat(encoded, dim=3).permute(0, 3, 1, 2)


def _flatten(x: Tensor) -> Tensor:
    """(B, D, h, w) -> (B, hw, D)."""
    return x.flatten(2).transpose(1, 2)


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias'])


def _norm_channels(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Normalise the channels of each place of (B, D, h, w)."""
    return _norm(weights, name, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _norm_groups(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, weights[f'{name}.norm.weight'], weights[f'{name}.norm.bias'])


def _convolve(weights: Weights, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(x, weights[f'{name}.weight'], weights.get(f'{name}.bias'), stride, padding)


def _depthwise(weights: Weights, name: str, x: Tensor) -> Tensor:
    weight, bias = weights[f'{name}.weight'], weights.get(f'{name}.bias')
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))
