"""Attention is that of torch's module, with its gradients, also where keys get none."""

import pytest
import torch
from torch import nn

from mmseg_ssprompt.models.seem.multihead_attention import _FrozenKeys, attend

BATCH, QUERIES, KEYS, WIDTH, HEADS = 2, 5, 7, 16, 4


@pytest.fixture
def attention():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    nn.init.normal_(attention.in_proj_bias)
    return attention.requires_grad_(False)


@pytest.fixture
def inputs():
    """Query, key, value and where queries may look, which is everywhere for some."""
    torch.manual_seed(1)
    query = torch.randn(BATCH, QUERIES, WIDTH)
    key, value = torch.randn(2, BATCH, KEYS, WIDTH)
    allowed = torch.rand(BATCH, QUERIES, KEYS) < 0.4
    allowed |= ~allowed.any(dim=-1, keepdim=True)
    return query, key, value, allowed


def official(attention, query, key, value, allowed):
    mask = ~allowed.repeat_interleave(HEADS, dim=0)
    return attention(query, key, value, attn_mask=mask, need_weights=False)[0]


def gradients(out, *inputs):
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    return torch.autograd.grad((out * factors).sum(), inputs)


@pytest.mark.parametrize('trains', ['query', 'all'])
def test_equals_torch_with_its_gradients(attention, inputs, monkeypatch, trains):
    *tensors, allowed = inputs
    own = [x.clone().requires_grad_(trains == 'all' or n == 0) for n, x in enumerate(tensors)]
    calls = []
    apply = _FrozenKeys.apply
    monkeypatch.setattr(_FrozenKeys, 'apply', lambda *args: calls.append(1) or apply(*args))
    found, expected = attend(attention, *own, allowed), official(attention, *own, allowed)
    assert len(calls) == (trains == 'query')  # torch's own where keys get gradients too
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    trained = [x for x in own if x.requires_grad]
    for one, two in zip(gradients(found, *trained), gradients(expected, *trained)):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_predictions_are_those_of_training(attention, inputs):
    """Without gradients, and with weights that train, which take torch's own."""
    query, key, value, allowed = inputs
    expected = official(attention, *inputs)
    with torch.no_grad():
        torch.testing.assert_close(attend(attention, *inputs), expected, atol=1e-6, rtol=0)
    trains = attention.requires_grad_()
    found = attend(trains, query, key, value, allowed)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    weights = (trains.in_proj_weight, trains.out_proj.weight)
    pairs = (gradients(out, *weights) for out in (found, official(trains, *inputs)))
    for one, two in zip(*pairs):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_gradients_in_lower_precision(attention, inputs):
    query, key, value, allowed = inputs
    query.requires_grad_()
    expected = gradients(attend(attention, query, key, value, allowed), query)[0]
    with torch.autocast('cpu', torch.bfloat16):
        out = attend(attention, query, key, value, allowed)
    assert out.dtype == torch.bfloat16
    found = gradients(out.float(), query)[0]
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.05 * expected.abs().max().item(), rtol=0)


def test_causal(attention, inputs):
    query = inputs[0]
    allowed = torch.ones(QUERIES, QUERIES).tril().bool().expand(BATCH, -1, -1)
    found = attend(attention, query, query, query, is_causal=True)
    torch.testing.assert_close(found, official(attention, query, query, query, allowed))


def test_values_may_be_shifted(attention, inputs):
    query, key, value, allowed = inputs
    shift = torch.randn(WIDTH)
    found = attend(attention, query, key, value, allowed, shift=shift)
    expected = official(attention, query, key, value + shift, allowed)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
