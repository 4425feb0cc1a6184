"""Checks of class names and templates, and tokens without silent loss."""

import re

import pytest
import torch
from mmseg.registry import DATASETS
from mmseg.utils import tokenize

import mmseg_ssprompt  # noqa: F401
from mmseg_ssprompt.class_names import (
    check_class_names,
    check_templates,
    normalize_class_name,
    tokenize_class_names,
)


def test_names_are_normalised():
    assert normalize_class_name('  cafe\u0301\n table\t') == 'caf\u00e9 table'
    assert check_class_names((' Sky', 'sea ')) == ['Sky', 'sea']


@pytest.mark.parametrize(
    'name', ['😀', 'مبنى', '道路', '../etc/passwd', '100%', '{}', '👩\u200d🚒']
)
def test_unusual_names_are_names(name: str):
    assert check_class_names(['sky', name]) == ['sky', name]
    tokens = tokenize_class_names(['sky', name], ['a photo of a {}.'])
    expected = tokenize([f'a photo of a {n}.' for n in ('sky', name)])
    assert torch.equal(tokens[0], expected[:, : tokens.shape[-1]])
    assert not expected[:, tokens.shape[-1] :].any()


@pytest.mark.parametrize('names', ['sky', b'sky', None, 3, {'sky': 1}, iter(['sky'])])
def test_not_a_list(names):
    with pytest.raises(ValueError, match='expected a list of strings, got'):
        check_class_names(names)


def test_none_at_all():
    with pytest.raises(ValueError, match='expected at least one'):
        check_class_names([])


def test_not_strings():
    with pytest.raises(ValueError, match=r'\{1: None, 3: 4\}'):
        check_class_names(['sky', None, 'sea', 4])


@pytest.mark.parametrize('blank', ['', '  \n', '\u200b', '\x00', '\u3000'])
def test_blank(blank: str):
    with pytest.raises(ValueError, match=r'indices \[1, 3\] are empty or blank'):
        check_class_names(['sky', blank, 'sea', ''])


@pytest.mark.parametrize('twin', ['sky', 'SKY', ' sky\n', 'Sky '])
def test_duplicates(twin: str):
    with pytest.raises(ValueError, match=r"indices \{'sky': \[0, 2\]\}"):
        check_class_names(['sky', 'sea', twin])


def test_duplicates_by_unicode_form():
    with pytest.raises(ValueError, match=r'\[0, 1\]'):
        check_class_names(['caf\u00e9', 'cafe\u0301'])


def test_names_of_every_data_set_of_mmseg():
    import mmseg.datasets  # noqa: F401

    longest = max(check_templates('imagenet'), key=len)
    checked = 0
    for dataset in DATASETS.module_dict.values():
        classes = getattr(dataset, 'METAINFO', {}).get('classes')
        if classes:
            tokenize_class_names(check_class_names(classes), [longest])
            checked += 1
    assert checked > 10


def test_templates_by_name():
    assert len(check_templates('vild')) == 14
    assert check_templates(['{}']) == ('{}',)


@pytest.mark.parametrize('template', ['a photo', '', 'a {} and a {}', '{name}', '{0}', '}{', 5])
def test_wrong_template(template):
    with pytest.raises(ValueError, match=f'got {re.escape(repr(template))} at index 1'):
        check_templates(['a {}', template])


@pytest.mark.parametrize('templates', [[], (), None, 3])
def test_no_templates(templates):
    with pytest.raises(ValueError, match='expected a list of at least one'):
        check_templates(templates)


@pytest.mark.parametrize('templates', ['coco', 'a photo of a {}.'])
def test_unknown_set_of_templates(templates: str):
    with pytest.raises(ValueError, match="no predefined set is called.*'vild'"):
        check_templates(templates)


def test_tokens_are_cut_to_the_longest_text():
    tokens = tokenize_class_names(['sky', 'traffic light'], ['{}', 'a {}'])
    assert tokens.shape == (2, 2, 5)  # start, a, traffic, light, end
    assert torch.equal(tokens[1], tokenize(['a sky', 'a traffic light'])[:, :5])


def test_longest_text_that_fits():
    tokens = tokenize_class_names(['sky', ' '.join(['sky'] * 75)], ['{}'])
    assert tokens.shape == (1, 2, 77)


@pytest.mark.parametrize('words', [76, 200])
def test_too_long(words: int):
    name = ' '.join(['sky'] * words)
    with pytest.raises(ValueError) as error:
        tokenize_class_names(['sea', name], ['{}'])
    assert repr(name) in str(error.value)
    assert "(index 1) in template '{}'" in str(error.value)
    assert 'at most 77' in str(error.value)


def test_too_long_by_its_template_only():
    with pytest.raises(ValueError, match=r"in template 'a \{\}' is too long"):
        tokenize_class_names([' '.join(['sky'] * 75)], ['{}', 'a {}'])


@pytest.mark.parametrize('name', ['<end_of_text>', 'a <START_OF_TEXT>', '&lt;end_of_text&gt; b'])
def test_marks_of_clip(name: str):
    with pytest.raises(ValueError, match=r"\(index 1\).*CLIP's own mark"):
        tokenize_class_names(['sky', name], ['a {}'])
