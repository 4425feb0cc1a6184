"""Reading the tensors of a TorchScript archive without running the program in it.

OpenAI published CLIP as TorchScript archives. Such a file holds a program, which ``torch.jit.load``
compiles and may run in part. The weights lie beside it: ``data.pkl`` describes the module as plain
objects that refer to raw arrays in ``data/``. Only these are read here, by an unpickler that knows
tensors and nothing else.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import IO, Any, Dict, Iterator, Optional, Tuple

import torch
from torch import Tensor

from .state_dicts import CheckpointError

__all__ = ['find_activation', 'read_torchscript_tensors']


def _view(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor of an array; ``as_strided`` refuses one that reaches beyond it."""
    return storage.as_strided(size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    """A container as it is, without the type that TorchScript notes beside it."""
    return value


#: All that an archive may refer to, and what stands for it.
_KNOWN: Dict[Tuple[str, str], Any] = {
    ('torch', 'HalfStorage'): torch.float16,
    ('torch', 'BFloat16Storage'): torch.bfloat16,
    ('torch', 'FloatStorage'): torch.float32,
    ('torch', 'DoubleStorage'): torch.float64,
    ('torch', 'BoolStorage'): torch.bool,
    ('torch', 'ByteStorage'): torch.uint8,
    ('torch', 'CharStorage'): torch.int8,
    ('torch', 'ShortStorage'): torch.int16,
    ('torch', 'IntStorage'): torch.int32,
    ('torch', 'LongStorage'): torch.int64,
    ('torch', 'device'): _first,
    ('torch._utils', '_rebuild_tensor_v2'): _view,
    ('collections', 'OrderedDict'): dict,
    ('torch.jit._pickle', 'restore_type_tag'): _first,
    ('torch.jit._pickle', 'build_intlist'): _first,
    ('torch.jit._pickle', 'build_doublelist'): _first,
    ('torch.jit._pickle', 'build_boollist'): _first,
    ('torch.jit._pickle', 'build_tensorlist'): _first,
}


def read_torchscript_tensors(file: Path) -> Dict[str, Tensor]:
    """Read every tensor of a TorchScript archive, also plain attributes, by its name in the module.

    Raises:
        CheckpointError: If the archive is damaged, or refers to anything but tensors and plain
            values.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            root = next(n for n in archive.namelist() if n.partition('/')[2] == 'data.pkl')
            with archive.open(root) as stream:
                module = _TensorUnpickler(stream, archive, root[: -len('.pkl')] + '/').load()
        return dict(_walk(module))
    except (OSError, MemoryError):
        raise
    except Exception as error:  # an unpickler raises almost any type on a damaged file
        raise CheckpointError(
            f'cannot read TorchScript archive {str(file)!r} ({file.stat().st_size} bytes): '
            f'expected tensors and plain values, but {type(error).__name__}: {error}; copy or '
            'download it again, or save the state_dict() of a module that you trust instead'
        ) from error


def find_activation(file: Path) -> Optional[str]:
    """``'gelu'`` or ``'quick_gelu'``, if the program of an archive, which is not run, has it."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if re.match(r'[^/]+/code/.*\.py$', n)]
            text = '\n'.join(archive.read(name).decode('utf-8', 'replace') for name in names)
    except Exception:  # damage, which reading the tensors tells
        return None
    is_gelu, is_quick = 'torch.gelu(' in text, 'torch.sigmoid(' in text
    if is_gelu == is_quick:
        return None
    return 'gelu' if is_gelu else 'quick_gelu'


class _Module:
    """What stands for a module of the archive: its attributes, and none of its methods."""

    attributes: Any = None

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


class _TensorUnpickler(pickle.Unpickler):
    """Knows modules as plain records, tensors, and the containers of TorchScript."""

    def __init__(self, stream: IO[bytes], archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self._archive = archive
        self._folder = folder

    def find_class(self, module: str, name: str) -> Any:
        if module.partition('.')[0] == '__torch__':
            return _Module
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f'it refers to {module}.{name}, which was not loaded')
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """Read one raw array; the device that it was saved from does not matter."""
        _, dtype, key, _, numel = pid
        record = self._archive.getinfo(f'{self._folder}{key}')
        if record.file_size != numel * dtype.itemsize:
            raise ValueError(
                f'{record.filename} has {record.file_size} bytes, but {numel} numbers of type '
                f'{dtype} need {numel * dtype.itemsize}'
            )
        if not numel:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self._archive.read(record)), dtype=dtype)


def _walk(module: _Module, prefix: str = '') -> Iterator[Tuple[str, Tensor]]:
    """Yield the tensors of a module and of its submodules with their dotted names."""
    if not isinstance(module, _Module) or not isinstance(module.attributes, dict):
        return
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            yield f'{prefix}{name}', value
        elif isinstance(value, _Module):
            yield from _walk(value, f'{prefix}{name}.')
