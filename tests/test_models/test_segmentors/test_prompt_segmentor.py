"""Which state dicts hold the prompts of a model, and how they are loaded."""

import copy
import gc
import logging
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_ssprompt.models.segmentors import PromptSegmentor, PromptStateError
from tiny_model import build_tiny, random_images, tiny_config

PREFIX = 'decode_head.'
PROMPTS = {
    'decode_head.spatial_prompts.fusion.learned': (64, 2, 96),
    'decode_head.spatial_prompts.fusion.default': (64, 2, 96),
    'decode_head.spatial_prompts.fusion.weight_logit': (64,),
    'decode_head.semantic_prompts.fusion.learned': (10, 64),
    'decode_head.semantic_prompts.fusion.default': (10, 64),
    'decode_head.semantic_prompts.fusion.weight_logit': (10,),
    'decode_head.classifier.projection.weight': (64, 96),
    'decode_head.classifier.projection.bias': (64,),
    'decode_head.classifier.no_object': (64,),
    'decode_head.classifier.logit_scale': (),
}
FEWER_CLASSES = ['cat', 'dog', 'sky']

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


def three_classes() -> nn.Module:
    config = tiny_config(num_classes=len(FEWER_CLASSES))
    prompts = config.model.decode_head.semantic_prompts
    prompts.pop('dataset')
    prompts.class_names = FEWER_CLASSES
    return MODELS.build(config.model)


def trained(seed: int = 1, **kwargs: Any) -> Dict[str, Tensor]:
    """The state dict of a model that has learned something."""
    model = build_tiny(seed=seed, **kwargs)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.state_dict()


def prompts_of(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    return {key: state_dict[key] for key in PROMPTS if key in state_dict}


def holds(model: nn.Module, state_dict: Dict[str, Tensor]) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[key], value) for key, value in state_dict.items())


def load_file(model: nn.Module, state_dict: Dict[str, Tensor], path: Path) -> List[str]:
    """Load it as mmengine does, and return the lines of the log."""
    torch.save(dict(meta={}, state_dict=state_dict), path)
    lines: List[str] = []
    logger = logging.getLogger(f'{__name__}.{path}')
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    load_checkpoint(model, str(path), logger=logger)
    return lines


def refused(model: nn.Module, state_dict: Dict[str, Tensor], **kwargs: Any) -> str:
    """The message of the error, after which nothing must have changed."""
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PromptStateError) as info:
        model.load_state_dict(state_dict, **kwargs)
    assert holds(model, before)
    return str(info.value)


@pytest.fixture(scope='module')
def full() -> Dict[str, Tensor]:
    return trained()


@pytest.fixture
def model() -> nn.Module:
    return build_tiny()


# What belongs to the prompts


def test_prompts_are_all_but_the_frozen_parts(model):
    state_dict = model.state_dict()
    kept = model.without_frozen(state_dict)
    assert {key: tuple(value.shape) for key, value in kept.items()} == PROMPTS
    assert all(kept[key].data_ptr() == state_dict[key].data_ptr() for key in kept)
    frozen = ('backbone.', 'decode_head.segmenter.')
    assert all(key.startswith(frozen) for key in state_dict.keys() - kept.keys())


def test_keys_of_others_are_not_taken_for_frozen_ones(model):
    """Only a whole component of a key names a part."""
    keys = {'backbone_extra.weight': 0, 'backbone': 0, 'auxiliary.backbone.weight': 0}
    assert model.without_frozen({**keys, 'backbone.weight': 0}) == keys


def test_frozen_parts_are_told_by_what_they_are():
    """Not by their names: with this, a trainable backbone would be saved."""
    model = build_tiny()
    model.backbone = nn.Linear(2, 2)
    assert model.without_frozen(model.state_dict()).keys() >= {'backbone.weight', 'backbone.bias'}


def test_is_an_encoder_decoder(model):
    assert isinstance(model, PromptSegmentor)
    assert isinstance(model, EncoderDecoder)


