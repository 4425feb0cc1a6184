"""Whether a model is being traced for export, where shapes are symbols."""

import torch

__all__ = ['is_exporting']


def is_exporting() -> bool:
    """Whether ``torch.export`` traces: what depends on numbers of images must not decide then."""
    asked = getattr(torch.compiler, 'is_exporting', None)  # since torch 2.7
    return asked is not None and bool(asked())
