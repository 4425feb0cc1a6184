"""What a state dict says of its prompts: it travels with them, and others are refused."""

import copy
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import get_state_dict, weights_to_cpu
from mmseg.apis import init_model
from mmseg.registry import MODELS
from torch import nn

from mmseg_ssprompt import __version__
from mmseg_ssprompt.fingerprint import fingerprint_tensors
from mmseg_ssprompt.models.base import frozen as frozen_module
from mmseg_ssprompt.models.sam.sam_file import fingerprint_part
from mmseg_ssprompt.models.segmentors import PromptStateError
from mmseg_ssprompt.prompt_files.prompt_metadata import (
    METADATA_KEY,
    describe_prompts,
)
from mmseg_ssprompt.weights import safe_checkpoint_loading
from mmseg_ssprompt.weights.state_dicts import read_checkpoint
from tiny_model import build_tiny, random_images, tiny_config

SAM = 'mmseg_ssprompt://sam-tiny_shapes.pth'
CLIP = 'mmseg_ssprompt://clip-tiny_shapes.pth'
PARTS = ('image_encoder', 'prompt_encoder', 'mask_decoder')
#: The modules of the parts.
MODULES = dict(
    image_encoder='backbone',
    prompt_encoder='decode_head.segmenter.prompt_encoder',
    mask_decoder='decode_head.segmenter.mask_decoder',
)
LEARNED = 'decode_head.spatial_prompts.fusion.learned'
NAMES = ['cat', 'dog', 'sky']
CLIP_NAMES = dict(class_names=NAMES, dataset=None)

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


def prompts_of(model: nn.Module) -> Dict[str, Any]:
    return model.without_frozen(model.state_dict())


def fingerprint_of(model: nn.Module, part: str) -> Any:
    return model.get_submodule(MODULES[part]).fingerprints()[part]


def metadata_of(state_dict: Dict[str, Any], prefix: str = '') -> Dict[str, Any]:
    return state_dict._metadata[prefix][METADATA_KEY]


def with_metadata(model: nn.Module, **changes: Any) -> Dict[str, Any]:
    """The prompts of a model with entries of their metadata replaced."""
    state_dict = prompts_of(model)
    metadata_of(state_dict).update(changes)
    return state_dict


def with_names(names: List[str], **options: Any) -> nn.Module:
    semantic = {'semantic_prompts.class_names': names, 'semantic_prompts.dataset': None}
    return build_tiny(num_classes=len(names), **semantic, **options)


def build_with(sam: Any, **backbone: Any) -> nn.Module:
    """A model with other files of SAM's weights."""
    config = tiny_config().model
    for part in (config.backbone, config.decode_head.segmenter):
        part.checkpoint = sam
    config.backbone.update(backbone)
    return MODELS.build(config).eval()


def stands_in(sam: str) -> Dict[str, Any]:
    """Config of what takes the place of the image encoder."""
    encoder = dict(type='SAMImageEncoder', variant='tiny', checkpoint=sam)
    return dict(type='PrecomputedFeatures', encoder=encoder)


def change_file(file: str, key: str, out: Path) -> str:
    """A copy of a file of weights with one number changed by the least that counts."""
    tensors = {name: value.clone() for name, value in read_checkpoint(file).items()}
    tensors[key].view(-1)[0] += 1e-3
    torch.save(tensors, out)
    return str(out)


def refusal(model: nn.Module, state_dict: Dict[str, Any], **kwargs: Any) -> List[str]:
    """The lines of the error, after which nothing must have changed."""
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PromptStateError) as info:
        model.load_state_dict(state_dict, **kwargs)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    first, *lines, remedy = str(info.value).splitlines()
    assert 'does not hold the prompts of the configured model' in first
    assert 'mmseg-ssprompt prompts transfer' in remedy
    return [line.strip() for line in lines]


@pytest.fixture
def model() -> nn.Module:
    return build_tiny()


# What it says