def test_init_weights_keeps_what_was_loaded(model):
    before = copy.deepcopy(model.state_dict())
    model.init_weights()
    assert holds(model, before)


# Loading


@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('what', ['full', 'prompts'])
def test_both_kinds_of_state_dict_load(model, full, what, strict):
    state_dict = full if what == 'full' else prompts_of(full)
    assert not holds(model, prompts_of(full))
    result = model.load_state_dict(state_dict, strict=strict)
    assert holds(model, state_dict)
    assert result.missing_keys == result.unexpected_keys == []


@pytest.mark.parametrize('what', ['full', 'prompts'])
def test_both_kinds_of_file_load_without_a_complaint(model, full, tmp_path, what):
    state_dict = full if what == 'full' else prompts_of(full)
    (line,) = load_file(model, state_dict, tmp_path / 'a.pth')
    assert line.startswith('Loads checkpoint')
    assert holds(model, state_dict)


@torch.no_grad()
def test_a_loaded_model_computes_what_the_saved_one_did(full):
    saved, loaded = build_tiny(seed=2), build_tiny(seed=3)
    saved.load_state_dict(full)
    loaded.load_state_dict(saved.without_frozen(saved.state_dict()))
    expected = saved(random_images(1), mode='tensor')
    torch.testing.assert_close(loaded(random_images(1), mode='tensor'), expected, atol=0, rtol=0)


def test_files_of_a_wrapped_model_load(model, full, tmp_path):
    """mmengine takes DDP's "module." off."""
    wrapped = {f'module.{key}': value for key, value in prompts_of(full).items()}
    assert len(load_file(model, wrapped, tmp_path / 'a.pth')) == 1
    assert holds(model, prompts_of(full))


@pytest.mark.parametrize('what', ['full', 'prompts'])
def test_as_a_part_of_another_module(model, full, what):
    state_dict = full if what == 'full' else prompts_of(full)
    outer = nn.Sequential(nn.Identity(), model)
    outer.load_state_dict({f'1.{key}': v for key, v in state_dict.items()}, strict=True)
    assert holds(model, state_dict)
    with pytest.raises(
        PromptStateError, match=r'1\.decode_head\.spatial_prompts\.fusion\.learned: missing'
    ):
        outer.load_state_dict({}, strict=False)


def test_frozen_weights_of_another_shape_are_an_error(model, full):
    key = 'backbone.model.pos_embed'
    wrong = dict(full, **{key: torch.zeros(1, 2, 2, 128)})
    expected = re.escape(f'{key}: expected shape (1, 12, 12, 128), found (1, 2, 2, 128)')
    with pytest.raises(PromptStateError, match=expected):
        model.load_state_dict(wrong, strict=False)


# What does not fit


def test_another_number_of_prompts_names_key_and_shapes(model):
    text = refused(model, trained(**{'spatial_prompts.num_prompts': 16}), strict=False)
    assert f'{PREFIX}spatial_prompts.fusion.learned: expected shape (64, 2, 96)' in text
    assert 'found (16, 2, 96)' in text
    assert f'{PREFIX}spatial_prompts.fusion.weight_logit: expected shape (64,), found (16,)' in text
    assert 'semantic_prompts' not in text


def test_other_classes_name_key_and_shapes(model):
    text = refused(model, three_classes().state_dict(), strict=False)
    assert (
        f'{PREFIX}semantic_prompts.fusion.learned: expected shape (10, 64), found (3, 64)' in text
    )
    assert f'{PREFIX}semantic_prompts.fusion.default: expected shape (10, 64)' in text
    assert 'spatial_prompts' not in text


