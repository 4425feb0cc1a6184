"""Files of weights that people have load, or the error says exactly what they are."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmseg_ssprompt.models.sam.sam_file import (
    _HUGGING_FACE,
    SAM_PARTS,
    SamFile,
    check_whole,
    fingerprint_part,
    load_part,
    read_sam,
)
from mmseg_ssprompt.models.sam.sam_variants import (
    SAM_VARIANTS,
    build_image_encoder,
    build_mask_decoder,
    build_prompt_encoder,
    build_sam,
)
from mmseg_ssprompt.weights.state_dict_keys import rename
from mmseg_ssprompt.weights.state_dicts import CheckpointError, read_checkpoint
from official_sam import randomised_sam

BUILDERS = dict(
    image_encoder=build_image_encoder,
    prompt_encoder=build_prompt_encoder,
    mask_decoder=build_mask_decoder,
)


@pytest.fixture(scope='module')
def state() -> Dict[str, Tensor]:
    return dict(randomised_sam('tiny').state_dict())


def prefixed(state: Dict[str, Tensor], prefix: str) -> Dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def save(content: Any, folder: Path, name: str = 'sam.pth') -> Path:
    torch.save(content, folder / name)
    return folder / name


def assert_loads(path: Path, state: Dict[str, Tensor]) -> None:
    """Every part arrives, to the bit."""
    for part in SAM_PARTS:
        module = BUILDERS[part]('tiny')
        load_part(module, path, 'tiny', part)
        for key, value in module.state_dict().items():
            assert torch.equal(value, state[f'{part}.{key}'].float()), key


ADAM = {'state': {0: {'step': torch.tensor(3.0), 'exp_avg': torch.ones(2)}}, 'param_groups': []}


@pytest.mark.parametrize(
    'wrap',
    [
        lambda s: {'model': s},
        lambda s: {'state_dict': s, 'epoch': 3},
        lambda s: {'state_dict': s, 'callbacks': {'a': {'best': torch.tensor(1), 'of': 'IoU'}}},
        lambda s: {'model_state_dict': s, 'optimizer_state_dict': ADAM},
        lambda s: {'net': s, 'optimizer': ADAM, 'epoch': torch.tensor(3)},
        lambda s: {'checkpoint': {'model': {'params': s}}, 'lr_scheduler': {'last': 2}},
        lambda s: prefixed(s, 'module.'),
        lambda s: prefixed(s, 'model.'),
        lambda s: prefixed(s, 'sam.'),
        lambda s: prefixed(s, 'sam_model.'),
        lambda s: {'model': prefixed(s, 'module.sam_model.')},
        lambda s: prefixed(s, '_orig_mod.'),
        lambda s: {k.replace('image_encoder.', 'image_encoder.module.'): v for k, v in s.items()},
        lambda s: {**prefixed(s, 'net.sam.'), 'net.loss.weight': torch.ones(3)},
        lambda s: {**s, 'pixel_mean': torch.ones(3, 1, 1), 'pixel_std': torch.ones(3, 1, 1)},
    ],
)
def test_what_is_wrapped_around_sam_is_taken_off(state, wrap, tmp_path):
    assert_loads(save(wrap(state), tmp_path), state)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_half_precision_is_cast(state, dtype, suffix, tmp_path):
    half = {key: value.to(dtype) for key, value in state.items()}
    path = tmp_path / f'sam{suffix}'
    (save_file if suffix == '.safetensors' else torch.save)(half, path)
    assert_loads(path, half)


def test_the_suffix_need_not_say_what_is_inside(state, tmp_path):
    save_file(state, tmp_path / 'pytorch_model.bin')
    assert_loads(tmp_path / 'pytorch_model.bin', state)
    with pytest.raises(CheckpointError, match=r"of another kind.*it begins with b'PK"):
        read_checkpoint(save(state, tmp_path, 'a.safetensors'))


def test_two_models_in_a_file_are_not_chosen_from(state, tmp_path):
    path = save({'model': state, 'ema': state, 'epoch': 3}, tmp_path)
    with pytest.raises(CheckpointError) as error:
        load_part(build_mask_decoder('tiny'), path, 'tiny', 'mask_decoder')
    text = str(error.value)
    size = len(state)
    assert f"it holds 2 of them: 'model' ({size} entries), 'ema' ({size} entries)" in text
    assert 'Save the one that is meant alone' in text


def test_two_prefixes_are_not_chosen_from(state, tmp_path):
    path = save({**prefixed(state, 'student.'), **prefixed(state, 'teacher.')}, tmp_path)
    with pytest.raises(CheckpointError, match=r"several prefixes: 'student\.', 'teacher\.'\. Save"):
        load_part(build_mask_decoder('tiny'), path, 'tiny', 'mask_decoder')


HQ = {
    f'mask_decoder.{name}.weight': torch.ones(2)
    for name in ('hf_token', 'hf_mlp.layers.0', 'compress_vit_feat.0', 'embedding_encoder.0')
}


def test_sam_hq_is_read_without_what_it_adds(state, tmp_path, log):
    assert_loads(save({**state, **HQ}, tmp_path), state)
    (line,) = [r.getMessage() for r in log.records if r.levelno >= logging.WARNING]
    assert "4 tensors that are not SAM's own (mask_decoder.hf_token.weight and others)" in line


def test_additions_are_left_out_of_sam_hq_alone(state, tmp_path):
    added = {'mask_decoder.embedding_encoder.0.weight': torch.ones(2)}
    with pytest.raises(CheckpointError) as error:
        assert_loads(save({**state, **added}, tmp_path), state)
    assert '1 unexpected: mask_decoder.embedding_encoder.0.weight' in str(error.value)
    assert "an altered or damaged 'tiny'" in str(error.value)


def test_what_is_outside_of_sam_is_said(state, tmp_path, log):
    path = save({**prefixed(state, 'sam.'), 'loss.weight': torch.ones(3)}, tmp_path)
    load_part(build_mask_decoder('tiny'), path, 'tiny', 'mask_decoder')
    (record,) = [r for r in log.records if r.levelno >= logging.WARNING]
    expected = "1 tensors that are not SAM's own (loss.weight and others) are left out"
    assert expected in record.getMessage()


TINY_VIT = {'image_encoder.patch_embed.seq.0.c.weight', 'image_encoder.layers.0.blocks.0.conv1.c.w'}
PARTS = {'prompt_encoder.no_mask_embed.weight', 'mask_decoder.iou_token.weight'}


@pytest.mark.parametrize(
    ('keys', 'name'),
    [
        (TINY_VIT | PARTS, 'MobileSAM, TinySAM or HQ-SAM Light'),
        ({'image_encoder.features.0.0.c.weight'} | PARTS, 'RepViT-SAM'),
        (
            {'image_encoder.features.0.0.c.w', 'image_encoder.fuse_stage2.weight'} | PARTS,
            'RepViT-SAM or EdgeSAM',
        ),
        ({'image_encoder.backbone.input_stem.op_list.0.conv.weight'} | PARTS, 'EfficientViT-SAM'),
        (
            {
                'image_encoder.blocks.0.attn.qkv.weight',
                'prompt_encoder.bbox_top_left_embeddings.weight',
                'mask_decoder.iou_token.weight',
            },
            'EfficientSAM',
        ),
        (
            {'image_encoder.trunk.blocks.0.norm1.weight', 'sam_mask_decoder.iou_token.weight'},
            'SAM 2',
        ),
        ({'vision_encoder.backbone.blocks.0.attn.qkv.weight'} | PARTS, 'SAM 2'),
        ({'detector.backbone.vision_backbone.trunk.blocks.0.norm1.weight'}, 'SAM 3'),
        ({'visual.class_embedding', 'token_embedding.weight'}, 'CLIP'),
        ({'text_model.embeddings.token_embedding.weight'}, 'CLIP'),
        ({'blocks.0.attn.qkv.weight', 'cls_token'}, 'a vision transformer alone'),
        ({'blocks.0.attn.rel_pos_h'}, 'a vision transformer alone'),
        ({'model.22.proto.cv1.conv.weight'}, 'FastSAM'),
        ({'sem_seg_head.predictor.lang_encoder.w'}, 'SEEM'),
        (
            {'decode_head.spatial_prompts.fusion.learned', 'decode_head.classifier.w'},
            'a checkpoint of prompts',
        ),
    ],
)
@pytest.mark.parametrize('wrapper', ['', 'module.'])
def test_other_models_are_named(keys, name, wrapper, tmp_path):
    content = {'model': {wrapper + key: torch.ones(2) for key in sorted(keys)}}
    with pytest.raises(CheckpointError) as error:
        load_part(build_mask_decoder('tiny'), save(content, tmp_path), 'vit_b', 'mask_decoder')
    text = str(error.value)
    assert f'expected SAM, but by its keys this is {name}' in text
    assert 'sam.pth' in text and 'needs sam_vit_b_01ec64.pth' in text


def test_the_remedy_is_not_what_was_done(state, tmp_path):
    """The variant is right and the file is not whole."""
    part = {key: value for key, value in state.items() if not key.startswith('mask_decoder')}
    with pytest.raises(CheckpointError) as error:
        load_part(build_prompt_encoder('tiny'), save(part, tmp_path), 'tiny', 'prompt_encoder')
    assert "set variant='tiny'" not in str(error.value)
    lacking = len(state) - len(part)
    assert f'{lacking} missing: mask_decoder.' in str(error.value)
    assert "an altered or damaged 'tiny', or only a part of it" in str(error.value)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('sam.onnx', b'\x08\x07\x12\x07pytorch', 'pytorch'),
        ('sam.pth', b'<!DOCTYPE html><html>', '<!DOCTYPE html><html>'),
        ('sam.pth', b'version https://git-lfs.github.com/spec/v1\n', 'version https://git-lfs'),
        ('model.safetensors.index.json', b'{"metadata": {}}', '{"metadata": {}}'),
    ],
)
def test_other_kinds_of_file_are_quoted(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"it begins with b'.*{message}"):
        read_checkpoint(tmp_path / name)


transformers = pytest.importorskip('transformers')


def hugging_face_config(variant: str) -> 'transformers.SamConfig':
    """The geometry of a variant as transformers has it."""
    sizes = SAM_VARIANTS[variant]
    return transformers.SamConfig(
        vision_config=dict(
            hidden_size=sizes.encoder_embed_dim,
            output_channels=sizes.prompt_embed_dim,
            num_hidden_layers=sizes.encoder_depth,
            num_attention_heads=sizes.encoder_num_heads,
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            window_size=sizes.window_size,
            global_attn_indexes=list(sizes.encoder_global_attn_indexes),
            num_pos_feats=sizes.prompt_embed_dim // 2,
            mlp_dim=4 * sizes.encoder_embed_dim,
        ),
        prompt_encoder_config=dict(
            hidden_size=sizes.prompt_embed_dim,
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            mask_input_channels=16,
        ),
        mask_decoder_config=dict(
            hidden_size=sizes.prompt_embed_dim,
            mlp_dim=sizes.decoder_mlp_dim,
            num_attention_heads=sizes.decoder_num_heads,
            iou_head_hidden_dim=sizes.iou_head_hidden_dim,
        ),
    )


#: The miniature, with the rate that transformers has no setting for.
HALVED = replace(SAM_VARIANTS['tiny'], attention_downsample_rate=2)


@pytest.fixture(scope='module', autouse=True)
def halved_variant():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SAM_VARIANTS, 'halved', HALVED)
        yield


@pytest.fixture(scope='module')
def hugging_face(halved_variant) -> 'transformers.SamModel':
    """A small SamModel with random weights that matter everywhere."""
    torch.manual_seed(0)
    model = transformers.SamModel(hugging_face_config('halved')).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope='module', params=['model.safetensors', 'pytorch_model.bin'])
def hugging_face_file(hugging_face, request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('hugging_face')
    if request.param.endswith('.bin'):
        torch.save(hugging_face.state_dict(), folder / request.param)
    else:
        hugging_face.save_pretrained(folder)
    return folder / request.param


def test_sam_of_hugging_face_computes_what_transformers_computes(hugging_face, hugging_face_file):
    sam = build_sam('halved')
    for part in SAM_PARTS:
        load_part(getattr(sam, part), hugging_face_file, 'halved', part)
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    points = torch.tensor([[[[20.0, 30.0], [70.0, 50.0]]]])
    labels = torch.tensor([[[1, 0]]])
    with torch.no_grad():
        theirs = hugging_face(images, input_points=points, input_labels=labels)
        embedding = sam.image_encoder(images)
        sparse, dense = sam.prompt_encoder((points[0], labels[0]), None, None)
        masks, iou = sam.mask_decoder(
            embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=True
        )
        expected = hugging_face.get_image_embeddings(images)
    torch.testing.assert_close(embedding, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(masks, theirs.pred_masks[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(iou, theirs.iou_scores[0], rtol=1e-4, atol=1e-5)


def test_the_same_weights_have_one_fingerprint(hugging_face_file, tmp_path):
    official = save(read_sam(hugging_face_file).tensors, tmp_path)
    for part in SAM_PARTS:
        found = fingerprint_part(hugging_face_file, part)
        assert found == fingerprint_part(official, part) is not None


@pytest.mark.parametrize('variant', ['vit_b', 'vit_l', 'vit_h'])
def test_every_name_of_hugging_face_is_known(variant):
    with torch.device('meta'):
        shapes = transformers.SamModel(hugging_face_config(variant)).state_dict()
    theirs = {key: torch.zeros(1).expand(value.shape) for key, value in shapes.items()}
    official = {rename(key, _HUGGING_FACE): value for key, value in theirs.items()}
    check_whole(SamFile(official, (), 'a file'), variant)


def test_sam_hq_of_hugging_face_is_read_without_what_it_adds(hugging_face, tmp_path):
    if not hasattr(transformers, 'SamHQModel'):
        pytest.skip('this version of transformers has no SamHQModel')
    config = hugging_face_config('halved').to_dict()
    parts = ('vision_config', 'prompt_encoder_config', 'mask_decoder_config')
    given = {part: {k: v for k, v in config[part].items() if k != 'model_type'} for part in parts}
    given['mask_decoder_config']['vit_dim'] = 128
    model = transformers.SamHQModel(transformers.SamHQConfig(**given))
    model.save_pretrained(tmp_path)
    file = read_sam(tmp_path / 'model.safetensors')
    check_whole(file, 'halved')
    assert {key.split('.')[1] for key in file.left_out} >= {'hq_token', 'hq_mask_mlp', 'mask_conv1'}
