"""Only dense tensors of finite numbers of the right kind get into a model."""

import pytest
import torch

from mmseg_ssprompt.weights.tensor_checks import count_non_finite, find_tensor_problem

FLOATS = torch.zeros(2, 3)
QUANTIZED = torch.quantize_per_tensor(FLOATS, 0.1, 0, torch.qint8)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64'])
def test_other_precisions_fit(dtype):
    assert find_tensor_problem(FLOATS.to(getattr(torch, dtype)), FLOATS) is None


@pytest.mark.parametrize(
    ('value', 'found'),
    [
        ('text', 'a str'),
        ([[0.0] * 3] * 2, 'a list'),
        (FLOATS.int(), 'torch.int32'),
        (FLOATS.bool(), 'torch.bool'),
        (FLOATS.cfloat(), 'torch.complex64'),
        (FLOATS.to_sparse(), 'torch.sparse_coo'),
        (FLOATS.to('meta'), 'one without data (meta)'),
        (QUANTIZED, 'torch.qint8'),
    ],
)
def test_other_kinds_do_not(value, found):
    expected = f'expected a dense tensor of floating-point numbers, found {found}'
    assert find_tensor_problem(value, FLOATS) == expected
    assert find_tensor_problem(value, FLOATS, any_shape=True) == expected


def test_integers_are_those_that_are_expected():
    counts = torch.arange(3)
    assert find_tensor_problem(counts, counts) is None
    expected = 'expected a dense tensor of torch.int64, found torch.float32'
    assert find_tensor_problem(counts.float(), counts) == expected


def test_shapes_count_unless_any_will_do():
    other = torch.zeros(3, 2)
    assert find_tensor_problem(other, FLOATS) == 'expected shape (2, 3), found (3, 2)'
    assert find_tensor_problem(other, FLOATS, any_shape=True) is None
    assert find_tensor_problem(FLOATS.half(), FLOATS.to('meta')) is None


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64'])
def test_numbers_that_are_not_finite_are_counted(dtype):
    values = torch.zeros(5, dtype=getattr(torch, dtype), requires_grad=True)
    assert count_non_finite(values) == 0
    values.data[1:4] = torch.tensor([float('nan'), float('inf'), -float('inf')])
    assert count_non_finite(values) == 3


@pytest.mark.parametrize('value', [torch.zeros(0), torch.arange(3), torch.ones(2).bool()])
def test_these_are_finite(value):
    assert count_non_finite(value) == 0
