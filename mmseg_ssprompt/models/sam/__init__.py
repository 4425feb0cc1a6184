"""The frozen parts of SAM: thin wrappers over segment_anything's own modules."""

from .mask_decoder import SAMMaskDecoder
from .prompt_encoder import SAMPromptEncoder
from .sam_image_encoder import SAMImageEncoder
from .sam_variants import SAM_VARIANTS
from .segmenter import SAMSegmenter

__all__ = ['SAM_VARIANTS', 'SAMImageEncoder', 'SAMMaskDecoder', 'SAMPromptEncoder', 'SAMSegmenter']
