"""State dicts as ``.safetensors``: no code can be in them, and a checksum finds what was damaged.

safetensors itself has no place for what torch keeps beside the tensors of a state dict, and no
checksum. Both are in the header's free texts, where other readers pass them by.
"""

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import torch
from torch import Tensor

from ..plain import from_json, to_json

__all__ = ['SUFFIX', 'DamagedFileError', 'pack_safetensors', 'read_safetensors']

SUFFIX = '.safetensors'
#: Entries of the header's free texts: what lies beside the tensors, and the checksum of all.
_CONTENT, _CHECKSUM = 'mmseg_ssprompt', 'sha256'
#: The header of SAM ViT-H takes 60 kB. It is read before anything is known of the file.
_MAX_HEADER_BYTES = 16 * 2**20


class DamagedFileError(ValueError):
    """A file whose content is not what was written."""


def pack_safetensors(state_dict: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """Make the content of a file.

    Args:
        state_dict: Tensors by name, with torch's ``_metadata`` if there is any.
        meta: Plain values: dicts, lists and tuples of numbers, strings, booleans and None.

    Raises:
        ValueError: If ``meta`` or the metadata holds anything else, with the path to it.
    """
    from safetensors.torch import save  # 50 ms that only this needs

    # safetensors refuses tensors that share memory or are not contiguous.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state_dict.items()}
    metadata = dict(getattr(state_dict, '_metadata', {}))
    content = json.dumps(
        dict(metadata=to_json(metadata, '_metadata'), meta=to_json(dict(meta), 'meta'))
    )
    texts = {'format': 'pt', _CONTENT: content, _CHECKSUM: _sha256(tensors, content)}
    return save(tensors, metadata=texts)


def read_safetensors(file: Path) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    """Read a file, which may be of others and hold tensors alone.

    Args:
        file: An existing file.

    Returns:
        The state dict, memory-mapped, with ``_metadata``; and ``meta``.

    Raises:
        DamagedFileError: If the file is not what :func:`pack_safetensors` wrote, or its header is
            not that of a safetensors file.
        SafetensorError: If safetensors cannot read it.
    """
    from safetensors.torch import load_file

    texts = _read_header(file).get('__metadata__') or {}
    state_dict = OrderedDict(load_file(file, device='cpu'))
    state_dict._metadata = OrderedDict()
    if _CONTENT not in texts and _CHECKSUM not in texts:
        return state_dict, {}
    found = _sha256(state_dict, str(texts.get(_CONTENT)))
    if texts.get(_CHECKSUM) != found:
        raise DamagedFileError(
            f'expected the checksum {texts.get(_CHECKSUM)} (SHA-256) that is written in it, '
            f'found {found}'
        )
    content = from_json(json.loads(texts[_CONTENT]))
    state_dict._metadata.update(content['metadata'])
    return state_dict, content['meta']


def _read_header(file: Path) -> Dict[str, Any]:
    """The header as JSON, in bounded memory.

    Raises:
        DamagedFileError: If it is longer than the file or any header is, or names something twice.
    """
    with file.open('rb') as stream:
        length = int.from_bytes(stream.read(8), 'little')
        size = file.stat().st_size
        if size < 10:
            raise DamagedFileError(f'expected at least 10 bytes, found {size}')
        room = min(size - 8, _MAX_HEADER_BYTES)
        if not 2 <= length <= room:
            raise DamagedFileError(f'expected a header of 2 to {room} bytes, found {length}')
        text = stream.read(length)
    header = json.loads(text.decode('utf-8'), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise DamagedFileError(f'expected a header that is a dict, found a {type(header).__name__}')
    return header


def _without_duplicates(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DamagedFileError(f'expected each name once in the header, found {key!r} twice')
        found[key] = value
    return found


def _sha256(tensors: Mapping[str, Tensor], content: str) -> str:
    """SHA-256 of the texts beside the tensors, and of their names, types, shapes and bytes."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f'\n{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
