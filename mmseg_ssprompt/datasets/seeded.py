"""Samples whose random draws depend only on the seed and on their place in training."""

import itertools
import logging
from typing import Any, Dict, Iterator, NamedTuple, Union

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info, is_main_process
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Dataset, Sampler

from ..config_entries import ConfigDict
from ..dataset_wrappers import build_dataset
from ..draws import draws_of_their_own, seed_draws
from .checks import DatasetError, UnreadableFileError, explain_dataset_errors

__all__ = ['PlacedIndex', 'PlacedSampler', 'SeededDataset']

# Streams of random numbers; 2 is that of training steps.
_SAMPLES, _REPLACEMENTS = 1, 3


class PlacedIndex(NamedTuple):
    """Which sample is read, and when."""

    seed: int  # of the training run
    place: int  # number of samples that all processes have read before
    sample: int  # its index in the data set


class SeededDataset(Dataset[Any]):
    """Another data set, read by :class:`PlacedIndex`.

    A sample's augmentation is drawn from generators that are seeded for its place, whichever
    worker reads it and whatever was read before. So are the samples that stand in the place of
    damaged ones. Resuming and the number of workers therefore change nothing.

    Args:
        dataset: The other data set, or its config.
        max_damaged: How many samples of it may be damaged, in each process of a distributed
            training, since its start. Defaults to 0.

    Raises:
        ValueError: If ``max_damaged`` is no number from 0 on.
        DatasetError: When a sample is read: if it does not pass its pipeline, or if more samples
            are damaged than may be, with all of them.
    """

    def __init__(self, dataset: Union[BaseDataset, ConfigDict], max_damaged: int = 0) -> None:
        if type(max_damaged) is not int or max_damaged < 0:
            raise ValueError(
                f'max_damaged: expected a whole number from 0 (stop at the first damaged sample) '
                f'on, found {max_damaged!r}'
            )
        with explain_dataset_errors():
            self.dataset: BaseDataset = build_dataset(dataset)
        self.max_damaged = max_damaged
        # Workers are other processes: what they find is counted in memory that they share.
        count = len(self.dataset) if max_damaged > 0 else 0
        self._is_damaged = torch.zeros(count, dtype=torch.bool).share_memory_()

    def full_init(self) -> None:
        """Load the list of files."""
        if hasattr(self.dataset, 'full_init'):
            with explain_dataset_errors():
                self.dataset.full_init()

    @property
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo of the other data set."""
        metainfo: Dict[str, Any] = self.dataset.metainfo
        return metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, placed: PlacedIndex) -> Any:
        numbers = (_REPLACEMENTS, placed.seed, placed.place)
        replacements = np.random.default_rng(np.random.SeedSequence(numbers))
        index = placed.sample
        while True:
            try:
                # Without workers the generators are those of training.
                with explain_dataset_errors(), draws_of_their_own():
                    seed_draws(_SAMPLES, placed.seed, placed.place)
                    return self.dataset[index]
            except UnreadableFileError as error:
                if self.max_damaged == 0:
                    raise
                self._note(index, error)
                index = int(replacements.integers(len(self.dataset)))

    def _note(self, index: int, error: UnreadableFileError) -> None:
        """Log a damaged sample once, and end if there are too many."""
        is_new = not self._is_damaged[index]
        self._is_damaged[index] = True
        count = int(self._is_damaged.sum())
        if count > self.max_damaged or count == len(self.dataset):
            texts = {index: str(error)}
            for other in self._is_damaged.nonzero().flatten().tolist():
                try:  # others may have been read by other workers
                    self.dataset[other]
                except UnreadableFileError as own:
                    texts[other] = str(own)
            listed = '\n  '.join(texts.values())
            raise DatasetError(
                f'training data: expected at most {self.max_damaged} damaged samples '
                f'(max_damaged), found {count} of {len(self.dataset)}:\n  {listed}\nCopy or '
                'download these files again, or leave them out'
            ) from error
        if is_new:
            # In other processes than the main one, mmengine's logger lets only errors through.
            level = logging.WARNING if is_main_process() else logging.ERROR
            text = f'Another sample is taken in the place of a damaged one ({count} of at most '
            print_log(f'{text}{self.max_damaged}): {error}', 'current', level)


class PlacedSampler(Sampler[PlacedIndex]):
    """The order of another sampler, without end, from any place on; no sample is read for it.

    Args:
        dataset: What is sampled from.
        seed: Of the order and of the samples' draws.
        sampler: Config of the other sampler. One that ends begins again with the next epoch.
    """

    def __init__(self, dataset: SeededDataset, seed: int, sampler: ConfigDict) -> None:
        self.dataset = dataset
        self.seed = seed
        self.sampler = sampler
        self.start = 0
        self._build()  # so that a mistake in the config is known now

    def go_to(self, seed: int, start: int) -> None:
        """Let the next iterator begin with a seed, where ``start`` samples were read before."""
        self.seed, self.start = seed, start

    def __iter__(self) -> Iterator[PlacedIndex]:
        rank, world_size = get_dist_info()
        numbered = enumerate(self._indices())
        for count, index in itertools.islice(numbered, self.start, None):
            yield PlacedIndex(self.seed, count * world_size + rank, index)

    def __len__(self) -> int:
        return len(self._build())

    def _build(self) -> Any:
        """The other sampler."""
        return DATA_SAMPLERS.build(
            self.sampler, default_args=dict(dataset=self.dataset, seed=self.seed)
        )

    def _indices(self) -> Iterator[int]:
        sampler = self._build()
        for epoch in itertools.count():
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
            yield from sampler
