"""The activation of a file of CLIP is in its program or set, and never assumed."""

from pathlib import Path
from typing import Dict

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from safetensors.torch import save_file
from torch import nn

from clip_files import make_clip, openai_state_dict, save_converted, vision_of
from mmseg_ssprompt.models import CLIPImageEncoder
from mmseg_ssprompt.models.base import PrecomputedFeatures
from mmseg_ssprompt.models.classifiers import CLIPRegionClassifier
from mmseg_ssprompt.models.clip import CLIPClassNameEncoder, build_text_encoder
from mmseg_ssprompt.models.clip.clip_file import read_clip_file
from mmseg_ssprompt.models.clip.image_tower import encode_patches
from mmseg_ssprompt.models.clip.read_out import read_class_token
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from mmseg_ssprompt.weights.torchscript import find_activation

open_clip = pytest.importorskip('open_clip')

NAMES = ['road', 'sky', 'dog']
CLOSE = dict(rtol=0, atol=1e-5)
QUICK = {True: 'quick_gelu', False: 'gelu'}


@pytest.fixture(scope='module')
def models() -> Dict[bool, nn.Module]:
    """The same weights, with QuickGELU and without."""
    return {quick: make_clip('tiny', vision_of('tiny'), quick_gelu=quick) for quick in QUICK}


@pytest.fixture
def bare(models, tmp_path) -> Path:
    """A state dict that does not name the activation."""
    torch.save(openai_state_dict(models[True]), tmp_path / 'clip.pt')
    return tmp_path / 'clip.pt'


def encode_texts(model: nn.Module) -> torch.Tensor:
    tokens = open_clip.tokenize([f'a photo of a {name}.' for name in NAMES])
    with torch.no_grad():
        return F.normalize(model.encode_text(tokens), dim=-1)


def images() -> torch.Tensor:
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def encode_images(path: Path, **options) -> torch.Tensor:
    """CLIP's own class token: all blocks, and the read-out of the last."""
    tower = CLIPImageEncoder('tiny', path, 96, **options).tower
    tokens, _ = encode_patches(tower, images())
    found = read_class_token(tower.read_out, tokens)
    classifier = CLIPRegionClassifier(1, 64, 'tiny', path, **options)
    again = read_class_token(classifier.region_read_out.parts, tokens)
    torch.testing.assert_close(again, found, **CLOSE)
    return found


def assert_computes(path: Path, model: nn.Module, **options) -> None:
    """Both towers compute what open_clip's model computes."""
    texts = CLIPClassNameEncoder('tiny', path, **options).encode(NAMES)
    torch.testing.assert_close(texts, encode_texts(model), **CLOSE)
    with torch.no_grad():
        expected = model.encode_image(images())
    torch.testing.assert_close(encode_images(path, **options), expected, rtol=0, atol=1e-4)


def test_the_test_can_fail(models):
    assert (encode_texts(models[True]) - encode_texts(models[False])).abs().max() > 1e-3
    found = [model.encode_image(images()) for model in models.values()]
    assert (found[0] - found[1]).abs().max() > 1e-2


@pytest.mark.parametrize('quick', QUICK)
def test_the_setting_is_computed(models, quick, bare):
    assert_computes(bare, models[quick], activation=QUICK[quick])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(models, dtype, tmp_path):
    save_file(
        {k: v.to(dtype) for k, v in models[False].state_dict().items()}, tmp_path / 'a.safetensors'
    )
    encoder = build_text_encoder('tiny', tmp_path / 'a.safetensors', 'gelu')
    assert encoder.ln_final.weight.dtype == torch.float32
    assert torch.equal(encoder.text_projection, models[False].text_projection.to(dtype).float())


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: {'state_dict': {f'module.{k}': v for k, v in s.items()}, 'epoch': 3, 'name': 'a'},
        lambda s: {f'model.clip.{k}': v for k, v in s.items()},
        lambda s: {
            k if 'visual' in k or k == 'logit_scale' else f'text.{k}': v for k, v in s.items()
        },
    ],
)
def test_what_is_wrapped_around_clip_is_taken_off(models, wrap, tmp_path):
    torch.save(wrap(models[True].state_dict()), tmp_path / 'clip.pt')
    assert_computes(tmp_path / 'clip.pt', models[True], activation='quick_gelu')


