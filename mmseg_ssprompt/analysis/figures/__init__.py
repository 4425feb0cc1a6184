"""Figures of the analyses, and of predictions before and after."""

from .comparison import Comparison, PromptMark, Scene, draw_comparison
from .failures import FailedScene, draw_error_types, draw_worst_images
from .labels import colour_labels
from .masks import draw_mask_usage
from .semantic import draw_semantic_prompts
from .spatial import draw_spatial_prompts

__all__ = [
    'Comparison',
    'FailedScene',
    'PromptMark',
    'Scene',
    'colour_labels',
    'draw_comparison',
    'draw_error_types',
    'draw_mask_usage',
    'draw_semantic_prompts',
    'draw_spatial_prompts',
    'draw_worst_images',
]
