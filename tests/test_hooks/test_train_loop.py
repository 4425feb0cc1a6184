"""An interruption changes nothing of what a training draws, reads and ends with."""

import pytest
import torch
from mmengine.runner import Runner

from mmseg_ssprompt.datasets import PlacedSampler, SeededDataset
from mmseg_ssprompt.datasets.seeded import PlacedIndex
from mmseg_ssprompt.draws import seed_draws
from mmseg_ssprompt.hooks.loops import VALIDATION_DUE
from toy_training import ITERATIONS, NoisyLine, Record, StopAt, Stops, build_toy, log_of


def train(runner: Runner) -> Runner:
    """Train, and end the workers: left to the garbage collector, each takes 5 s."""
    try:
        runner.train()
    finally:
        iterator = runner.train_loop.dataloader._iterator
        if iterator is not None:
            iterator._shutdown_workers()
    return runner


def train_in_parts(work_dir, *stops: int, **settings) -> 'tuple[Runner, Record]':
    """Train until each stop, each time in a new runner; the last one, and what it saw."""
    for stop in stops:
        with pytest.raises(Stops):
            train(build_toy(work_dir, StopAt(stop), resume=True, **settings))
    record = Record()
    return train(build_toy(work_dir, record, resume=True, **settings)), record


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('stops', [(4,), (5,), (2, 3, 7)])
def test_parts_end_as_the_whole(tmp_path, workers, stops):
    record = Record()
    whole = train(build_toy(tmp_path / 'whole', record, workers=workers))
    parts, last = train_in_parts(tmp_path / 'parts', *stops, workers=workers)
    assert len(record.losses) == ITERATIONS
    assert len(set(record.losses)) == ITERATIONS
    saved = stops[-1] // 2 * 2
    assert last.batches == record.batches[saved:]
    assert last.losses == record.losses[saved:]
    assert torch.equal(parts.model.weight, whole.model.weight)


def test_workers_change_nothing(tmp_path):
    records = [Record() for _ in range(3)]
    for workers, record in enumerate(records):
        train(build_toy(tmp_path / str(workers), record, workers=workers))
    assert records[0].batches == records[1].batches == records[2].batches
    assert records[0].losses == records[1].losses == records[2].losses


def test_a_seed_that_was_drawn_is_that_of_the_checkpoint(tmp_path):
    record = Record()
    settings = dict(randomness=dict(seed=None))
    first = build_toy(tmp_path / 'first', record, **settings)
    first.train()
    assert first.seed is not None
    for name, stop in (('parts', 5), ('whole', None)):
        hooks = [] if stop is None else [StopAt(stop)]
        runner = build_toy(tmp_path / name, *hooks, randomness=dict(seed=first.seed))
        if stop is None:
            runner.train()
            continue
        with pytest.raises(Stops):
            runner.train()
    resumed = Record()
    build_toy(tmp_path / 'parts', resumed, resume=True, **settings).train()
    assert resumed.losses == record.losses[4:]


def test_another_seed_draws_otherwise(tmp_path):
    records = [Record(), Record()]
    for seed, record in enumerate(records):
        build_toy(tmp_path / str(seed), record, randomness=dict(seed=seed)).train()
    assert records[0].batches != records[1].batches


def test_the_samples_that_were_read_are_not_read_again(tmp_path):
    reads = []

    class Counted(NoisyLine):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    def build(*hooks, **settings):
        runner = build_toy(tmp_path, *hooks, **settings)
        runner._train_dataloader['dataset'] = Counted()
        return runner

    with pytest.raises(Stops):
        build(StopAt(6)).train()
    reads.clear()
    build(resume=True).train()
    assert len(reads) == (ITERATIONS - 6) * 2


def test_a_validation_that_is_due_is_in_the_checkpoint(tmp_path):
    with pytest.raises(Stops):
        build_toy(tmp_path, StopAt(5)).train()
    runner = build_toy(tmp_path, resume=True)
    saved = torch.load(tmp_path / 'iter_4.pth', weights_only=True)
    assert saved['message_hub']['runtime_info'][VALIDATION_DUE] is True
    runner.train()
    assert runner.message_hub.get_info(VALIDATION_DUE) is False


def test_draws_leave_the_generators_as_they_were():
    data = SeededDataset(NoisyLine())
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = torch.rand(2)
    data[PlacedIndex(seed=0, place=5, sample=1)]
    assert torch.equal(torch.cat([first, torch.rand(2)]), expected)


def test_a_sample_is_drawn_by_seed_and_place():
    data = SeededDataset(NoisyLine())

    def read(seed: int, place: int) -> float:
        return data[PlacedIndex(seed, place, 2)]['inputs'].item()

    assert read(0, 7) == read(0, 7)
    assert len({read(0, 7), read(1, 7), read(0, 8), read(7, 0)}) == 4


def test_draws_of_all_three_generators_are_seeded():
    import random

    import numpy as np

    def draw(*numbers: int) -> tuple:
        seed_draws(*numbers)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(1, 2) == draw(1, 2)
    assert all(a != b for a, b in zip(draw(1, 2), draw(2, 1)))


@pytest.mark.parametrize('kind', ['InfiniteSampler', 'DefaultSampler'])
def test_a_sampler_begins_at_any_place(kind):
    sampler = PlacedSampler(NoisyLine(), 0, dict(type=kind, shuffle=True))
    places = iter(sampler)
    whole = [next(places) for _ in range(20)]
    assert [placed.place for placed in whole] == list(range(20))
    assert sorted(placed.sample for placed in whole[:6]) == list(range(6))
    assert whole[:6] != whole[6:12]
    sampler.go_to(0, 9)
    places = iter(sampler)
    assert [next(places) for _ in range(11)] == whole[9:]


def test_processes_share_the_places(monkeypatch):
    whole = iter(PlacedSampler(NoisyLine(), 0, dict(type='InfiniteSampler')))
    expected = [next(whole) for _ in range(8)]
    found = []
    for rank in range(2):
        for module in ('mmseg_ssprompt.datasets.seeded', 'mmengine.dataset.sampler'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, 2))
        places = iter(PlacedSampler(NoisyLine(), 0, dict(type='InfiniteSampler')))
        found += [next(places) for _ in range(4)]
    assert sorted(found, key=lambda placed: placed.place) == expected


@pytest.mark.parametrize('max_iters', [8, 6])
def test_a_finished_training_says_that_nothing_is_trained(tmp_path, max_iters):
    train(build_toy(tmp_path))
    assert 'already finished' not in log_of(tmp_path)
    record = Record()
    settings = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=2)
    train(build_toy(tmp_path, record, resume=True, train_cfg=settings))
    assert record.losses == []
    expected = f'Training is already finished: it is resumed at iteration 8 of {max_iters}'
    assert expected in log_of(tmp_path)