def test_it_says_what_the_prompts_were_trained_with(model):
    found = metadata_of(model.state_dict())
    assert (found['format'], found['package']) == (2, __version__)
    assert found['class_names'] == list(model.decode_head.class_names)
    assert found['trained'] == ['spatial_prompts', 'semantic_prompts']
    spatial = dict(found['spatial_prompts'])
    assert spatial.pop('prompt_encoder') == found['base']['parts']['prompt_encoder']
    assert spatial == dict(type='SpatialPromptLearner', fusion='learned_weight', num_prompts=64)
    semantic = dict(found['semantic_prompts'])
    assert len(semantic.pop('text_encoder')) == 64
    assert semantic == dict(
        type='SemanticPromptLearner', fusion='learned_weight', templates=['a photo of a {}.']
    )
    assert found['base']['kind'] == 'sam'
    assert set(found['base']['parts']) == set(PARTS)


def test_fingerprints_are_those_of_the_files():
    found = metadata_of(build_tiny().state_dict())['base']['parts']
    file = read_checkpoint(SAM)
    encoder = {k[len('image_encoder.') :]: v for k, v in file.items() if 'image_encoder' in k}
    assert found['image_encoder'] == fingerprint_tensors(encoder)
    assert len(set(found.values())) == 3
    for part in PARTS:
        assert found[part] == fingerprint_part(SAM, part)
    assert found == metadata_of(build_tiny(seed=7).state_dict())['base']['parts']


@pytest.mark.parametrize(
    ('options', 'trained'),
    [
        ({'classifier.trainable': True}, ['spatial_prompts', 'semantic_prompts', 'classifier']),
        (
            {'segmenter.trainable': True},
            ['segmenter', 'spatial_prompts', 'semantic_prompts'],
        ),
        ({'spatial_prompts.fusion.mode': 'default_only'}, ['semantic_prompts']),
    ],
)
def test_it_says_what_trained(options, trained):
    found = metadata_of(build_tiny(**options).state_dict())
    assert found['trained'] == trained
    assert ('mask_decoder' in found['base']['parts']) == ('segmenter' not in trained)


def test_random_weights_have_no_fingerprint():
    found = metadata_of(build_with(None).state_dict())
    assert found['base']['parts'] == dict.fromkeys(PARTS)
    assert found['spatial_prompts']['prompt_encoder'] is None


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_the_type_of_the_products_is_not_in_the_fingerprint(model, dtype):
    other = build_with(SAM, dtype=dtype)
    assert other.backbone.fingerprints() == model.backbone.fingerprints() != {PARTS[0]: None}


def test_the_type_of_the_file_is_not_in_the_fingerprint(model, tmp_path):
    file = {key: value.float() for key, value in read_checkpoint(SAM).items()}
    assert read_checkpoint(SAM)['image_encoder.pos_embed'].dtype == torch.float16
    torch.save(file, tmp_path / 'float.pth')
    found = metadata_of(prompts_of(build_with(str(tmp_path / 'float.pth'))))
    assert found['base'] == metadata_of(prompts_of(model))['base']


def test_embedded_samples_have_the_fingerprint_of_their_encoder(model):
    config = tiny_config().model
    config.backbone = stands_in(SAM)
    cached = MODELS.build(config)
    assert metadata_of(prompts_of(cached))['base'] == metadata_of(prompts_of(model))['base']
    cached.load_state_dict(prompts_of(model))
    model.load_state_dict(prompts_of(cached))


def test_nothing_is_hashed_twice(monkeypatch):
    hashed = []

    def count(tensors):
        hashed.append(len(tensors))
        return fingerprint_tensors(tensors)

    monkeypatch.setattr(frozen_module, 'fingerprint_tensors', count)
    model = build_tiny()
    assert not hashed  # before it is asked for: an image encoder may be of 2.5 GB
    for _ in range(3):
        model.load_state_dict(prompts_of(model))
    copy.deepcopy(model).state_dict()
    modules = map(model.get_submodule, MODULES.values())
    assert sorted(hashed) == sorted(len(module.state_dict()) for module in modules)


# It travels


def test_through_mmengine_and_torch(model, tmp_path):
    expected = describe_prompts(model)
    state_dict = weights_to_cpu(get_state_dict(model))
    assert metadata_of(state_dict) == expected
    torch.save(dict(state_dict=model.without_frozen(state_dict)), tmp_path / 'a.pth')
    found = torch.load(tmp_path / 'a.pth', weights_only=True)['state_dict']
    assert metadata_of(found) == expected
    assert not [name for name in found._metadata if name.startswith(tuple(MODULES.values()))]


