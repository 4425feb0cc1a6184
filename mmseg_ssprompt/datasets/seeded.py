"""Samples whose random draws depend only on the seed and on their place in training."""

import contextlib
import itertools
import random
from typing import Any, Dict, Iterator, NamedTuple, Union

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from mmseg.registry import DATASETS
from torch.utils.data import Dataset, Sampler

from ..draws import seed_draws

__all__ = ['PlacedIndex', 'PlacedSampler', 'SeededDataset']

# Tells the draws of samples from those of training steps.
_OF_SAMPLES = 1


class PlacedIndex(NamedTuple):
    """Which sample is read, and when.

    Attributes:
        seed: Of the training.
        place: Number of samples that all processes have read before.
        index: Of the sample in the data set.
    """

    seed: int
    place: int
    index: int


@contextlib.contextmanager
def _draws_of_their_own() -> Iterator[None]:
    """Put the generators back afterwards: without workers they are those of the training."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SeededDataset(Dataset):
    """Another data set, read by :class:`PlacedIndex`.

    A sample's augmentation is drawn from generators that are seeded for its place, whichever
    worker reads it and whatever was read before. So training goes on after an interruption as if
    there had been none, and does not depend on the number of workers.

    Args:
        dataset: The other data set, or its config.
    """

    def __init__(self, dataset: Union[Dataset, Dict[str, Any]]) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def full_init(self) -> None:
        """Load the list of files."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    @property
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo of the other data set."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, placed: PlacedIndex) -> Any:
        with _draws_of_their_own():
            seed_draws(_OF_SAMPLES, placed.seed, placed.place)
            return self.dataset[placed.index]


class PlacedSampler(Sampler):
    """The order of another sampler, without end, from any place on.

    To begin at a place takes no reading of samples: only their numbers are drawn up to it.

    Args:
        dataset: What is sampled from.
        seed: Of the order and of the samples' draws.
        sampler: Config of the other sampler. One that ends begins again with the next epoch.
    """

    def __init__(self, dataset: Dataset, seed: int, sampler: Dict[str, Any]) -> None:
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

    def _build(self) -> Sampler:
        return DATA_SAMPLERS.build(
            self.sampler, default_args=dict(dataset=self.dataset, seed=self.seed)
        )

    def _indices(self) -> Iterator[int]:
        sampler = self._build()
        for epoch in itertools.count():
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
            yield from sampler
