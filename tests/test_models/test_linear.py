"""A linear layer through a convolution is that linear layer, and its gradient too."""

import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling.common import MLPBlock
from torch import nn

from mmseg_ssprompt.models.base import linear as module
from mmseg_ssprompt.models.base.linear import project
from mmseg_ssprompt.models.sam.mlp import apply_mlp


@pytest.fixture
def convolutions(monkeypatch):
    """Take the detour whatever the size; the convolutions that were called."""
    monkeypatch.setattr(module, '_MIN_MULTIPLICATIONS', 0)
    called = []
    convolve = F.conv2d

    def record(x, *args):
        called.append(x)
        return convolve(x, *args)

    monkeypatch.setattr(F, 'conv2d', record)
    return called


@pytest.mark.parametrize('shape', [(7, 5), (2, 7, 5), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize('bias', [True, False])
def test_result_and_gradient(convolutions, shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(5, 6, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    found, expected = project(layer, x), layer(x)
    assert len(convolutions) == 1
    torch.testing.assert_close(found, expected)
    wanted = [x, *layer.parameters()]
    weight = torch.randn_like(expected)
    gradients = torch.autograd.grad((found * weight).sum(), wanted)
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weight).sum(), wanted))


def test_a_view_with_other_strides(convolutions):
    layer, x = nn.Linear(5, 6), torch.randn(5, 7, 2).permute(2, 1, 0)
    torch.testing.assert_close(project(layer, x), layer(x))
    assert len(convolutions) == 1


def test_mlp(convolutions):
    torch.manual_seed(0)
    mlp, x = MLPBlock(5, 8), torch.randn(2, 3, 5)
    torch.testing.assert_close(apply_mlp(mlp, x), mlp(x))
    assert len(convolutions) == 2


def test_lower_precisions_and_float64_stay_linear(convolutions):
    layer, x = nn.Linear(5, 6), torch.randn(7, 5)
    with torch.autocast('cpu', torch.bfloat16):
        assert project(layer, x).dtype == torch.bfloat16
    project(layer.double(), x.double())
    assert not convolutions


def test_small_products_stay_linear(monkeypatch):
    monkeypatch.setattr(F, 'conv2d', None)
    layer, x = nn.Linear(5, 6), torch.randn(7, 5)
    torch.testing.assert_close(project(layer, x), layer(x), atol=0, rtol=0)
