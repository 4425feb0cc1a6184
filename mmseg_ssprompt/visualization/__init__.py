"""Pictures of what was learned."""

from .comparison import Comparison, Scene, draw_comparison

__all__ = ['Comparison', 'Scene', 'draw_comparison']
