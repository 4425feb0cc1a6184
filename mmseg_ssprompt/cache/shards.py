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

from .embedder import EmbeddedSample
from .files import CacheError, read_json, sha256_of, write_atomically
from .plain import from_json, to_json

__all__ = [
    'SHARD_SIZE',
    'describe_shard',
    'is_complete',
    'number_of_shards',
    'read_sample',
    'records_file',
    'tensors_file',
    'write_shard',
]

#: Samples in a shard. Of SAM at 1024 pixels they take 50 MB.
SHARD_SIZE = 16
_REMEDY = 'Run tools/cache_embeddings.py CONFIG again: it computes damaged shards anew'


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
        tensors[f'{position}.embedding'] = sample.embedding
        if sample.labels is not None:
            tensors[f'{position}.labels'] = sample.labels
        crc = _checksum(sample.embedding, sample.labels)
        records.append(dict(crc32=crc, metainfo=to_json(dict(sample.metainfo))))
    content = save(tensors)
    write_atomically(tensors_file(folder, shard), content)
    entries = dict(
        bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), key=key, samples=records
    )
    # Sorted, because mmengine keeps the names of metainfo in a set.
    write_atomically(records_file(folder, shard), json.dumps(entries, sort_keys=True).encode())


def is_complete(folder: Path, shard: int) -> bool:
    """Whether a shard is there with the size and the checksum that were written down."""
    file, records = tensors_file(folder, shard), records_file(folder, shard)
    if not file.is_file() or not records.is_file():
        return False
    entries = _read_records(records)
    return file.stat().st_size == entries['bytes'] and sha256_of(file) == entries['sha256']


def describe_shard(folder: Path, shard: int) -> Dict[str, Any]:
    """The entry of a complete shard in the index."""
    records = records_file(folder, shard)
    entries = _read_records(records)
    return dict(
        file=tensors_file(folder, shard).name,
        bytes=entries['bytes'],
        sha256=entries['sha256'],
        records_sha256=sha256_of(records),
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
    records = _load_records(records_file(folder, shard), entry['records_sha256'])
    if position >= len(records):
        what = f'the record of sample {position}'
        raise _damaged(records_file(folder, shard), what, f'{len(records)} records')
    record, file = records[position], tensors_file(folder, shard)
    try:
        tensors = _open(file, entry['bytes'], entry['sha256'])
        names = set(tensors.keys())
        # Copies: who writes to what was read must not write to the mapped memory.
        embedding = tensors.get_tensor(f'{position}.embedding').clone()
        name = f'{position}.labels'
        labels = tensors.get_tensor(name).clone() if name in names else None
    except SafetensorError as error:
        raise _damaged(file, 'a safetensors file', str(error)) from error
    crc = _checksum(embedding, labels)
    if crc != record['crc32']:
        what = f'the CRC-32 {record["crc32"]} of sample {position}'
        raise _damaged(file, what, str(crc))
    return EmbeddedSample(embedding, labels, from_json(record['metainfo']))


@lru_cache(maxsize=256)  # in each process; the checksum tells a shard from one that replaces it
def _open(file: Path, size: int, _sha256: str) -> Any:
    """Map a shard into memory, if it has the size that the index says."""
    found = file.stat().st_size if file.is_file() else None
    if found != size:
        what = 'no such file' if found is None else f'{found} bytes'
        raise _damaged(file, f'{size} bytes', what)
    return safe_open(str(file), framework='pt', device='cpu')


@lru_cache(maxsize=4096)
def _load_records(file: Path, sha256: str) -> List[Dict[str, Any]]:
    """What is known of a shard's samples, if it is what the index says."""
    if not file.is_file():
        raise _damaged(file, 'a JSON file', 'no such file')
    found = sha256_of(file)
    if found != sha256:
        raise _damaged(file, f'the SHA-256 {sha256}', found)
    return read_json(file)['samples']


def _read_records(file: Path) -> Dict[str, Any]:
    """The whole file beside a shard."""
    entries = read_json(file)
    if not isinstance(entries, dict) or not {'bytes', 'sha256', 'key', 'samples'} <= set(entries):
        raise _damaged(file, 'the size, checksum, key and samples of a shard', 'something else')
    return entries


def _checksum(embedding: Tensor, labels: Any) -> int:
    """CRC-32 of the bytes of both tensors."""
    crc = 0
    for tensor in (embedding, labels):
        if tensor is not None:
            crc = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy(), crc)
    return crc


def _damaged(file: Path, expected: str, found: str) -> CacheError:
    return CacheError(
        f'embedding cache {str(file)!r} is damaged: expected {expected}, found {found}. {_REMEDY}'
    )
