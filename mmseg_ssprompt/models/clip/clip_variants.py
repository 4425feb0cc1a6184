"""The geometry of CLIP's models."""

from dataclasses import dataclass
from typing import Dict, NamedTuple, Optional, Tuple

from ..base import find_variant

__all__ = ['CLIP_VARIANTS', 'PIXEL_MEAN', 'PIXEL_STD', 'CLIPVariant', 'get_clip_variant']

#: Statistics of RGB values between 0 and 255 (openai/CLIP clip.py, ``_transform``, times 255).
PIXEL_MEAN = (122.7709383, 116.7460125, 104.09373615)
PIXEL_STD = (68.5005327, 66.6321579, 70.32316305)

#: Patches along a side where features of single places are wanted: 512 pixels of 16 each.
DENSE_SIDE = 32


class Tower(NamedTuple):
    """Width of a transformer's tokens, number of its blocks and of the heads of a block."""

    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class CLIPVariant:
    """Sizes of one CLIP."""

    image: Tower
    text: Tower
    embed_dims: int  # E, the width of the space shared by texts and images
    patch_size: int  # in pixels
    image_size: int = 224  # side of the images that it was trained with, in pixels
    official_file: Optional[str] = None  # of OpenAI

    def count_patches(self, image_size: Optional[int]) -> int:
        """Patches along a side of an image of this many pixels; :data:`DENSE_SIDE` for None.

        Raises:
            ValueError: If it is no multiple of the patch size.
        """
        if image_size is None:
            return DENSE_SIDE
        side, left_over = divmod(image_size, self.patch_size)
        if side < 1 or left_over:
            raise ValueError(
                f'image_size: expected a multiple of the {self.patch_size} pixels of a patch, got '
                f'{image_size}'
            )
        return side

    def tokens_shape(self, image_size: Optional[int]) -> Tuple[int, int]:
        """Number and width of the tokens of an image, with its class token."""
        return 1 + self.count_patches(image_size) ** 2, self.image.width


#: CLIP's variants by name.
CLIP_VARIANTS: Dict[str, CLIPVariant] = {
    'ViT-B/32': CLIPVariant(
        Tower(768, 12, 12), Tower(512, 12, 8), 512, 32, official_file='ViT-B-32.pt'
    ),
    'ViT-B/16': CLIPVariant(
        Tower(768, 12, 12), Tower(512, 12, 8), 512, 16, official_file='ViT-B-16.pt'
    ),
    'ViT-L/14': CLIPVariant(
        Tower(1024, 24, 16), Tower(768, 12, 12), 768, 14, official_file='ViT-L-14.pt'
    ),
    'tiny': CLIPVariant(Tower(96, 4, 4), Tower(32, 2, 2), 64, 8, image_size=96),
}


def get_clip_variant(name: str) -> CLIPVariant:
    """Look a variant up by name.

    Raises:
        ValueError: If ``name`` is not a key of :data:`CLIP_VARIANTS`.
    """
    return find_variant(CLIP_VARIANTS, name, 'CLIP')


def where_to_get(variant: str = 'ViT-B/16') -> str:
    """Say which file a variant needs and where it is published."""
    file = get_clip_variant(variant).official_file
    if file is None:
        return 'This variant comes with the package: give mmseg_ssprompt://NAME.'
    return f'Download {file} of github.com/openai/CLIP and give its path.'
