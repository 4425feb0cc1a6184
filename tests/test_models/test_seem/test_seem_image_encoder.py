"""The frozen image encoder gives the official features, and refuses what is no frame of it."""

from functools import partial

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_ssprompt.models.base import ImageEncoder, PrecomputedFeatures
from mmseg_ssprompt.models.seem.seem_image_encoder import SEEMImageEncoder
from mmseg_ssprompt.models.seem.seem_variants import SEEM_VARIANTS
from seem_files import make_buffers, make_input, make_weights, read_golden, read_keys

CASES = dict(focal_tiny='case1_tiny', focal_tiny_deform='case1_tiny_deform')


@pytest.fixture(scope='module')
def encoders(tiny_file, tiny_deform_file):
    files = dict(focal_tiny=tiny_file, focal_tiny_deform=tiny_deform_file)
    return {variant: SEEMImageEncoder(variant, str(file)) for variant, file in files.items()}


@pytest.mark.parametrize('images', ['a', 'b'])
@pytest.mark.parametrize('variant', CASES)
def test_equals_the_official_features(encoders, variant, images):
    golden, case = read_golden(CASES[variant])
    features = encoders[variant](make_input(case, images))
    expected = [golden[f'{images}.multi_scale.{number}'] for number in (2, 1, 0)]
    assert len(features.levels) == 3 and features.companion is None
    for level, other in zip(features.levels, expected):
        torch.testing.assert_close(level, other, atol=3e-5, rtol=0)
    other = golden[f'{images}.mask_features']
    torch.testing.assert_close(features.embedding, other, atol=3e-5, rtol=0)