def test_of_a_moving_average_under_its_prefix(model):
    average = ExponentialMovingAverage(model)
    kept = model.without_frozen(average.state_dict(), 'module.')
    assert metadata_of(kept, 'module') == describe_prompts(model)
    average.load_state_dict(kept, strict=False)
    metadata_of(kept, 'module')['class_names'][2] = 'car'
    with pytest.raises(PromptStateError, match="expected 'kite', found 'car' as number 2"):
        average.load_state_dict(kept, strict=False)


def test_as_a_part_of_another_module(model):
    outer = nn.Sequential(nn.Identity(), model)
    state_dict = outer.state_dict()
    metadata_of(state_dict, '1')['class_names'][0] = 'car'
    with pytest.raises(PromptStateError, match="expected 'ball', found 'car' as number 0"):
        outer.load_state_dict(state_dict)


# Others are refused


@pytest.mark.parametrize(
    ('key', 'part'),
    [
        ('image_encoder.neck.0.weight', PARTS[0]),
        ('prompt_encoder.not_a_point_embed.weight', PARTS[1]),
        ('mask_decoder.mask_tokens.weight', PARTS[2]),
    ],
)
def test_another_base_model(model, tmp_path, key, part):
    other = build_with(change_file(SAM, key, tmp_path / 'other.pth'))
    lines = refusal(model, prompts_of(other), strict=False)
    own, found = (fingerprint_of(m, part) for m in (model, other))
    assert lines[0] == (
        f'{part}: expected the weights SHA-256 {own[:12]}..., found SHA-256 {found[:12]}...: '
        'the prompts were trained with another base model'
    )
    assert len(lines) == 1
    assert refusal(other, prompts_of(model))


def test_another_image_encoder_of_embedded_samples(model, tmp_path):
    file = change_file(SAM, 'image_encoder.pos_embed', tmp_path / 'other.pth')
    config = tiny_config().model
    config.backbone = stands_in(file)
    (line,) = refusal(MODELS.build(config), prompts_of(model))
    assert line.startswith('image_encoder: expected the weights')


def test_random_weights_are_not_compared(model, log):
    random = build_with(None)
    random.load_state_dict(prompts_of(model))
    model.load_state_dict(prompts_of(random))
    assert 'does not say' not in log.text


def test_a_base_model_that_is_not_said_is_not_compared(model):
    state_dict = with_metadata(model, base=dict(kind='sam', parts={}))
    del metadata_of(state_dict)['spatial_prompts']['prompt_encoder']
    state_dict['decode_head.spatial_prompts.fusion.default'] += 1
    model.load_state_dict(state_dict)


def test_another_kind_of_base_model(model):
    state_dict = with_metadata(model, base=dict(kind='seem', parts={}))
    (line,) = refusal(model, state_dict)
    assert line == "base model: expected 'sam', found 'seem'"


def test_another_text_encoder(model, tmp_path):
    file = change_file(CLIP, 'ln_final.weight', tmp_path / 'clip.pth')
    text_encoder = {'checkpoint': file, 'activation': 'quick_gelu'}
    other = build_tiny(**{f'semantic_prompts.text_encoder.{k}': v for k, v in text_encoder.items()})
    (line,) = refusal(model, prompts_of(other))
    assert line.startswith('semantic_prompts, text encoder: expected the weights SHA-256 7992e0b0')


def test_other_templates(model):
    other = build_tiny(**{'semantic_prompts.text_encoder.templates': ['a map of a {}.']})
    line = refusal(model, prompts_of(other))[0]
    expected = "['a photo of a {}.'], found ['a map of a {}.']"
    assert line == f'semantic_prompts, templates: expected {expected}'


def test_other_names_of_the_same_number():
    line = refusal(with_names(NAMES), prompts_of(with_names(['cat', 'cow', 'sky'])))[0]
    assert line == "class names: expected 'dog', found 'cow' as number 1"


def test_another_order():
    line = refusal(with_names(NAMES), prompts_of(with_names(NAMES[::-1])))[0]
    assert line == "class names: expected 'cat', found 'sky' as number 0"


def test_another_number_of_classes():
    lines = refusal(with_names(NAMES), prompts_of(with_names(NAMES[:2])))
    assert lines[0] == ("class names: expected 3, found 2; expected 'sky', found none as number 2")
    assert 'decode_head.semantic_prompts.fusion.learned: expected shape (3, 64), found' in lines[1]