@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('quick', QUICK)
def test_the_program_of_an_archive_says_it(models, quick, tmp_path):
    """It is traced, as OpenAI's are: the factor is a constant."""
    tokens = open_clip.tokenize(NAMES[:2])
    traced = torch.jit.trace(models[quick], (images(), tokens), check_trace=False)
    torch.jit.save(traced, str(tmp_path / 'clip.pt'))
    assert find_activation(tmp_path / 'clip.pt') == QUICK[quick]
    assert_computes(tmp_path / 'clip.pt', models[quick])
    with pytest.raises(CheckpointError, match=f'its activation is {QUICK[quick]!r}, and'):
        build_text_encoder('tiny', tmp_path / 'clip.pt', QUICK[not quick])


@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
def test_a_program_with_neither_says_nothing(tmp_path):
    torch.jit.save(torch.jit.script(nn.ReLU()), str(tmp_path / 'a.pt'))
    assert find_activation(tmp_path / 'a.pt') is None


@pytest.mark.parametrize(
    'build',
    [
        lambda path: build_text_encoder('tiny', path),
        lambda path: CLIPImageEncoder('tiny', path, 96),
        lambda path: CLIPRegionClassifier(1, 64, 'tiny', path),
        lambda path: CLIPImageEncoder.fingerprint_files(dict(variant='tiny', checkpoint=path)),
    ],
)
def test_nothing_is_assumed(build, bare):
    with pytest.raises(CheckpointError) as error:
        build(bare)
    text = str(error.value)
    assert f'checkpoint {str(bare)!r}: expected to know its activation' in text
    assert "Set activation='quick_gelu' (OpenAI" in text and "activation='gelu' (LAION" in text
    assert 'model.weights=dict(clip=..., clip_activation=...)' in text


def test_a_converted_file_needs_the_setting(models, tmp_path):
    save_converted(openai_state_dict(models[False]), tmp_path / 'clip.pth')
    with pytest.raises(CheckpointError, match='expected to know its activation'):
        build_text_encoder('tiny', tmp_path / 'clip.pth')
    found = CLIPClassNameEncoder('tiny', tmp_path / 'clip.pth', activation='gelu').encode(NAMES)
    torch.testing.assert_close(found, encode_texts(models[False]), **CLOSE)


def test_an_unknown_setting(bare):
    with pytest.raises(ValueError, match=r"activation must be one of \('quick_gelu', 'gelu'\)"):
        build_text_encoder('tiny', bare, 'relu')


def test_the_same_weights_with_another_activation_are_another_encoder(bare):
    found = {}
    for activation in QUICK.values():
        encoder = CLIPImageEncoder('tiny', bare, 96, activation=activation)
        (found[activation],) = encoder.fingerprints().values()
        config = dict(
            type='CLIPImageEncoder',
            variant='tiny',
            checkpoint=str(bare),
            image_size=96,
            activation=activation,
        )
        assert CLIPImageEncoder.fingerprint_files(config) == encoder.fingerprints()
        assert PrecomputedFeatures(config).fingerprints() == encoder.fingerprints()
    assert found['gelu'] != found['quick_gelu']
    texts = [CLIPClassNameEncoder('tiny', bare, activation=each) for each in QUICK.values()]
    assert texts[0].fingerprints() != texts[1].fingerprints()


def test_the_package_s_own_are_quick_and_as_they_were():
    """Fingerprints are in files of prompts and caches that exist."""
    encoder = CLIPClassNameEncoder('tiny', 'mmseg_ssprompt://clip-tiny_shapes.pth')
    assert encoder.activation == 'quick_gelu'
    assert encoder.fingerprints()['text_encoder'].startswith('7992e0b0')
    with pytest.raises(CheckpointError, match="its activation is 'quick_gelu'"):
        CLIPClassNameEncoder('tiny', 'mmseg_ssprompt://clip-tiny_shapes.pth', activation='gelu')


