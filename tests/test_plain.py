"""Values from files are of the kinds that are expected, or the first that is not is named."""

import pytest
import torch

from mmseg_ssprompt.plain import (
    COUNT,
    DICT,
    NAMES,
    Kind,
    find_difference,
    find_problem,
    shorten,
)

NOTE = Kind('a text', lambda value: isinstance(value, str)).or_none()
KINDS = {'count': COUNT, 'names': NAMES, 'note': NOTE, 'parts': DICT.or_none(), 'parts.a': NAMES}


@pytest.mark.parametrize(
    'value',
    [
        dict(count=0),
        dict(count=3, names=('a', 'b'), note=None, other=object(), parts=None),
        dict(count=1, note='b', parts=dict(a=['b'], b=object())),
        dict(count=1, parts={}),
    ],
)
def test_what_fits(value):
    assert find_problem(value, KINDS, needed=['count']) is None


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (None, 'expected a dict, found None'),
        (dict(note='a'), 'count: expected a number from 0 on, found nothing'),
        (dict(count=-1), 'count: expected a number from 0 on, found -1'),
        (dict(count=True), 'count: expected a number from 0 on, found True'),
        (dict(count=1, names='ab'), "names: expected a list of names, found 'ab'"),
        (dict(count=1, names=['a', 1]), "names: expected a list of names, found ['a', 1]"),
        (dict(count=1, note=2.5), 'note: expected a text or None, found 2.5'),
        (dict(count=1, parts=3), 'parts: expected a dict or None, found 3'),
        (
            dict(count=1, parts=dict(a=[torch.ones(2)])),
            'parts.a: expected a list of names, found [a tensor of torch.float32]',
        ),
    ],
)
def test_the_first_that_does_not(value, expected):
    assert find_problem(value, KINDS, needed=['count']) == expected


def test_long_values_are_cut():
    assert len(shorten(['x' * 1000] * 1000)) < 2000
    assert shorten(torch.zeros(10**6)) == 'a tensor of torch.float32'
    assert shorten('x' * 198) == repr('x' * 198)
    assert len(shorten('x' * 199)) == len(shorten(range(10**199))) == 200


@pytest.mark.parametrize(
    ('expected', 'found', 'difference'),
    [
        (dict(a=1, b=[2]), dict(b=[2], a=1), None),
        (dict(a=dict(b=[1, 2])), dict(a=dict(b=[1, 3])), ('a.b[1]', 2, 3)),
        (dict(a=1, b=2), dict(b=3), ('a', 1, None)),
        (dict(a=1), dict(a=1, c=4), ('c', None, 4)),
        (dict(a=[1]), dict(a=[1, 2]), ('a', [1], [1, 2])),
        (dict(a=1), [1], ('', dict(a=1), [1])),
    ],
)
def test_the_first_difference(expected, found, difference):
    assert find_difference(expected, found) == difference


def test_the_first_difference_has_the_path_that_is_given():
    assert find_difference(dict(a=1), dict(a=2), 'key') == ('key.a', 1, 2)
