"""Prompts of one data set in the model of another: what is matched, taken, kept and refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmseg_ssprompt.prompt_files.prompt_file import PromptSource, read_prompt_source, write_prompts
from mmseg_ssprompt.prompt_files.transfer import (
    PromptTransferError,
    match_classes,
    transfer_prompts,
)
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from tiny_model import build_tiny, random_images, samples_of

SOURCE_NAMES = (
    *('ball', 'heart balloon', 'kite', 'tent', 'house', 'first aid post'),
    *('sky', 'forest', 'lake', 'tiled pavement'),
)
TARGET_NAMES = ('Sky', 'volcano', 'heart  balloon')  # rows 6, none, 1 of the source
SEMANTIC = 'decode_head.semantic_prompts.fusion.'
SPATIAL = 'decode_head.spatial_prompts.fusion.'
CLASSIFIER = 'decode_head.classifier.'


def make_source(mode: str = 'learned_weight', **options: Any) -> PromptSource:
    """Prompts as far from the default as training takes them."""
    model = build_tiny(mode, **options)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    state_dict = model.without_frozen(model.state_dict())
    metadata = state_dict._metadata['']['prompts']
    return PromptSource(state_dict, metadata, "checkpoint 'a.pth'")


def build_target(mode: str = 'learned_weight', names=TARGET_NAMES, **options: Any) -> nn.Module:
    named = {
        'num_classes': len(names),
        'semantic_prompts.dataset': None,
        'semantic_prompts.class_names': list(names),
    }
    return build_tiny(mode, seed=5, **named, **options)


def load(source: PromptSource, target: nn.Module, **kwargs: Any) -> nn.Module:
    target.load_state_dict(transfer_prompts(source, target, **kwargs)[0])
    return target


@pytest.fixture(scope='module')
def source() -> PromptSource:
    return make_source()


@pytest.fixture
def target() -> nn.Module:
    return build_target()


def with_tensor(source: PromptSource, key: str, value: Tensor) -> PromptSource:
    return source._replace(state_dict=dict(source.state_dict, **{key: value}))


def test_names_are_matched_without_case_and_spaces():
    found = match_classes(['potted plant', 'Sky', 'sea'], ['SKY', 'pottedplant', 'potted  Plant'])
    assert found == {0: 1, 2: 0}


def test_the_report(source, target):
    report = transfer_prompts(source, target)[1]
    assert report.matched == ('Sky', 'heart balloon')
    assert report.unmatched == ('volcano',)
    assert report.unused == tuple(SOURCE_NAMES[i] for i in (0, 2, 3, 4, 5, 7, 8, 9))
    assert report.spatial == 'all 64 taken as they are'
    assert report.classifier == 'not trained, the same in both'
    assert str(report).splitlines() == [
        'spatial prompts: all 64 taken as they are',
        'semantic prompts: 2 of 3 classes from the source',
        '  matched: Sky, heart balloon',
        '  handcrafted: volcano',
        f'  unused of the source: {", ".join(report.unused)}',
        'classifier: not trained, the same in both',
    ]


def test_matched_rows_are_the_sources_to_the_bit(source, target):
    state = transfer_prompts(source, target)[0]
    for name in ('learned', 'weight_logit', 'default'):
        found, given = state[SEMANTIC + name], source.state_dict[SEMANTIC + name]
        assert torch.equal(found[[0, 2]], given[[6, 1]])


@pytest.mark.parametrize('mode', ['learned_weight', 'fixed_weight', 'learned_only'])
@pytest.mark.parametrize('trust', [-5.0, 5.0])
def test_an_unmatched_prompt_is_the_default_whatever_the_weight(mode, trust):
    model = load(make_source(mode), build_target(mode))
    prompts = model.decode_head.semantic_prompts
    if mode == 'learned_weight':
        prompts.fusion.weight_logit.data.fill_(trust)
    handcrafted = nn.functional.normalize(prompts.fusion.default, dim=-1)
    assert torch.equal(prompts()[1], handcrafted[1])
    assert not torch.allclose(prompts()[0], handcrafted[0], atol=1e-4)


def test_spatial_prompts_are_taken_as_they_are(source, target):
    state = transfer_prompts(source, target)[0]
    taken = [key for key in state if key.startswith(SPATIAL)]
    assert len(taken) == 3
    assert all(torch.equal(state[key], source.state_dict[key]) for key in taken)


def test_another_grid_of_the_same_base_model_is_taken_too(source):
    """Its default prompts are its own, so that the mixture stays what was learned."""
    target = build_target(**{'spatial_prompts.extent': (1.0, 0.75)})
    assert not torch.equal(
        target.state_dict()[SPATIAL + 'default'], source.state_dict[SPATIAL + 'default']
    )
    state = transfer_prompts(source, target)[0]
    assert torch.equal(state[SPATIAL + 'default'], source.state_dict[SPATIAL + 'default'])


def test_coordinates_are_taken_as_they_are():
    kind = {'spatial_prompts': dict(_delete_=True, type='CoordinatePromptLearner', num_prompts=64)}
    source = make_source(**kind)
    state = transfer_prompts(source, build_target(**kind))[0]
    key = 'decode_head.spatial_prompts.coordinates'
    assert torch.equal(state[key], source.state_dict[key])


def test_the_same_masks_with_the_classes_in_another_order(source):
    """The whole model: only the channels change places."""
    images, samples = random_images(1), samples_of(torch.zeros(1, 96, 96, dtype=torch.long))
    original = load(source, build_target(names=SOURCE_NAMES))
    reversed_ = load(source, build_target(names=SOURCE_NAMES[::-1]))
    with torch.no_grad():
        expected = original(images, samples, mode='predict')[0].seg_logits.data.clone()
        found = reversed_(images, samples, mode='predict')[0].seg_logits.data
    assert expected.std() > 1e-3
    torch.testing.assert_close(found.flip(0), expected)


@pytest.mark.parametrize(('part', 'kept'), [('spatial', SEMANTIC), ('semantic', SPATIAL)])
def test_a_part_that_is_not_asked_for_is_handcrafted(source, target, part, kept):
    own = target.state_dict()
    state, report = transfer_prompts(source, target, parts=[part])
    assert report.parts == (part,)
    assert torch.equal(state[kept + 'default'], own[kept + 'default'])
    assert torch.equal(state[kept + 'learned'], own[kept + 'default'])
    assert not torch.equal(own[kept + 'learned'], own[kept + 'default'])  # a new one has noise
    if part == 'spatial':
        assert report.unmatched == ('Sky', 'volcano', 'heart balloon')


def test_a_trained_classifier_comes_along():
    source = make_source(**{'classifier.trainable': True})
    state, report = transfer_prompts(source, build_target(), parts=['spatial'])
    keys = [key for key in state if key.startswith(CLASSIFIER)]
    assert len(keys) == 4
    assert all(torch.equal(state[key], source.state_dict[key]) for key in keys)
    assert report.classifier == 'trained, taken'


def test_a_trained_decoder_comes_along_or_is_refused(target):
    source = make_source(**{'segmenter.trainable': True})
    with pytest.raises(PromptTransferError, match=r'its mask decoder trained, but .* is frozen'):
        transfer_prompts(source, target)
    state = transfer_prompts(source, build_target(**{'segmenter.trainable': True}))[0]
    keys = [key for key in state if key.startswith('decode_head.segmenter.mask_decoder.')]
    assert len(keys) > 10
    assert all(torch.equal(state[key], source.state_dict[key]) for key in keys)


def test_neither_side_is_changed(source, target):
    before = [
        {k: v.clone() for k, v in s.items()} for s in (source.state_dict, target.state_dict())
    ]
    generator = torch.get_rng_state()
    state = transfer_prompts(source, target)[0]
    for value in state.values():
        value.add_(1)
    for old, new in zip(before, (source.state_dict, target.state_dict())):
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert torch.equal(generator, torch.get_rng_state())


def test_other_number_of_prompts(source):
    expected = (
        r"'a\.pth' does not fit .*\n  spatial_prompts, num_prompts: expected 16, found 64\nUse"
    )
    with pytest.raises(PromptTransferError, match=expected):
        transfer_prompts(source, build_target(**{'spatial_prompts.num_prompts': 16}))


@pytest.mark.parametrize(
    ('key', 'shape', 'expected'),
    [
        (SPATIAL, (64, 2, 48), r'expected the shape \(64, 2, 96\), found \(64, 2, 48\)'),
        (SEMANTIC, (10, 32), r'expected the shape \(2, 64\), found \(2, 32\)'),
    ],
)
def test_other_width(source, target, key, shape, expected):
    expected = rf"checkpoint 'a\.pth', {key}learned: {expected}; use the base model"
    with pytest.raises(PromptTransferError, match=expected):
        transfer_prompts(with_tensor(source, f'{key}learned', torch.zeros(shape)), target)


@pytest.mark.parametrize('part', ['spatial', 'semantic'])
def test_other_fusion(source, part):
    target = build_target('fixed_weight')
    expected = f"{part}_prompts, fusion: expected 'fixed_weight of 0.5', found 'learned_weight'"
    with pytest.raises(PromptTransferError, match=expected):
        transfer_prompts(source, target, parts=[part])


def test_other_fixed_weight():
    source = make_source('fixed_weight', **{'spatial_prompts.fusion.initial_weight': 0.2})
    with pytest.raises(
        PromptTransferError, match=r"'fixed_weight of 0\.5', found 'fixed_weight of 0\.2'"
    ):
        transfer_prompts(source, build_target('fixed_weight'))


def test_other_kind_of_prompts(source):
    kind = {'spatial_prompts': dict(_delete_=True, type='CoordinatePromptLearner', num_prompts=64)}
    expected = "type: expected 'CoordinatePromptLearner', found 'SpatialPromptLearner'"
    with pytest.raises(PromptTransferError, match=expected):
        transfer_prompts(source, build_target(**kind))


def test_a_target_whose_classes_have_no_handcrafted_prompts(source):
    target = build_target()
    target.decode_head.semantic_prompts = nn.Identity()
    with pytest.raises(PromptTransferError, match=r'SemanticPromptLearner, found Identity, which'):
        transfer_prompts(source, target, parts=['spatial'])


def test_no_class_in_common(source):
    target = build_target(names=('volcano', 'desert'))
    with pytest.raises(
        PromptTransferError, match=r"no class .*'ball'.*'volcano', 'desert'.*--parts"
    ):
        transfer_prompts(source, target)
    assert transfer_prompts(source, target, parts=['spatial'])[1].unmatched == ('volcano', 'desert')


@pytest.mark.parametrize(
    'key', [f'{SEMANTIC}default', f'{CLASSIFIER}no_object'], ids=['text encoder', 'classifier']
)
def test_other_base_model(source, target, key):
    other = with_tensor(source, key, source.state_dict[key] + 0.01)
    expected = (
        rf"'a\.pth', {key}: expected the numbers of the target, .*\(largest difference: 0\.01\)"
    )
    with pytest.raises(PromptTransferError, match=expected):
        transfer_prompts(other, target)
    rounded = with_tensor(source, key, source.state_dict[key] + 1e-6)
    assert len(transfer_prompts(rounded, target)[1].matched) == 2


def test_other_templates_are_another_base_model(source):
    target = build_target(**{'semantic_prompts.text_encoder.templates': ['a sketch of a {}.']})
    with pytest.raises(
        PromptTransferError, match=r"templates: expected \['a sketch of a \{\}\.'\]"
    ):
        transfer_prompts(source, target)


def test_rows_that_are_not_the_named_classes(source, target):
    metadata = dict(source.metadata, class_names=['sky', 'sea'])
    expected = (
        r'semantic_prompts\.fusion\.learned: expected 2 as the number of rows, one for each '
        'class name, found 10'
    )
    with pytest.raises(PromptTransferError, match=expected):
        transfer_prompts(source._replace(metadata=metadata), target)


def test_missing_tensors(source, target):
    state = {k: v for k, v in source.state_dict.items() if k != f'{SPATIAL}learned'}
    with pytest.raises(PromptTransferError, match=r"missing are \['.*spatial.*learned'\]"):
        transfer_prompts(source._replace(state_dict=state), target)


@pytest.mark.parametrize('parts', [[], ['spacial']])
def test_unknown_parts(source, target, parts):
    with pytest.raises(PromptTransferError, match=r"expected some of \['spatial', 'semantic'\]"):
        transfer_prompts(source, target, parts=parts)


# Files


def save_whole(model: nn.Module, path: Path, **changes: Any) -> Path:
    """A checkpoint without a config and with some entries of its metadata replaced."""
    state_dict = model.without_frozen(model.state_dict())
    state_dict._metadata['']['prompts'].update(changes)
    torch.save(dict(meta={}, state_dict=state_dict), path)
    return path


def test_metadata_is_read(target, tmp_path):
    model = build_tiny(seed=1)
    found = read_prompt_source(save_whole(model, tmp_path / 'a.pth'))
    assert found.class_names == SOURCE_NAMES
    assert found.metadata['spatial_prompts']['type'] == 'SpatialPromptLearner'
    assert 'classifier' not in found.metadata['trained']
    state, report = transfer_prompts(found, target)
    assert report.matched == ('Sky', 'heart balloon')
    learned = model.state_dict()[f'{SEMANTIC}learned']
    assert torch.equal(state[f'{SEMANTIC}learned'][[0, 2]], learned[[6, 1]])
    target.load_state_dict(state)


def test_what_trained_is_in_the_metadata(target, tmp_path):
    model = build_tiny(**{'segmenter.trainable': True, 'classifier.trainable': True})
    found = read_prompt_source(save_whole(model, tmp_path / 'a.pth'))
    assert 'classifier' in found.metadata['trained']
    with pytest.raises(PromptTransferError, match=r'its mask decoder trained, but .* is frozen'):
        transfer_prompts(found, target)


def test_other_kinds_by_metadata(target, tmp_path):
    found = read_prompt_source(save_whole(build_tiny('fixed_weight'), tmp_path / 'a.pth'))
    with pytest.raises(PromptTransferError, match=r"'learned_weight', found 'fixed_weight of 0.5'"):
        transfer_prompts(found, target)


@pytest.mark.parametrize('part', ['image_encoder', 'mask_decoder'])
def test_another_base_model_by_metadata(target, tmp_path, part):
    """Of parts whose numbers are in no checkpoint of prompts."""
    model = build_tiny()
    base = model.state_dict()._metadata['']['prompts']['base']
    own = base['parts'][part][:12]
    base = dict(base, parts=dict(base['parts'], **{part: 'f' * 64}))
    found = read_prompt_source(save_whole(model, tmp_path / 'a.pth', base=base))
    with pytest.raises(PromptTransferError) as info:
        transfer_prompts(found, target)
    assert f'\n  {part}: expected the weights SHA-256 {own}...' in str(info.value)
    assert 'found SHA-256 ffffffffffff...: the prompts were trained with ano' in str(info.value)


def test_the_result_says_what_the_target_does_and_whose_points_it_has(source, target):
    """Points of another data set are no mistake here, so that the result loads."""
    other = build_target(**{'spatial_prompts.extent': (1.0, 0.75)})
    expected = target.state_dict()._metadata['']['prompts']
    state = transfer_prompts(source, other)[0]
    spatial = dict(expected['spatial_prompts'], taken_from="checkpoint 'a.pth'")
    assert state._metadata['']['prompts'] == dict(expected, spatial_prompts=spatial)
    other.load_state_dict(state)
    state = transfer_prompts(source, target, parts=['semantic'])[0]
    assert state._metadata['']['prompts'] == expected


def test_metadata_that_nobody_wrote(tmp_path):
    path = save_whole(build_tiny(), tmp_path / 'a.pth', base=3)
    with pytest.raises(CheckpointError, match=r"a\.pth', metadata of the prompts, base: expected"):
        read_prompt_source(path)


def test_safetensors_are_read_with_what_they_say(target, tmp_path):
    model = build_tiny(seed=1)
    write_prompts(model.without_frozen(model.state_dict()), {}, tmp_path / 'a.safetensors')
    found = read_prompt_source(tmp_path / 'a.safetensors')
    assert found.class_names == SOURCE_NAMES
    assert len(transfer_prompts(found, target)[1].matched) == 2


@pytest.mark.parametrize('content', [{}, dict(state_dict={}), dict(a=torch.ones(1))])
def test_files_without_prompts(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth.*found no metadata of prompts'):
        read_prompt_source(tmp_path / 'a.pth')


def test_what_is_not_asked_for_is_reported(source, target):
    report = transfer_prompts(source, target, parts=['semantic'])[1]
    assert report.spatial == 'not asked for, handcrafted'
    report = transfer_prompts(source, target, parts=['spatial'])[1]
    assert (report.matched, report.unused) == ((), ())
    assert '  matched: none\n  handcrafted: Sky, volcano, heart' in str(report)
    assert '  unused of the source: none\n' in str(report)


@pytest.mark.parametrize('options', ['classifier.trainable', 'segmenter.trainable'])
def test_what_trained_with_them_is_of_another_width(options):
    source, target = make_source(**{options: True}), build_target(**{options: True})
    part = options.partition('.')[0]
    key = next(
        key
        for key, value in source.state_dict.items()
        if f'.{part}.' in key and value.dim() == 2 and target.state_dict()[key].dim() == 2
    )
    other = with_tensor(source, key, torch.zeros(3, 5))
    expected = (
        rf"^checkpoint 'a\.pth', {key}: expected the shape \(.*\), found \(3, 5\); use the base"
    )
    with pytest.raises(PromptTransferError, match=expected):
        transfer_prompts(other, target)
