"""FocalNet as SEEM has it: with depthwise convolutions (focal-T), or without (focal-L)."""

from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base.linear import project, project_by
from .seem_variants import SEEMVariant

__all__ = ['FocalNet']

_MLP_RATIO = 4


class FocalNet(nn.Module):
    """Four stages of focal modulation.

    Args:
        variant: One with the backbone ``'focal_dw'`` or ``'focal'``. They differ by more than the
            depthwise convolutions: in ``'focal_dw'`` a block's norms come after its sums and the
            stem pads 3 pixels; in ``'focal'`` norms are inside the branches, and the stem pads 2.

    Shape:
        - Input: (B, 3, H, W) float, sides multiples of 32.
        - Output: maps (B, width, h, w) at 1/4, 1/8, 1/16 and 1/32, each through a norm of its own.
    """

    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__()
        depthwise = variant.backbone == 'focal_dw'
        widths = variant.widths
        stem = nn.Conv2d(3, widths[0], 7, stride=4, padding=3 if depthwise else 2)
        self.patch_embed = _Downsampling(stem)
        self.layers = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(widths, variant.depths)):
            blocks = [_Block(width, variant.focal_levels, depthwise) for _ in range(depth)]
            downsample = None
            if stage < len(widths) - 1:
                reduction = nn.Conv2d(width, widths[stage + 1], 3, stride=2, padding=1)
                downsample = _Downsampling(reduction)
            self.layers.append(_Stage(blocks, downsample))
            self.add_module(f'norm{stage}', nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Encode images (B, 3, H, W): maps from fine to coarse."""
        x = self.patch_embed(x.permute(0, 2, 3, 1))
        maps: List[Tensor] = []
        for number, stage in enumerate(self.layers):
            leaves, x = stage(x)
            norm = getattr(self, f'norm{number}')  # of what leaves, not of what goes on
            maps.append(norm(leaves).permute(0, 3, 1, 2))
        return tuple(maps)


class _Downsampling(nn.Module):
    """A strided convolution and a norm: (B, h, w, C) to (B, h', w', C')."""

    def __init__(self, proj: nn.Conv2d) -> None:
        super().__init__()
        self.proj = proj
        self.norm = nn.LayerNorm(proj.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(_convolve(self.proj, x))
        return y


class _Stage(nn.Module):
    """Blocks: (B, h, w, C) to what leaves the backbone, and to the input of the next stage."""

    def __init__(self, blocks: List['_Block'], downsample: Optional[_Downsampling]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class _Block(nn.Module):
    """Focal modulation and an MLP: (B, h, w, C), as its input."""

    def __init__(self, width: int, levels: int, depthwise: bool) -> None:
        super().__init__()
        self.depthwise = depthwise
        if depthwise:
            self.dw1 = _depthwise(width, 3)
            self.dw2 = _depthwise(width, 3)
        self.modulation = _FocalModulation(width, levels)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = _MLP(width)
        self.norm2 = nn.LayerNorm(width)
        self.gamma_1 = nn.Parameter(torch.ones(width))
        self.gamma_2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if self.depthwise:
            x = x + _convolve(self.dw1, x)
            x = self.norm1(torch.addcmul(x, self.gamma_1, self.modulation(x)))
            x = x + _convolve(self.dw2, x)
            x = self.norm2(torch.addcmul(x, self.gamma_2, self.mlp(x)))
        else:
            x = torch.addcmul(x, self.gamma_1, self.norm1(self.modulation(x)))
            x = torch.addcmul(x, self.gamma_2, self.norm2(self.mlp(x)))
        return x


class _FocalModulation(nn.Module):
    """Each place times what its surroundings say, at several ranges: (B, h, w, C)."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.sizes = (width, width, levels + 1)  # query, context, gates
        self.f = nn.Linear(width, sum(self.sizes))
        self.h = nn.Conv2d(width, width, 1)
        self.proj = nn.Linear(width, width)
        kernels = range(3, 3 + 2 * levels, 2)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(_depthwise(width, kernel, bias=False), nn.GELU()) for kernel in kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        query, context, gates = project(self.f, x).split(self.sizes, dim=-1)
        total = torch.zeros_like(context)
        for layer, gate in zip(self.focal_layers, gates.split(1, dim=-1)):
            context = _convolve(layer, context)
            total = torch.addcmul(total, context, gate)
        everywhere = F.gelu(context.mean(dim=(1, 2), keepdim=True))
        total = torch.addcmul(total, everywhere, gates[..., -1:]) / self.sizes[-1]
        modulator = project_by(total, self.h.weight.flatten(1), self.h.bias)
        out: Tensor = project(self.proj, query * modulator)
        return out


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = project(self.fc2, F.gelu(project(self.fc1, x)))
        return y


def _depthwise(width: int, kernel: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=bias)


def _convolve(convolution: nn.Module, x: Tensor) -> Tensor:
    """A convolution of (B, h, w, C), whose memory is that of channels last."""
    y: Tensor = convolution(x.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)
