"""The frozen parts of SEEM, by the names of its official files."""

from .seem_image_encoder import SEEMImageEncoder
from .seem_segmenter import SEEMSegmenter
from .seem_text_encoder import SEEMTextEncoder
from .seem_variants import SEEM_VARIANTS

__all__ = ['SEEM_VARIANTS', 'SEEMImageEncoder', 'SEEMSegmenter', 'SEEMTextEncoder']
