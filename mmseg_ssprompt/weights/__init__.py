"""Reading files of weights: strictly, and without running a program in them."""

from .checkpoint_loader import load_from_local, safe_checkpoint_loading

__all__ = ['load_from_local', 'safe_checkpoint_loading']
