"""The prompt learners: what the project exists for."""

from .fusion import FUSION_MODES, PromptFusion
from .semantic import SemanticPromptLearner
from .spatial import CoordinatePromptLearner, SpatialPromptLearner

__all__ = [
    'FUSION_MODES',
    'CoordinatePromptLearner',
    'PromptFusion',
    'SemanticPromptLearner',
    'SpatialPromptLearner',
]
