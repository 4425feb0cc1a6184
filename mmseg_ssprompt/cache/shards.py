"""Shards: a few embedded samples in a safetensors file, and what is known of them beside it."""

import hashlib
import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..files import sha256_of
from ..plain import from_json, to_json
from .embedder import EmbeddedSample
from .files import CacheError, read_json, write_atomically

__all__ = [
    'SHARD_SIZE',
    'describe_shard',
    'has_entries',
    'is_complete',
    'number_of_shards',
    'read_records',
    'read_sample',
    'records_file',
    'tensors_file',
    'write_shard',
]

#: Samples in a shard. Of SAM at 1024 pixels they take 50 MB.
SHARD_SIZE = 16
#: Names of a sample's tensors, in the order in which their bytes are counted.
_TENSORS = ('embedding', 'labels', 'clip_tokens')
_ENTRIES = dict(bytes=int, sha256=str, checksum=str, key=dict, samples=list)
_ENTRIES_OF_SAMPLES = dict(crc32=int, metainfo=dict, files=(dict, type(None)))
_ENTRIES_OF_FILES = dict(bytes=int, sha256=str)
_REMEDY = 'Run mmseg-ssprompt cache CONFIG again: it computes damaged shards anew'


def number_of_shards(samples: int) -> int:
    """Shards that hold so many embedded samples."""
    return -(-samples // SHARD_SIZE)


def tensors_file(folder: Path, shard: int) -> Path:
    """The file of a shard's tensors."""
    return folder / f'{shard:06d}.safetensors'


def records_file(folder: Path, shard: int) -> Path:
    """The file of a shard's key, checksums and metainfo."""
    return folder / f'{shard:06d}.json'


def write_shard(
    folder: Path, shard: int, samples: Sequence[EmbeddedSample], key: Mapping[str, Any]
) -> None:
    """Write the tensors, then what is known of them: a shard without the latter does not count.

    Args:
        folder: Where to.
        shard: Its number.
        samples: In the order of their numbers.
        key: How they were made.

    Raises:
        CacheError: If there is no room, or metainfo has other than plain values.
    """
    tensors: Dict[str, Tensor] = {}
    records: List[Dict[str, Any]] = []
    for position, sample in enumerate(samples):
        tensors.update({f'{position}.{name}': each for name, each in sample.tensors.items()})
        crc = _checksum(sample.tensors)
        metainfo = to_json(dict(sample.metainfo))
        records.append(dict(crc32=crc, metainfo=metainfo, files=sample.files))
    content = save(tensors)
    write_atomically(tensors_file(folder, shard), content)
    entries = dict(
        bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), key=key, samples=records
    )
    entries['checksum'] = _checksum_of_records(entries)
    write_atomically(records_file(folder, shard), _as_json(entries))


def read_records(folder: Path, shard: int) -> Dict[str, Any]:
    """All that is known of a shard: its key and, for each sample, the metainfo and the files.

    Raises:
        CacheError: If it is not what was written.
    """
    file = records_file(folder, shard)
    if not file.is_file():
        raise _damaged(file, 'a JSON file', 'no such file')
    entries = read_json(file)
    if not has_entries(entries, _ENTRIES) or not all(map(_is_record, entries['samples'])):
        raise _damaged(file, 'the size, checksums, key and samples of a shard', 'something else')
    found = _checksum_of_records(entries)
    if found != entries['checksum']:
        raise _damaged(file, f'the SHA-256 {entries["checksum"]}', found)
    return entries


def has_entries(value: Any, kinds: Mapping[str, Any]) -> bool:
    """Whether a value is a dict with these entries, and values of their kinds."""
    if not isinstance(value, dict):
        return False
    return all(entry in value and isinstance(value[entry], k) for entry, k in kinds.items())


def _is_record(value: Any) -> bool:
    """Whether a value is what :func:`write_shard` writes of a sample."""
    if not has_entries(value, _ENTRIES_OF_SAMPLES):
        return False
    files = value['files'] or {}
    return all(has_entries(entry, _ENTRIES_OF_FILES) for entry in files.values())


