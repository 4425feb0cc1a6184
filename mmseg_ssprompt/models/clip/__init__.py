"""CLIP, frozen: the image tower beside SAM, and the text tower that encodes class names."""

from .clip_image_encoder import CLIPImageEncoder
from .clip_variants import CLIP_VARIANTS
from .region_read_out import CLIPRegionReadOut
from .sam_clip import SAMCLIPImageEncoder
from .text_encoder import CLIPClassNameEncoder, build_text_encoder, encode_class_names

__all__ = [
    'CLIP_VARIANTS',
    'CLIPClassNameEncoder',
    'CLIPImageEncoder',
    'CLIPRegionReadOut',
    'SAMCLIPImageEncoder',
    'build_text_encoder',
    'encode_class_names',
]
