"""Decode heads."""

from .ssprompt_head import SSPromptHead

__all__ = ['SSPromptHead']
