"""Replacements for parts of mmengine that fail on CPUs, or where only prompts train.

Each class says which releases of mmengine need it.
"""

from .amp_optim_wrapper import PromptAmpOptimWrapper
from .main_process_logger_hook import MainProcessLoggerHook
from .model_wrapper import PromptDistributedDataParallel
from .optim_wrapper_constructor import PromptOptimWrapperConstructor

__all__ = [
    'MainProcessLoggerHook',
    'PromptAmpOptimWrapper',
    'PromptDistributedDataParallel',
    'PromptOptimWrapperConstructor',
]
