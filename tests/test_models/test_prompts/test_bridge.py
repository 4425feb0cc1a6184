"""The learned bridge: what it computes, where it starts, and what it refuses."""

import pytest
import torch

from mmseg_ssprompt.models.prompts import BridgeFusion

D, E = 6, 4


def random_pair():
    """Embeddings (2, 3, E) of a frozen bridge and tokens (2, 3, D)."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 3, D, generator=generator)
    return torch.randn(2, 3, E, generator=generator), tokens


@pytest.mark.parametrize('rank', [None, 1, 4])
def test_an_untrained_bridge_is_the_frozen_one_to_the_bit(rank):
    default, tokens = random_pair()
    assert torch.equal(BridgeFusion(D, E, rank)(default, tokens), default)


@pytest.mark.parametrize('rank', [None, 2])
def test_it_is_a_mixture_of_two_linear_maps(rank):
    """``W * Phat + (1 - W) * Pdefault``, with the bias in it."""
    bridge = BridgeFusion(D, E, rank, initial_weight=0.25)
    _, tokens = random_pair()
    frozen = torch.randn(E, D)
    torch.nn.init.normal_(bridge.up)
    torch.nn.init.normal_(bridge.shift)
    difference = bridge.up if rank is None else bridge.up @ bridge.down
    learned = tokens @ (frozen + difference).t() + bridge.shift
    default = tokens @ frozen.t()
    torch.testing.assert_close(bridge(default, tokens), 0.25 * learned + 0.75 * default)


@pytest.mark.parametrize(('rank', 'count'), [(None, D * E), (2, 2 * (D + E))])
def test_parameters_and_their_gradients(rank, count):
    bridge = BridgeFusion(D, E, rank)
    assert sum(parameter.numel() for parameter in bridge.parameters()) == count + E + 1
    default, tokens = random_pair()
    bridge(default, tokens).square().sum().backward()
    assert (bridge.up.grad != 0).all() and (bridge.shift.grad != 0).all()
    # Nothing is added yet, so neither the weight nor B changes anything in the first step.
    assert bridge.weight_logit.grad == 0
    torch.nn.init.normal_(bridge.up)
    bridge.zero_grad()
    bridge(default, tokens).square().sum().backward()
    assert all((parameter.grad != 0).all() for parameter in bridge.parameters())


@pytest.mark.parametrize('rank', [0, -1, E + 1, 2.0, True, 'full'])
def test_a_rank_that_there_is_not(rank):
    with pytest.raises(ValueError, match=r'bridge\.rank must be an integer from 1 to 4'):
        BridgeFusion(D, E, rank)


@pytest.mark.parametrize('weight', [0, 1, -0.5, float('nan'), None])
def test_a_weight_that_there_is_not(weight):
    with pytest.raises(ValueError, match=r'bridge\.initial_weight must be in \(0, 1\)'):
        BridgeFusion(D, E, initial_weight=weight)
