"""SAM's ViT as SEEM has it: with a feature pyramid for a neck."""

from functools import partial
from typing import Tuple

from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from ..sam.vit import encode_patches
from .seem_variants import SEEMVariant

__all__ = ['SAMViTPyramid']

_PATCH_SIZE, _WINDOW_SIZE = 16, 14


class SAMViTPyramid(ImageEncoderViT):
    """segment_anything's image encoder, whose one map is made into four.

    Args:
        variant: One with the backbone ``'sam_vit'``.

    Shape:
        - Input: (B, 3, H, W) float, of the variant's frame: positional embeddings are added as
          they are.
        - Output: maps (B, width, h, w) at 1/4, 1/8, 1/16 and 1/32.
    """

    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__(
            img_size=variant.divisor,
            patch_size=_PATCH_SIZE,
            embed_dim=variant.vit_width,
            depth=variant.depths[0],
            num_heads=variant.heads[0],
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=_WINDOW_SIZE,
            global_attn_indexes=variant.global_attn_indexes,
        )
        self.neck = _Pyramid(variant.vit_width, variant.widths)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Encode images (B, 3, H, W): maps from fine to coarse."""
        maps: Tuple[Tensor, ...] = self.neck(encode_patches(self, x).permute(0, 3, 1, 2))
        return maps


class _Pyramid(nn.Module):
    """From a map (B, width, h, w) to maps of twice and four times the size, of its own, of half."""

    def __init__(self, width: int, widths: Tuple[int, int, int, int]) -> None:
        super().__init__()
        half, double = max(256, width // 2), max(1024, 2 * width)
        self.down_4 = nn.Sequential(
            *(nn.ConvTranspose2d(width, half, 2, stride=2), _norm(half), nn.GELU()),
            *(nn.ConvTranspose2d(half, half // 2, 2, stride=2), _norm(half // 2)),
            *(nn.Conv2d(half // 2, widths[0], 1), _norm(widths[0]), nn.GELU()),
        )
        self.down_8 = nn.Sequential(
            *(nn.ConvTranspose2d(width, half, 2, stride=2), _norm(half)),
            *(nn.Conv2d(half, widths[1], 1), _norm(widths[1]), nn.GELU()),
        )
        self.down_16 = nn.Sequential(
            *(nn.Conv2d(width, widths[2], 1), _norm(widths[2]), nn.GELU()),
        )
        self.down_32 = nn.Sequential(
            *(nn.Conv2d(width, double, 2, stride=2), _norm(double)),
            *(nn.Conv2d(double, widths[3], 1), _norm(widths[3]), nn.GELU()),
        )

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        return self.down_4(x), self.down_8(x), self.down_16(x), self.down_32(x)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(1, channels)
