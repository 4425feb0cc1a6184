"""Both pixel decoders give the official features of the official maps."""

import pytest
import torch

from mmseg_ssprompt.models.seem.pixel_decoders import DeformableFPN, build_pixel_decoder
from mmseg_ssprompt.models.seem.seem_variants import get_variant
from mmseg_ssprompt.models.seem.sine_position import encode_places
from seem_files import make_weights, read_golden, read_keys

CASES = dict(focal_tiny='tiny', focal_tiny_deform='tiny_deform')
PREFIX = 'sem_seg_head.pixel_decoder.'


@pytest.fixture(scope='module')
def decoders():
    built = {}
    for variant, name in CASES.items():
        shapes = {k: v for k, v in read_keys(name)[0].items() if k.startswith(PREFIX)}
        built[variant] = build_pixel_decoder(get_variant(variant)).requires_grad_(False)
        weights = make_weights(shapes)
        built[variant].load_state_dict({k[len(PREFIX) :]: v for k, v in weights.items()})
    return built


@pytest.mark.parametrize('images', ['a', 'b'])
@pytest.mark.parametrize('variant', CASES)
def test_equals_the_official_features(decoders, variant, images):
    golden, _ = read_golden(f'case1_{CASES[variant]}')
    levels, embedding = decoders[variant]([golden[f'{images}.res{i}'] for i in (2, 3, 4, 5)])
    for number, level in enumerate(levels[::-1]):
        other = golden[f'{images}.multi_scale.{number}']
        torch.testing.assert_close(level, other, atol=1e-5, rtol=0)
    torch.testing.assert_close(embedding, golden[f'{images}.mask_features'], atol=1e-5, rtol=0)


def test_deformable_attention_is_float32_under_autocast(decoders):
    golden, _ = read_golden('case1_tiny_deform')
    maps = [golden[f'a.res{i}'] for i in (2, 3, 4, 5)]
    decoder = decoders['focal_tiny_deform']
    assert isinstance(decoder, DeformableFPN)
    levels, embedding = decoder(maps)
    with torch.autocast('cpu', torch.bfloat16):
        others, other = decoder(maps)
    for one, two in zip((*levels, embedding), (*others, other)):
        assert torch.equal(one, two)


def test_places_are_those_of_detr():
    """A cell of a map of 3 x 5, by hand: row 2 of 3, column 5 of 5, counted from one."""
    places = encode_places(torch.zeros(1, 8, 3, 5))
    assert places.shape == (8, 3, 5)
    row, column = 2 / 3 * 2 * torch.pi, 2 * torch.pi
    angles = torch.tensor([row, row, row / 100, row / 100] + [column] * 2 + [column / 100] * 2)
    expected = torch.where(torch.arange(8) % 2 == 0, angles.sin(), angles.cos())
    torch.testing.assert_close(places[:, 1, 4], expected, atol=1e-5, rtol=0)