@pytest.mark.parametrize(
    ('keys', 'name'),
    [
        ({'image_encoder.blocks.0.norm1.weight', 'mask_decoder.iou_token.weight'}, 'SAM'),
        ({'visual.trunk.blocks.0.norm1.weight', 'visual.class_embedding'[:6] + '.head'}, 'timm'),
        ({'visual.layer1.0.conv1.weight', 'visual.attnpool.positional_embedding'}, 'a ResNet'),
        ({'visual.blocks.0.attn.q_bias', 'visual.cls_token'}, 'EVA-CLIP'),
        ({'vision_model.head.probe', 'vision_model.embeddings.patch_embedding.weight'}, 'SigLIP'),
    ],
)
def test_other_models_are_named(keys, name, tmp_path):
    torch.save({key: torch.ones(2) for key in keys}, tmp_path / 'a.pt')
    with pytest.raises(CheckpointError, match=f'expected CLIP, but by its keys this is .*{name}'):
        CLIPImageEncoder('ViT-B/16', tmp_path / 'a.pt')


transformers = pytest.importorskip('transformers')


def hugging_face_clip(act: str) -> nn.Module:
    config = transformers.CLIPConfig(
        text_config=dict(
            hidden_size=32,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            hidden_act=act,
            eos_token_id=49407,
        ),
        vision_config=dict(
            hidden_size=96,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=96,
            patch_size=8,
            hidden_act=act,
        ),
        projection_dim=64,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model


def as_tensor(output) -> torch.Tensor:
    """Newer versions of transformers return more than the embedding."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.mark.parametrize('quick', QUICK)
@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin'])
def test_clip_of_hugging_face(quick, name, tmp_path):
    model = hugging_face_clip(QUICK[quick])
    model.save_pretrained(tmp_path)
    if name.endswith('.bin'):
        (tmp_path / 'model.safetensors').unlink()
        torch.save(model.state_dict(), tmp_path / name)
    tokens = open_clip.tokenize([f'a photo of a {each}.' for each in NAMES])
    with torch.no_grad():
        texts = as_tensor(model.get_text_features(tokens))
        expected = as_tensor(model.get_image_features(images()))
    given = dict(activation=QUICK[quick])
    found = CLIPClassNameEncoder('tiny', tmp_path / name, **given).encode(NAMES)
    torch.testing.assert_close(found, F.normalize(texts, dim=-1), **CLOSE)
    torch.testing.assert_close(encode_images(tmp_path / name, **given), expected, rtol=0, atol=1e-4)


def test_a_text_tower_of_hugging_face_alone(tmp_path):
    model = hugging_face_clip('gelu')
    own = {k: v for k, v in model.state_dict().items() if k.startswith('text_')}
    torch.save(own, tmp_path / 'text.bin')
    file = read_clip_file(tmp_path / 'text.bin', 'tiny', 'text')
    assert 'logit_scale' not in file.tensors
    build_text_encoder('tiny', tmp_path / 'text.bin', 'gelu')


def test_the_setting_of_the_model_reaches_every_part(bare):
    """``clip_activation`` stands once."""
    parts = dict(
        backbone=dict(type='CLIPImageEncoder', variant='tiny', image_size=96),
        classifier=dict(type='CLIPRegionClassifier', variant='tiny', token_dims=1, embed_dims=64),
        text_encoder=dict(type='CLIPClassNameEncoder', variant='tiny'),
    )
    from mmseg_ssprompt.weights.model_weights import hand_down_weights

    weights = dict(clip=str(bare), clip_activation='gelu')
    built = {}
    with DefaultScope.overwrite_default_scope('mmseg'):
        for name, config in hand_down_weights(dict(parts, weights=weights)).items():
            built[name] = MODELS.build(config)
    built['classifier'] = built['classifier'].region_read_out
    assert {part.activation for part in built.values()} == {'gelu'}
