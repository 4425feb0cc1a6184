"""Hooks and optimisation: what surrounds the model while it trains."""

from .checkpoint_loader import load_from_local
from .dataset_check_hook import DatasetCheckHook
from .optim_wrapper_constructor import PromptOptimWrapperConstructor
from .prompt_checkpoint_hook import PromptCheckpointHook
from .trainable_report_hook import TrainableReportHook

__all__ = [
    'DatasetCheckHook',
    'PromptCheckpointHook',
    'PromptOptimWrapperConstructor',
    'TrainableReportHook',
    'load_from_local',
]
