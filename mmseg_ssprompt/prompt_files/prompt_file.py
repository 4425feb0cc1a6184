"""Files of trained prompts: in the formats of torch and of safetensors, written as a whole."""

import io
import logging
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..files import write_atomically
from ..module_metadata import get_module_metadata, set_module_metadata
from ..plain import to_json, to_plain
from ..weights.checkpoint_loader import load_from_local
from ..weights.safetensors_file import SUFFIX, pack_safetensors
from ..weights.state_dicts import FILE_KEY, CheckpointError
from ..weights.tensor_checks import check_finite, find_tensor_problem
from .prompt_metadata import METADATA_KEY, find_metadata_problem

__all__ = ['SUFFIXES', 'PromptSource', 'get_metadata', 'read_prompt_source', 'write_prompts']

#: What a file of prompts may end with.
SUFFIXES = ('.pth', '.pt', SUFFIX)


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


def get_metadata(state_dict: Mapping[str, Tensor], name: str) -> Dict[str, Any]:
    """What a state dict says of its prompts; see ``describe_prompts``.

    Args:
        state_dict: Tensors by name, as they were read.
        name: Where they come from, for the error.

    Returns:
        The metadata; empty if the state dict has none.

    Raises:
        CheckpointError: If it is not as this package writes it.
    """
    found = get_module_metadata(state_dict).get('', {})
    if METADATA_KEY not in found:
        return {}
    problem = find_metadata_problem(found[METADATA_KEY])
    if problem is not None:
        raise CheckpointError(f'{name}, metadata of the prompts, {problem}')
    return dict(found[METADATA_KEY])


def write_prompts(state_dict: Mapping[str, Tensor], meta: Mapping[str, Any], file: Path) -> None:
    """Write prompts, and what is said of them; a half-written file never has its name.

    Args:
        state_dict: Tensors by name, with torch's ``_metadata``, which is kept.
        meta: Of mmengine's checkpoints: the config, the classes, the number of iterations. What a
            ``.safetensors`` file has no place for is left out, and the log says so.
        file: Its path, with one of :data:`SUFFIXES`; folders are made.

    Raises:
        ValueError: If the path has another suffix.
        CheckpointError: If there is something else than dense tensors of numbers.
        NonFinitePromptsError: If numbers are NaN or infinite.
    """
    if file.suffix not in SUFFIXES:
        raise ValueError(
            f'cannot write {str(file)!r}: expected a name that ends with one of {SUFFIXES}'
        )
    for key, value in state_dict.items():
        like = torch.empty(0, dtype=getattr(value, 'dtype', None))
        problem = find_tensor_problem(value, like, any_shape=True)
        if problem is not None:
            raise CheckpointError(f'cannot write {str(file)!r}: {key}: {problem}')
    check_finite(state_dict, 'state_dict')
    kept = OrderedDict(state_dict)
    metadata = OrderedDict(
        (name, {key: value for key, value in entry.items() if key != FILE_KEY})
        for name, entry in get_module_metadata(state_dict).items()
    )
    set_module_metadata(kept, metadata)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == SUFFIX:
        write_atomically(file, pack_safetensors(kept, _keep_texts(meta)))
        return
    content = io.BytesIO()
    torch.save(to_plain(dict(meta=dict(meta), state_dict=kept)), content)
    write_atomically(file, content.getbuffer())


def _keep_texts(meta: Mapping[str, Any]) -> Dict[str, Any]:
    """What can be written as text."""
    kept: Dict[str, Any] = {}
    left_out = []
    for key, value in meta.items():
        try:
            to_json(value)
            kept[key] = value
        except ValueError:
            left_out.append(f'meta.{key}')
    if left_out:
        print_log(
            f'{", ".join(left_out)}: not written, since there are tensors in it',
            'current',
            logging.WARNING,
        )
    return kept
