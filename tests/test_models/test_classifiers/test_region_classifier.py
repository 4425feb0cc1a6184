"""Scores of regions by hand, their gradients, and errors that say what does not fit."""

from typing import Optional

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_files import make_clip, openai_state_dict, save_torchscript, vision_of
from mmseg_ssprompt.models.base import Decoded, ImageFeatures
from mmseg_ssprompt.models.classifiers import CLIPRegionClassifier
from mmseg_ssprompt.models.clip.read_out import read_dense_features
from mmseg_ssprompt.models.clip.region_read_out import READ_OUTS, pool_regions
from mmseg_ssprompt.weights.state_dicts import CheckpointError

E, WIDTH, SIDE = 64, 96, 4
SCALE = 7.0


@pytest.fixture(scope='module')
def state():
    return openai_state_dict(make_clip('tiny', vision_of('tiny')))


@pytest.fixture(scope='module')
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp('clip') / 'clip.pt'
    save_torchscript(dict(state, logit_scale=torch.tensor(SCALE).log()), path)
    return path


@pytest.fixture(params=READ_OUTS)
def classifier(request, file) -> CLIPRegionClassifier:
    return CLIPRegionClassifier(1, E, 'tiny', file, request.param)


def decoded(mask_logits: Tensor, iou: float = 0.5) -> Decoded:
    """Masks (B, N, H, W) with the same quality."""
    return Decoded(mask_logits, None, torch.full(mask_logits.shape[:2], iou))


def random_tokens(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 1 + SIDE**2, WIDTH, generator=generator)


def seen(tokens: Optional[Tensor]) -> ImageFeatures:
    """What a backbone gives that has such tokens of CLIP, if any."""
    return ImageFeatures((), tokens, torch.zeros(1, 1, 1, 1))


