"""Batches are halved where memory does not suffice, and nothing is lost."""

import pytest
import torch

from mmseg_ssprompt.prediction.batches import BatchSize

CPU = torch.device('cpu')


def model_with_room_for(count, error=RuntimeError, text='CUDA out of memory'):
    seen = []

    def model(part):
        seen.append(len(part))
        if len(part) > count:
            raise error(text)
        return [2 * each for each in part]

    model.seen = seen
    return model


def test_batches_are_halved_until_they_fit():
    batches, model = BatchSize(CPU, 8), model_with_room_for(3)
    assert list(batches.run(model, list(range(8)))) == [2 * each for each in range(8)]
    assert model.seen == [8, 4, 2, 2, 2, 2]
    assert batches.size == 2
    assert list(batches.run(model, [5, 6, 7])) == [10, 12, 14]


def test_a_picture_that_does_not_fit_alone_leaves_the_others():
    def model(part):
        if 1 in part:
            raise RuntimeError('DefaultCPUAllocator: not enough memory: you tried to allocate 9')
        return [-each for each in part]

    found = list(BatchSize(CPU, 4).run(model, [0, 1, 2, 3]))
    assert [found[0], *found[2:]] == [0, -2, -3]
    assert isinstance(found[1], MemoryError)
    assert 'cpu: DefaultCPUAllocator' in str(found[1])


def test_other_errors_are_raised():
    with pytest.raises(RuntimeError, match='shapes'):
        list(BatchSize(CPU, 2).run(model_with_room_for(0, text='shapes'), [1]))


def test_a_cpu_has_one_at_a_time():
    assert BatchSize(CPU).size == 1
    batches, model = BatchSize(CPU), model_with_room_for(9)
    assert list(batches.run(model, [1, 2])) == [2, 4]
    assert model.seen == [1, 1]
