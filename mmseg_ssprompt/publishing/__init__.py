"""Learned prompts for others: what ``mmseg-ssprompt publish`` does."""

from .publish import Publication, publish

__all__ = ['Publication', 'publish']
