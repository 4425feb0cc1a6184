"""Filling a cache: shard by shard, on one or many ranks, from where it was left."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from torch.utils.data import DataLoader, Subset

from ..files import check_writable, remove_leftovers
from ..plain import to_json
from .embedder import EmbeddedSample, SourceViews
from .files import CacheError, write_atomically
from .recipe import FORMAT, check_key
from .shards import (
    SHARD_SIZE,
    is_complete,
    number_of_shards,
    read_header,
    shard_file,
    write_shard,
)

__all__ = ['INDEX', 'fill_cache', 'finish_cache', 'missing_samples']

INDEX = 'index.json'
_REMEDY = 'Delete the folder, or name another one (--cache-dir)'


def fill_cache(
    folder: Path,
    key: Dict[str, Any],
    views: SourceViews,
    embed: Callable[[Any], EmbeddedSample],
    *,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
    files: Callable[[int], Optional[Dict[str, Any]]] = lambda number: None,
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
        report: Called after each sample with the number of samples done and to do.
        files: What identifies the files of a sample by its number, or None. A shard of which they
            have changed is computed again. Defaults to None for all: not compared.

    Returns:
        How many samples were computed.

    Raises:
        CacheError: If the folder holds shards that were made in another way, with the first entry
            of the key that differs; or if there is no room.
        OSError: If the folder cannot be written into.
    """
    check_writable(folder)
    own = range(rank, number_of_shards(len(views)), world_size)
    todo = [
        shard
        for shard in own
        if not _is_done(folder, shard, key, _numbers(shard, len(views)), files)
    ]
    numbers = [number for shard in todo for number in _numbers(shard, len(views))]
    samples = _load(views, numbers, num_workers)
    done = 0
    for shard in todo:
        embedded: List[EmbeddedSample] = []
        for number in _numbers(shard, len(views)):
            embedded.append(embed(next(samples))._replace(files=files(number)))
            done += 1
            report(done, len(numbers))
        write_shard(folder, shard, embedded, key)
    return done


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
    for shard in range(number_of_shards(samples)):
        file = shard_file(folder, shard)
        check_key(file, key, read_header(folder, shard).key, _REMEDY)
        sizes.append(file.stat().st_size)
    index = dict(format=FORMAT, key=key, metainfo=to_json(metainfo), samples=samples, sizes=sizes)
    write_atomically(folder / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
    remove_leftovers(folder)
    return index


def missing_samples(folder: Path, samples: int) -> int:
    """How many embedded samples are in shards that are not there; damage is not looked for."""
    return sum(
        len(_numbers(shard, samples))
        for shard in range(number_of_shards(samples))
        if not shard_file(folder, shard).is_file()
    )


def _is_done(
    folder: Path,
    shard: int,
    key: Dict[str, Any],
    numbers: range,
    files: Callable[[int], Optional[Dict[str, Any]]],
) -> bool:
    """Whether a shard is there as a whole, and made of ``files``; of another key it is refused."""
    try:
        header = read_header(folder, shard)
    except CacheError:  # missing or damaged
        return False
    check_key(shard_file(folder, shard), key, header.key, _REMEDY)
    if [record['files'] for record in header.samples] != [files(n) for n in numbers]:
        return False
    return is_complete(folder, shard, header)


def _numbers(shard: int, samples: int) -> range:
    """The numbers of a shard's embedded samples."""
    return range(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, samples))


def _load(views: SourceViews, numbers: Sequence[int], num_workers: int) -> Iterator[Any]:
    """Samples as the pipeline gives them, in the order of ``numbers``."""
    return iter(
        DataLoader(
            Subset(views, numbers), batch_size=None, num_workers=num_workers, collate_fn=_as_it_is
        )
    )


def _as_it_is(sample: Any) -> Any:
    return sample
