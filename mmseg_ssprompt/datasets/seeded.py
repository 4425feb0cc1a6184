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
from mmseg.registry import DATASETS
from torch.utils.data import Dataset, Sampler

from ..config_entries import ConfigDict
from ..draws import draws_of_their_own, seed_draws
from .checks import DatasetError, UnreadableFileError, explain_dataset_errors

__all__ = ['PlacedIndex', 'PlacedSampler', 'SeededDataset']

# Streams of random numbers; 2 is that of training steps.
_SAMPLES, _REPLACEMENTS = 1, 3


class PlacedIndex(NamedTuple):
    """Which sample is read, and when.

    Attributes:
        seed: Seed of the training run.
        place: Number of samples that all processes have read before.
        sample: Index of the sample in the data set.
    """

    seed: int
    place: int
    sample: int


class SeededDataset(Dataset[Any]):
    """Another data set, read by :class:`PlacedIndex`.

    A sample's augmentation is drawn from generators that are seeded for its place, whichever
    worker reads it and whatever was read before. So training goes on after an interruption as if
    there had been none, and does not depend on the number of workers.

    A sample whose file cannot be read ends training, or up to ``max_damaged`` of them are replaced.
    The other samples that stand in their place are drawn from the seed and the place, so a resumed
    training takes the same. Each damaged sample is logged once.

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
        if isinstance(max_damaged, bool) or not isinstance(max_damaged, int) or max_damaged < 0:
            raise ValueError(
                f'max_damaged: expected a whole number from 0 (stop at the first damaged sample) '
                f'on, found {max_damaged!r}'
            )
        with explain_dataset_errors():
            is_config = isinstance(dataset, dict)
            self.dataset: BaseDataset = DATASETS.build(dataset) if is_config else dataset
        self.max_damaged = max_damaged
        if max_damaged > 0:
            # Workers are other processes: what they find is counted in memory that they share.
            self._is_damaged = torch.zeros(len(self.dataset), dtype=torch.bool).share_memory_()

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
        if self.max_damaged == 0:
            return self._read(placed)
        for index in self._candidates(placed):
            try:
                return self._read(placed._replace(sample=index))
            except UnreadableFileError as error:
                self._note(index, error)
        raise AssertionError('candidates do not end')

    def _read(self, placed: PlacedIndex) -> Any:
        # Without workers the generators are those of training.
        with explain_dataset_errors(), draws_of_their_own():
            seed_draws(_SAMPLES, placed.seed, placed.place)
            return self.dataset[placed.sample]

    def _candidates(self, placed: PlacedIndex) -> Iterator[int]:
        """The sample itself, and without end others for its place."""
        yield placed.sample
        numbers = (_REPLACEMENTS, placed.seed, placed.place)
        draws = np.random.default_rng(np.random.SeedSequence(numbers))
        while True:
            yield int(draws.integers(len(self.dataset)))

    def _note(self, index: int, error: UnreadableFileError) -> None:
        """Log a damaged sample once, and end if there are too many."""
        is_new = not self._is_damaged[index]
        self._is_damaged[index] = True
        count = int(self._is_damaged.sum())
        if count > self.max_damaged or count == len(self.dataset):
            listed = '\n  '.join(self._describe_damaged())
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

    def _describe_damaged(self) -> Iterator[str]:
        """The error of each damaged sample, which other workers may have read."""
        for index in self._is_damaged.nonzero().flatten().tolist():
            try:
                self.dataset[index]
            except UnreadableFileError as error:
                yield str(error)


class PlacedSampler(Sampler[PlacedIndex]):
    """The order of another sampler, without end, from any place on.

    To begin at a place takes no reading of samples: only their numbers are drawn up to it.

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
        """Let the next iterator begin at another place.

        Args:
            seed: Of the order and of the samples' draws.
            start: How many samples this process has read before.
        """
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
