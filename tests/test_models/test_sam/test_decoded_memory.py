"""Decoded images are kept where nothing trains that they depend on, with the same bits."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.sam.segmenter import DECODED

FILE = 'mmseg_ssprompt://sam-tiny_shapes.pth'


@pytest.fixture(autouse=True)
def memory():
    DECODED.clear()
    yield DECODED
    DECODED.clear()


def build(**options):
    return MODELS.build(dict(type='SAMSegmenter', variant='tiny', **options))


@pytest.fixture(scope='module')
def segmenter():
    return build(checkpoint=FILE, remember_bytes=10_000_000)


def features_of(*seeds):
    images = [torch.randn(96, 12, 12, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return ImageFeatures((), None, torch.stack(images))


def prompts(segmenter, count=4):
    points = torch.rand(count, 2, generator=torch.Generator().manual_seed(7))
    return segmenter.encode_points(points)


def count_decoding(segmenter, monkeypatch):
    """The sizes of the batches that are decoded from now on."""
    sizes, decode = [], segmenter.mask_decoder.forward

    def counted(embedding, *args):
        sizes.append(len(embedding))
        return decode(embedding, *args)

    monkeypatch.setattr(segmenter.mask_decoder, 'forward', counted)
    return sizes


def test_same_bits_and_each_image_once(segmenter, monkeypatch):
    plain, spatial = build(checkpoint=FILE), prompts(segmenter)
    alone = [plain.decode(features_of(seed), spatial) for seed in range(3)]
    sizes = count_decoding(segmenter, monkeypatch)
    for seeds in ((0, 1), (1, 2), (2,), (0, 2, 1)):
        found = segmenter.decode(features_of(*seeds), spatial)
        for row, seed in enumerate(seeds):
            assert torch.equal(found.mask_logits[row], alone[seed].mask_logits[0])
            assert torch.equal(found.tokens[row], alone[seed].tokens[0])
            assert torch.equal(found.quality[row], alone[seed].quality[0])
        found.mask_logits.zero_()  # which is not what is kept
    assert sizes == [1, 1, 1]


def test_models_share_it(segmenter, monkeypatch):
    spatial = prompts(segmenter)
    segmenter.decode(features_of(0), spatial)
    other = build(checkpoint=FILE, remember_bytes=10_000_000)
    sizes = count_decoding(other, monkeypatch)
    other.decode(features_of(0), spatial)
    assert sizes == []


@pytest.mark.parametrize('change', ['prompts', 'settings', 'image'])
def test_what_differs_is_decoded(segmenter, monkeypatch, change):
    spatial = prompts(segmenter)
    segmenter.decode(features_of(0), spatial)
    options = dict(carry_all_tokens=True) if change == 'settings' else {}
    other = build(checkpoint=FILE, remember_bytes=10_000_000, **options)
    sizes = count_decoding(other, monkeypatch)
    with torch.no_grad():
        other.decode(
            features_of(1 if change == 'image' else 0),
            spatial + 0.5 if change == 'prompts' else spatial,
        )
    assert sizes == [1]


def test_prompts_that_train_are_not_kept(segmenter, memory):
    spatial = prompts(segmenter).clone().requires_grad_()
    decoded = segmenter.decode(features_of(0, 1), spatial)
    decoded.mask_logits.sum().backward()
    assert spatial.grad.abs().sum() > 0
    assert memory.bytes == 0


def test_random_weights_are_not_kept(memory):
    segmenter = build(remember_bytes=10_000_000)
    segmenter.decode(features_of(0), prompts(segmenter))
    assert memory.bytes == 0


def test_memory_is_bounded(memory, monkeypatch):
    segmenter = build(checkpoint=FILE)
    spatial = prompts(segmenter)
    size = sum(x.numel() * 4 for x in segmenter.decode(features_of(0), spatial) if x is not None)
    segmenter.remember_bytes = 2 * size
    sizes = count_decoding(segmenter, monkeypatch)
    for _ in range(2):
        segmenter.decode(features_of(0, 1, 2), spatial)
    assert memory.bytes == 2 * size
    assert sizes == [1, 1, 1, 1]  # the third a second time
