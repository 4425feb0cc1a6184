"""Region scores by hand, their gradients, and what is said where CLIP's features are not there."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.classifiers import CLIPRegionClassifier
from mmseg_ssprompt.models.classifiers.region_classifier import pool_regions
from mmseg_ssprompt.models.sam.mask_decoder import DecoderOutput

E = 3


def decoded(mask_logits: Tensor, iou: float = 0.5) -> DecoderOutput:
    """Masks (B, N, H, W), of which SAM thinks the same."""
    return DecoderOutput(mask_logits, None, torch.full(mask_logits.shape[:2], iou))


def random_features(side: int = 4, batch: int = 2) -> Tensor:
    return torch.randn(batch, E, side, side, generator=torch.Generator().manual_seed(0))


def test_a_mask_of_the_whole_image_has_the_mean_of_the_features():
    features = random_features()
    found = pool_regions(features, torch.ones(2, 5, 8, 8))
    expected = features.mean(dim=(2, 3))[:, None].expand(-1, 5, -1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_only_what_a_mask_shows_counts():
    features = random_features()
    masks = torch.zeros(2, 2, 8, 8)
    masks[:, 0, :2, 2:4] = 1  # the place in row 0, column 1
    masks[:, 1, 7, 7] = 0.3  # a quarter of the last place, faintly
    found = pool_regions(features, masks)
    torch.testing.assert_close(found[:, 0], features[:, :, 0, 1])
    torch.testing.assert_close(found[:, 1], features[:, :, 3, 3])


def test_shares_of_places_are_weights():
    features = torch.tensor([1.0, 5.0]).view(1, 1, 1, 2)
    masks = torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 1, 4)  # all of one place, half of another
    assert pool_regions(features, masks).item() == pytest.approx((1 + 0.5 * 5) / 1.5)


@pytest.mark.parametrize('side', [2, 3, 16])
def test_masks_and_features_of_any_sizes(side):
    assert pool_regions(random_features(side), torch.rand(2, 4, 8, 8)).shape == (2, 4, E)


def test_an_empty_mask_is_finite():
    assert pool_regions(random_features(), torch.zeros(2, 1, 8, 8)).isfinite().all()


def test_logits_by_hand():
    """Scale times cosine; the odds of "no object" are those of SAM's being wrong."""
    features = torch.tensor([[3.0, 0.0], [0.0, 0.0], [4.0, 2.0]]).view(1, 3, 1, 2)
    masks = torch.tensor([[[[50.0, -50.0]], [[-50.0, 50.0]]]])
    prompts = torch.eye(3)[:2]
    logits = CLIPRegionClassifier(1, E, logit_scale=10.0)(decoded(masks, 0.8), prompts, [features])
    torch.testing.assert_close(logits[..., :2], torch.tensor([[[6.0, 0.0], [0.0, 0.0]]]))
    probabilities = logits.softmax(dim=-1)
    torch.testing.assert_close(probabilities[..., 2], torch.full((1, 2), 0.2))
    torch.testing.assert_close(probabilities[0, 1, :2], torch.tensor([0.4, 0.4]))


@pytest.mark.parametrize('iou', [-0.3, 0.0, 1.0, 1.7])
def test_estimates_beyond_0_and_1_are_finite(iou):
    masks = torch.zeros(2, 3, 8, 8)
    logits = CLIPRegionClassifier(1, E)(decoded(masks, iou), torch.eye(E), [random_features()])
    assert logits.isfinite().all()


def test_nothing_trains_and_gradients_pass():
    classifier = CLIPRegionClassifier(1, E)
    assert not list(classifier.parameters())
    assert not classifier.state_dict()
    masks = torch.randn(2, 3, 8, 8, requires_grad=True)
    prompts = torch.eye(E, requires_grad=True)
    iou = torch.full((2, 3), 0.5, requires_grad=True)
    logits = classifier(DecoderOutput(masks, None, iou), prompts, [random_features()])
    logits.log_softmax(dim=-1)[..., 0].sum().backward()
    for tensor in (masks, prompts, iou):
        assert tensor.grad.isfinite().all()
        assert (tensor.grad != 0).any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_under_autocast(dtype):
    classifier, features = CLIPRegionClassifier(1, E), random_features()
    masks, prompts = torch.randn(2, 3, 8, 8), F.normalize(torch.randn(5, E), dim=-1)
    expected = classifier(decoded(masks), prompts, [features])
    with torch.autocast('cpu', dtype):
        found = classifier(decoded(masks), prompts, [features])
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize('features', [(), [torch.zeros(1, 7, 4, 4)]])
def test_features_that_are_not_there(features):
    with pytest.raises(ValueError, match=r"\(B, 3, h, w\).*Use backbone=dict\(type='SAMCLIP"):
        CLIPRegionClassifier(1, E)(decoded(torch.zeros(1, 2, 8, 8)), torch.eye(E), features)
