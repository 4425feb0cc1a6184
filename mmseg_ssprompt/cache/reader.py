"""Reading a finished cache."""

import json
from pathlib import Path
from typing import Any, Dict, Mapping

from ..plain import COUNT, DICT, LIST, find_problem, from_json
from .embedder import EmbeddedSample
from .files import CacheError
from .recipe import check_key
from .shards import SHARD_SIZE, number_of_shards, read_sample, shard_file
from .writer import INDEX

__all__ = ['EmbeddingCache']

_COMMAND = 'mmseg-ssprompt cache CONFIG'
_INDEX = DICT.of(key=DICT, metainfo=DICT, samples=COUNT, sizes=LIST.of(COUNT))


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
        index = _read_index(folder / INDEX, key)
        try:
            self.metainfo: Dict[str, Any] = from_json(index['metainfo'])
        except ValueError as error:
            raise _not_an_index(folder / INDEX, f'metainfo: {error}') from error
        self.weights = index['key'].get('encoder', {}).get('weights')
        self._samples, self._sizes = index['samples'], index['sizes']
        self._key = json.dumps(index['key'], sort_keys=True)
        self._check_sizes()

    def __len__(self) -> int:
        """How many embedded samples there are."""
        return int(self._samples)

    def __getitem__(self, number: int) -> EmbeddedSample:
        """Read an embedded sample.

        Raises:
            CacheError: If it is damaged, with the file.
            IndexError: If there is no such number.
        """
        if not 0 <= number < self._samples:
            raise IndexError(f'{number} is not between 0 and {self._samples - 1}')
        return read_sample(self.folder, number, self._sizes[number // SHARD_SIZE], self._key)

    def _check_sizes(self) -> None:
        """Refuse a cache of which a shard is missing or cut."""
        for shard, size in enumerate(self._sizes):
            file = shard_file(self.folder, shard)
            found = file.stat().st_size if file.is_file() else 'no such file'
            if found != size:
                raise CacheError(
                    f'embedding cache {str(file)!r}: expected {size} bytes, found {found}. '
                    f'`{_COMMAND}` computes missing and damaged shards'
                )


def _read_index(file: Path, key: Mapping[str, Any]) -> Dict[str, Any]:
    """The index, if it is of this key and whole."""
    if not file.is_file():
        raise CacheError(
            f'there is no embedding cache in {str(file.parent)!r}: expected {file.name}, found no '
            f'such file. Make it, or go on making it, with `{_COMMAND}`'
        )
    try:
        index: Dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:  # also of texts that are not UTF-8
        raise _not_an_index(file, str(error)) from error
    complete = isinstance(index, dict) and {'key', 'metainfo', 'samples', 'sizes'} <= set(index)
    problem = find_problem(index, _INDEX) or (None if complete else 'an entry is missing')
    if problem is not None:
        raise _not_an_index(file, problem)
    remedy = f'Delete the folder or name another cache_dir, then run `{_COMMAND}`'
    check_key(file, key, index['key'], remedy)
    if len(index['sizes']) != number_of_shards(index['samples']):
        raise _not_an_index(file, f'{len(index["sizes"])} shards of {index["samples"]} samples')
    return index


def _not_an_index(file: Path, found: str) -> CacheError:
    return CacheError(
        f'{str(file)!r}: expected the index of an embedding cache, found {found}. Delete it and '
        f'run `{_COMMAND}`'
    )
