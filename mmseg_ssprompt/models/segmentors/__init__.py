"""Segmentors."""

from .prompt_segmentor import PromptSegmentor, PromptStateError

__all__ = ['PromptSegmentor', 'PromptStateError']
