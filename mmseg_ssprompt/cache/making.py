"""Makes caches: looks whether there is room, embeds what is missing, and says how far it is."""

import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, is_main_process

from ..datasets.checks import explain_dataset_errors
from ..files import check_writable
from .embedder import EmbeddedSample, Embedder, SourceViews
from .embedding_cache import fill_cache, finish_cache, free_bytes, missing_samples
from .recipe import CacheError, Recipe

__all__ = ['CacheMaker', 'make_caches']

INTERVAL = 10.0  # seconds between lines of progress
#: What is told after each sample: how many are done, how many are to do, and the sample.
Report = Callable[[int, int, EmbeddedSample], None]


def say(line: str) -> None:
    """Print once, whatever the number of ranks."""
    if is_main_process():
        print(line, flush=True)


class CacheMaker:
    """Makes one cache, or goes on making it.

    Args:
        folder: Of the cache; it is made.
        recipe: Of its samples.
        num_workers: Processes that run the pipeline. Defaults to 0: this one.
        report: Is told how far this rank is. Defaults to None: lines are printed now and then.

    Raises:
        OSError: If the folder cannot be written into.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        num_workers: int = 0,
        report: Optional[Report] = None,
    ) -> None:
        check_writable(folder)
        self.folder, self.recipe, self.num_workers = folder, recipe, num_workers
        self.report = report
        self.dataset = recipe.build_dataset()
        self.key = recipe.key(self.dataset)
        self.views = SourceViews(self.dataset, recipe.views, recipe.seed)
        self._embedded: Dict[int, EmbeddedSample] = {}

    def needed_bytes(self, embed: Embedder) -> int:
        """Bytes of the samples that are not there, each taken to be as large as the first of them.

        That one is embedded for it, and kept.
        """
        missing = missing_samples(self.folder, len(self.views))
        if not missing:
            return 0
        own = missing_samples(self.folder, len(self.views), *get_dist_info())
        first = (own or missing)[0]
        self._embedded[first] = embed(self.views[first])
        sample_bytes = self._embedded[first].nbytes
        say(
            f'{self.folder}: {sample_bytes:,} bytes a sample x {len(self.dataset)} samples x '
            f'{self.recipe.views} views = {sample_bytes * len(self.views) / 1e9:.3f} GB; '
            f'{sample_bytes * len(missing) / 1e9:.3f} GB to write, '
            f'{free_bytes(self.folder) / 1e9:.1f} GB free'
        )
        return sample_bytes * len(missing)

    def make(self, embed: Embedder) -> None:
        """Write what is missing, and the index."""
        start = time.monotonic()
        rank, world_size = get_dist_info()
        computed = fill_cache(
            *(self.folder, self.key, self.views, embed),
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
            report=self.report or Progress(),
            files=self.views.files,
            embedded=self._embedded,
        )
        self._embedded.clear()
        barrier()
        if is_main_process():
            index = finish_cache(self.folder, self.key, self.dataset.metainfo, len(self.views))
            size = sum(file.stat().st_size for file in self.folder.iterdir())
            say(
                f'{self.folder}: {len(self.views)} embedded samples in {len(index["sizes"])} '
                f'shards, {size:,} bytes; rank 0 computed {computed} in '
                f'{time.monotonic() - start:.1f} s'
            )
        barrier()


class Progress:
    """Prints now and then how far this rank is."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, total: int, sample: EmbeddedSample) -> None:
        """Note that so many samples are done."""
        now = time.monotonic()
        if now - self.last < INTERVAL and done < total:
            return
        self.last = now
        rate = done / max(now - self.start, 1e-9)
        say(f'  {done}/{total} of rank 0, {rate:.2f} a second, {(total - done) / rate:.0f} s left')


def check_room(
    makers: Sequence[CacheMaker], needed: Sequence[int], advice: Optional[str] = None
) -> None:
    """Refuse to start where a disk has not enough room for all caches that go there.

    Args:
        makers: Of the caches.
        needed: Bytes that each of them will write.
        advice: What to do. Defaults to None: what the command ``cache`` has for it.

    Raises:
        CacheError: With the folders on that disk, the bytes needed and free, and what to do.
    """
    disks: Dict[int, List[int]] = {}
    for number, maker in enumerate(makers):
        disks.setdefault(maker.folder.stat().st_dev, []).append(number)
    for numbers in disks.values():
        total = sum(needed[number] for number in numbers)
        writing = [makers[number] for number in numbers if needed[number]]
        if len(writing) > 1:
            say(f'{total / 1e9:.3f} GB to write in all')
        if writing and total > (free := free_bytes(writing[0].folder)):
            folders = ' and '.join(repr(str(maker.folder)) for maker in writing)
            raise CacheError(
                f'no room in {folders}: expected {total:,} bytes, found {free:,} free. '
                f'{advice or _take_less(writing)}'
            )


def _take_less(makers: Sequence[CacheMaker]) -> str:
    """What takes less room than these caches, in sentences."""
    ways = []
    if any(maker.recipe.dtype == 'float32' for maker in makers):
        ways.append("dtype='float16' in the EmbeddedDataset")
    if any(maker.recipe.views > 1 for maker in makers):
        ways.append('fewer views (--views)')
    if len(makers) > 1:
        ways.append('one split alone (--split)')
    ways.append('a config with fewer images, such as a few-shot one')
    return (
        f'What takes less: {", ".join(ways)}. Or name another place, by --cache-dir, which '
        'training takes as cache_dir of its EmbeddedDatasets'
    )


@explain_dataset_errors()
def make_caches(makers: Sequence[CacheMaker], advice: Optional[str] = None) -> None:
    """Make caches, if there is room for all of them.

    Nothing is written before the first sample of each has said how large it is.

    Args:
        makers: Of the caches.
        advice: What to do where there is no room. Defaults to None: what the command ``cache`` has
            for it.

    Raises:
        CacheError: If there is no room.
    """
    embedders: List[Embedder] = []
    for maker in makers:
        config = maker.recipe.encoder
        same = [each.encoder for each in embedders if each.recipe.encoder == config]
        embedders.append(Embedder(maker.recipe, get_device(), same[0] if same else None))
    needed = [maker.needed_bytes(embed) for maker, embed in zip(makers, embedders)]
    check_room(makers, needed, advice)
    barrier()  # no rank writes before all have looked
    for maker, embed in zip(makers, embedders):
        maker.make(embed)
