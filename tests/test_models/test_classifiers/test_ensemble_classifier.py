"""The geometric mean of two classifiers."""

import pytest
import torch
import torch.nn.functional as F

from mmseg_ssprompt.models.base import Decoded, ImageFeatures
from mmseg_ssprompt.models.classifiers import EnsembleClassifier

D, E = 8, 64
TOKEN = dict(type='TokenClassifier')
REGION = dict(type='CLIPRegionClassifier', variant='tiny')


def build(**options) -> EnsembleClassifier:
    torch.manual_seed(0)
    return EnsembleClassifier(D, E, token=TOKEN, region=REGION, **options)


def inputs():
    generator = torch.Generator().manual_seed(1)
    decoded = Decoded(
        torch.randn(2, 3, 8, 8, generator=generator),
        torch.randn(2, 3, D, generator=generator),
        torch.rand(2, 3, generator=generator),
    )
    prompts = F.normalize(torch.randn(5, E, generator=generator), dim=-1)
    tokens = torch.randn(2, 17, 96, generator=generator)
    return decoded, prompts, ImageFeatures((), tokens, torch.zeros(2, 1, 1, 1))


@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_probabilities_by_hand(share):
    classifier = build(share=share)
    token, region = (part(*inputs()).softmax(-1) for part in (classifier.token, classifier.region))
    expected = token ** (1 - share) * region**share
    expected = expected / expected.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(classifier(*inputs()).softmax(dim=-1), expected)
    assert not torch.allclose(token, region, atol=0.05)


@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_a_fixed_share_is_that_of_the_config(share):
    """It is not in the state dict, whose numbers have to be finite, nor taken from there."""
    classifier, other = build(share=share), build(share=0.5)
    assert not any('share' in key for key in classifier.state_dict())
    classifier.load_state_dict(other.state_dict())
    assert classifier.share == share
    logits = classifier(*inputs())
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in classifier.token.parameters())


def test_what_trains_and_how_it_is_described():
    assert build().trainable  # the projection is not pre-trained
    frozen = dict(TOKEN, trainable=False)
    assert not EnsembleClassifier(D, E, token=frozen, region=REGION).trainable
    assert build(share=0.25).describe() == (
        'EnsembleClassifier(share=0.25, token=TokenClassifier, '
        'region=CLIPRegionClassifier(read_out=class_token))'
    )


@pytest.mark.parametrize('share', [-0.1, 1.1])
def test_shares_that_are_none(share):
    with pytest.raises(ValueError, match=f'share: expected a number between 0 and 1, got {share}'):
        build(share=share)
