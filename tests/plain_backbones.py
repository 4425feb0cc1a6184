"""SEEM's DaViT and pyramid written as plain functions of official weights, as a judge of the ports.

Written from the description of the official code, for one image after another and without any
module.
"""

from typing import Dict, List

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.seem.seem_variants import SEEMVariant

Weights = Dict[str, Tensor]


def plain_davit(weights: Weights, x: Tensor, variant: SEEMVariant) -> List[Tensor]:
    """Maps of DaViT: of (B, 3, H, W), at four strides."""
    maps = []
    for stage, depth in enumerate(variant.depths):
        name = f'convs.{stage}'
        kernel = weights[f'{name}.proj.weight'].shape[-1]
        if stage > 0:
            x = _norm(weights, f'{name}.norm', x)
        x = F.conv2d(
            x,
            weights[f'{name}.proj.weight'],
            weights[f'{name}.proj.bias'],
            stride=2 if stage else 4,
            padding={7: 3, 3: 1, 2: 0}[kernel],
        )
        if stage == 0:
            x = _norm(weights, f'{name}.norm', x)
        for index in range(depth):
            for kind, attention, attend in (
                ('spatial_block', 'window_attn', _attend_in_windows),
                ('channel_block', 'channel_attn', _attend_over_channels),
            ):
                block = f'blocks.{stage}.{index}.{kind}'
                x = x + _depthwise(weights, f'{block}.conv1.fn.dw', x)
                normed = _norm(weights, f'{block}.{attention}.norm', x)
                x = x + attend(weights, f'{block}.{attention}.fn', normed, variant.heads[stage])
                x = x + _depthwise(weights, f'{block}.conv2.fn.dw', x)
                y = _norm(weights, f'{block}.ffn.norm', x).permute(0, 2, 3, 1)
                y = F.gelu(_linear(weights, f'{block}.ffn.fn.net.fc1', y))
                x = x + _linear(weights, f'{block}.ffn.fn.net.fc2', y).permute(0, 3, 1, 2)
        maps.append(x)
    return maps


def plain_pyramid(weights: Weights, x: Tensor) -> List[Tensor]:
    """The four maps that SEEM makes of a map (B, width, h, w) of SAM's ViT."""
    steps = dict(
        down_4=('up', 'norm', 'gelu', 'up', 'norm', 'conv', 'norm', 'gelu'),
        down_8=('up', 'norm', 'conv', 'norm', 'gelu'),
        down_16=('conv', 'norm', 'gelu'),
        down_32=('down', 'norm', 'conv', 'norm', 'gelu'),
    )
    maps = []
    for name, operations in steps.items():
        y = x
        for number, operation in enumerate(operations):
            if operation == 'gelu':
                y = F.gelu(y)
                continue
            weight, bias = (weights[f'{name}.{number}.{kind}'] for kind in ('weight', 'bias'))
            if operation == 'norm':  # over channels and places of an image
                mean, variance = y.mean((1, 2, 3), True), y.var((1, 2, 3), False, keepdim=True)
                y = (y - mean) / (variance + 1e-5).sqrt()
                y = y * weight[:, None, None] + bias[:, None, None]
            elif operation == 'up':
                y = F.conv_transpose2d(y, weight, bias, stride=2)
            else:
                y = F.conv2d(y, weight, bias, stride=2 if operation == 'down' else 1)
        maps.append(y)
    return maps


def _attend_in_windows(weights: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """Each window of 7 x 7 places alone; what pads the last windows is attended to."""
    height, width = x.shape[2:]
    padded = F.pad(x, (0, -width % 7, 0, -height % 7))
    out = torch.zeros_like(padded)
    for top in range(0, padded.shape[2], 7):
        for left in range(0, padded.shape[3], 7):
            window = (..., slice(top, top + 7), slice(left, left + 7))
            tokens = padded[window].flatten(2).transpose(1, 2)
            query, key, value = (
                part.unflatten(2, (heads, -1)).transpose(1, 2)
                for part in _linear(weights, f'{name}.qkv', tokens).chunk(3, dim=-1)
            )
            share = (query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)).softmax(dim=-1)
            attended = (share @ value).transpose(1, 2).flatten(2)
            projected = _linear(weights, f'{name}.proj', attended)
            out[window] = projected.transpose(1, 2).unflatten(2, (7, 7))
    return out[..., :height, :width]


def _attend_over_channels(weights: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """The channels of a group look at each other, by their values at all places."""
    tokens = x.flatten(2).transpose(1, 2)
    query, key, value = (
        part.unflatten(2, (heads, -1)).permute(0, 2, 3, 1)  # (B, groups, channels, places)
        for part in _linear(weights, f'{name}.qkv', tokens).chunk(3, dim=-1)
    )
    share = (query * tokens.shape[1] ** -0.5 @ key.transpose(-1, -2)).softmax(dim=-1)
    attended = (share @ value).flatten(1, 2).transpose(1, 2)
    return _linear(weights, f'{name}.proj', attended).transpose(1, 2).unflatten(2, x.shape[2:])


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
    normed = F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias)
    return normed.permute(0, 3, 1, 2)


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])


def _depthwise(weights: Weights, name: str, x: Tensor) -> Tensor:
    weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
    return F.conv2d(x, weight, bias, padding=1, groups=x.shape[1])
