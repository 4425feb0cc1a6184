"""The frozen parts of SAM: thin wrappers over segment_anything's own modules."""

from .image_encoder import SAMImageEncoder
from .mask_decoder import SAMMaskDecoder
from .prompt_encoder import SAMPromptEncoder
from .variants import SAM_VARIANTS

__all__ = ['SAM_VARIANTS', 'SAMImageEncoder', 'SAMMaskDecoder', 'SAMPromptEncoder']
