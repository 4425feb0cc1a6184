"""What a trained run has learned, and where it fails: numbers first, figures of them second."""

from .class_groups import find_class_groups, mean_by_group
from .context import explain_context_tokens
from .failures import ERROR_TYPES, FailureTotals, analyse_image
from .mask_usage import MaskUsage
from .segmentation import ImageSegmentation, segment_image
from .semantic import explain_semantic_prompts
from .spatial import explain_spatial_prompts
from .vocabulary import default_vocabulary, merge_words, read_words

__all__ = [
    'ERROR_TYPES',
    'FailureTotals',
    'ImageSegmentation',
    'MaskUsage',
    'analyse_image',
    'default_vocabulary',
    'explain_context_tokens',
    'explain_semantic_prompts',
    'explain_spatial_prompts',
    'find_class_groups',
    'mean_by_group',
    'merge_words',
    'read_words',
    'segment_image',
]