def is_complete(folder: Path, shard: int, entries: Mapping[str, Any]) -> bool:
    """Whether the tensors of a shard are there, with the size and checksum in its records."""
    file = tensors_file(folder, shard)
    if not file.is_file():
        return False
    return file.stat().st_size == entries['bytes'] and sha256_of(file) == entries['sha256']


def describe_shard(folder: Path, shard: int, entries: Mapping[str, Any]) -> Dict[str, Any]:
    """The entry of a complete shard in the index."""
    return dict(
        file=tensors_file(folder, shard).name,
        bytes=entries['bytes'],
        sha256=entries['sha256'],
        records_sha256=sha256_of(records_file(folder, shard)),
    )


def read_sample(folder: Path, entry: Mapping[str, Any], number: int) -> EmbeddedSample:
    """Read an embedded sample from its memory-mapped shard.

    Args:
        folder: Of the cache.
        entry: Of the shard, in the index.
        number: Of the embedded sample.

    Raises:
        CacheError: If the shard or what is known of it is not what was written, with the file.
    """
    shard, position = divmod(number, SHARD_SIZE)
    records = _load_records(folder, shard, entry['records_sha256'])
    if position >= len(records):
        what = f'the record of sample {position}'
        raise _damaged(records_file(folder, shard), what, f'{len(records)} records')
    record, file = records[position], tensors_file(folder, shard)
    try:
        tensors = _open(file, entry['bytes'], entry['sha256'])
        names = set(tensors.keys())
        found = {
            # Copies: who writes to what was read must not write to the mapped memory.
            name: tensors.get_tensor(f'{position}.{name}').clone()
            for name in _TENSORS
            if name == 'embedding' or f'{position}.{name}' in names
        }
    except SafetensorError as error:
        raise _damaged(file, 'a safetensors file', str(error)) from error
    crc = _checksum(found)
    if crc != record['crc32']:
        what = f'the CRC-32 {record["crc32"]} of sample {position}'
        raise _damaged(file, what, str(crc))
    try:
        metainfo = from_json(record['metainfo'])
    except ValueError as error:
        raise _damaged(records_file(folder, shard), 'metainfo', str(error)) from error
    found.setdefault('labels', None)
    return EmbeddedSample(**found, metainfo=metainfo, files=record['files'])


@lru_cache(maxsize=256)  # in each process; the checksum tells a shard from one that replaces it
def _open(file: Path, size: int, _sha256: str) -> Any:
    """Map a shard into memory, if it has the size that the index says."""
    found = file.stat().st_size if file.is_file() else None
    if found != size:
        what = 'no such file' if found is None else f'{found} bytes'
        raise _damaged(file, f'{size} bytes', what)
    return safe_open(str(file), framework='pt', device='cpu')


@lru_cache(maxsize=4096)
def _load_records(folder: Path, shard: int, sha256: str) -> List[Dict[str, Any]]:
    """What is known of a shard's samples, if it is what the index says."""
    file = records_file(folder, shard)
    found = sha256_of(file) if file.is_file() else 'no such file'
    if found != sha256:
        raise _damaged(file, f'the SHA-256 {sha256}', found)
    return read_records(folder, shard)['samples']


def _checksum_of_records(entries: Mapping[str, Any]) -> str:
    """SHA-256 of all that is in the file but itself."""
    others = {name: value for name, value in entries.items() if name != 'checksum'}
    return hashlib.sha256(_as_json(others)).hexdigest()


def _as_json(entries: Mapping[str, Any]) -> bytes:
    # Sorted, because mmengine keeps the names of metainfo in a set.
    return json.dumps(entries, sort_keys=True).encode()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of the bytes of a sample's tensors, one after the other."""
    crc = 0
    for name in _TENSORS:
        if name in tensors:
            crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), crc)
    return crc


def _damaged(file: Path, expected: str, found: str) -> CacheError:
    return CacheError(
        f'embedding cache {str(file)!r} is damaged: expected {expected}, found {found}. {_REMEDY}'
    )
