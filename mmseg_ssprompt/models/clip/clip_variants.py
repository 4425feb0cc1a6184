"""The geometry of CLIP's image towers."""

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

__all__ = [
    'CLIP_IMAGE_VARIANTS',
    'PIXEL_MEAN',
    'PIXEL_STD',
    'CLIPImageVariant',
    'get_image_variant',
]

#: Statistics of RGB values between 0 and 255 (openai/CLIP clip.py, ``_transform``, times 255).
PIXEL_MEAN = (122.7709383, 116.7460125, 104.09373615)
PIXEL_STD = (68.5005327, 66.6321579, 70.32316305)

#: Patches along a side where features of single places are wanted: 512 pixels of 16 each.
DENSE_SIDE = 32


@dataclass(frozen=True)
class CLIPImageVariant:
    """Sizes of one image tower.

    Attributes:
        width: Width of the transformer's tokens.
        layers: Transformer blocks.
        heads: Attention heads of a block.
        embed_dims: Width ``E`` of the space shared by texts and images.
        patch_size: Side of a patch, in pixels.
        image_size: Side of the images that it was trained with, in pixels.
        official_file: Name of the file that OpenAI published, if any.
    """

    width: int
    layers: int
    heads: int
    embed_dims: int
    patch_size: int
    image_size: int = 224
    official_file: Optional[str] = None

    def count_patches(self, image_size: Optional[int]) -> int:
        """Patches along a side of an image.

        Args:
            image_size: Side in pixels; None for :data:`DENSE_SIDE` patches.

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
        return 1 + self.count_patches(image_size) ** 2, self.width


CLIP_IMAGE_VARIANTS: Dict[str, CLIPImageVariant] = {
    'ViT-B/32': CLIPImageVariant(768, 12, 12, 512, patch_size=32, official_file='ViT-B-32.pt'),
    'ViT-B/16': CLIPImageVariant(768, 12, 12, 512, patch_size=16, official_file='ViT-B-16.pt'),
    'ViT-L/14': CLIPImageVariant(1024, 24, 16, 768, patch_size=14, official_file='ViT-L-14.pt'),
    'tiny': CLIPImageVariant(96, 4, 4, 64, patch_size=8, image_size=96),
}


def get_image_variant(name: str) -> CLIPImageVariant:
    """Look a variant up by name.

    Raises:
        ValueError: If ``name`` is not a key of :data:`CLIP_IMAGE_VARIANTS`.
    """
    if name not in CLIP_IMAGE_VARIANTS:
        raise ValueError(
            f'unknown CLIP image variant {name!r}: expected one of {sorted(CLIP_IMAGE_VARIANTS)}'
        )
    return CLIP_IMAGE_VARIANTS[name]
