"""SAM fulfils the contract of base models, in fractions of the frame."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_ssprompt.models.base import ImageEncoder, ImageFeatures, PromptableSegmenter
from mmseg_ssprompt.models.sam import SAMImageEncoder, SAMSegmenter
from mmseg_ssprompt.models.sam.sam_file import fingerprint_part
from tiny_model import build_tiny

SIZE = 96


@pytest.fixture(scope='module')
def segmenter(tiny_file) -> SAMSegmenter:
    return SAMSegmenter('tiny', tiny_file)


def features_of(count: int = 2) -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)
    return ImageFeatures((), None, torch.randn(count, 96, 12, 12, generator=generator))


def test_it_fulfils_the_contract(segmenter):
    assert isinstance(segmenter, PromptableSegmenter)
    assert isinstance(SAMImageEncoder('tiny'), ImageEncoder)
    assert (segmenter.kind, segmenter.token_dims, segmenter.tokens_per_prompt) == ('sam', 96, 2)
    assert not segmenter.prompts_see_image and not segmenter.trainable
    assert segmenter.default_prompts() is segmenter.no_object() is None


def test_a_fraction_is_a_pixel_of_sam(tiny_sam, segmenter):
    """SAM adds its half pixel itself: fraction f is pixel f * S, and 1 is the border."""
    xy = torch.tensor([[0.0, 0.0], [0.25, 0.75], [1.0, 1.0], [0.5, 0.125]])
    points = (xy[:, None] * SIZE, torch.ones(4, 1))
    expected, _ = tiny_sam.prompt_encoder(points, None, None)
    found = segmenter.encode_points(xy)
    assert found.shape == (4, 2, 96)
    assert torch.equal(found, expected)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.25, 0.125, 0.5, 0.75]])
    expected, _ = tiny_sam.prompt_encoder(None, boxes * SIZE, None)
    assert torch.equal(segmenter.encode_boxes(boxes), expected)


def test_it_decodes_as_its_parts_do(segmenter):
    features = features_of()
    spatial = segmenter.encode_points(torch.rand(5, 2, generator=torch.Generator().manual_seed(1)))
    encoder = segmenter.prompt_encoder
    expected = segmenter.mask_decoder(
        features.embedding, encoder.image_pe(), spatial, encoder.dense_prompt()
    )
    found = segmenter.decode(features, spatial)
    assert found.class_embeddings is expected.class_embeddings is None
    for one, two in zip(found[:3], expected[:3]):
        assert torch.equal(one, two)
    for one, two in zip(segmenter.decode(features, spatial.expand(2, -1, -1, -1))[:3], found):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_points(segmenter):
    xy = torch.rand(3, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    segmenter.decode(
        features_of(), segmenter.encode_points(xy)
    ).mask_logits.square().sum().backward()
    assert (xy.grad != 0).all()
    assert all(parameter.grad is None for parameter in segmenter.parameters())


@pytest.mark.parametrize(('mask_output', 'count'), [('single', 1), ('best', 1), ('all', 3)])
def test_masks_of_a_prompt(mask_output, count):
    segmenter = SAMSegmenter('tiny', mask_output=mask_output)
    assert segmenter.masks_per_prompt == count
    decoded = segmenter.decode(features_of(), segmenter.encode_points(torch.rand(4, 2)))
    assert decoded.mask_logits.shape == (2, 4 * count, 48, 48)


def test_fingerprints_are_those_of_its_frozen_parts(segmenter, tiny_file):
    parts = ('prompt_encoder', 'mask_decoder')
    assert segmenter.fingerprints() == {part: fingerprint_part(tiny_file, part) for part in parts}
    trainable = SAMSegmenter('tiny', tiny_file, trainable=True)
    assert trainable.trainable
    assert set(trainable.fingerprints()) == {'prompt_encoder'}
    assert SAMSegmenter('tiny').fingerprints() == dict.fromkeys(parts)


def test_its_settings_reach_the_decoder(tiny_file):
    settings = dict(decoding='independent', mask_output='best', carry_all_tokens=True, chunk_size=3)
    config = dict(type='SAMSegmenter', variant='tiny', checkpoint=str(tiny_file), **settings)
    decoder = MODELS.build(config).mask_decoder
    assert {name: getattr(decoder, name) for name in settings} == settings


def test_init_weights_keeps_what_was_loaded():
    segmenter = build_tiny().decode_head.segmenter
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    segmenter.init_weights()
    assert all(torch.equal(before[key], value) for key, value in segmenter.state_dict().items())
