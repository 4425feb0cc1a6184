"""Classifiers: from decoded masks and semantic prompts to class logits."""

from .token_classifier import TokenClassifier

__all__ = ['TokenClassifier']
