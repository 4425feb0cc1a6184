"""The frozen image encoder computes what the official one does."""

import shutil

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_ssprompt.models.sam.sam_image_encoder import SAMImageEncoder
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from official_sam import randomised_sam


@pytest.fixture(scope='module')
def encoder(tiny_file):
    return SAMImageEncoder(variant='tiny', checkpoint=str(tiny_file))


def test_equals_the_official_encoder(tiny_sam, encoder):
    x = torch.randn(2, 3, 96, 96)
    embedding = encoder(x).embedding
    assert embedding.shape == (2, 96, 12, 12)
    with torch.no_grad():
        expected = tiny_sam.image_encoder(x)
    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_equals_the_official_encoder_at_real_size(tmp_path):
    sam = randomised_sam('vit_b')
    torch.save(sam.state_dict(), tmp_path / 'sam_vit_b_01ec64.pth')
    encoder = SAMImageEncoder('vit_b', tmp_path / 'sam_vit_b_01ec64.pth')
    x = torch.randn(1, 3, 1024, 1024)
    embedding = encoder(x).embedding
    assert embedding.shape == (1, 256, 64, 64)
    with torch.no_grad():
        expected = sam.image_encoder(x)
    torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_lower_precision(tiny_file, encoder, dtype):
    """Matrices are multiplied in it; what comes in and goes out is as before."""
    x = torch.randn(1, 3, 96, 96)
    expected = encoder(x).embedding
    found = SAMImageEncoder('tiny', tiny_file, dtype=dtype)(x).embedding
    assert found.dtype == torch.float32
    with torch.autocast('cpu', getattr(torch, dtype)):
        torch.testing.assert_close(found, encoder(x).embedding.float(), atol=0, rtol=0)
    largest = (found - expected).abs().max() / expected.abs().max()
    assert 1e-5 < largest < (0.05 if dtype == 'bfloat16' else 0.01)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='torch.compile needs a C++ compiler')
def test_compiled(tiny_file, encoder):
    x = torch.randn(1, 3, 96, 96)
    found = SAMImageEncoder('tiny', tiny_file, compile=True)(x).embedding
    torch.testing.assert_close(found, encoder(x).embedding, atol=1e-4, rtol=1e-4)


def test_images_of_a_batch_do_not_meet(encoder):
    x = torch.randn(2, 3, 96, 96)
    singly = torch.cat([encoder(image[None]).embedding for image in x])
    torch.testing.assert_close(encoder(x).embedding, singly, atol=1e-5, rtol=1e-5)


def test_builds_from_a_config_and_is_frozen(tiny_file):
    config = dict(type='SAMImageEncoder', variant='tiny', checkpoint=str(tiny_file))
    encoder = MODELS.build(config).train()
    encoder.init_weights()
    assert isinstance(encoder, SAMImageEncoder)
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    x = torch.randn(1, 3, 96, 96, requires_grad=True)
    embedding = encoder(x).embedding
    assert not embedding.requires_grad and not embedding.is_inference()


@pytest.mark.parametrize('shape', [(1, 3, 64, 96), (1, 3, 1024, 1024), (1, 1, 96, 96), (3, 96, 96)])
def test_other_shapes_are_refused(encoder, shape):
    with pytest.raises(ValueError) as info:
        encoder(torch.zeros(shape))
    text = str(info.value)
    assert '(B, 3, 96, 96)' in text and str(shape) in text
    assert 'data_preprocessor=dict(size=(96, 96), test_cfg=dict(size=(96, 96)))' in text


def test_wrong_arguments_are_refused(tiny_file):
    with pytest.raises(ValueError, match='unknown SAM variant'):
        SAMImageEncoder('vit_x')
    with pytest.raises(ValueError, match="dtype must be one of .* got 'half'"):
        SAMImageEncoder('tiny', tiny_file, dtype='half')
    with pytest.raises(CheckpointError, match="is of variant 'tiny'"):
        SAMImageEncoder('vit_b', tiny_file)


def test_no_checkpoint_gives_real_random_weights():
    encoder = SAMImageEncoder('tiny')
    assert all(not parameter.is_meta for parameter in encoder.parameters())
    assert torch.isfinite(encoder(torch.zeros(1, 3, 96, 96)).embedding).all()