@pytest.mark.parametrize(
    ('mode', 'extra'),
    [('fixed_weight', ['weight_logit']), ('default_only', ['learned', 'weight_logit'])],
)
def test_another_fusion_mode_names_what_is_missing_or_too_much(model, full, mode, extra):
    other = build_tiny(mode)
    keys = [f'{PREFIX}{part}_prompts.fusion.{e}' for part in ('spatial', 'semantic') for e in extra]
    text = refused(model, other.state_dict(), strict=False)
    assert all(f'{key}: missing' in text for key in keys)
    text = refused(other, full, strict=False)
    assert all(f'{key}: not part of this model' in text for key in keys)
    assert 'the fusion mode' in text


def test_another_kind_of_prompts(model):
    learner = dict(_delete_=True, type='CoordinatePromptLearner', num_prompts=64)
    text = refused(build_tiny(spatial_prompts=learner), model.state_dict(), strict=False)
    assert f'{PREFIX}spatial_prompts.coordinates: missing' in text
    assert f'{PREFIX}spatial_prompts.fusion.default: not part of this model' in text


@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('key', PROMPTS)
def test_every_tensor_is_needed(model, full, key, strict):
    state_dict = prompts_of(full)
    del state_dict[key]
    assert f'{key}: missing' in refused(model, state_dict, strict=strict)


def test_a_file_that_does_not_fit_is_refused(model, full, tmp_path):
    state_dict = dict(prompts_of(full), extra=torch.zeros(1))
    with pytest.raises(PromptStateError, match='extra: not part of this model'):
        load_file(model, state_dict, tmp_path / 'a.pth')


def test_files_of_other_models_are_refused(model):
    text = refused(model, nn.Linear(2, 2).state_dict(), strict=False)
    assert 'does not hold the prompts of the configured model' in text


def test_at_most_five_tensors_are_listed(model):
    lines = refused(model, {'a': torch.zeros(1)}, strict=False).splitlines()
    assert len(lines) == 1 + 5 + 1 + 1
    assert lines[-2].strip() == f'and {len(PROMPTS) + 1 - 5} more'


def test_an_error_is_a_value_error():
    assert issubclass(PromptStateError, ValueError)


# Copies


def test_a_copy_checks_itself(full):
    original = build_tiny()
    other = copy.deepcopy(original)
    smaller = build_tiny(**{'spatial_prompts.num_prompts': 16})
    other.decode_head.spatial_prompts = smaller.decode_head.spatial_prompts
    other.load_state_dict(smaller.state_dict(), strict=False)
    assert 'expected shape (16, 2, 96), found (64, 2, 96)' in refused(other, full)
    original.load_state_dict(full)


def test_a_copy_outlives_the_original(full):
    other = copy.deepcopy(build_tiny())
    gc.collect()
    other.load_state_dict(prompts_of(full))
    assert holds(other, prompts_of(full))
    assert 'decode_head.spatial_prompts.fusion.learned: missing' in refused(other, {})


def test_a_copy_shares_nothing(model, full):
    other = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    other.load_state_dict(full)
    assert holds(model, before)


@pytest.mark.parametrize(
    'setting',
    [
        'pretrained',
        'nek',
        'backbone.init_cfg',
        'decode_head.segmenter.size',
        'decode_head.prompt_encoder',
        'decode_head.spatial_prompts.num_prompt',
        'decode_head.spatial_prompts.fusion.weight',
        'decode_head.semantic_prompts.class_name',
        'decode_head.classifier.num_classes',
        'decode_head.loss_decode.loss_weight',
        'data_preprocessor.means',
    ],
)
def test_unknown_settings_are_refused(setting):
    config = tiny_config()
    config.merge_from_dict({f'model.{setting}': 'a.pth'})
    name = setting.rpartition('.')[2]
    with pytest.raises(TypeError, match=f'unexpected keyword argument {name!r}'):
        MODELS.build(config.model)


def test_settings_that_say_nothing_are_no_fault():
    config = tiny_config()
    config.merge_from_dict({'model.pretrained': None, 'model.backbone._scope_': 'mmseg'})
    assert MODELS.build(config.model).decode_head.num_classes == 10
