"""Reading a finished cache."""

from pathlib import Path
from typing import Any, Dict, Mapping

from ..plain import from_json
from .embedder import EmbeddedSample
from .files import CacheError, read_json
from .recipe import check_key
from .shards import SHARD_SIZE, has_entries, number_of_shards, read_sample, tensors_file
from .writer import INDEX

__all__ = ['EmbeddingCache']

_COMMAND = 'mmseg-ssprompt cache CONFIG'
_ENTRIES = dict(key=dict, metainfo=dict, samples=int, shards=list)
_ENTRIES_OF_SHARDS = dict(bytes=int, sha256=str, records_sha256=str)


class EmbeddingCache:
    """A finished cache that was made as ``key`` says.

    Shards are memory-mapped when they are first read. Sizes are compared at once, and the checksum
    of a sample each time that it is read.

    Args:
        folder: Of the cache.
        key: What ``Recipe.key`` returns.

    Attributes:
        metainfo: Of the data set that was embedded.
        weights: SHA-256 of the image encoder's weights; of a pair, both by their names.

    Raises:
        CacheError: If there is none, it is damaged or was made in another way.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self.folder = folder
        index = _read_index(folder / INDEX, key)
        try:
            self.metainfo: Dict[str, Any] = from_json(index['metainfo'])
        except ValueError as error:
            raise CacheError(
                f'{str(folder / INDEX)!r}, metainfo: {error}. Delete it and run `{_COMMAND}`'
            ) from error
        encoder = index['key'].get('encoder')
        self.weights = encoder.get('weights') if isinstance(encoder, Mapping) else None
        self._samples, self._shards = index['samples'], index['shards']
        self._check_sizes()

    def __len__(self) -> int:
        """How many embedded samples there are."""
        return self._samples

    def __getitem__(self, number: int) -> EmbeddedSample:
        """Read an embedded sample.

        Raises:
            CacheError: If it is damaged, with the file.
            IndexError: If there is no such number.
        """
        if not 0 <= number < self._samples:
            raise IndexError(f'{number} is not between 0 and {self._samples - 1}')
        return read_sample(self.folder, self._shards[number // SHARD_SIZE], number)

    def _check_sizes(self) -> None:
        """Refuse a cache of which a shard is missing or cut."""
        for shard, entry in enumerate(self._shards):
            file = tensors_file(self.folder, shard)
            size = file.stat().st_size if file.is_file() else 'no such file'
            if size != entry['bytes']:
                raise CacheError(
                    f'embedding cache {str(file)!r}: expected {entry["bytes"]} bytes, found '
                    f'{size}. `{_COMMAND}` computes missing and damaged shards'
                )


def _is_index(value: Any) -> bool:
    """Whether a value has the entries of an index, with values of their kinds."""
    if not has_entries(value, _ENTRIES) or value['samples'] < 0:
        return False
    return all(has_entries(shard, _ENTRIES_OF_SHARDS) for shard in value['shards'])


def _read_index(file: Path, key: Mapping[str, Any]) -> Dict[str, Any]:
    """The index, if it is of this key and whole."""
    if not file.is_file():
        raise CacheError(
            f'there is no embedding cache in {str(file.parent)!r}: expected {file.name}, found no '
            f'such file. Make it, or go on making it, with `{_COMMAND}`'
        )
    index = read_json(file)
    if not _is_index(index):
        raise CacheError(
            f'{str(file)!r}: expected an index with {list(_ENTRIES)}, found something else. '
            f'Delete it and run `{_COMMAND}`'
        )
    remedy = f'Delete the folder or name another cache_dir, then run `{_COMMAND}`'
    check_key(file, key, index['key'], remedy)
    if len(index['shards']) != number_of_shards(index['samples']):
        raise CacheError(
            f'{str(file)!r}, shards: expected {number_of_shards(index["samples"])}, found '
            f'{len(index["shards"])}. Delete it and run `{_COMMAND}`'
        )
    return index
