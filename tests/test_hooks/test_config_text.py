"""Settings are read from the text of a config, and no text is run."""

import pytest

from mmseg_ssprompt.prompt_files.config_text import read_setting


def test_values_as_mmengine_prints_them():
    text = "a = 1\nmodel = dict(type='A', sizes=(1, [2.5, None]), inner=dict(on=True))\nb = model\n"
    expected = dict(type='A', sizes=(1, [2.5, None]), inner=dict(on=True))
    assert read_setting(text, 'model') == expected
    assert read_setting(text, 'a') == 1


def test_the_first_counts():
    assert read_setting('a = 1\na = 2', 'a') == 1


@pytest.mark.parametrize('text', ['', 'b = 1', 'def a(): pass', 'a.b = 1', 'a += 1', 'if 1: a = 1'])
def test_what_is_not_assigned(text):
    with pytest.raises(KeyError, match="'a'"):
        read_setting(text, 'a')


@pytest.mark.parametrize(
    'value',
    [
        'open("x")',
        'dict(open("x"))',
        'dict([(1, 2)])',
        'dict(**x)',
        'dict(a=1, **dict(b=2))',
        'dict({}, a=1)',
        'x.dict(a=1)',
        'list(a=1)',
        'a',
        '[x for x in (1, 2)]',
        '1 if 1 else 2',
    ],
)
def test_what_is_no_plain_value(value):
    with pytest.raises(ValueError, match='malformed node'):
        read_setting(f'a = {value}', 'a')


def test_what_is_no_python():
    with pytest.raises(ValueError, match='^SyntaxError: '):
        read_setting('a = (', 'a')