def random_prompts(count: int = 5) -> Tensor:
    return F.normalize(torch.randn(count, E, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_a_mask_of_the_whole_image_has_the_mean_of_the_dense_features(file):
    read_out = CLIPRegionClassifier(1, E, 'tiny', file, 'dense').region_read_out
    tokens = random_tokens()
    expected = read_dense_features(read_out.parts, tokens).mean(dim=1, keepdim=True)
    for side in (2, SIDE, 12):  # of the mask
        found = read_out(tokens, torch.ones(2, 3, side, side))
        torch.testing.assert_close(found, expected.expand(-1, 3, -1), rtol=0, atol=1e-6)


def test_shares_of_places_are_weights():
    features = torch.tensor([1.0, 5.0]).view(1, 2, 1)
    assert pool_regions(features, torch.tensor([[[1.0, 0.5]]])).item() == pytest.approx(3.5 / 1.5)


@pytest.mark.parametrize('kind', READ_OUTS)
def test_places_that_a_mask_does_not_show_do_not_count(file, kind):
    read_out = CLIPRegionClassifier(1, E, 'tiny', file, kind).region_read_out
    masks = torch.zeros(2, 1, 8, 8)
    masks[..., 2:4, 4:6] = 1  # the place in row 1, column 2
    tokens = random_tokens()
    changed = tokens.clone()
    place = 1 + 1 * SIDE + 2
    changed[:, 1:place] += 1
    changed[:, place + 1 :] += 1
    torch.testing.assert_close(read_out(changed, masks), read_out(tokens, masks))
    changed[:, place] += torch.randn(WIDTH)
    assert not torch.allclose(read_out(changed, masks), read_out(tokens, masks), atol=1e-2)


@pytest.mark.parametrize('values', [(-200, -200), (-86, -86), (-86, -88), (-40, -40), (200, -200)])
def test_empty_and_extreme_masks_are_finite(classifier, values):
    """Also their gradients."""
    masks = torch.tensor(values, dtype=torch.float).repeat_interleave(32).view(1, 1, 8, 8)
    masks = masks.repeat(2, 1, 1, 1).requires_grad_()
    logits = classifier(decoded(masks), random_prompts(), seen(random_tokens()))
    assert logits.isfinite().all()
    logits.log_softmax(dim=-1)[..., 0].sum().backward()
    assert masks.grad.isfinite().all()


def test_logits_by_hand(classifier):
    """The file's scale times the cosine; the odds of "no object" are those of SAM's being wrong."""
    masks, tokens, prompts = torch.randn(2, 3, 8, 8), random_tokens(), random_prompts()
    regions = classifier.region_read_out(tokens, masks.sigmoid())
    expected = SCALE * torch.stack(
        [F.cosine_similarity(regions, row, dim=-1) for row in prompts], -1
    )
    logits = classifier(decoded(masks, 0.8), prompts, seen(tokens))
    torch.testing.assert_close(logits[..., :-1], expected)
    probabilities = logits.softmax(dim=-1)
    torch.testing.assert_close(probabilities[..., -1], torch.full((2, 3), 0.2))
    torch.testing.assert_close(probabilities[..., :-1], 0.8 * expected.softmax(dim=-1))


def test_odds_are_even_where_the_base_model_predicts_no_iou(classifier):
    masks, tokens, prompts = torch.randn(2, 3, 8, 8), random_tokens(), random_prompts()
    logits = classifier(Decoded(masks, None), prompts, seen(tokens))
    assert torch.equal(logits, classifier(decoded(masks, 0.5), prompts, seen(tokens)))
    torch.testing.assert_close(logits.softmax(dim=-1)[..., -1], torch.full((2, 3), 0.5))


@pytest.mark.parametrize('iou', [-0.3, 0.0, 1.0, 1.7])
def test_estimates_beyond_0_and_1_are_finite(classifier, iou):
    masks = torch.zeros(2, 3, 8, 8)
    logits = classifier(decoded(masks, iou), random_prompts(), seen(random_tokens()))
    assert logits.isfinite().all()


def test_nothing_trains_and_gradients_pass(classifier):
    assert not any(p.requires_grad for p in classifier.train().parameters())
    assert not any(m.training for m in classifier.region_read_out.modules())
    assert not classifier.trainable
    masks = torch.randn(2, 3, 8, 8, requires_grad=True)
    prompts = random_prompts().requires_grad_()
    iou = torch.full((2, 3), 0.5, requires_grad=True)
    logits = classifier(Decoded(masks, None, iou), prompts, seen(random_tokens()))
    logits.log_softmax(dim=-1)[..., 0].sum().backward()
    for tensor in (masks, prompts, iou):
        assert tensor.grad.isfinite().all()
        assert (tensor.grad != 0).any()
    assert all(p.grad is None for p in classifier.parameters())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_under_autocast(classifier, dtype):
    inputs = decoded(torch.randn(2, 3, 8, 8)), random_prompts(), seen(random_tokens())
    expected = classifier(*inputs)
    with torch.autocast('cpu', dtype):
        found = classifier(*inputs)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize('tokens', [None, torch.zeros(1, 17, 7), torch.zeros(1, 96, 4, 4)])
def test_tokens_that_are_not_there(classifier, tokens):
    with pytest.raises(ValueError, match=r"\(B, 1 \+ h w, 96\).*Use backbone=dict\(type='SAMCLIP"):
        classifier(decoded(torch.zeros(1, 2, 8, 8)), random_prompts(), seen(tokens))


def test_another_text_space(file):
    with pytest.raises(ValueError, match='tiny has width 64, that of the semantic prompts 512'):
        CLIPRegionClassifier(256, 512, 'tiny', file)


def test_scales_are_bounded_as_clip_s(state, file, tmp_path):
    save_torchscript(dict(state, logit_scale=torch.tensor(6.0)), tmp_path / 'steep.pt')
    prompts, inputs = random_prompts(), (decoded(torch.zeros(2, 1, 8, 8)), seen(random_tokens()))
    steep, own = (
        CLIPRegionClassifier(1, E, 'tiny', x)(inputs[0], prompts, inputs[1])[..., :-1]
        for x in (tmp_path / 'steep.pt', file)
    )
    torch.testing.assert_close(steep / 100, own / SCALE)


def test_unknown_read_out(file):
    with pytest.raises(ValueError, match=r"read_out must be one of .*, got 'mean'"):
        CLIPRegionClassifier(1, E, 'tiny', file, 'mean')


def test_file_of_another_variant(file):
    with pytest.raises(CheckpointError, match=r"asked for is 'ViT-B/16'; .* the file is 'tiny'"):
        CLIPRegionClassifier(1, 512, 'ViT-B/16', file)
