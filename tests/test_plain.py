"""Values from files are of the kinds that are expected, or the first that is not is named."""

import pytest
import torch

from mmseg_ssprompt.plain import (
    COUNT,
    DICT,
    LIST,
    TEXT,
    Kind,
    find_difference,
    find_problem,
    shorten,
)


@pytest.fixture
def kind() -> Kind:
    parts = DICT.of(a=LIST.of(TEXT))
    return DICT.of(COUNT, name=TEXT, sizes=LIST.of(COUNT), note=TEXT.or_none(), parts=parts)


@pytest.mark.parametrize(
    'value',
    [
        {},
        dict(name='a', sizes=(1, 2), note=None, other=3),
        dict(note='b', parts=dict(a=['b'], b=object())),
    ],
)
def test_what_fits(kind, value):
    assert find_problem(value, kind) is None


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (None, 'expected a dict, found None'),
        (dict(name=1), 'name: expected a text, found 1'),
        (dict(sizes=[1, -1]), 'sizes.1: expected a number from 0 on, found -1'),
        (dict(sizes=[True]), 'sizes.0: expected a number from 0 on, found True'),
        (dict(note=2.5), 'note: expected a text or None, found 2.5'),
        (dict(other='x'), "other: expected a number from 0 on, found 'x'"),
        ({3: 'x'}, "3: expected a number from 0 on, found 'x'"),
        (
            dict(parts=dict(a=[torch.ones(2)])),
            'parts.a.0: expected a text, found a tensor of torch.float32',
        ),
    ],
)
def test_the_first_that_does_not(kind, value, expected):
    assert find_problem(value, kind) == expected


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
