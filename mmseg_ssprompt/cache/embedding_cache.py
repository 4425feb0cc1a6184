"""The files of a cache: shards of embedded samples, and the index without which it does not count.

A shard is a safetensors file, described in its header. Each file is written as a whole or not at
all.
"""

import contextlib
import json
import shutil
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..files import check_writable, remove_leftovers, write_atomically
from ..plain import COUNT, DICT, Kind, find_problem, from_json, to_json
from .embedder import LABELS, SEGMENTS, EmbeddedSample, SourceViews
from .recipe import COMMAND, FORMAT, CacheError, check_key

__all__ = [
    'INDEX',
    'SHARD_SIZE',
    'EmbeddingCache',
    'fill_cache',
    'finish_cache',
    'free_bytes',
    'missing_samples',
]

INDEX = 'index.json'
#: Samples in a shard. Of SAM at 1024 pixels they take 50 MB.
SHARD_SIZE = 16
#: The only entry of a shard's safetensors metadata.
_ENTRY = 'shard'
_COUNTS = Kind(
    'a list of numbers', lambda value: type(value) is list and all(map(COUNT.fits, value))
)
_INDEX = dict(key=DICT, metainfo=DICT, samples=COUNT, sizes=_COUNTS)
#: What reading a file ends in that nobody wrote so.
_NONSENSE = (SafetensorError, OSError, ValueError, RecursionError, LookupError, TypeError)


