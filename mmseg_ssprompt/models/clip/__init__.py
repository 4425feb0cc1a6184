"""CLIP's image tower, frozen: its blocks beside SAM's, and its last one for what masks show."""

from .image_encoder import CLIPImageEncoder
from .region_read_out import CLIPRegionReadOut
from .sam_clip import SAMCLIPImageEncoder
from .variants import CLIP_IMAGE_VARIANTS

__all__ = ['CLIP_IMAGE_VARIANTS', 'CLIPImageEncoder', 'CLIPRegionReadOut', 'SAMCLIPImageEncoder']
