"""State dicts as ``.safetensors``: no code can be in them, and a checksum finds what was damaged.

safetensors itself has no place for what torch keeps beside the tensors of a state dict, and no
checksum. Both are in the header's free texts, where other readers pass them by.
"""

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..module_metadata import get_module_metadata, set_module_metadata
from ..plain import from_json, to_json

__all__ = ['SUFFIX', 'pack_safetensors', 'read_safetensors']

SUFFIX = '.safetensors'
#: Entries of the header's free texts: what lies beside the tensors, and the checksum of all.
_CONTENT, _CHECKSUM = 'mmseg_ssprompt', 'sha256'


def pack_safetensors(state_dict: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """Make the content of a file of tensors, of torch's ``_metadata`` and of plain values.

    Raises:
        ValueError: If ``meta`` or the metadata holds no plain value, with the path to it.
    """
    # safetensors refuses tensors that share memory or are not contiguous.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state_dict.items()}
    metadata = dict(get_module_metadata(state_dict))
    beside = dict(metadata=to_json(metadata, '_metadata'), meta=to_json(dict(meta), 'meta'))
    content = json.dumps(beside)
    texts = {'format': 'pt', _CONTENT: content, _CHECKSUM: _sha256(tensors, content)}
    return _sort_texts(save(tensors, metadata=texts))


def _sort_texts(file: bytes) -> bytes:
    """The same file with its free texts in order, which safetensors writes in a random one."""
    end = 8 + int.from_bytes(file[:8], 'little')
    header = json.loads(file[8:end])
    header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    text += b' ' * (-len(text) % 8)  # numbers begin at multiples of eight bytes
    return len(text).to_bytes(8, 'little') + text + file[end:]


def read_safetensors(file: Path) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    """Read a file, which may be of others and hold tensors alone.

    Returns:
        The state dict, memory-mapped, with ``_metadata``; and ``meta``.

    Raises:
        ValueError: If the file is not what :func:`pack_safetensors` wrote.
        SafetensorError: If safetensors cannot read it.
    """
    with safe_open(str(file), 'pt', device='cpu') as opened:
        texts = opened.metadata() or {}
        names = opened.keys()
        state_dict = OrderedDict((name, opened.get_tensor(name)) for name in names)
    set_module_metadata(state_dict, OrderedDict())
    if _CONTENT not in texts and _CHECKSUM not in texts:
        return state_dict, {}
    found = _sha256(state_dict, str(texts.get(_CONTENT)))
    if texts.get(_CHECKSUM) != found:
        raise ValueError(
            f'expected the checksum {texts.get(_CHECKSUM)} (SHA-256) that is written in it, '
            f'found {found}'
        )
    content = from_json(json.loads(texts[_CONTENT]))
    set_module_metadata(state_dict, OrderedDict(content['metadata']))
    return state_dict, content['meta']


def _sha256(tensors: Mapping[str, Tensor], content: str) -> str:
    """SHA-256 of the texts beside the tensors, and of their names, types, shapes and bytes."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f'\n{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
