"""SEEM's two pixel decoders: from the backbone's four maps to three levels and mask features."""

from typing import Iterable, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base.exporting import is_exporting
from .multihead_attention import attend
from .seem_variants import SEEMVariant
from .sine_position import encode_places

__all__ = ['DeformableFPN', 'TransformerFPN', 'build_pixel_decoder']

#: Groups of all of their group normalisations.
_GROUPS = 32
#: Points that deformable attention looks at, for each head and level.
_POINTS = 4

#: Levels (B, D, h_l, w_l) from fine to coarse, and mask features (B, D, h, w).
PixelFeatures = Tuple[Tuple[Tensor, ...], Tensor]


def build_pixel_decoder(variant: SEEMVariant) -> nn.Module:
    """Build the pixel decoder of a variant, with random weights."""
    cls = dict(fpn=TransformerFPN, deformable=DeformableFPN)[variant.pixel_decoder]
    return cls(variant)


class TransformerFPN(nn.Module):
    """A transformer on the coarsest map, and a feature pyramid down to the finest.

    Modules have the names of official files, as keys of ``sem_seg_head.pixel_decoder``.

    Args:
        variant: The geometry.

    Shape:
        Input: maps (B, D_i, h_i, w_i) at 1/4, 1/8, 1/16 and 1/32 of the image.
        Output: levels (B, D, h_i, w_i) at 1/8, 1/16 and 1/32, and mask features (B, D, h, w) at
        1/4.
    """

    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__()
        dims, layers = variant.hidden_dims, variant.encoder_layers
        self.input_proj = nn.Conv2d(variant.widths[-1], dims, 1)
        self.transformer = _Transformer(
            _EncoderLayer(dims, variant.num_heads, variant.feedforward_dims) for _ in range(layers)
        )
        self.adapter_1, self.adapter_2, self.adapter_3 = (
            _NormedConv(width, dims, 1) for width in variant.widths[:-1]
        )
        self.layer_1, self.layer_2, self.layer_3, self.layer_4 = (
            _NormedConv(dims, dims, 3) for _ in variant.widths
        )
        self.mask_features = nn.Conv2d(dims, dims, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """Decode the maps of a backbone, given from fine to coarse."""
        coarsest = self.input_proj(maps[-1])
        y = F.relu(self.layer_4(self._encode(coarsest)))
        levels = [y]
        steps = ((self.adapter_3, self.layer_3), (self.adapter_2, self.layer_2))
        for (adapter, layer), finer in zip((*steps, (self.adapter_1, self.layer_1)), maps[-2::-1]):
            above = F.interpolate(y, size=finer.shape[-2:], mode='nearest')
            y = F.relu(layer(adapter(finer) + above))
            levels.append(y)
        finest = levels.pop()  # at 1/4
        return tuple(levels[::-1]), self.mask_features(finest)

    def _encode(self, coarsest: Tensor) -> Tensor:
        place = encode_places(coarsest).flatten(1).t()
        x = coarsest.flatten(2).transpose(1, 2)  # (B, hw, D)
        for layer in self.transformer.encoder.layers:
            x = layer(x, place)
        encoded: Tensor = x.transpose(1, 2).unflatten(2, tuple(coarsest.shape[-2:]))
        return encoded


class DeformableFPN(nn.Module):
    """Deformable attention over the three coarse maps, and one step down to the finest.

    In plain PyTorch, and in float32 under autocast too, as the official one. Modules have the names
    of official files, as keys of ``sem_seg_head.pixel_decoder``.

    Args:
        variant: The geometry.

    Shape:
        As :class:`TransformerFPN`.
    """

    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__()
        dims, coarse = variant.hidden_dims, variant.widths[:0:-1]
        self.input_proj = nn.ModuleList(  # from coarse to fine
            nn.Sequential(nn.Conv2d(width, dims, 1), nn.GroupNorm(_GROUPS, dims))
            for width in coarse
        )
        self.transformer = _Transformer(
            _DeformableLayer(dims, variant.num_heads, variant.deformable_dims, len(coarse))
            for _ in range(variant.encoder_layers)
        )
        self.transformer.level_embed = nn.Parameter(torch.randn(len(coarse), dims))
        self.adapter_1 = _NormedConv(variant.widths[0], dims, 1)
        self.layer_1 = _NormedConv(dims, dims, 3)
        self.mask_features = nn.Conv2d(dims, dims, 1)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """Decode the maps of a backbone, given from fine to coarse."""
        with torch.autocast(maps[0].device.type, enabled=False):
            finest, *others = (each.float() for each in maps)
            levels = self._encode([p(x) for p, x in zip(self.input_proj, others[::-1])])
            above = F.interpolate(
                levels[-1], size=finest.shape[-2:], mode='bilinear', align_corners=False
            )
            y = F.relu(self.layer_1(self.adapter_1(finest) + above))
            return tuple(levels[::-1]), self.mask_features(y)

    def _encode(self, maps: Sequence[Tensor]) -> List[Tensor]:
        """Maps of one width, from coarse to fine, looking at each other."""
        sizes = [(each.shape[-2], each.shape[-1]) for each in maps]
        x = torch.cat([each.flatten(2).transpose(1, 2) for each in maps], dim=1)  # (B, L, D)
        embeds = self.transformer.level_embed
        places = [encode_places(m).flatten(1).t() + embed for m, embed in zip(maps, embeds)]
        centres = torch.cat([_pixel_centres(size, x) for size in sizes])  # (L, 2)
        for layer in self.transformer.encoder.layers:
            x = layer(x, torch.cat(places), centres, sizes)
        parts = x.transpose(1, 2).split([height * width for height, width in sizes], dim=2)
        return [part.unflatten(2, size) for part, size in zip(parts, sizes)]


class _NormedConv(nn.Conv2d):
    """A convolution without bias, that keeps the size, and its group normalisation."""

    def __init__(self, in_dims: int, out_dims: int, kernel: int) -> None:
        super().__init__(in_dims, out_dims, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, out_dims)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(super().forward(x))
        return normalised


class _Layers(nn.Module):
    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class _Transformer(nn.Module):
    """Only its names: ``encoder.layers``."""

    level_embed: nn.Parameter

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.encoder = _Layers(layers)


class _PostNormLayer(nn.Module):
    """Self-attention and FFN, each normalised after its sum."""

    def __init__(self, self_attn: nn.Module, dims: int, feedforward_dims: int) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.linear1 = nn.Linear(dims, feedforward_dims)
        self.linear2 = nn.Linear(feedforward_dims, dims)
        self.norm1, self.norm2 = nn.LayerNorm(dims), nn.LayerNorm(dims)

    def add(self, x: Tensor, attended: Tensor) -> Tensor:
        """Everything behind the attention."""
        x = self.norm1(x + attended)
        normalised: Tensor = self.norm2(x + self.linear2(F.relu(self.linear1(x))))
        return normalised


class _EncoderLayer(_PostNormLayer):
    self_attn: nn.MultiheadAttention

    def __init__(self, dims: int, num_heads: int, feedforward_dims: int) -> None:
        super().__init__(nn.MultiheadAttention(dims, num_heads), dims, feedforward_dims)

    def forward(self, x: Tensor, place: Tensor) -> Tensor:
        positioned = x + place
        return self.add(x, attend(self.self_attn, positioned, positioned, x))


class _DeformableLayer(_PostNormLayer):
    def __init__(self, dims: int, num_heads: int, feedforward_dims: int, num_levels: int) -> None:
        attention = _DeformableAttention(dims, num_heads, num_levels)
        super().__init__(attention, dims, feedforward_dims)

    def forward(
        self, x: Tensor, place: Tensor, centres: Tensor, sizes: Sequence[Tuple[int, int]]
    ) -> Tensor:
        return self.add(x, self.self_attn(x + place, x, centres, sizes))


class _DeformableAttention(nn.Module):
    """Each query looks at a few points of each level, which it chooses itself."""

    def __init__(self, dims: int, num_heads: int, num_levels: int) -> None:
        super().__init__()
        self.shape = (num_heads, num_levels, _POINTS)
        count = num_heads * num_levels * _POINTS
        self.sampling_offsets = nn.Linear(dims, 2 * count)
        self.attention_weights = nn.Linear(dims, count)
        self.value_proj = nn.Linear(dims, dims)
        self.output_proj = nn.Linear(dims, dims)

    def forward(
        self, query: Tensor, x: Tensor, centres: Tensor, sizes: Sequence[Tuple[int, int]]
    ) -> Tensor:
        """Attend to all levels.

        Args:
            query: (B, L, D).
            x: (B, L, D), the levels one behind the other.
            centres: (L, 2), where queries are, x before y, in fractions of the frame.
            sizes: (h, w) of each level.
        """
        batch, length, dims = x.shape
        heads = self.shape[0]
        offsets = self.sampling_offsets(query).unflatten(-1, (*self.shape, 2))
        weights = self.attention_weights(query).unflatten(-1, (heads, -1)).softmax(dim=-1)
        weights = weights.unflatten(-1, (*self.shape[1:], 1))  # (B, L, heads, levels, points, 1)
        if is_exporting():
            sampled = _sample_levels(self.value_proj(x), centres, offsets, weights, sizes)
            exported: Tensor = self.output_proj(sampled)
            return exported
        cells, shares = _find_cells(centres, offsets, sizes)
        # Values have a row for each image, cell and head, of which each query sums some by their
        # weights. ``grid_sample`` reads each channel apart, in three times the time on CPUs.
        images, numbers = (
            torch.arange(n, dtype=cells.dtype, device=x.device) for n in (batch, heads)
        )
        cells = cells.add_(length * images.view(-1, 1, 1, 1, 1, 1)).mul_(heads)
        seen = F.embedding_bag(
            cells.add_(numbers.view(-1, 1, 1, 1)).flatten(0, 2).flatten(1),
            self.value_proj(x).reshape(-1, dims // heads),
            per_sample_weights=(weights * shares).flatten(0, 2).flatten(1),
            mode='sum',
        )
        attended: Tensor = self.output_proj(seen.view_as(query))
        return attended


def _sample_levels(
    values: Tensor,
    centres: Tensor,
    offsets: Tensor,
    weights: Tensor,
    sizes: Sequence[Tuple[int, int]],
) -> Tensor:
    """What :class:`_DeformableAttention` sees, by operators that other runtimes have: (B, L, D).

    Args:
        values: (B, L, D).
        centres: As for :func:`_find_cells`.
        offsets: As for :func:`_find_cells`.
        weights: (B, L, heads, levels, points, 1).
        sizes: (h, w) of each level.
    """
    heads, start = offsets.shape[2], 0
    seen = []
    for level, (height, width) in enumerate(sizes):
        own = values[:, start : start + height * width].unflatten(-1, (heads, -1))
        start += height * width
        maps = own.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, (height, width))
        sides = centres.new_tensor([width, height])
        places = 2 * centres[:, None, None] + 2 * offsets[:, :, :, level] / sides - 1
        grid = places.transpose(1, 2).flatten(0, 1)  # (B * heads, L, points, 2)
        sampled = F.grid_sample(maps, grid, padding_mode='zeros', align_corners=False)
        shares = weights[:, :, :, level, :, 0].transpose(1, 2).flatten(0, 1)
        seen.append((sampled * shares.unsqueeze(1)).sum(dim=-1))  # (B * heads, D / heads, L)
    total: Tensor = torch.stack(seen).sum(dim=0).unflatten(0, (-1, heads))
    return total.flatten(1, 2).transpose(1, 2)


def _find_cells(
    centres: Tensor, offsets: Tensor, sizes: Sequence[Tuple[int, int]]
) -> Tuple[Tensor, Tensor]:
    """The four cells around each point, for bilinear interpolation with zeros outside.

    Args:
        centres: (L, 2), where queries are, x before y, in fractions of the frame.
        offsets: (B, L, heads, levels, points, 2) to their points, in cells of each level.
        sizes: (h, w) of each level.

    Returns:
        Numbers of cells (B, L, heads, levels, points, 4) int32, counted through all levels, and
        their shares, which are 0 outside of the level.
    """
    cells, shares, start = [], [], 0
    for level, (height, width) in enumerate(sizes):
        columns, rows = (
            _find_beside(centres[:, None, None, axis], offsets[:, :, :, level, :, axis], side)
            for axis, side in enumerate((width, height))
        )
        pairs = [(row, column) for row in rows for column in columns]
        numbers = [start + row[0] * width + column[0] for row, column in pairs]
        cells.append(torch.stack(numbers, -1))
        shares.append(torch.stack([row[1] * column[1] for row, column in pairs], -1))
        start += height * width
    return torch.stack(cells, dim=3), torch.stack(shares, dim=3)


def _find_beside(centres: Tensor, offsets: Tensor, side: int) -> List[Tuple[Tensor, Tensor]]:
    """Along one axis: the two cells beside each point, and their shares."""
    places = (centres * side - 0.5) + offsets
    low = places.floor()
    part = places - low
    found = []
    for cell, share in ((low, 1 - part), (low + 1, part)):
        inside = cell.clamp(0, side - 1)
        share = share.where(inside == cell, share * 0)  # stays NaN where it is
        found.append((inside.nan_to_num().int(), share))
    return found


def _pixel_centres(size: Tuple[int, int], like: Tensor) -> Tensor:
    """(h * w, 2), x before y, in fractions of the frame."""
    rows, columns = (
        (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) / length
        for length in size
    )
    grid = torch.meshgrid(rows, columns, indexing='ij')
    return torch.stack(grid[::-1], dim=-1).flatten(0, 1)
