"""Embeddings of class names: shape, length, determinism, and the caller's state."""

import logging
from typing import List

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

import mmseg_ssprompt  # noqa: F401
from mmseg_ssprompt.models.clip import (
    CLIP_VARIANTS,
    CLIPClassNameEncoder,
    build_text_encoder,
    encode_class_names,
    text_encoder,
)
from mmseg_ssprompt.weights import state_dicts as checkpoint

NAMES = ['wall', 'traffic light', 'sky']


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """What is logged through mmengine."""
    logged: List[str] = []
    monkeypatch.setattr(checkpoint, 'print_log', lambda msg, **kwargs: logged.append(msg))
    return logged


def random_encoder(variant: str = 'tiny', seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_text_encoder(variant)


def test_shape_and_length():
    embeddings = encode_class_names(NAMES, random_encoder(), 'vild')
    assert embeddings.shape == (3, 64)
    assert embeddings.dtype == torch.float32
    assert not embeddings.requires_grad
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize('variant', sorted(CLIP_VARIANTS))
def test_every_variant_has_the_declared_geometry(variant: str):
    embed_dims, sizes = CLIP_VARIANTS[variant].embed_dims, CLIP_VARIANTS[variant].text
    encoder = build_text_encoder(variant)
    assert encoder.positional_embedding.shape == (77, sizes.width)
    assert encoder.text_projection.shape == (sizes.width, embed_dims)
    assert len(encoder.transformer) == sizes.layers
    assert encoder.transformer[0].attentions[0].attn.num_heads == sizes.heads


@pytest.mark.parametrize('scope', ['mmengine', 'mmseg'])
def test_builds_in_any_scope(scope: str):
    with DefaultScope.overwrite_default_scope(scope):
        build_text_encoder('tiny')


def test_built_from_config():
    encoder = MODELS.build(dict(type='CLIPClassNameEncoder', variant='tiny'))
    assert isinstance(encoder, CLIPClassNameEncoder)
    assert encoder.templates == ('a photo of a {}.',)
    assert encoder.embed_dims == 64
    assert encoder.encode(NAMES).shape == (3, 64)


def test_is_no_module():
    """Else it would become part of the model that uses it."""
    assert not isinstance(CLIPClassNameEncoder('tiny'), torch.nn.Module)


@pytest.mark.filterwarnings('ignore:Use same attn_mask')
def test_same_numbers_as_mmseg():
    """Over several templates, batches of texts, and a context cut to the longest text."""
    encoder = random_encoder()
    templates = ['a photo of a {}.', 'there is a rather long text about a {} in this scene', '{}']
    encoder.templates = templates
    expected = encoder.template_encode(NAMES)
    torch.testing.assert_close(
        encode_class_names(NAMES, encoder, templates), expected, atol=1e-6, rtol=0
    )


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    encoder = random_encoder()
    expected = encode_class_names(NAMES, encoder, 'vild')
    monkeypatch.setattr(text_encoder, '_TEXTS_PER_BATCH', 5)
    torch.testing.assert_close(encode_class_names(NAMES, encoder, 'vild'), expected)


def test_normalised_names_have_the_same_embedding():
    encoder = random_encoder()
    found = encode_class_names(['cafe\u0301', ' Traffic \n light'], encoder)
    expected = encode_class_names(['caf\u00e9', 'traffic light'], encoder)
    assert torch.equal(found, expected)


def test_no_warning_of_mmseg_reaches_the_user(recwarn: pytest.WarningsRecorder):
    encode_class_names(NAMES, random_encoder())
    assert not [str(w.message) for w in recwarn if w.category is UserWarning]


def test_order_of_names_is_kept():
    encoder = random_encoder()
    forward, backward = (encode_class_names(n, encoder) for n in (NAMES, NAMES[::-1]))
    torch.testing.assert_close(forward, backward.flip(0))


@pytest.mark.parametrize('variant', ['tiny', 'ViT-B/16'])
def test_random_weights_are_finite_and_follow_the_seed(variant: str):
    states = [random_encoder(variant, seed).state_dict() for seed in (0, 0, 1)]
    assert all(value.isfinite().all() for value in states[0].values())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    for key in ('positional_embedding', 'text_projection', 'token_embedding.weight'):
        assert not torch.equal(states[0][key], states[2][key])


def test_caller_random_state_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    encode_class_names(NAMES, build_text_encoder('tiny'))
    assert torch.equal(torch.get_rng_state(), before)


def test_random_weights_are_said_once_in_capitals(messages: List[str]):
    CLIPClassNameEncoder('tiny').encode(NAMES)
    assert len(messages) == 1
    assert 'RANDOM WEIGHTS: THE CLIP TEXT ENCODER TINY' in messages[0]


def test_frozen():
    encoder = random_encoder()
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_float32_under_autocast():
    encoder = random_encoder()
    expected = encode_class_names(NAMES, encoder)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(encode_class_names(NAMES, encoder), expected)


def test_unknown_variant():
    with pytest.raises(ValueError, match=r"unknown CLIP variant 'RN50'.*'ViT-B/16'"):
        CLIPClassNameEncoder('RN50')


def test_wrong_templates_are_found_before_the_weights_are_read():
    with pytest.raises(ValueError, match='templates'):
        CLIPClassNameEncoder('tiny', checkpoint='no/such/file.pt', templates=['a photo'])


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 0.0])
def test_damaged_weights(value: float):
    encoder = random_encoder()
    encoder.text_projection.fill_(value)
    with pytest.raises(ValueError, match=r"'wall' \(index 0; 3 of 3\) is zero or not finite"):
        encode_class_names(NAMES, encoder)


def test_logging_level_is_warning(monkeypatch: pytest.MonkeyPatch):
    levels: List[int] = []
    monkeypatch.setattr(checkpoint, 'print_log', lambda msg, logger, level: levels.append(level))
    build_text_encoder('tiny')
    assert levels == [logging.WARNING]
