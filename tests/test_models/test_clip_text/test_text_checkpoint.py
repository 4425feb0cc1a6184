"""Files of CLIP's weights: what fits is loaded in full, anything else is an error that says why."""

from pathlib import Path
from typing import Callable, Dict

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import mmseg_ssprompt  # noqa: F401
from clip_files import make_clip, openai_state_dict, save_converted, save_plain
from mmseg_ssprompt.models.clip import build_text_encoder
from mmseg_ssprompt.models.clip.clip_file import load_text_tower, read_clip_file
from mmseg_ssprompt.weights.state_dicts import CheckpointError

StateDict = Dict[str, Tensor]
LAST_BIAS = 'transformer.resblocks.1.mlp.c_proj.bias'


def test_every_weight_arrives(save_clip: Callable, tiny_state: StateDict, tmp_path: Path):
    save_clip(tiny_state, tmp_path / 'clip.pt')
    state = build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu').state_dict()
    text = {k: v for k, v in tiny_state.items() if not k.startswith('visual.')}
    expected = [v for v in text.values() if v.is_floating_point()]
    assert len(state) == len(expected)
    for tensor in expected:
        assert any(tensor.shape == v.shape and torch.equal(tensor, v) for v in state.values())


def test_safetensors(tiny_state: StateDict, tmp_path: Path):
    save_file({k: v.contiguous() for k, v in tiny_state.items()}, tmp_path / 'clip.safetensors')
    encoder = build_text_encoder('tiny', str(tmp_path / 'clip.safetensors'), 'quick_gelu')
    assert torch.equal(encoder.text_projection, tiny_state['text_projection'])


def test_text_tower_alone(save_clip: Callable, tiny_state: StateDict, tmp_path: Path):
    """Without the image tower, which mmseg's converter insists on."""
    if save_clip is save_converted:
        pytest.skip('the converter needs an image tower')
    text = {key: value for key, value in tiny_state.items() if not key.startswith('visual.')}
    save_clip(text, tmp_path / 'clip.pt')
    encoder = build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu')
    assert torch.equal(encoder.text_projection, tiny_state['text_projection'])


def test_background_row_of_mmseg_is_not_used(tiny_state: StateDict, tmp_path: Path):
    save_converted(tiny_state, tmp_path / 'clip.pth')
    content = torch.load(tmp_path / 'clip.pth', weights_only=True)
    content['text_encoder.bg_embed'] = torch.zeros(1, 64)
    content['text_encoder.attn_mask'] = torch.zeros(77, 77)
    torch.save(dict(state_dict=content), tmp_path / 'clip.pth')
    encoder = build_text_encoder('tiny', tmp_path / 'clip.pth', 'quick_gelu')
    assert torch.equal(encoder.text_projection, tiny_state['text_projection'])


def test_caller_random_state_is_left_alone(tiny_state: StateDict, tmp_path: Path):
    save_plain(tiny_state, tmp_path / 'clip.pt')
    before = torch.get_rng_state()
    build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu')
    assert torch.equal(torch.get_rng_state(), before)


def test_no_such_file():
    with pytest.raises(FileNotFoundError, match=r"'no/such.pt' does not exist.*ViT-L-14\.pt"):
        build_text_encoder('ViT-L/14', 'no/such.pt')


def test_no_such_asset():
    with pytest.raises(FileNotFoundError, match='assets.*none.pth'):
        build_text_encoder('tiny', 'mmseg_ssprompt://none.pth')


def test_missing_key(save_clip: Callable, tiny_state: StateDict, tmp_path: Path):
    del tiny_state[LAST_BIAS]
    save_clip(tiny_state, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError) as error:
        build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu')
    assert str(tmp_path / 'clip.pt') in str(error.value)
    assert '1 missing: transformer.1.ffns.0.layers.1.bias' in str(error.value)


@pytest.mark.parametrize('key', ['logit_bias', 'transformer.resblocks.0.ls_1.gamma'])
def test_extra_key(key: str, tiny_state: StateDict, tmp_path: Path):
    tiny_state[key] = torch.zeros(32)
    save_plain(tiny_state, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError, match=f'1 unexpected: {key}'):
        build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu')


def test_wrong_shape(save_clip: Callable, tiny_state: StateDict, tmp_path: Path):
    tiny_state['ln_final.weight'] = torch.zeros(31)
    save_clip(tiny_state, tmp_path / 'clip.pt')
    with pytest.raises(
        CheckpointError, match=r'ln_final.weight: expected shape \(32,\), found \(31,\)'
    ):
        build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu')


def test_other_variant(save_clip: Callable, tiny_state: StateDict, tmp_path: Path):
    """A file of 'tiny' for ViT-B/16."""
    if save_clip is not save_converted:
        tiny_state = {k: v for k, v in tiny_state.items() if not k.startswith('visual.')}
    save_clip(tiny_state, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError) as error:
        build_text_encoder('ViT-B/16', tmp_path / 'clip.pt', 'quick_gelu')
    difference = 'positional_embedding: expected shape (77, 512), found (77, 32)'
    if save_clip is save_converted:
        difference = 'expected an image tower with patches of 16 pixels beside it'
    assert difference in str(error.value)
    assert "The variant asked for is 'ViT-B/16'" in str(error.value)
    assert "the file is 'tiny'" in str(error.value)


@pytest.fixture(scope='module')
def b16_state() -> StateDict:
    """ViT-B/16 with one number per tensor: shapes are all that matters."""
    state = openai_state_dict(make_clip('ViT-B/16'))
    return {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}


def test_same_text_tower_beside_another_image_tower(b16_state: StateDict, tmp_path: Path):
    save_plain(b16_state, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError) as error:
        build_text_encoder('ViT-B/32', tmp_path / 'clip.pt', 'quick_gelu')
    found = 'patches of 32 pixels beside it, found weights of shape (64, 3, 16, 16)'
    assert found in str(error.value)
    assert "the file is 'ViT-B/16'" in str(error.value)


def test_text_tower_of_two_variants(b16_state: StateDict, tmp_path: Path):
    text = {key: value for key, value in b16_state.items() if not key.startswith('visual.')}
    save_plain(text, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError, match="the file is 'ViT-B/32' or 'ViT-B/16'"):
        build_text_encoder('ViT-L/14', tmp_path / 'clip.pt', 'quick_gelu')


def test_variant_that_is_not_known(tiny_state: StateDict, tmp_path: Path):
    tiny_state['text_projection'] = torch.zeros(32, 1024)
    save_plain(tiny_state, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError, match='none that is known'):
        build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu')


@pytest.mark.parametrize('key', ['visual.class_embedding', 'image.pos'])
def test_no_text_tower(key: str, tmp_path: Path):
    save_plain({key: torch.zeros(32)}, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError, match=f'holds no CLIP text tower.*{key}'):
        build_text_encoder('tiny', tmp_path / 'clip.pt', 'quick_gelu')


def test_encoder_is_left_as_it_was(tiny_state: StateDict, tmp_path: Path):
    encoder = build_text_encoder('tiny')
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    del tiny_state[LAST_BIAS]
    save_plain(tiny_state, tmp_path / 'clip.pt')
    with pytest.raises(CheckpointError):
        load_text_tower(encoder, 'tiny', read_clip_file(tmp_path / 'clip.pt', 'tiny', 'text'))
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
