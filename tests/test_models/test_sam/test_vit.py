"""Fused attention gives the numbers of the official encoder, module by module."""

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention

from mmseg_ssprompt.models.sam import vit
from mmseg_ssprompt.models.sam.vit import attend_with_relative_positions, encode_image


@pytest.fixture(params=[(14, 14), (5, 9)], ids=str)
def attention(request) -> Attention:
    """An attention whose relative positions matter."""
    torch.manual_seed(0)
    module = Attention(24, num_heads=3, use_rel_pos=True, input_size=request.param)
    with torch.no_grad():
        for positions in (module.rel_pos_h, module.rel_pos_w):
            positions.normal_()
    module.size = request.param
    return module


@pytest.mark.parametrize('limit', [1, 2**24], ids=['a head at a time', 'all at once'])
def test_attention_is_the_official_one(attention, limit, monkeypatch):
    monkeypatch.setattr(vit, '_MAX_BIAS_NUMBERS', limit)
    assert_is_official(attention)


def test_attention_of_gpus_is_the_official_one(attention, monkeypatch):
    """Here on the CPU, which takes the other way."""
    monkeypatch.setattr(vit, 'attend_with_bias', vit.attend_with_extended_keys)
    assert_is_official(attention)


def assert_is_official(attention: Attention) -> None:
    x = torch.randn(2, *attention.size, 24)
    found, expected = attend_with_relative_positions(attention, x), attention(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_relative_positions_matter(attention):
    x = torch.randn(1, *attention.size, 24)
    before = attend_with_relative_positions(attention, x)
    with torch.no_grad():
        attention.rel_pos_h.zero_()
    assert (attend_with_relative_positions(attention, x) - before).abs().max() > 1e-2


def test_another_grid_interpolates_as_the_official_one(attention):
    x = torch.randn(1, 7, 7, 24)
    found, expected = attend_with_relative_positions(attention, x), attention(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encoder_is_the_official_one(tiny_sam):
    images = torch.randn(3, 3, 96, 96)
    found, expected = encode_image(tiny_sam.image_encoder, images), tiny_sam.image_encoder(images)
    assert expected.abs().max() > 1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_half_precision(tiny_sam):
    images = torch.randn(1, 3, 96, 96)
    expected = tiny_sam.image_encoder(images)
    with torch.autocast('cpu', torch.bfloat16):
        found = encode_image(tiny_sam.image_encoder, images)
    assert (found.float() - expected).abs().max() < 0.1 * expected.abs().max()
