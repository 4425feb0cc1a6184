"""The prompt learners: what the project exists for."""

from .bridge import BridgeFusion
from .context import ContextPromptLearner
from .decoder_bridges import DecoderBridges
from .deep_prompts import DeepPrompts
from .fusion import FUSION_MODES, PromptFusion
from .semantic import SemanticPromptLearner
from .spatial import CoordinatePromptLearner, SpatialPromptLearner

__all__ = [
    'FUSION_MODES',
    'BridgeFusion',
    'ContextPromptLearner',
    'CoordinatePromptLearner',
    'DecoderBridges',
    'DeepPrompts',
    'PromptFusion',
    'SemanticPromptLearner',
    'SpatialPromptLearner',
]
