"""Embedded samples with CLIP's tokens beside SAM's embedding."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS

from embedding_caches import as_dataset, fill, shapes
from mmseg_ssprompt.cache import CacheError, Recipe
from mmseg_ssprompt.models.clip import CLIPImageEncoder
from mmseg_ssprompt.models.segmentors.prompt_segmentor import PromptStateError
from mmseg_ssprompt.weights.model_weights import hand_down_weights

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAME = 'ssprompt_sam-clip-tiny_shapes'


def recipe_of(**options) -> Recipe:
    model = Config.fromfile(CONFIGS / f'{NAME}.py').model
    encoder = hand_down_weights(model.to_dict())['backbone']
    return Recipe(shapes(3), encoder, model.data_preprocessor.to_dict(), **options)


def build(name: str):
    torch.manual_seed(0)
    model = Config.fromfile(CONFIGS / f'{name}.py').model
    model.test_cfg.logits = True
    return MODELS.build(model).eval()


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Caches in float32 for training and for testing, and one in float16."""
    folder = tmp_path_factory.mktemp('caches')
    with DefaultScope.overwrite_default_scope('mmseg'):
        fill(folder / 'train', recipe_of(dtype='float32'))
        fill(folder / 'test', recipe_of(dtype='float32', test_mode=True))
        fill(folder / 'half', recipe_of())
    return folder


def test_a_sample_has_both(folder):
    sample = DATASETS.build(as_dataset(folder / 'half', recipe_of()))[1]
    assert set(sample['inputs']) == {'embedding', 'companion'}
    embedding, tokens = sample['inputs']['embedding'], sample['inputs']['companion']
    assert (embedding.shape, tokens.shape) == ((96, 12, 12), (145, 96))
    assert embedding.dtype == tokens.dtype == torch.float16
    assert sample['data_samples'].gt_sem_seg.data.shape == (1, 96, 96)


def test_losses_and_predictions_are_those_without_a_cache(folder):
    models = build(NAME), build(f'{NAME}_cached')
    for split, test_mode in (('train', False), ('test', True)):
        recipe = recipe_of(dtype='float32', test_mode=test_mode)
        sources = recipe.build_dataset(), DATASETS.build(as_dataset(folder / split, recipe))
        found = []
        for model, source in zip(models, sources):
            data = pseudo_collate([source[i] for i in range(3)])
            if test_mode:
                found.append(torch.stack([x.seg_logits.data for x in model.test_step(data)]))
            else:
                torch.manual_seed(0)
                losses = model.loss(**model.data_preprocessor(data, True))
                found.append(torch.stack([losses[key] for key in sorted(losses) if 'loss' in key]))
        torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_prompts_fit_models_with_and_without_a_cache(folder):
    cached, uncached = build(f'{NAME}_cached'), build(NAME)
    state = cached.without_frozen(cached.state_dict())
    uncached.load_state_dict(state, strict=False)
    assert set(state._metadata['']['prompts']['base']['parts']) == {
        *('image_encoder', 'clip_image_encoder', 'prompt_encoder', 'mask_decoder'),
        'clip_read_out',
    }


def test_another_way_to_look_at_masks_is_refused():
    model = build(NAME)
    state = model.without_frozen(model.state_dict())
    config = Config.fromfile(CONFIGS / f'{NAME}.py').model
    config.decode_head.classifier.read_out = 'dense'
    with pytest.raises(
        PromptStateError, match=r'classifier: expected .*dense.*found .*class_token'
    ):
        MODELS.build(config).load_state_dict(state, strict=False)
    assert state._metadata['']['prompts']['trained'] == ['spatial_prompts', 'semantic_prompts']


def test_a_flipped_bit_of_clip_s_tokens_is_refused(folder, tmp_path):
    recipe = recipe_of(dtype='float32')
    fill(tmp_path / 'cache', recipe)
    dataset = DATASETS.build(as_dataset(tmp_path / 'cache', recipe))
    tokens = dataset[2]['inputs']['companion']
    file = tmp_path / 'cache' / '000000.safetensors'
    content = bytearray(file.read_bytes())
    place = content.find(tokens.numpy().tobytes()[:64])
    assert place > 0
    content[place + 5] ^= 1
    file.write_bytes(content)
    dataset = DATASETS.build(as_dataset(tmp_path / 'cache', recipe))
    with pytest.raises(CacheError, match='of sample 2'):
        dataset[2]


def test_tokens_of_other_weights_are_refused(folder, tmp_path):
    recipe = recipe_of(dtype='float32')
    own = CLIPImageEncoder(**{k: v for k, v in recipe.encoder['clip'].items() if k != 'type'})
    state = {key: value + 1e-3 for key, value in own.tower.state_dict().items()}
    names = {'projection': 'proj', 'transformer.cls_token': 'class_embedding'}
    other = {f'visual.{names.get(key, key)}': value for key, value in state.items()}
    torch.save(other, tmp_path / 'other.pth')
    recipe.encoder['clip'].update(checkpoint=str(tmp_path / 'other.pth'), activation='quick_gelu')
    with pytest.raises(CacheError, match=r'key\.encoder\.weights\.clip_image_encoder: expected '):
        DATASETS.build(as_dataset(folder / 'train', recipe))


def test_tokens_of_another_size_are_refused(folder):
    recipe = recipe_of(dtype='float32')
    recipe.encoder['clip']['image_size'] = 48
    with pytest.raises(CacheError, match=r'key\.encoder\.clip\.image_size: expected 48, found 96'):
        DATASETS.build(as_dataset(folder / 'train', recipe))
