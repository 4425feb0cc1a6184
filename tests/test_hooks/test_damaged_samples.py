"""Damaged samples end a training, or a bounded number of them is replaced."""

import pytest
import torch

from mmseg_ssprompt.datasets import DatasetError, SeededDataset, UnreadableFileError
from mmseg_ssprompt.datasets.seeded import PlacedIndex
from toy_training import NoisyLine, Record, StopAt, Stops, build_toy, log_of

CFG = dict(type='ResumableTrainLoop', max_iters=8, val_interval=2)


class Damaged(NoisyLine):
    """Some of its samples cannot be read."""

    def __init__(self, damaged=(1, 4), error=UnreadableFileError):
        self.damaged, self.error = damaged, error

    def __getitem__(self, index):
        if index in self.damaged:
            raise self.error(f"cannot read image '{index}.png'")
        return super().__getitem__(index)


def build(work_dir, dataset, *hooks, max_damaged=2, workers=0, **settings):
    """A toy training on another data set."""
    cfg = dict(CFG, max_damaged=max_damaged)
    runner = build_toy(work_dir, *hooks, workers=workers, train_cfg=cfg, **settings)
    runner._train_dataloader['dataset'] = dataset
    return runner


@pytest.mark.parametrize('workers', [0, 2])
def test_others_are_taken_and_each_is_logged_once(tmp_path, workers):
    record = Record()
    build(tmp_path, Damaged(), record, workers=workers).train()
    seen = {int(number) for batch in record.batches for number in batch}
    assert len(record.losses) == 8
    assert len(seen) > 1
    text = log_of(tmp_path)
    for index in (1, 4):
        assert text.count(f"cannot read image '{index}.png'") == 1
    assert 'WARNING' in text


@pytest.mark.slow
def test_workers_and_resuming_change_nothing(tmp_path):
    whole, workers, rest = Record(), Record(), Record()
    trained = build(tmp_path / 'whole', Damaged(), whole)
    trained.train()
    build(tmp_path / 'workers', Damaged(), workers, workers=2).train()
    assert workers.batches == whole.batches
    with pytest.raises(Stops):
        build(tmp_path / 'parts', Damaged(), StopAt(5)).train()
    last = build(tmp_path / 'parts', Damaged(), rest, resume=True)
    last.train()
    assert rest.batches == whole.batches[4:]
    assert torch.equal(last.model.weight, trained.model.weight)


@pytest.mark.parametrize('workers', [0, 2])
def test_more_than_that_end_training_and_are_listed(tmp_path, workers):
    with pytest.raises(DatasetError, match='expected at most 1 damaged samples') as caught:
        build(tmp_path, Damaged(), max_damaged=1, workers=workers).train()
    assert all(f"'{index}.png'" in str(caught.value) for index in (1, 4))


def test_it_stops_at_the_first_by_default(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"cannot read image '\d\.png'"):
        build(tmp_path, Damaged(), max_damaged=0).train()


@pytest.mark.parametrize('error', [DatasetError, TypeError, ValueError])
def test_other_errors_are_not_skipped(error):
    data = SeededDataset(Damaged(error=error), max_damaged=5)
    with pytest.raises(error, match='cannot read'):
        data[PlacedIndex(0, 0, 1)]


def test_it_ends_where_nothing_can_be_read():
    data = SeededDataset(Damaged(range(6)), max_damaged=100)
    with pytest.raises(DatasetError, match='found 6 of 6'):
        data[PlacedIndex(0, 0, 1)]


@pytest.mark.parametrize('wrong', [-1, 1.5, True, '3', None])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match='max_damaged: expected a whole number'):
        SeededDataset(NoisyLine(), max_damaged=wrong)
