"""Reading files of pre-trained weights, with errors that say what is wrong with them.

Nothing here runs code from a file, and nothing is loaded in part: either every key and every shape
agrees with the module, or a :class:`CheckpointError` says which does not.
"""

import logging
import re
import tarfile
import zipfile
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..module_metadata import get_module_metadata, set_module_metadata
from ..plain import shorten
from .safetensors_file import SUFFIX, read_safetensors
from .tensor_checks import count_non_finite, find_tensor_problem

__all__ = ['CheckpointError', 'load_strictly', 'read_checkpoint', 'resolve_checkpoint_path']

#: How a config names a file; see :func:`resolve_checkpoint_path`.
FilePath = Union[str, 'PathLike[str]']
#: Paths that begin with this name a file that comes with the package.
ASSETS_SCHEME = 'mmseg_ssprompt://'
#: Key in `state_dict._metadata['']` that holds the path of the source file.
FILE_KEY = 'file'
_ASSETS_DIR = Path(__file__).resolve().parent.parent / 'assets'
_MAX_SHOWN = 5
_EXPECTED = 'expected a state dict of tensors, as torch.save or safetensors write it'


class CheckpointError(ValueError):
    """A file of weights that cannot be read, or does not fit the module it is meant for."""


def resolve_checkpoint_path(path: FilePath) -> Path:
    """Turn a checkpoint argument of a config into the path of a local file.

    Args:
        path: A path, where ``~`` is the home directory, or ``mmseg_ssprompt://NAME`` for the file
            ``NAME`` among the package's assets.

    Raises:
        CheckpointError: If ``path`` is a URL.
    """
    text = str(path)
    if text.startswith(ASSETS_SCHEME):
        return _ASSETS_DIR / text[len(ASSETS_SCHEME) :]
    if '://' in text:
        raise CheckpointError(
            f'checkpoint {text!r} is a URL: nothing is fetched from the network, so download the '
            f'file and give its path (or {ASSETS_SCHEME}NAME for a file of the package)'
        )
    return Path(text).expanduser()


def find_file_state(path: Optional[FilePath]) -> Optional[Tuple[Path, int, int]]:
    """A file with its size and time, by which what was read from it can be kept.

    Args:
        path: As for :func:`resolve_checkpoint_path`, or None.

    Returns:
        The local file, its bytes and its time in ns; None if none is named, or it is not there.
    """
    file = None if path is None else resolve_checkpoint_path(path)
    if file is None or not file.is_file():
        return None
    state = file.stat()
    return file, state.st_size, state.st_mtime_ns


def describe_checkpoint(path: FilePath) -> str:
    """A checkpoint in words, for errors."""
    return f'checkpoint {str(resolve_checkpoint_path(path))!r}'


def is_asset(file: Path) -> bool:
    """Whether a file comes with the package."""
    return _ASSETS_DIR in file.resolve().parents


def read_checkpoint(path: FilePath, *, remedy: str = '') -> Dict[str, Tensor]:
    """Read a state dict safely: tensors only, memory-mapped, on the CPU.

    A state dict inside other dicts, as trainers save it (``{'model': ..., 'epoch': 3}``), is taken
    out, where there is only one.

    Args:
        path: Of a safetensors file, or one that ``torch.save`` wrote.
        remedy: What to do if the file is not there, added to the error. Defaults to ''.

    Returns:
        Tensors by name, with what torch keeps beside them in ``_metadata``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it holds anything but a state dict of tensors.
    """
    file = resolve_checkpoint_path(path)
    if not file.is_file():
        state = 'is a directory' if file.is_dir() else 'does not exist'
        raise FileNotFoundError(f'checkpoint {str(file)!r} {state}. {remedy}'.rstrip())
    content = read_safetensors_file(file)[0] if _is_safetensors(file) else read_torch_file(file)
    found = _find_state_dicts(content)
    if len(found) > 1:
        names = [f'{name or "itself"!r} ({len(each)} entries)' for name, each in found[:_MAX_SHOWN]]
        raise CheckpointError(
            f'{_describe(file)} it holds {len(found)} of them: {", ".join(names)}. Save the one '
            'that is meant alone, by torch.load(FILE, weights_only=True) and torch.save'
        )
    state_dict = found[0][1] if found else content
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise CheckpointError(f'{_describe(file)} it holds {shorten(state_dict)}')
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f'{_describe(file)} {key!r} is a {type(value).__name__}')
    return name_file(state_dict, file)


