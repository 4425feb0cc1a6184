"""Segmentors."""

from .prompt_segmentor import PromptSegmentor, PromptStateError
from .tta import PromptTTAModel

__all__ = ['PromptSegmentor', 'PromptStateError', 'PromptTTAModel']