@pytest.mark.slow
def test_equals_the_official_features_at_real_size(tmp_path):
    """Where GroupNorm has several channels in a group."""
    golden, _ = read_golden('case_full_focalt_unicl_lang_v1')
    shapes, buffers = read_keys('focalt_unicl_lang_v1')
    torch.save({**make_weights(shapes), **make_buffers(buffers)}, tmp_path / 'seem_focalt_v1.pt')
    encoder = SEEMImageEncoder('focal_t', tmp_path / 'seem_focalt_v1.pt')
    x = torch.randn(3, 256, 320, generator=torch.Generator().manual_seed(306))[None]
    features = encoder(x)
    found = {'mask_features_every_8th': features.embedding[:, ::8, ::8, ::8]}
    with torch.no_grad():
        maps = encoder.backbone(x)
    for number, each in enumerate(maps):
        step = 8 if number < 2 else 4
        found[f'res{number + 2}_every_8th'] = each[:, ::8, ::step, ::step]
    for number, level in enumerate(features.levels[::-1]):
        found[f'multi_scale.{number}_every_8th'] = level[:, ::8, ::4, ::4]
    assert len(found) == 8
    for name, each in found.items():
        torch.testing.assert_close(each, golden[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize('variant', CASES)
def test_two_images_are_twice_one(encoders, variant):
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    both = encoders[variant](x).named()
    singly = [encoders[variant](image[None]).named() for image in x]
    for name, each in both.items():
        other = torch.cat([one[name] for one in singly])
        torch.testing.assert_close(each, other, atol=2e-5, rtol=0)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@pytest.mark.parametrize('variant', CASES)
def test_lower_precision(encoders, tiny_file, tiny_deform_file, variant, dtype):
    """Matrices are multiplied in it; what comes in and goes out is as before."""
    file = dict(focal_tiny=tiny_file, focal_tiny_deform=tiny_deform_file)[variant]
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    expected = encoders[variant](x).named()
    found = SEEMImageEncoder(variant, file, dtype=dtype)(x).named()
    with torch.autocast('cpu', getattr(torch, dtype)):
        surrounded = encoders[variant](x).named()
    for name, each in found.items():
        assert each.dtype == torch.float32
        torch.testing.assert_close(each, surrounded[name].float(), atol=0, rtol=0)
        largest = (each - expected[name]).abs().max() / expected[name].abs().max()
        assert 1e-5 < largest < (0.1 if dtype == 'bfloat16' else 0.02)


@pytest.mark.slow
@pytest.mark.parametrize('variant', CASES)
def test_compiled(encoders, tiny_file, tiny_deform_file, variant, monkeypatch):
    """As one graph. Its own code takes minutes to make, so this runs torch's functions."""
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager', fullgraph=True))
    file = dict(focal_tiny=tiny_file, focal_tiny_deform=tiny_deform_file)[variant]
    x = torch.randn(1, 3, 64, 96)
    found = SEEMImageEncoder(variant, file, compile=True)(x).named()
    for name, expected in encoders[variant](x).named().items():
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=0)


def test_builds_from_a_config_and_is_frozen(tiny_file):
    config = dict(type='SEEMImageEncoder', variant='focal_tiny', checkpoint=str(tiny_file))
    encoder = MODELS.build(config).train()
    encoder.init_weights()
    assert isinstance(encoder, SEEMImageEncoder) and isinstance(encoder, ImageEncoder)
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    features = encoder(torch.randn(1, 3, 64, 96, requires_grad=True))
    for each in features.named().values():
        assert not each.requires_grad and not each.is_inference()


@pytest.mark.parametrize('variant', ['sam_vit_b', 'sam_vit_l'])
@pytest.mark.parametrize('shape', [(1, 3, 1024, 512), (1, 3, 2048, 2048), (1, 4, 1024, 1024)])
def test_sam_vit_takes_one_frame_alone(variant, shape):
    with torch.device('meta'):
        encoder = SEEMImageEncoder(variant)
        x = torch.zeros(shape)
    assert encoder.frame == (1024, 1024) and encoder.divisor == 1024
    with pytest.raises(ValueError, match=r'expects images of shape \(B, 3, 1024, 1024\)') as error:
        encoder(x)
    assert 'Resize the longest side to 1024 in the pipeline' in str(error.value)
    assert 'data_preprocessor=dict(size=(1024, 1024)' in str(error.value)


@pytest.mark.parametrize('shape', [(1, 3, 64, 100), (1, 3, 48, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_other_variants_take_multiples_of_32(encoders, shape):
    assert encoders['focal_tiny'].frame is None and encoders['focal_tiny'].divisor == 32
    with pytest.raises(ValueError, match='multiples of 32, got .*: pad by .*size_divisor=32'):
        encoders['focal_tiny'](torch.zeros(shape))


@pytest.mark.parametrize('variant', CASES)
def test_a_cache_knows_the_shapes(encoders, variant):
    config = dict(type='SEEMImageEncoder', variant=variant)
    features = encoders[variant](torch.randn(1, 3, 64, 96))
    passed = PrecomputedFeatures(config)(features.named())
    assert passed.embedding is features.embedding
    assert all(one is other for one, other in zip(passed.levels, features.levels))
    for name, expected in SEEMImageEncoder.feature_shapes(config).items():
        found = features.named()[name].shape[1:]
        assert all(own in (None, other) for own, other in zip(expected, found))
    lacking = {name: each for name, each in features.named().items() if name != 'level_2'}
    with pytest.raises(
        ValueError, match=r"level_2'\], found \['embedding', 'level_0', 'level_1'\]"
    ):
        PrecomputedFeatures(config)(lacking)


def test_shapes_of_sam_vit_are_fixed():
    shapes = SEEMImageEncoder.feature_shapes(dict(variant='sam_vit_l'))
    assert shapes == dict(
        embedding=(512, 256, 256),
        level_0=(512, 128, 128),
        level_1=(512, 64, 64),
        level_2=(512, 32, 32),
    )
    assert SEEMImageEncoder.frame_of(dict(variant='sam_vit_l')) == (1024, 1024)
    assert SEEMImageEncoder.frame_of(dict(variant='focal_l')) is None


def test_fingerprints(encoders, tiny_file, tiny_deform_file):
    config = dict(variant='focal_tiny', checkpoint=str(tiny_file))
    of_file = SEEMImageEncoder.fingerprint_files(config)
    assert encoders['focal_tiny'].fingerprints() == of_file
    assert len(of_file['image_encoder']) == 64
    other = dict(config, checkpoint=str(tiny_deform_file))
    assert SEEMImageEncoder.fingerprint_files(other) != of_file
    assert SEEMImageEncoder.fingerprint_files(dict(variant='focal_t')) == dict(image_encoder=None)
    assert SEEMImageEncoder('focal_tiny').fingerprints() == dict(image_encoder=None)


def test_random_weights_are_announced(caplog, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmseg_ssprompt.weights.state_dicts.print_log',
        lambda message, **_: messages.append(message),
    )
    SEEMImageEncoder('focal_tiny')
    (message,) = messages
    assert message.startswith('RANDOM WEIGHTS: THE SEEM BACKBONE AND PIXEL DECODER (FOCAL_TINY)')


def test_every_variant_says_where_its_file_is():
    texts = {variant: SEEMImageEncoder.where_to_get(variant) for variant in SEEM_VARIANTS}
    assert 'seem_samvitl_v1.pt' in texts['sam_vit_l'] and 'huggingface.co' in texts['focal_t']
    assert 'No file of variant' in texts['davit_d5']


@pytest.mark.parametrize('dtype', ['float32', 'int8'])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="dtype must be one of .*'bfloat16'"):
        SEEMImageEncoder('focal_tiny', dtype=dtype)
