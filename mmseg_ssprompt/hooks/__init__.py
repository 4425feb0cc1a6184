"""Hooks and loops: what surrounds the model while it trains."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .dataset_check_hook import DatasetCheckHook
from .early_stopping_hook import ResumableEarlyStoppingHook
from .finite_guard_hook import FiniteGuardHook, NonFiniteError
from .loops import PromptTestLoop, PromptValLoop, ResumableTrainLoop
from .mmengine_fixes import (
    MainProcessLoggerHook,
    PromptAmpOptimWrapper,
    PromptDistributedDataParallel,
    PromptOptimWrapperConstructor,
)
from .newest_checkpoint import find_newest_checkpoint, list_checkpoints
from .output_check_hook import OutputCheckHook
from .preemption_hook import PreemptionHook
from .prompt_checkpoint_hook import PromptCheckpointHook
from .run_lock_hook import RunLockHook, WorkDirInUseError, check_unlocked
from .run_record_hook import RunRecordError, RunRecordHook
from .segment_visualizer import SegmentVisualizer
from .trainable_report_hook import TrainableReportHook
from .visualization_hook import PromptVisualizationHook

__all__ = [
    'AtomicCheckpointHook',
    'DatasetCheckHook',
    'FiniteGuardHook',
    'MainProcessLoggerHook',
    'NonFiniteError',
    'OutputCheckHook',
    'PreemptionHook',
    'PromptAmpOptimWrapper',
    'PromptCheckpointHook',
    'PromptDistributedDataParallel',
    'PromptOptimWrapperConstructor',
    'PromptTestLoop',
    'PromptValLoop',
    'PromptVisualizationHook',
    'ResumableEarlyStoppingHook',
    'ResumableTrainLoop',
    'RunLockHook',
    'RunRecordError',
    'RunRecordHook',
    'SegmentVisualizer',
    'TrainableReportHook',
    'WorkDirInUseError',
    'check_unlocked',
    'find_newest_checkpoint',
    'list_checkpoints',
]
