"""CLIP's image tower, frozen, alone and beside SAM's."""

from .image_encoder import CLIPImageEncoder
from .sam_clip import SAMCLIPImageEncoder
from .variants import CLIP_IMAGE_VARIANTS

__all__ = ['CLIP_IMAGE_VARIANTS', 'CLIPImageEncoder', 'SAMCLIPImageEncoder']
