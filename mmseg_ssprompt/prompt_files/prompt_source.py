"""Trained prompts as they lie on disk, with what they say of themselves."""

from os import PathLike
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Optional, Tuple, Union

from torch import Tensor

from ..weights.checkpoint_loader import load_from_local
from ..weights.state_dicts import CheckpointError
from .prompt_file import get_metadata

__all__ = ['PromptSource', 'read_prompt_source']


class PromptSource(NamedTuple):
    """Trained prompts, and how they were configured.

    Attributes:
        state_dict: Tensors by the names of a ``PromptSegmentor``.
        metadata: What the state dict says of itself (``describe_prompts``).
        name: Where they come from, for errors.
    """

    state_dict: Mapping[str, Tensor]
    metadata: Mapping[str, Any]
    name: str

    @property
    def class_names(self) -> Tuple[str, ...]:
        """The readable names of the classes, in the order of the rows of the semantic prompts."""
        return tuple(self.metadata['class_names'])

    def kind(self, part: str) -> Tuple[str, Optional[str]]:
        """Type and fusion of the prompts of a part, ``'spatial'`` or ``'semantic'``.

        The fusion is None for prompts that are not mixed with handcrafted ones.
        """
        described = self.metadata.get(f'{part}_prompts', {})
        return str(described.get('type')), described.get('fusion')

    def trains(self, part: str) -> bool:
        """Whether a part of the head, such as ``'classifier'``, trained with the prompts."""
        return part in self.metadata['trained']


def read_prompt_source(checkpoint: Union[str, 'PathLike[str]']) -> PromptSource:
    """Read a checkpoint of prompts, and how they were configured.

    Args:
        checkpoint: A file of tensors and plain values, as ``PromptCheckpointHook`` saves it, or
            ``.safetensors``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, or holds no state dict of prompts.
    """
    file = Path(checkpoint).expanduser()
    state_dict = load_from_local(str(file), 'cpu')['state_dict']
    name = f'checkpoint {str(file)!r}'
    metadata = get_metadata(state_dict, name)
    if not metadata:
        raise CheckpointError(
            f'{name}: expected prompts that this package has saved, found no metadata of prompts '
            f'beside {len(state_dict)} entries. Give the checkpoint of a training'
        )
    return PromptSource(state_dict, metadata, name)
