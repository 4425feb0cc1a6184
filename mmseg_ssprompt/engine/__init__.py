"""Hooks and optimisation: what surrounds the model while it trains."""

from .checkpoint_loader import load_checkpoint_file
from .dataset_check_hook import DatasetCheckHook, DatasetError
from .optim_wrapper_constructor import PromptOptimWrapperConstructor
from .prompt_checkpoint_hook import PromptCheckpointHook
from .trainable_report_hook import TrainableReportHook

__all__ = [
    'DatasetCheckHook',
    'DatasetError',
    'PromptCheckpointHook',
    'PromptOptimWrapperConstructor',
    'TrainableReportHook',
    'load_checkpoint_file',
]
