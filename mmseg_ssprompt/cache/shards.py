"""Shards: a few embedded samples in a safetensors file, described in its header."""

import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..plain import DICT, LIST, Kind, find_problem, from_json, to_json
from .embedder import LABELS, EmbeddedSample
from .files import CacheError, write_atomically

__all__ = [
    'SHARD_SIZE',
    'ShardHeader',
    'is_complete',
    'number_of_shards',
    'read_header',
    'read_sample',
    'shard_file',
    'write_shard',
]

#: Samples in a shard. Of SAM at 1024 pixels they take 50 MB.
SHARD_SIZE = 16
#: The only entry of a shard's safetensors metadata.
_ENTRY = 'shard'
_NUMBER = Kind('a number', lambda x: type(x) is int)
_NAMES = LIST.of(Kind('a name', lambda x: isinstance(x, str)))
_FILES = DICT.of(DICT.of(bytes=_NUMBER)).or_none()
_RECORD = DICT.of(crc32=_NUMBER, tensors=_NAMES, metainfo=DICT, files=_FILES)
_HEADER = DICT.of(key=DICT, samples=LIST.of(_RECORD))
_ENTRIES = {'crc32', 'tensors', 'metainfo', 'files'}
_REMEDY = 'Run `mmseg-ssprompt cache CONFIG` again: it computes damaged shards again'


class ShardHeader(NamedTuple):
    """What is known of a shard.

    Attributes:
        key: How its samples were made.
        samples: Of each sample its checksum, the names of its tensors, its metainfo as JSON, and
            the identity of its files.
    """

    key: Dict[str, Any]
    samples: List[Dict[str, Any]]


def number_of_shards(samples: int) -> int:
    """Shards that hold so many embedded samples."""
    return -(-samples // SHARD_SIZE)


def shard_file(folder: Path, shard: int) -> Path:
    """The file of a shard."""
    return folder / f'{shard:06d}.safetensors'


def write_shard(
    folder: Path, shard: int, samples: Sequence[EmbeddedSample], key: Mapping[str, Any]
) -> None:
    """Write a shard as a whole.

    Args:
        folder: Where to.
        shard: Its number.
        samples: In the order of their numbers.
        key: How they were made.

    Raises:
        CacheError: If there is no room.
        ValueError: If metainfo has other than plain values.
    """
    tensors: Dict[str, Tensor] = {}
    records: List[Dict[str, Any]] = []
    for position, sample in enumerate(samples):
        named = sample.named()
        tensors.update({f'{position}.{name}': tensor for name, tensor in named.items()})
        record = dict(
            tensors=sorted(named), metainfo=to_json(dict(sample.metainfo)), files=sample.files
        )
        records.append(dict(record, crc32=_checksum(named, record)))
    # Sorted, because mmengine keeps the names of metainfo in a set.
    header = json.dumps(dict(key=key, samples=records), sort_keys=True)
    write_atomically(shard_file(folder, shard), save(tensors, {_ENTRY: header}))


def read_header(folder: Path, shard: int) -> ShardHeader:
    """Read what is known of a shard, without its tensors.

    Raises:
        CacheError: If there is no such file, or it is no shard.
    """
    return _parse_header(_map(shard_file(folder, shard)), shard_file(folder, shard))


def is_complete(folder: Path, shard: int, header: ShardHeader) -> bool:
    """Whether all samples of a shard are as they were written."""
    try:
        tensors = _map(shard_file(folder, shard))
        for position in range(len(header.samples)):
            _read(tensors, header, position, shard_file(folder, shard))
    except CacheError:
        return False
    return True


def read_sample(folder: Path, number: int, size: int, key: str) -> EmbeddedSample:
    """Read an embedded sample from its memory-mapped shard.

    Args:
        folder: Of the cache.
        number: Of the embedded sample.
        size: Bytes of the shard, by the index.
        key: Of the index, as JSON.

    Raises:
        CacheError: If the shard or what is known of it is not what was written, with the file.
    """
    shard, position = divmod(number, SHARD_SIZE)
    file = shard_file(folder, shard)
    tensors, header = _open(file, size, key)
    if position >= len(header.samples):
        raise _damaged(file, f'sample {position}', f'{len(header.samples)} samples')
    return _read(tensors, header, position, file)


@lru_cache(maxsize=256)  # in each process; the size tells a shard from one that is cut
def _open(file: Path, size: int, key: str) -> Any:
    """Map a shard into memory, if it is the one that the index says."""
    found = file.stat().st_size if file.is_file() else 'no such file'
    if found != size:
        raise _damaged(file, f'{size} bytes', str(found))
    tensors = _map(file)
    header = _parse_header(tensors, file)
    if header.key != json.loads(key):
        raise _damaged(file, 'a shard of this cache', 'one that was made in another way')
    return tensors, header


def _map(file: Path) -> Any:
    if not file.is_file():
        raise _damaged(file, 'a shard', 'no such file')
    try:
        return safe_open(str(file), framework='pt', device='cpu')
    except (SafetensorError, OSError) as error:
        raise _damaged(file, 'a safetensors file', str(error)) from error


def _parse_header(tensors: Any, file: Path) -> ShardHeader:
    text = (tensors.metadata() or {}).get(_ENTRY)
    try:
        header = json.loads(text or '')
    except (ValueError, RecursionError) as error:
        raise _damaged(file, 'the header of a shard', str(error)) from error
    problem = find_problem(header, _HEADER)
    if problem is None and not _has_all_entries(header):
        problem = 'entries that are missing or too many'
    if problem is not None:
        raise _damaged(file, 'the header of a shard', problem)
    return ShardHeader(**header)


def _has_all_entries(header: Mapping[str, Any]) -> bool:
    if set(header) != {'key', 'samples'}:
        return False
    return all(set(record) == _ENTRIES for record in header['samples'])


def _read(tensors: Any, header: ShardHeader, position: int, file: Path) -> EmbeddedSample:
    record = dict(header.samples[position])
    crc = record.pop('crc32')
    try:
        # Copies: who writes to what was read must not write to the mapped memory.
        named = {
            name: tensors.get_tensor(f'{position}.{name}').clone() for name in record['tensors']
        }
        found = _checksum(named, record)
        metainfo = from_json(record['metainfo'])
    except (SafetensorError, ValueError) as error:
        raise _damaged(file, f'sample {position}', str(error)) from error
    if found != crc:
        raise _damaged(file, f'the CRC-32 {crc} of sample {position}', str(found))
    labels = named.pop(LABELS, None)
    return EmbeddedSample(named, labels, metainfo, record['files'])


def _checksum(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> int:
    """CRC-32 of a sample: of what is known of it, and of the bytes of its tensors."""
    crc = zlib.crc32(json.dumps(record, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f'{name} {tuple(tensor.shape)} {tensor.dtype}'.encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


def _damaged(file: Path, expected: str, found: str) -> CacheError:
    return CacheError(
        f'embedding cache {str(file)!r} is damaged: expected {expected}, found {found}. {_REMEDY}'
    )
