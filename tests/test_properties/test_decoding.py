"""What holds of decoding any number of prompts for any number of images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseg.registry import MODELS

WEIGHTS = dict(variant='tiny', checkpoint='mmseg_ssprompt://sam-tiny_shapes.pth')
COUNTS = dict(images=st.integers(1, 3), prompts=st.integers(1, 6), seed=st.integers(0, 99))
CLOSE = dict(rtol=1e-4, atol=1e-4)


@pytest.fixture(scope='module')
def parts():
    import mmseg_ssprompt  # noqa: F401

    encoder = MODELS.build(dict(type='mmseg.SAMPromptEncoder', **WEIGHTS))
    decoders = {
        decoding: MODELS.build(
            dict(type='mmseg.SAMMaskDecoder', decoding=decoding, chunk_size=2, **WEIGHTS)
        )
        for decoding in ('joint', 'independent')
    }
    return encoder, decoders


@torch.no_grad()
def decode(parts, decoding, embedding, prompts):
    encoder, decoders = parts
    decoded = decoders[decoding](embedding, encoder.image_pe(), prompts, encoder.dense_prompt())
    return decoded[:3]  # SAM gives its masks no class embeddings


def draw(parts, images, prompts, seed):
    encoder, _ = parts
    generator = torch.Generator().manual_seed(seed)
    size = encoder.image_pe().shape[1:]
    embedding = torch.randn(images, *size, generator=generator)
    return embedding, torch.randn(prompts, 2, size[0], generator=generator)


@pytest.mark.parametrize('decoding', ['joint', 'independent'])
@given(**COUNTS)
def test_prompts_have_no_order(parts, decoding, images, prompts, seed):
    embedding, sparse = draw(parts, images, prompts, seed)
    order = torch.randperm(prompts, generator=torch.Generator().manual_seed(seed))
    expected = decode(parts, decoding, embedding, sparse)
    found = decode(parts, decoding, embedding, sparse[order])
    for a, b in zip(found, expected):
        torch.testing.assert_close(a, b[:, order], **CLOSE)


@pytest.mark.parametrize('decoding', ['joint', 'independent'])
@given(**COUNTS)
def test_images_are_decoded_each_by_itself(parts, decoding, images, prompts, seed):
    embedding, sparse = draw(parts, images, prompts, seed)
    whole = decode(parts, decoding, embedding, sparse)
    for index in range(images):
        single = decode(parts, decoding, embedding[index : index + 1], sparse)
        for a, b in zip(single, whole):
            torch.testing.assert_close(a[0], b[index], **CLOSE)


@given(**COUNTS)
def test_independent_prompts_do_not_see_each_other(parts, images, prompts, seed):
    embedding, sparse = draw(parts, images, prompts, seed)
    whole = decode(parts, 'independent', embedding, sparse)
    for index in range(prompts):
        single = decode(parts, 'independent', embedding, sparse[index : index + 1])
        for a, b in zip(single, whole):
            torch.testing.assert_close(a[:, 0], b[:, index], **CLOSE)


@given(**COUNTS)
def test_prompts_of_each_image_may_differ(parts, images, prompts, seed):
    embedding, sparse = draw(parts, images, prompts, seed)
    own = torch.stack([sparse.roll(index, dims=0) for index in range(images)])
    found = decode(parts, 'joint', embedding, own)
    for index in range(images):
        single = decode(parts, 'joint', embedding[index : index + 1], own[index])
        for a, b in zip(single, found):
            torch.testing.assert_close(a[0], b[index], **CLOSE)
