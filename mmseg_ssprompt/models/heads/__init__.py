"""Decode heads."""

from .linear_head import LinearEmbeddingHead
from .ssprompt_head import SSPromptHead

__all__ = ['LinearEmbeddingHead', 'SSPromptHead']
