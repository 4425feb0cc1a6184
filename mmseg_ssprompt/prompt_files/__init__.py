"""Learned prompts as files: written, read, inspected, and taken to other classes."""

from .prompt_file import PromptSource, read_prompt_source
from .transfer import PromptTransferError, TransferReport, transfer_prompts

__all__ = [
    'PromptSource',
    'PromptTransferError',
    'TransferReport',
    'read_prompt_source',
    'transfer_prompts',
]