def test_names_in_another_case_are_the_same():
    model = with_names(NAMES)
    model.load_state_dict(prompts_of(with_names(['Cat', 'DOG', 'sky'])))


def test_names_survive_whatever_they_are_made_of(tmp_path):
    names = ['кот', '猫 🐈', 'قطة', '../../etc/passwd', 'two\nlines', 'cafe\u0301']
    model = with_names(names)
    torch.save(prompts_of(model), tmp_path / 'a.pth')
    found = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert metadata_of(found)['class_names'] == [
        *names[:4],
        'two lines',
        'caf\u00e9',
    ]
    model.load_state_dict(found)


def test_another_number_of_prompts(model):
    other = build_tiny(**{'spatial_prompts.num_prompts': 16})
    lines = refusal(model, prompts_of(other))
    assert lines[0] == 'spatial_prompts, num_prompts: expected 64, found 16'


def test_another_kind_of_prompts(model):
    kind = dict(_delete_=True, type='CoordinatePromptLearner', num_prompts=64)
    lines = refusal(model, prompts_of(build_tiny(spatial_prompts=kind)))
    assert lines[:2] == [
        "spatial_prompts, type: expected 'SpatialPromptLearner', found 'CoordinatePromptLearner'",
        "spatial_prompts, fusion: expected 'learned_weight', found None",
    ]


def test_another_fixed_weight():
    """The same tensors, and another mixture of them."""
    first, second = (
        build_tiny('fixed_weight', **{'spatial_prompts.fusion.initial_weight': weight})
        for weight in (0.5, 0.2)
    )
    (line,) = refusal(first, prompts_of(second))
    expected = "'fixed_weight of 0.5', found 'fixed_weight of 0.2'"
    assert line == f'spatial_prompts, fusion: expected {expected}'


def test_other_points_of_the_same_number(model):
    other = build_tiny(**{'spatial_prompts.extent': (1.0, 0.75)})
    (line,) = refusal(model, prompts_of(other))
    assert line.startswith(
        'decode_head.spatial_prompts.fusion.default: expected the handcrafted prompts of the '
        'configured points or boxes, found those of others (largest difference: '
    )
    rounded = prompts_of(model)
    rounded['decode_head.spatial_prompts.fusion.default'] += 1e-6
    model.load_state_dict(rounded)


def test_transferred_points_are_those_of_another_data_set(model):
    other = build_tiny(**{'spatial_prompts.extent': (1.0, 0.75)})
    state_dict = prompts_of(other)
    metadata_of(state_dict)['spatial_prompts']['taken_from'] = 'a.pth'
    model.load_state_dict(state_dict)
    assert metadata_of(model.state_dict())['spatial_prompts']['taken_from'] == 'a.pth'
    build_tiny().load_state_dict(prompts_of(copy.deepcopy(model)))  # after training, too


def test_other_handcrafted_prompts_of_the_same_names(model):
    """As where a tensor was replaced by hand."""
    key = 'decode_head.semantic_prompts.fusion.default'
    state_dict = prompts_of(model)
    state_dict[key] = state_dict[key].clone()
    state_dict[key][3, 5] += 0.25
    (line,) = refusal(model, state_dict)
    assert line == (
        f'{key}: expected the handcrafted prompts of the configured class names, found those of '
        'others (largest difference: 0.25)'
    )
    state_dict[key] = model.state_dict()[key] + 5e-6  # as another processor rounds
    model.load_state_dict(state_dict)


def test_another_classifier(model):
    assert metadata_of(prompts_of(model))['classifier'] == 'TokenClassifier'
    (line,) = refusal(model, with_metadata(model, classifier='CLIPRegionClassifier (dense)'))
    expected = "'TokenClassifier', found 'CLIPRegionClassifier (dense)'"
    assert line == f'classifier: expected {expected}'


def test_all_differences_are_told_at_once(model):
    other = with_names(NAMES, **{'spatial_prompts.num_prompts': 16})
    lines = refusal(model, prompts_of(other))
    assert lines[0].startswith('class names: expected 10, found 3')
    assert lines[1] == 'spatial_prompts, num_prompts: expected 64, found 16'
    assert len(lines) == 2 + 5 + 1  # five tensors, and how many more


