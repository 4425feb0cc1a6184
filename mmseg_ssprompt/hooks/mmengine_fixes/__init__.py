"""Replacements for parts of mmengine that fail on CPUs, or where only prompts train."""

from .amp_optim_wrapper import PromptAmpOptimWrapper
from .main_process_logger_hook import MainProcessLoggerHook
from .model_wrapper import PromptDistributedDataParallel

__all__ = [
    'MainProcessLoggerHook',
    'PromptAmpOptimWrapper',
    'PromptDistributedDataParallel',
]
