"""Files, sizes and normalisation of the frozen CLIP image encoder."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from clip_files import WRITERS, make_clip, openai_state_dict, save_torchscript, vision_of
from mmseg_ssprompt.models import CLIPImageEncoder
from mmseg_ssprompt.models.base import ImageFeatures, PrecomputedFeatures
from mmseg_ssprompt.models.clip import CLIP_VARIANTS
from mmseg_ssprompt.models.clip.clip_variants import PIXEL_MEAN, PIXEL_STD
from mmseg_ssprompt.models.clip.image_tower import encode_patches
from mmseg_ssprompt.models.sam import sam_variants as sam
from mmseg_ssprompt.weights.state_dicts import CheckpointError

VARIANT, SIZE = 'tiny', 96


@pytest.fixture(scope='module')
def openai_state():
    return openai_state_dict(make_clip(VARIANT, vision_of(VARIANT)))


@pytest.fixture
def file(openai_state, tmp_path):
    save_torchscript(openai_state, tmp_path / 'clip.pt')
    return tmp_path / 'clip.pt'


def sam_normalised(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) RGB values from 0 to 255 as SAM's data preprocessor leaves them."""
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (sam.PIXEL_MEAN, sam.PIXEL_STD))
    return (pixels - mean) / std


@pytest.mark.parametrize('kind', ['torchscript', 'plain'])
@pytest.mark.parametrize('half', [False, True])
def test_weights_are_those_of_the_file(openai_state, tmp_path, kind, half):
    state = {k: v.half() if half and v.is_floating_point() else v for k, v in openai_state.items()}
    WRITERS[kind](state, tmp_path / 'clip.pt')
    tower = CLIPImageEncoder(VARIANT, tmp_path / 'clip.pt', SIZE, 'quick_gelu').tower
    assert torch.equal(tower.projection, state['visual.proj'].float())
    key = 'visual.transformer.resblocks.3.mlp.c_proj.weight'
    assert torch.equal(tower.transformer.layers[3].ffn.layers[1].weight, state[key].float())
    assert torch.equal(tower.transformer.norm1.bias, state['visual.ln_post.bias'].float())


def test_frozen_and_the_same_whatever_is_built_around_it(file):
    torch.manual_seed(5)
    encoder = CLIPImageEncoder(VARIANT, file, SIZE).train()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)  # it has drawn nothing
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.modules())
    assert not encoder(torch.randn(1, 3, 96, 96, requires_grad=True)).embedding.requires_grad


def test_fingerprint_is_that_of_the_file(file):
    encoder = CLIPImageEncoder(VARIANT, file, SIZE)
    config = dict(type='CLIPImageEncoder', variant=VARIANT, checkpoint=str(file), image_size=SIZE)
    (sha256,) = encoder.fingerprints().values()
    assert sha256 is not None
    assert CLIPImageEncoder.fingerprint_files(config) == encoder.fingerprints()
    stands_in = PrecomputedFeatures(config)
    assert stands_in.fingerprints() == encoder.fingerprints()
    assert stands_in.shapes == CLIPImageEncoder.feature_shapes(config) == dict(embedding=(145, 96))
    assert encoder(torch.zeros(1, 3, SIZE, SIZE)).embedding.shape == (1, 145, 96)


def test_images_are_normalised_as_clip_does(file):
    pixels = 255 * torch.rand(2, 3, SIZE, SIZE)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (PIXEL_MEAN, PIXEL_STD))
    expected = (pixels - mean) / std
    beside_sam = dict(pixel_mean=sam.PIXEL_MEAN, pixel_std=sam.PIXEL_STD)
    encoder = CLIPImageEncoder(VARIANT, file, SIZE, **beside_sam)
    found = encoder.normalise(sam_normalised(pixels))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (encoder.pixel_mean, encoder.pixel_std) == (sam.PIXEL_MEAN, sam.PIXEL_STD)


def test_images_come_normalised_as_clip_does_where_it_is_alone(file):
    x = torch.randn(2, 3, SIZE, SIZE)
    encoder = CLIPImageEncoder(VARIANT, file, SIZE)
    assert torch.equal(encoder.normalise(x), x)
    assert (encoder.pixel_mean, encoder.pixel_std) == (PIXEL_MEAN, PIXEL_STD)