def test_a_shared_context_fits_other_classes(log):
    def build(names, **options):
        encoder = tiny_config().model.decode_head.semantic_prompts.text_encoder
        learner = dict(type='ContextPromptLearner', text_encoder=encoder, class_names=names)
        learner.update(options)
        return build_tiny(
            num_classes=len(names), semantic_prompts=dict(_delete_=True, n_ctx=2, **learner)
        )

    build(NAMES).load_state_dict(prompts_of(build(['cat', 'cow', 'sky'])))
    specific = (build(names, class_specific=True) for names in (NAMES, ['cat', 'cow', 'sky']))
    model, other = specific
    assert refusal(model, prompts_of(other)) == [
        "class names: expected 'dog', found 'cow' as number 1"
    ]
    assert 'does not say' not in log.text


def test_a_newer_format(model):
    (line,) = refusal(model, with_metadata(model, format=3, package='9.0', base=None))
    assert line == (
        'metadata of the prompts, format: expected at most 2, found 3, written by version '
        "'9.0' of the package: update the package"
    )


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(format='1'), "format: expected a positive number, found '1'"),
        (dict(format=True), 'format: expected a positive number, found True'),
        (dict(class_names='cat'), "class_names: expected a list of names, found 'cat'"),
        (dict(class_names=[1]), 'class_names: expected a list of names, found [1]'),
        (dict(trained=None), 'trained: expected a list of names, found None'),
        (dict(base=[1]), 'base: expected a dict, found [1]'),
        (dict(base=dict(parts=[1])), 'base.parts: expected the SHA-256 of each part, found [1]'),
        (dict(spatial_prompts=7), 'spatial_prompts: expected a dict, found 7'),
        (
            dict(spatial_prompts=dict(type=torch.ones(2))),
            'spatial_prompts.type: expected plain values (numbers, texts, lists, tuples, dicts), '
            'found a Tensor',
        ),
        (
            dict(semantic_prompts=dict(templates=['a {}', torch.ones(2)])),
            'semantic_prompts.templates[1]: expected plain values (numbers, texts, lists, tuples, '
            'dicts), found a Tensor',
        ),
    ],
)
def test_metadata_that_nobody_wrote(model, changes, expected):
    (line,) = refusal(model, with_metadata(model, **changes))
    assert line == f'metadata of the prompts, {expected}'


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(classifier=[1]), "classifier: expected 'TokenClassifier', found [1]"),
        (dict(base=dict(kind=1)), "base model: expected 'sam', found 1"),
        (
            dict(base=dict(kind='sam', parts=dict(image_encoder=3))),
            'image_encoder: expected the weights SHA-256 {}..., found SHA-256 3...: the prompts '
            'were trained with another base model',
        ),
    ],
)
def test_values_that_nobody_wrote(model, changes, expected):
    """They are plain, and so only different."""
    (line,) = refusal(model, with_metadata(model, **changes))
    assert line == expected.format(fingerprint_of(model, 'image_encoder')[:12])


def test_metadata_of_another_type(model):
    state_dict = prompts_of(model)
    state_dict._metadata[''][METADATA_KEY] = 'x' * 1000
    (line,) = refusal(model, state_dict)
    assert line.startswith("metadata of the prompts, expected a dict, found 'xxx")
    assert len(line) < 300


# Other tensors

DEFAULT = 'decode_head.spatial_prompts.fusion.default'
DENSE = 'expected a dense tensor of floating-point numbers, found'


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        (lambda x: x.tolist(), 'a list'),
        (lambda x: x.int(), 'torch.int32'),
        (lambda x: x.cfloat(), 'torch.complex64'),
        (lambda x: x.to_sparse(), 'torch.sparse_coo'),
        (lambda x: x.to('meta'), 'one without data (meta)'),
        (
            lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
            'torch.qint8',
        ),
    ],
)
@pytest.mark.parametrize('key', [LEARNED, DEFAULT])
def test_tensors_of_another_kind(model, key, change, found):
    """With the right shape, torch would round some of them, and leave others out."""
    state_dict = prompts_of(model)
    state_dict[key] = change(state_dict[key])
    assert refusal(model, state_dict, strict=False) == [f'{key}: {DENSE} {found}']


