"""Classifiers: from decoded masks and semantic prompts to class logits."""

from .base_model_classifier import BaseModelClassifier
from .ensemble_classifier import EnsembleClassifier
from .region_classifier import CLIPRegionClassifier
from .token_classifier import TokenClassifier

__all__ = ['BaseModelClassifier', 'CLIPRegionClassifier', 'EnsembleClassifier', 'TokenClassifier']