def test_another_size_of_images(file):
    """Positions are interpolated, and so is the frame."""
    encoder = CLIPImageEncoder(VARIANT, file, image_size=144)
    x = torch.randn(2, 3, 96, 96)
    found = encoder(x).embedding
    assert found.shape == (2, 1 + 18 * 18, 96)
    resized = F.interpolate(encoder.normalise(x), (144, 144), mode='bilinear', antialias=True)
    vit = encoder.tower.transformer
    grid = vit.pos_embed[:, 1:].unflatten(1, (12, 12)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (18, 18), mode='bicubic', align_corners=False)
    grown = CLIPImageEncoder(VARIANT, file, image_size=144).tower
    grown.transformer.img_size = (144, 144)
    positions = torch.cat([vit.pos_embed[:, :1], grid.flatten(2).mT], dim=1)
    grown.transformer.pos_embed = torch.nn.Parameter(positions, requires_grad=False)
    expected, size = encode_patches(grown, resized)
    assert size == (18, 18)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('size', [0, 100, -8])
def test_sizes_that_are_no_multiple_of_a_patch(size):
    with pytest.raises(ValueError, match=f'multiple of the 8 pixels of a patch, got {size}'):
        CLIPImageEncoder(VARIANT, image_size=size)


@pytest.mark.parametrize(
    ('variant', 'shape'), [('ViT-B/16', (1025, 768)), ('ViT-L/14', (1025, 1024))]
)
def test_default_size(variant, shape):
    assert CLIPImageEncoder.feature_shapes(dict(variant=variant)) == dict(embedding=shape)
    assert CLIP_VARIANTS['ViT-L/14'].count_patches(None) * 14 == 448


def test_unknown_variant():
    with pytest.raises(ValueError, match=r"unknown CLIP variant 'RN50': expected one of"):
        CLIPImageEncoder('RN50')


def test_file_of_another_variant(file):
    with pytest.raises(CheckpointError) as error:
        CLIPImageEncoder('ViT-B/16', file)
    assert str(file) in str(error.value)
    assert "asked for is 'ViT-B/16'; by its shapes the file is 'tiny'" in str(error.value)


def test_file_without_an_image_tower(openai_state, tmp_path):
    texts = {key: v for key, v in openai_state.items() if not key.startswith('visual.')}
    save_torchscript(texts, tmp_path / 'texts.pt')
    with pytest.raises(CheckpointError, match=r'texts\.pt.*holds no CLIP image tower'):
        CLIPImageEncoder(VARIANT, tmp_path / 'texts.pt', SIZE)


def test_file_that_mmseg_has_converted(openai_state, tmp_path):
    WRITERS['converted'](openai_state, tmp_path / 'converted.pth')
    with pytest.raises(CheckpointError, match="this is CLIP as mmseg's clip2mmseg.py splits it"):
        CLIPImageEncoder(VARIANT, tmp_path / 'converted.pth', SIZE)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.pt.*Download ViT-L-14\.pt'):
        CLIPImageEncoder('ViT-L/14', tmp_path / 'none.pt')


def test_random_weights_are_said_in_capitals(log):
    CLIPImageEncoder(VARIANT, image_size=SIZE)
    assert 'RANDOM WEIGHTS: THE CLIP IMAGE ENCODER TINY' in log.text


def test_side_by_side_with_sam(file):
    parts = dict(
        sam=dict(type='SAMImageEncoder', variant='tiny', checkpoint=SAM_TINY),
        clip=dict(type='CLIPImageEncoder', variant=VARIANT, checkpoint=str(file), image_size=96),
    )
    both = MODELS.build(dict(parts, type='SAMCLIPImageEncoder'))
    x = torch.randn(1, 3, 96, 96)
    features = both(x)
    assert features.levels == ()
    assert torch.equal(features.companion, both.clip(x).embedding)
    assert torch.equal(features.embedding, both.sam(x).embedding)
    assert (both.clip.pixel_mean, both.clip.pixel_std) == (sam.PIXEL_MEAN, sam.PIXEL_STD)
    shapes = {name: tuple(each.shape[1:]) for name, each in features.named().items()}

    config = dict(parts, type='SAMCLIPImageEncoder')
    stored = MODELS.build(dict(type='PrecomputedFeatures', encoder=config))
    found = stored(features.named())
    assert type(found) is ImageFeatures
    assert found.levels == ()
    assert found.companion is features.companion and found.embedding is features.embedding
    assert stored.shapes == both.feature_shapes(config) == shapes
    assert stored.fingerprints() == both.fingerprints()
    assert set(both.fingerprints()) == {'image_encoder', 'clip_image_encoder'}
    expected = r"\['embedding', 'companion'\], found \['embedding'\]"
    with pytest.raises(ValueError, match=expected):
        stored(dict(embedding=features.embedding))


SAM_TINY = 'mmseg_ssprompt://sam-tiny_shapes.pth'
