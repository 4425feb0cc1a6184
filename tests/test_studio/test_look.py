"""What a browser may send as weights and names."""

import pytest

from mmseg_ssprompt.studio.look import MAX_NAMES, Look, StudioError, check_names, check_number


@pytest.mark.parametrize(
    'value',
    [
        float('nan'),
        float('inf'),
        -0.001,
        1.001,
        '0.5',
        True,
        [0.5],
        {'path': '/etc/passwd'},
        10**400,
    ],
)
def test_a_weight_is_a_number_from_0_to_1(value):
    for kind in ('spatial', 'semantic'):
        with pytest.raises(StudioError, match=f'trust in {kind} prompts is a number from 0 to 1'):
            Look.checked(**{kind: value})


def test_weights_may_be_left_out_and_whole_numbers():
    assert Look.checked() == Look(None, None, None)
    assert Look.checked(0, 1.0) == Look(0.0, 1.0, None)


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ('', 'There is no class name'),
        (' \n\t\n', 'There is no class name'),
        ('sky\n SKY ', 'is there twice'),
        ('a b\na  b', 'is there twice'),
        ('x' * 101, 'has 101 characters'),
        ('\n'.join(map(str, range(MAX_NAMES + 1))), f'at most {MAX_NAMES}'),
        ('\u200b', 'empty or blank'),
        (5, 'are a text with one a line'),
        ([1, 2], 'are a text with one a line'),
        ({'path': '/etc/passwd'}, 'are a text with one a line'),
    ],
)
def test_names_that_cannot_be_are_refused_in_a_sentence(names, message):
    with pytest.raises(StudioError, match=message) as caught:
        check_names(names)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_names_are_normalised_and_empty_lines_do_not_count():
    assert check_names('\n  sky \r\n\nheart   balloon\n') == ('sky', 'heart balloon')


@pytest.mark.parametrize('value', [-1, 64, 1e9, 0.5, float('nan'), float('inf'), '0', None, True])
def test_a_number_of_a_mask_is_one_that_there_is(value):
    with pytest.raises(StudioError, match='a whole number from 0 to 63'):
        check_number(value, 64, 'number of a mask')


def test_numbers_may_come_as_floats():
    assert check_number(63.0, 64, 'number of a mask') == 63
