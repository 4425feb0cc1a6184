"""SEEM's backbones compute what the official ones do."""

import re
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from mmseg_ssprompt.models.seem.backbones import build_backbone
from mmseg_ssprompt.models.seem.seem_image_encoder import SEEMImageEncoder
from mmseg_ssprompt.models.seem.seem_variants import SEEM_VARIANTS
from plain_backbones import plain_davit, plain_pyramid
from seem_files import make_input, make_weights, read_golden, read_keys

FOCAL_L, SAM_VIT = SEEM_VARIANTS['focal_l'], SEEM_VARIANTS['sam_vit_b']
#: All kinds of backbone with small widths.
SMALL = dict(
    focal_dw=SEEM_VARIANTS['focal_tiny'],
    focal=replace(FOCAL_L, widths=(16, 32, 64, 128), depths=(1, 1, 3, 1)),
    davit_d3=replace(
        SEEM_VARIANTS['davit_d3'],
        widths=(16, 32, 64, 128),
        depths=(1, 1, 2, 1),
        heads=(1, 2, 4, 8),
    ),
    davit_d5=replace(
        SEEM_VARIANTS['davit_d5'],
        widths=(16, 32, 64, 128),
        depths=(1, 1, 2, 1),
        heads=(2, 4, 8, 16),
    ),
    sam_vit=replace(
        SAM_VIT,
        depths=(3,),
        heads=(2,),
        vit_width=32,
        global_attn_indexes=(1,),
        divisor=256,
        frame=(256, 256),
    ),
)


def build(variant, dtype=torch.float64, prefix='backbone.'):
    """A backbone with the weights of the recipe, and these by their names.

    In float64 rounding is no reason for a difference: DaViT's outputs are not normalised.
    """
    module = build_backbone(variant).eval()
    shapes = {f'{prefix}{key}': value.shape for key, value in module.state_dict().items()}
    weights = {key[len(prefix) :]: value.to(dtype) for key, value in make_weights(shapes).items()}
    module.to(dtype).load_state_dict(weights)
    return module, weights


def make_images(height, width):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)


def check(maps, expected, tolerance=1e-9):
    assert len(maps) == len(expected) == 4
    for found, other in zip(maps, expected):
        torch.testing.assert_close(found, other, atol=tolerance, rtol=0)


@pytest.mark.parametrize('images', ['a', 'b'])
@torch.no_grad()
def test_focal_tiny_equals_the_official_one(images):
    golden, case = read_golden('case1_tiny')
    module, _ = build(SMALL['focal_dw'], torch.float32)
    maps = module(make_input(case, images))
    check(maps, [golden[f'{images}.res{number}'] for number in (2, 3, 4, 5)], tolerance=3e-5)


def to_timm(key):
    """timm's name of a tensor of FocalNet's."""
    key = (
        key.replace('patch_embed.', 'stem.').replace('gamma_', 'ls').replace('norm1', 'norm1_post')
    )
    key = key.replace('norm2', 'norm2_post')
    key = re.sub(r'(ls\d)$', r'\1.gamma', key)
    return re.sub(r'layers\.(\d)\.downsample', lambda m: f'layers.{int(m[1]) + 1}.downsample', key)


@torch.no_grad()
def test_focal_l_equals_that_of_timm():
    """Which equals the official one."""
    timm = pytest.importorskip('timm.models.focalnet')
    module, weights = build(SMALL['focal'])
    judge = (
        timm.FocalNet(
            embed_dim=16,
            depths=(1, 1, 3, 1),
            focal_levels=(4,) * 4,
            focal_windows=(3,) * 4,
            use_overlap_down=True,
            use_post_norm=True,
            use_post_norm_in_modulation=False,
            normalize_modulator=True,
            layerscale_value=1e-4,
            num_classes=0,
        )
        .eval()
        .double()
    )
    renamed = dict(judge.state_dict())
    for key, value in weights.items():
        if not key.startswith('norm'):  # of outputs, which timm does not have
            renamed[to_timm(key)] = value.reshape(renamed[to_timm(key)].shape)
    judge.load_state_dict(renamed)
    x = make_images(64, 96)
    _, maps = judge.forward_intermediates(x)
    norms = [getattr(module, f'norm{number}') for number in range(4)]
    expected = [n(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for n, m in zip(norms, maps)]
    check(module(x), expected)


@pytest.mark.parametrize('name', ['davit_d3', 'davit_d5'])
@pytest.mark.parametrize('size', [(64, 96), (224, 64)])
@torch.no_grad()
def test_davit_equals_its_plain_computation(name, size):
    pytest.importorskip('timm')
    module, weights = build(SMALL[name])
    x = make_images(*size)
    check(module(x), plain_davit(weights, x, SMALL[name]))


def test_davit_without_timm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.models.davit', None)
    with pytest.raises(ImportError, match=r'davit_d3 and davit_d5: .*: pip install "timm>=1'):
        SEEMImageEncoder('davit_d3')


def test_davit_with_an_old_timm_says_what_to_install(monkeypatch):
    """Which has no second kind of channel attention."""
    module = pytest.importorskip('timm.models.davit')

    def old(depths, embed_dims, num_heads, window_size, down_kernel_size=2, num_classes=1000):
        raise AssertionError('it was called')

    monkeypatch.setattr(module, 'DaVit', old)
    with pytest.raises(ImportError, match=r'channel_attn_v2.*: pip install "timm>=1.0.12"'):
        SEEMImageEncoder('davit_d3')


@torch.no_grad()
def test_sam_vit_equals_the_official_trunk_and_a_plain_pyramid():
    variant = SMALL['sam_vit']
    module, weights = build(variant)
    trunk = (
        ImageEncoderViT(
            img_size=256,
            embed_dim=32,
            depth=3,
            num_heads=2,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=(1,),
        )
        .eval()
        .double()
    )
    trunk.neck = nn.Identity()
    is_neck = {key: key.startswith('neck.') for key in weights}
    trunk.load_state_dict({key: value for key, value in weights.items() if not is_neck[key]})
    neck = {key[len('neck.') :]: value for key, value in weights.items() if is_neck[key]}
    x = make_images(256, 256)
    check(module(x), plain_pyramid(neck, trunk(x)))


@pytest.mark.parametrize('name', SMALL)
@torch.no_grad()
def test_two_images_are_twice_one(name):
    if name.startswith('davit'):
        pytest.importorskip('timm')
    module, _ = build(SMALL[name])
    size = SMALL[name].frame or (64, 96)
    x = make_images(*size)
    singly = [torch.cat(pair) for pair in zip(*(module(image[None]) for image in x))]
    maps = module(x)
    check(maps, singly)
    strides = [size[0] // each.shape[2] for each in maps]
    assert strides == [4, 8, 16, 32]
    assert tuple(each.shape[1] for each in maps) == SMALL[name].widths


@pytest.mark.parametrize('name', ['davit_d3', 'davit_d5'])
def test_names_of_timm_are_nowhere(name):
    """Inside another module, too."""
    pytest.importorskip('timm')
    module = nn.ModuleDict(dict(backbone=build_backbone(SMALL[name])))
    configuration = dict(davit_d3='davitd3', davit_d5='davitd5')[name]
    official = {
        key for key in read_keys(f'{configuration}_unicl_lang_v1')[0] if 'blocks.2' not in key
    }
    found = {key for key in module.state_dict() if 'blocks.2' not in key}
    assert found == {key for key in official if key.startswith('backbone.')}
    state = {key: torch.randn_like(value) for key, value in module.state_dict().items()}
    module.load_state_dict(state)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