def _is_safetensors(file: Path) -> bool:
    """Whether a file is to be read as safetensors: by its suffix, unless its content differs."""
    with file.open('rb') as stream:
        head = stream.read(10)
    is_header = 2 <= int.from_bytes(head[:8], 'little') < file.stat().st_size
    return file.suffix == SUFFIX or (head[8:] == b'{"' and is_header)


def _find_state_dicts(
    value: Any, name: str = '', depth: int = 3
) -> List[Tuple[str, Mapping[str, Any]]]:
    """Every dict of tensors in what was read, with its dotted name.

    The state of an optimiser does not count: its keys are numbers. Single numbers beside other
    values, such as an epoch or a best score, do not make a state dict.
    """
    if not isinstance(value, Mapping) or depth < 0:
        return []
    inner = [
        entry
        for key, each in value.items()
        if isinstance(key, str)
        for entry in _find_state_dicts(each, f'{name}.{key}'.lstrip('.'), depth - 1)
    ]
    own = [each for each in value.values() if isinstance(each, Tensor)]
    is_one = any(each.ndim > 0 for each in own) or (own and len(own) == len(value))
    return [(name, value), *inner] if is_one else inner


def name_file(state_dict: Mapping[str, Any], file: Path) -> Dict[str, Any]:
    """Note the source file in the metadata that torch keeps beside the tensors.

    Returns:
        The same tensors, with the path in ``_metadata['']``.
    """
    named = OrderedDict(state_dict)
    entries = get_module_metadata(state_dict).items()
    metadata = OrderedDict((name, dict(entry)) for name, entry in entries)
    metadata.setdefault('', {})[FILE_KEY] = str(file)
    set_module_metadata(named, metadata)
    return named


def is_torchscript_archive(file: Path) -> bool:
    """Whether ``file`` is what ``torch.jit.save`` writes; False if it is damaged or not there."""
    try:
        if not zipfile.is_zipfile(file):
            return False
        with zipfile.ZipFile(file) as archive:
            records = {name.partition('/')[2] for name in archive.namelist()}
    except Exception:  # damage makes zipfile raise other types than its own, too
        return False
    return {'constants.pkl', 'data.pkl'} <= records


def read_torch_file(
    file: Path, map_location: Any = 'cpu', mmap: bool = True, verify: bool = False
) -> Any:
    """Read what ``torch.save`` wrote, without running code.

    Args:
        file: An existing file.
        map_location: As for ``torch.load``. Defaults to 'cpu'.
        mmap: Whether to map the file into memory where that is possible: for tensors that are
            copied before anybody could write to the file. Defaults to True.
        verify: Whether to compare the content with the checksums that ``torch.save`` wrote, which
            torch itself does not: for prompts, which are small, since the whole file is read once
            more. Files in the format from before torch 1.6 have none. Defaults to False.

    Raises:
        CheckpointError: If the file is damaged, or holds anything but tensors and plain values.
    """
    if is_torchscript_archive(file):  # torch.load may run the program in it
        raise CheckpointError(
            f"{_describe(file)} it is a TorchScript archive; save its module's state_dict() instead"
        )
    on_cpu = isinstance(map_location, (str, torch.device)) and str(map_location) == 'cpu'
    try:
        with file.open('rb') as stream:
            is_zip = stream.read(4) == b'PK\x03\x04'
        if is_zip:
            # Opened in any case: an archive that only torch can read may be TorchScript.
            with zipfile.ZipFile(file) as archive:
                flawed = archive.testzip() if verify else None
            if flawed is not None:
                raise zipfile.BadZipFile(f'the checksum of {flawed} is not that of its content')
        elif tarfile.is_tarfile(file):  # of torch before 0.1.10, which unpacks it on disk
            raise CheckpointError(
                f'{_describe(file)} it is a tar archive; save the state dict alone'
            )
        return torch.load(
            str(file),  # torch 2.1 maps only what is named by a string
            map_location=map_location,
            weights_only=True,
            mmap=mmap and on_cpu and is_zip,
        )
    except (CheckpointError, MemoryError, PermissionError):
        raise
    except Exception as error:  # damage makes torch raise almost any type, even OSError
        # The cause is left out: torch's text recommends turning the safety off.
        raise CheckpointError(_describe_unreadable(file, error)) from None


