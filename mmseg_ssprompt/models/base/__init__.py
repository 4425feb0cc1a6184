"""What base models have in common."""

from .frozen import FrozenModule

__all__ = [
    'FrozenModule',
]