class EmbeddingCache:
    """A finished cache that was made as ``key`` says.

    Shards are memory-mapped when they are first read. Sizes are compared at once, and the checksum
    of a sample each time that it is read.

    Args:
        folder: Of the cache.
        key: What ``Recipe.key`` returns.

    Attributes:
        metainfo: Of the data set that was embedded.
        weights: SHA-256 of the image encoder's weights, by the names of its parts.

    Raises:
        CacheError: If there is no cache, or it is damaged or was made in another way.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self.folder = folder
        index = _read_index(folder / INDEX)
        check_key(folder / INDEX, key, index['key'])
        self.metainfo: Dict[str, Any] = index['metainfo']
        self.weights = index['key'].get('encoder', {}).get('weights')
        self._key, self._samples, self._sizes = (index[k] for k in ('key', 'samples', 'sizes'))
        for (file, _), size in zip(_each_shard(folder, self._samples), self._sizes):
            _check_size(file, size)

    def __len__(self) -> int:
        """How many embedded samples there are."""
        return int(self._samples)

    def image_paths(self) -> List[str]:
        """Where the image of each embedded sample lay when it was embedded."""
        shards = zip(_each_shard(self.folder, self._samples), self._sizes)
        return [path for (file, _), size in shards for path in _open(file, size).image_paths()]

    def __getitem__(self, number: int) -> EmbeddedSample:
        """Read an embedded sample.

        Raises:
            CacheError: If it is damaged, with the file.
            IndexError: If there is no such number.
        """
        if not 0 <= number < self._samples:
            raise IndexError(f'{number} is not between 0 and {self._samples - 1}')
        place, position = divmod(number, SHARD_SIZE)
        shard = _open(_shard_file(self.folder, place), self._sizes[place])
        if shard.key != self._key:
            raise _damaged(shard.file, 'a shard of this cache', 'one made in another way')
        return shard.read(position)


def fill_cache(
    folder: Path,
    key: Dict[str, Any],
    views: SourceViews,
    embed: Callable[[Any], EmbeddedSample],
    *,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    report: Callable[[int, int, EmbeddedSample], None] = lambda done, total, sample: None,
    files: Callable[[int], Optional[Dict[str, Any]]] = lambda number: None,
    embedded: Optional[Mapping[int, EmbeddedSample]] = None,
) -> int:
    """Compute those of a rank's shards that are not there yet, or damaged.

    Args:
        folder: Of the cache; made if it is not there.
        key: How the samples are made.
        views: The samples, as the pipeline gives them.
        embed: What becomes of each.
        rank: Every ``world_size``-th shard from this one on is computed. Defaults to 0.
        world_size: Number of ranks. Defaults to 1.
        num_workers: Processes that run the pipeline. Defaults to 0: this one.
        report: Called after each sample, before its shard is written, with the number of samples
            done and to do, and the sample.
        files: What identifies the files of a sample by its number, or None. A shard of which they
            have changed is computed again. Defaults to None for all: not compared.
        embedded: Samples that are embedded already, by number. Defaults to none.

    Returns:
        How many samples were computed.

    Raises:
        CacheError: If the folder holds shards that were made in another way, with the first entry
            of the key that differs; or if there is no room.
        OSError: If the folder cannot be written into.
        ValueError: If metainfo has other than plain values.
    """
    check_writable(folder)
    todo = [
        (file, numbers)
        for file, numbers in list(_each_shard(folder, len(views)))[rank::world_size]
        if not _is_done(file, key, map(files, numbers))
    ]
    ready = embedded or {}
    order = [number for _, numbers in todo for number in numbers]
    source = Subset(views, [number for number in order if number not in ready])
    # Not collated: samples come as the pipeline gives them.
    loader = DataLoader(source, None, num_workers=num_workers, collate_fn=_as_it_is)
    samples = iter(loader)
    done = 0
    for file, numbers in todo:
        shard: List[EmbeddedSample] = []
        for number in numbers:
            sample = ready[number] if number in ready else embed(next(samples))
            shard.append(sample._replace(files=files(number)))
            done += 1
            report(done, len(order), shard[-1])
        _write_shard(file, shard, key)
    return done


def _write_shard(file: Path, samples: Sequence[EmbeddedSample], key: Mapping[str, Any]) -> None:
    tensors: Dict[str, Tensor] = {}
    records: List[Dict[str, Any]] = []
    for position, sample in enumerate(samples):
        named = sample.named()
        tensors.update({f'{position}.{name}': tensor for name, tensor in named.items()})
        metainfo = to_json(dict(sample.metainfo), 'metainfo (meta_keys of PackSegInputs)')
        record = dict(tensors=sorted(named), metainfo=metainfo, files=sample.files)
        if sample.segments_info is not None:
            record['segments_info'] = sample.segments_info
        records.append(dict(record, crc32=_checksum(named, record)))
    # Sorted, because mmengine keeps the names of metainfo in a set.
    header = json.dumps(dict(key=key, samples=records), sort_keys=True)
    _write(file, save(tensors, {_ENTRY: header}))


def finish_cache(
    folder: Path, key: Dict[str, Any], metainfo: Dict[str, Any], samples: int
) -> Dict[str, Any]:
    """Write the index, without which a cache does not count, once all ranks have filled it.

    Args:
        folder: Of the cache.
        key: How the samples were made.
        metainfo: Of the data set.
        samples: Number of embedded samples.

    Returns:
        The index.

    Raises:
        CacheError: If a shard is not there, or damaged, or another process has meanwhile made it
            in another way.
    """
    sizes = []
    for file, _ in _each_shard(folder, samples):
        check_key(file, key, _Shard(file).key)
        sizes.append(file.stat().st_size)
    index = dict(format=FORMAT, key=key, metainfo=to_json(metainfo), samples=samples, sizes=sizes)
    _write(folder / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
    remove_leftovers(folder)
    return index


def missing_samples(folder: Path, samples: int, rank: int = 0, world_size: int = 1) -> List[int]:
    """Numbers of the embedded samples in shards that are not there; damage is not looked for.

    Args:
        folder: Of the cache.
        samples: Number of embedded samples.
        rank: Whose shards are looked at. Defaults to 0.
        world_size: Number of ranks. Defaults to 1.
    """
    shards = list(_each_shard(folder, samples))[rank::world_size]
    return [number for file, numbers in shards if not file.is_file() for number in numbers]


def free_bytes(folder: Path) -> int:
    """Bytes that are free where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class _Shard:
    """A shard on disk, memory-mapped.

    Attributes:
        key: How its samples were made.
        files: What identifies the files of each sample.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.is_file():
            raise _damaged(file, 'a shard', 'no such file')
        try:
            self._tensors = safe_open(str(file), framework='pt', device='cpu')
            header = json.loads((self._tensors.metadata() or {})[_ENTRY])
            self.key, self._records = dict(header['key']), list(header['samples'])
            self.files = [record['files'] for record in self._records]
        except _NONSENSE as error:
            raise _damaged(file, 'a shard', repr(error)) from error

    def image_paths(self) -> List[str]:
        """The ``img_path`` of each sample; '' where it has none."""
        try:
            found = [from_json(record['metainfo']).get('img_path') for record in self._records]
        except _NONSENSE as error:
            raise _damaged(self.file, 'metainfo', repr(error)) from error
        return [str(path or '') for path in found]

    def read(self, position: int) -> EmbeddedSample:
        """A sample as it was written."""
        try:
            record = dict(self._records[position])
            crc = record.pop('crc32')
            # Copies: who writes to what was read must not write to the mapped memory.
            named = {
                name: self._tensors.get_tensor(f'{position}.{name}').clone()
                for name in record['tensors']
            }
            found, metainfo = _checksum(named, record), dict(from_json(record['metainfo']))
        except _NONSENSE as error:
            raise _damaged(self.file, f'sample {position}', repr(error)) from error
        if found != crc:
            raise _damaged(self.file, f'the CRC-32 {crc} of sample {position}', str(found))
        labels, segments = named.pop(LABELS, None), named.pop(SEGMENTS, None)
        files, infos = record['files'], record.get('segments_info')
        return EmbeddedSample(named, labels, metainfo, files, segments, infos)


@lru_cache(maxsize=256)  # in each process; the size tells a shard from one that is cut
def _open(file: Path, size: int) -> _Shard:
    """Map a shard into memory, if it has the size that the index says."""
    _check_size(file, size)
    return _Shard(file)


def _check_size(file: Path, size: int) -> None:
    found = f'{file.stat().st_size} bytes' if file.is_file() else 'no such file'
    if found != f'{size} bytes':
        raise _damaged(file, f'{size} bytes', found)


def _is_done(file: Path, key: Mapping[str, Any], files: Iterator[Any]) -> bool:
    """Whether a shard is there as a whole, and made of ``files``; of another key it is refused."""
    try:
        shard = _Shard(file)
    except CacheError:  # missing or damaged
        return False
    check_key(file, key, shard.key)
    with contextlib.suppress(CacheError):
        return shard.files == list(files) and all(map(shard.read, range(len(shard.files))))
    return False


def _read_index(file: Path) -> Dict[str, Any]:
    """The index, if it is whole, with the metainfo as it was."""
    if not file.is_file():
        raise CacheError(
            f'there is no embedding cache in {str(file.parent)!r}: expected {file.name}, found no '
            f'such file. Make it, or go on making it, with `{COMMAND}`'
        )
    try:
        index: Dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
        problem = find_problem(index, _INDEX, needed=_INDEX)
        if problem is None and len(index['sizes']) != -(-index['samples'] // SHARD_SIZE):
            problem = f'{len(index["sizes"])} shards of {index["samples"]} samples'
        if problem is not None:
            raise ValueError(problem)
        return dict(index, metainfo=from_json(index['metainfo']))
    except _NONSENSE as error:
        raise CacheError(
            f'{str(file)!r}: expected the index of an embedding cache, found {error}. Delete it '
            f'and run `{COMMAND}`'
        ) from error


def _shard_file(folder: Path, shard: int) -> Path:
    return folder / f'{shard:06d}.safetensors'


def _each_shard(folder: Path, samples: int) -> Iterator[Tuple[Path, range]]:
    """The files of shards that hold so many samples, and the numbers of those in each."""
    for first in range(0, samples, SHARD_SIZE):
        numbers = range(first, min(first + SHARD_SIZE, samples))
        yield _shard_file(folder, first // SHARD_SIZE), numbers


def _as_it_is(sample: Any) -> Any:
    return sample


def _checksum(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> int:
    """CRC-32 of a sample: of what is known of it, and of the bytes of its tensors."""
    crc = zlib.crc32(json.dumps(record, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f'{name} {tuple(tensor.shape)} {tensor.dtype}'.encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


def _write(file: Path, content: bytes) -> None:
    """Write a file as a whole, or say what to do."""
    try:
        write_atomically(file, content)
    except OSError as error:
        raise CacheError(
            f'cannot write {str(file)!r}: expected room for {len(content):,} bytes in a folder '
            f'that may be written into, found {free_bytes(file.parent):,} bytes free and '
            f'"{error.strerror}". Mend that and run the same command again: complete shards are '
            'kept'
        ) from error


def _damaged(file: Path, expected: str, found: str) -> CacheError:
    return CacheError(
        f'embedding cache {str(file)!r} is damaged: expected {expected}, found {found}. '
        f'Run `{COMMAND}` again: it computes missing and damaged shards'
    )
