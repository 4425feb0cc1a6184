"""Loading SAM's parts from official files, and every way in which a file can be the wrong one."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger

from mmseg_ssprompt.models.sam.sam_file import SAM_PARTS, guess_variant, load_part
from mmseg_ssprompt.models.sam.sam_variants import (
    SAM_VARIANTS,
    build_image_encoder,
    build_mask_decoder,
    build_prompt_encoder,
    build_sam,
)
from mmseg_ssprompt.weights.state_dicts import CheckpointError

BUILDERS = dict(
    image_encoder=build_image_encoder,
    prompt_encoder=build_prompt_encoder,
    mask_decoder=build_mask_decoder,
)


def save(state_dict, folder, name='sam.pth'):
    torch.save(state_dict, folder / name)
    return folder / name


def sparse_file(variant, folder):
    """A file with all shapes of a large variant, whose tensors share a few stored numbers."""
    with torch.device('meta'):
        shapes = build_sam(variant).state_dict()
    zero = torch.zeros(1)
    return save({key: zero.expand(tensor.shape) for key, tensor in shapes.items()}, folder)


@pytest.mark.parametrize('part', SAM_PARTS)
def test_parts_load_exactly(tiny_sam, tiny_file, part):
    module = BUILDERS[part]('tiny')
    load_part(module, tiny_file, 'tiny', part)
    expected = getattr(tiny_sam, part).state_dict()
    assert module.state_dict().keys() == expected.keys()
    assert all(torch.equal(v, expected[key]) for key, v in module.state_dict().items())


def test_half_precision_files_become_float32(tiny_sam, tmp_path):
    path = save({key: v.half() for key, v in tiny_sam.state_dict().items()}, tmp_path)
    module = build_prompt_encoder('tiny')
    load_part(module, path, 'tiny', 'prompt_encoder')
    assert all(v.dtype == torch.float32 for v in module.state_dict().values())
    expected = tiny_sam.prompt_encoder.no_mask_embed.weight.half().float()
    assert torch.equal(module.no_mask_embed.weight, expected)


@pytest.mark.parametrize('variant', SAM_VARIANTS)
def test_variants_are_recognised(variant):
    with torch.device('meta'):
        state_dict = build_sam(variant).state_dict()
    assert guess_variant(state_dict) == variant
    state_dict.pop('image_encoder.pos_embed')
    assert guess_variant(state_dict) is None


@pytest.mark.parametrize('part', SAM_PARTS)
def test_file_of_another_variant_is_refused_for_every_part(tmp_path, part):
    path = sparse_file('vit_b', tmp_path)
    with torch.device('meta'):
        module = BUILDERS[part]('vit_h')
    with pytest.raises(CheckpointError) as info:
        load_part(module, path, 'vit_h', part)
    text = str(info.value)
    assert f"checkpoint '{path}' does not fit SAM variant 'vit_h'" in text
    assert 'image_encoder.pos_embed: expected shape (1, 64, 64, 1280)' in text
    assert 'found (1, 64, 64, 768)' in text
    assert "The file is of variant 'vit_b': set variant='vit_b'" in text
    assert 'sam_vit_h_4b8939.pth' in text


def test_file_of_no_known_variant_says_so(tiny_sam, tmp_path):
    state_dict = dict(tiny_sam.state_dict())
    state_dict['image_encoder.pos_embed'] = torch.zeros(1, 9, 9, 128)
    with pytest.raises(CheckpointError, match='fits none of'):
        load_part(build_image_encoder('tiny'), save(state_dict, tmp_path), 'tiny', 'image_encoder')


@pytest.mark.parametrize(
    'key', ['image_encoder.neck.0.weight', 'prompt_encoder.no_mask_embed.weight']
)
def test_missing_and_extra_keys_are_named(tiny_sam, tmp_path, key):
    state_dict = dict(tiny_sam.state_dict())
    state_dict['mask_decoder.adapter.weight'] = torch.zeros(1)
    state_dict.pop(key)
    with pytest.raises(CheckpointError) as info:
        load_part(build_mask_decoder('tiny'), save(state_dict, tmp_path), 'tiny', 'mask_decoder')
    assert f'1 missing: {key}' in str(info.value)
    assert '1 unexpected: mask_decoder.adapter.weight' in str(info.value)
    assert "The file is an altered or damaged 'tiny'" in str(info.value)


def test_absent_file_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as info:
        load_part(build_prompt_encoder('vit_b'), tmp_path / 'a.pth', 'vit_b', 'prompt_encoder')
    text = str(info.value)
    assert str(tmp_path / 'a.pth') in text
    assert "'vit_b'" in text and 'sam_vit_b_01ec64.pth' in text
    assert 'github.com/facebookresearch/segment-anything' in text


def test_unknown_variant_is_refused(tiny_file):
    module = build_prompt_encoder('tiny')
    with pytest.raises(ValueError, match="unknown SAM variant 'vit_x'"):
        load_part(module, tiny_file, 'vit_x', 'prompt_encoder')


def test_random_weights_are_announced_once_in_capitals(monkeypatch):
    records = []
    monkeypatch.setattr(
        MMLogger.get_current_instance(), 'handle', lambda record: records.append(record)
    )
    module = build_prompt_encoder('tiny')
    before = module.no_mask_embed.weight.clone()
    load_part(module, None, 'tiny', 'prompt_encoder')
    assert torch.equal(module.no_mask_embed.weight, before)
    assert [record.levelno for record in records] == [logging.WARNING]
    assert 'RANDOM WEIGHTS: SAM PROMPT_ENCODER (TINY)' in records[0].getMessage()
