"""Reading files of weights: strictly, and without running a program in them."""

from .checkpoint_loader import load_from_local
from .remote_checkpoints import refuse_url

__all__ = [
    'load_from_local',
    'refuse_url',
]
