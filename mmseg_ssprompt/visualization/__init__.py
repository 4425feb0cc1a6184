"""Pictures of what was learned."""

from .comparison import Comparison, Scene, draw_comparison
from .labels import colour_labels

__all__ = ['Comparison', 'Scene', 'colour_labels', 'draw_comparison']
