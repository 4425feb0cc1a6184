"""The geometry of CLIP's text towers."""

from dataclasses import dataclass
from typing import Dict, Optional

__all__ = ['CLIP_TEXT_VARIANTS', 'CLIPTextVariant', 'get_text_variant']


@dataclass(frozen=True)
class CLIPTextVariant:
    """Sizes of one text tower; the defaults are those shared by all of OpenAI's models.

    Attributes:
        width: Width of the transformer's tokens.
        layers: Transformer blocks.
        heads: Attention heads of a block.
        embed_dims: Width ``E`` of the space shared by texts and images.
        official_file: Name of the file that OpenAI published, if any.
        patch_size: Side of the image tower's patch, in pixels. Nothing here uses the image tower,
            but it is what tells apart files whose text towers have the same shapes.
        vocab_size: Tokens of the byte-pair encoding.
        context_length: Longest text, in tokens, with those of its start and end.
    """

    width: int
    layers: int
    heads: int
    embed_dims: int
    official_file: Optional[str] = None
    patch_size: Optional[int] = None
    vocab_size: int = 49408
    context_length: int = 77


CLIP_TEXT_VARIANTS: Dict[str, CLIPTextVariant] = {
    'ViT-B/32': CLIPTextVariant(512, 12, 8, 512, 'ViT-B-32.pt', patch_size=32),
    'ViT-B/16': CLIPTextVariant(512, 12, 8, 512, 'ViT-B-16.pt', patch_size=16),
    'ViT-L/14': CLIPTextVariant(768, 12, 12, 768, 'ViT-L-14.pt', patch_size=14),
    'tiny': CLIPTextVariant(32, 2, 2, 64),
}


def get_text_variant(name: str) -> CLIPTextVariant:
    """Look a variant up by name.

    Raises:
        ValueError: If ``name`` is not a key of :data:`CLIP_TEXT_VARIANTS`.
    """
    if name not in CLIP_TEXT_VARIANTS:
        raise ValueError(
            f'unknown CLIP text variant {name!r}: expected one of {sorted(CLIP_TEXT_VARIANTS)}'
        )
    return CLIP_TEXT_VARIANTS[name]
