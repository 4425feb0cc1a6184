"""Figures of the analyses."""

from .failures import FailedScene, draw_error_types, draw_worst_images
from .masks import draw_mask_usage
from .semantic import draw_semantic_prompts
from .spatial import draw_spatial_prompts

__all__ = [
    'FailedScene',
    'draw_error_types',
    'draw_mask_usage',
    'draw_semantic_prompts',
    'draw_spatial_prompts',
    'draw_worst_images',
]