def check_strictly(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    source: str,
    target: str,
    *,
    remedy: str = '',
) -> None:
    """Compare the keys, shapes and kinds of numbers of two state dicts.

    Args:
        expected: Tensors that are needed; they may be on the meta device.
        found: Tensors that were read.
        source: As for :func:`load_strictly`.
        target: What they are meant for, for the error.
        remedy: As for :func:`load_strictly`.

    Raises:
        CheckpointError: If a key is missing or unexpected, a shape differs, or a tensor is of
            another kind (integers, complex, sparse, quantized, without data).
    """
    both = (key for key in expected if key in found)
    compared = ((key, find_tensor_problem(found[key], expected[key])) for key in both)
    problems = [f'{key}: {problem}' for key, problem in compared if problem is not None][:1]
    for kind, one, other in (('missing', expected, found), ('unexpected', found, expected)):
        keys = [key for key in one if key not in other]
        if keys:
            shown, more = keys[:_MAX_SHOWN], len(keys) - _MAX_SHOWN
            rest = f' and {more} more' if more > 0 else ''
            problems.append(f'{len(keys)} {kind}: {", ".join(shown)}{rest}')
    if problems:
        lines = '\n  '.join([f'{source} does not fit {target}:', *problems])
        raise CheckpointError(f'{lines}\n{remedy}'.rstrip())


def load_strictly(
    module: nn.Module, state_dict: Mapping[str, Tensor], source: str, *, remedy: str = ''
) -> None:
    """Copy ``state_dict`` into ``module`` if every key and shape agrees, else change nothing.

    Floating-point tensors are cast to the type and moved to the device of the module's own; a
    module built on the meta device, to spare it the random weights, moves to the CPU.

    Args:
        module: The module to fill.
        state_dict: Tensors by the module's own names.
        source: Where they come from (the file, and the part of it), for the error.
        remedy: What fits instead or what to do, added to the error. Defaults to ''.

    Raises:
        CheckpointError: As :func:`check_strictly`, and if numbers are NaN or infinite.
    """
    own = module.state_dict()
    check_strictly(own, state_dict, source, type(module).__name__, remedy=remedy)
    for key, value in state_dict.items():
        flawed = count_non_finite(value)
        if flawed:
            raise CheckpointError(
                f'{source}: expected finite numbers, found {flawed} of {value.numel()} in {key!r} '
                'that are NaN or infinite; download or convert the file again'
            )
    if any(tensor.is_meta for tensor in own.values()):
        module.to_empty(device='cpu')
    module.load_state_dict(dict(state_dict), strict=True)


def warn_random_weights(part: str, remedy: str) -> None:
    """Say in capital letters that ``part`` was built without pre-trained weights."""
    message = f'RANDOM WEIGHTS: {part.upper()} HAS NO CHECKPOINT AND WAS NOT PRE-TRAINED. {remedy}'
    print_log(message, logger='current', level=logging.WARNING)


def read_safetensors_file(file: Path) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    """Read a ``.safetensors`` file: :func:`read_safetensors`, with errors that name it.

    Raises:
        CheckpointError: If the file is damaged, or is no safetensors file.
    """
    try:
        return read_safetensors(file)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # of the header, of safetensors, or of the texts in the header
        raise CheckpointError(_describe_unreadable(file, error)) from error


def _describe(file: Path) -> str:
    """Name the file, its size and what was expected."""
    return f'cannot read checkpoint {str(file)!r} ({file.stat().st_size} bytes): {_EXPECTED}, but'


def _describe_unreadable(file: Path, error: Exception) -> str:
    """Say what seems to be wrong with a file."""
    foreign = re.search(r'(?:GLOBAL|Unsupported class) (\S+)', str(error))
    if foreign:
        return (
            f'{_describe(file)} it holds Python objects, such as {foreign.group(1)}, which were '
            'not loaded because that can run code; save the state dict alone'
        )
    with file.open('rb') as stream:
        head = stream.read(24)
    reason = next((line for line in str(error).splitlines() if line), '')[:200]
    if 'weights_only' in reason:  # torch recommends turning the safety off: not repeated
        reason = 'not a pickle of tensors'
    what = f'of another kind, damaged or truncated: it begins with {head!r}' if head else 'empty'
    return (
        f'{_describe(file)} it is {what} ({type(error).__name__}: {reason}); copy or download it '
        'again'
    )
