"""Hooks and optimisation: what surrounds the model while it trains."""

from .amp_optim_wrapper import PromptAmpOptimWrapper
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .checkpoint_loader import load_from_local
from .dataset_check_hook import DatasetCheckHook
from .finite_guard_hook import FiniteGuardHook, NonFiniteError
from .main_process_logger_hook import MainProcessLoggerHook
from .model_wrapper import PromptDistributedDataParallel
from .newest_checkpoint import find_newest_checkpoint, list_checkpoints
from .optim_wrapper_constructor import PromptOptimWrapperConstructor
from .output_check_hook import OutputCheckHook
from .preemption_hook import PreemptionHook
from .prompt_checkpoint_hook import PromptCheckpointHook
from .prompt_source import PromptSource, read_prompt_source
from .prompt_transfer import PromptTransferError, TransferReport, transfer_prompts
from .remote_checkpoints import refuse_url
from .run_lock_hook import RunLockHook, WorkDirInUseError, check_unlocked
from .run_record_hook import RunRecordError, RunRecordHook
from .train_loop import ResumableTrainLoop
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
    'PromptSource',
    'PromptTransferError',
    'PromptVisualizationHook',
    'ResumableTrainLoop',
    'RunLockHook',
    'RunRecordError',
    'RunRecordHook',
    'TrainableReportHook',
    'TransferReport',
    'WorkDirInUseError',
    'check_unlocked',
    'find_newest_checkpoint',
    'list_checkpoints',
    'load_from_local',
    'read_prompt_source',
    'refuse_url',
    'transfer_prompts',
]
