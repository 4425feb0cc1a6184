"""Learned prompts for others: what ``mmseg-ssprompt publish`` does."""

from .publishing import Publication, publish

__all__ = ['Publication', 'publish']
