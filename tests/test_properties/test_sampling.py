"""Whatever the numbers of images and processes: which sample is read when."""

import itertools
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from mmseg_ssprompt.datasets import PlacedSampler

NUMBERS = dict(
    images=st.integers(1, 13),
    processes=st.integers(1, 5),
    shuffle=st.booleans(),
    kind=st.sampled_from(['InfiniteSampler', 'DefaultSampler']),
    seed=st.integers(0, 99),
)
MODULES = ('mmseg_ssprompt.datasets.seeded', 'mmengine.dataset.sampler')


def read_by(rank, images, processes, shuffle, kind, seed, start=0, count=30):
    """The first samples of a process, from a place on."""
    world = dict(return_value=(rank, processes))
    with (
        mock.patch(f'{MODULES[0]}.get_dist_info', **world),
        mock.patch(f'{MODULES[1]}.get_dist_info', **world),
    ):
        sampler = PlacedSampler(range(images), seed, dict(type=kind, shuffle=shuffle))
        sampler.go_to(seed, start)
        return list(itertools.islice(sampler, count))


@given(start=st.integers(0, 25), rank=st.integers(0, 4), **NUMBERS)
def test_it_goes_on_as_if_it_had_not_been_interrupted(start, rank, **numbers):
    rank %= numbers['processes']
    whole = read_by(rank, **numbers, count=40)
    assert read_by(rank, **numbers, start=start, count=40 - start) == whole[start:]


@given(**NUMBERS)
def test_processes_read_at_places_of_their_own(**numbers):
    """None has nothing to read, even if there are fewer images than processes."""
    processes, images = numbers['processes'], numbers['images']
    read = [read_by(rank, **numbers) for rank in range(processes)]
    assert all(len(samples) == 30 for samples in read)
    places = sorted(sample.place for samples in read for sample in samples)
    assert places == list(range(30 * processes))
    assert {sample.sample for samples in read for sample in samples} <= set(range(images))
    rounds = [sample.sample for step in zip(*read) for sample in step]
    assert set(rounds[: images * processes]) == set(range(images))