def test_frozen_tensors_of_another_kind(model):
    full = model.state_dict()
    full['backbone.model.pos_embed'] = full['backbone.model.pos_embed'].int()
    (line,) = refusal(model, full)
    assert line == f'backbone.model.pos_embed: {DENSE} torch.int32'


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_other_precisions_load(model, dtype):
    state_dict = prompts_of(build_tiny(seed=4))
    state_dict[LEARNED] = state_dict[LEARNED].to(getattr(torch, dtype))
    model.load_state_dict(state_dict)
    assert torch.equal(model.state_dict()[LEARNED], state_dict[LEARNED].float())


@pytest.mark.parametrize('key', [LEARNED, DEFAULT, 'backbone.model.pos_embed'])
def test_numbers_that_are_not_finite(model, key):
    full = model.state_dict()
    full[key] = full[key].clone()
    full[key].view(-1)[:2] = torch.tensor([float('nan'), float('inf')])
    total = full[key].numel()
    assert refusal(model, full) == [f'{key}: 2 of {total} numbers are NaN or infinite']


# Without metadata


def test_older_state_dicts_load_with_one_warning(model, log):
    model.load_state_dict(dict(prompts_of(build_tiny(seed=3))))
    (record,) = (record for record in log.records if record.levelno == logging.WARNING)
    text = record.getMessage()
    assert text.startswith('the checkpoint does not say what its prompts were trained with')
    for what in ('base model', 'class names', 'order', 'templates', 'points', 'not checked'):
        assert what in text
    assert metadata_of(model.state_dict())['format'] == 2  # the next one says so


# Frozen weights in a state dict


def test_weights_that_come_along_are_those_that_are_named(tmp_path):
    """A full state dict brings another base model, and the next metadata name it."""
    other = build_with(change_file(SAM, 'image_encoder.pos_embed', tmp_path / 'other.pth'))
    model = build_tiny()
    full = other.state_dict()
    model.load_state_dict(full)
    assert metadata_of(model.state_dict()) == metadata_of(full)
    with torch.no_grad():
        images = random_images(1)
        assert torch.equal(model.extract_feat(images)[-1], other.extract_feat(images)[-1])
    assert refusal(build_tiny(), prompts_of(model))


@pytest.mark.parametrize('part', MODULES.values())
def test_frozen_weights_in_part_are_refused(model, part):
    full = model.state_dict()
    key = next(key for key in full if key.startswith(f'{part}.'))
    some = OrderedDict(prompts_of(model), **{key: full[key]})
    some._metadata = prompts_of(model)._metadata
    total = sum(name.startswith(f'{part}.') for name in full)
    lines = refusal(model, some, strict=False)
    missing = [name for name in full if name.startswith(f'{part}.') and name != key]
    assert lines[:5] == [f'{name}: missing' for name in missing[:5]]
    assert lines[5:] == ([f'and {total - 6} more'] if total > 6 else [])


# Files


def save(state_dict: Dict[str, Any], file: Path) -> str:
    torch.save(dict(meta=dict(dataset_meta=dict(classes=('a',))), state_dict=state_dict), file)
    return str(file)


def test_files_are_named(model, tmp_path, log):
    wrong = save(with_metadata(model, class_names=['car']), tmp_path / 'wrong.pth')
    old = save(OrderedDict(prompts_of(model)), tmp_path / 'old.pth')
    with safe_checkpoint_loading():
        with pytest.raises(PromptStateError, match=r"^checkpoint '.*wrong\.pth' does not hold"):
            load_checkpoint(model, wrong)
        load_checkpoint(model, old)
    assert f'checkpoint {old!r} does not say what its prompts were trained with' in log.text


def test_mmsegs_init_model_checks(tmp_path):
    config: Config = tiny_config()
    model = build_tiny(seed=4)
    good = init_model(config, save(prompts_of(model), tmp_path / 'good.pth'), device='cpu')
    assert torch.equal(good.state_dict()[LEARNED], model.state_dict()[LEARNED])
    wrong = save(with_metadata(model, class_names=['car']), tmp_path / 'wrong.pth')
    difference = r'does not hold the prompts .*\n.*class names: expected 10, found'
    with pytest.raises(PromptStateError, match=f'^the checkpoint {difference}'):
        init_model(config, wrong, device='cpu')
    with safe_checkpoint_loading():
        with pytest.raises(PromptStateError, match=rf"^checkpoint '.*wrong\.pth' {difference}"):
            init_model(config, wrong, device='cpu')
