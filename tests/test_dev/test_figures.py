"""Pages say what the committed results say, in tables and in running text."""

import json
import re
from pathlib import Path

import pytest
import yaml

from dev import figures
from dev.marked_page import PageError, render
from dev.studies.definitions import STUDIES
from dev.studies.processes import ROOT
from dev.studies.report import format_report, read_origin
from dev.walk_ways import WAYS

#: Tables with decimals that are no results of committed files, by the start of their first line.
OTHER_TABLES = {
    'docs/cache.md': ['| one CPU thread, no workers |'],
    'docs/checkpoints.md': ['| file | what happens |'],
    'docs/datasets.md': [
        *('| data set | configuration |', '| data set | type | files |', '| data set | things |'),
    ],
    'docs/method.md': ['| question | here (ours) |'],
    'docs/performance.md': [
        '| | |',  # of fit; has a comment of figures
    ],
    'docs/photographs.md': ['| | few pictures, in folds |'],  # settings
    'docs/sam-tiny.md': ['| | `coast` |', '| | measured |', '| | all |', '| mIoU (%) | all |'],
    'docs/seem.md': ['| what | agrees within |'],
    'docs/tasks.md': [
        '| `model.test_cfg` |',
        '| | SpaPrompt alone |',  # has a comment of figures
    ],
    'docs/training.md': ['| `optim_wrapper.dtype` |', '| | losses differ by |'],
    'docs/evidence/README.md': ['| claim | downstream world |'],  # has a comment of figures
    'docs/install.md': ['| you have | install |', '| | torch | mmengine |'],
    'README.md': ['| | |'],  # requirements; has a comment of figures
    # Both have a comment of figures.
    'docs/start/from_photographs.md': ['| mIoU (%) | validation | test |'],
    'docs/start/research_prompts.md': ['| | mIoU (%) |'],
    'docs/evidence/mutants.md': ['|'],  # of another study, by hand
    'docs/evidence/complexity.md': ['| config | input |'],  # made by its own command
}
MADE = {f'docs/evidence/{name}.md' for name in figures.STUDY_PAGES}


@pytest.mark.parametrize('name', figures.PAGES)
def test_a_page_says_what_the_results_say(name):
    text = (ROOT / name).read_text(encoding='utf-8')
    assert figures.make_page(name) == text, 'make figures'


@pytest.mark.parametrize('name', figures.STUDY_PAGES)
def test_the_page_of_a_study_is_made_of_its_results(name):
    results = json.loads((figures.EVIDENCE / f'{name}.json').read_text(encoding='utf-8'))
    origin = read_origin(results)
    made = format_report(name, STUDIES[name], origin, results['seeds'], results['rows'])
    assert (figures.EVIDENCE / f'{name}.md').read_text(encoding='utf-8') == made, 'make figures'
    assert (figures.EVIDENCE / f'{name}.png').is_file()


def test_marks_are_in_pages_that_are_made():
    pages = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')]
    marked = {
        page.relative_to(ROOT).as_posix()
        for page in pages
        if re.search('^<!-- (table: [a-z-]+ -->|figures)$', page.read_text('utf-8'), re.MULTILINE)
    }
    assert marked == set(figures.PAGES)


def first_lines_of_tables(page: Path) -> list:
    """Of tables that have decimals and stand between no marks."""
    text = re.sub(
        r'<!-- table: .*?<!-- end of table -->', '', page.read_text('utf-8'), flags=re.DOTALL
    )
    tables = re.findall(r'(?:^\|.*\n)+', text, flags=re.MULTILINE)
    return [table.splitlines()[0] for table in tables if re.search(r'\d\.\d', table)]


@pytest.mark.parametrize(
    'page', sorted({*ROOT.glob('docs/**/*.md'), ROOT / 'README.md'}), ids=lambda page: page.name
)
def test_tables_of_results_are_made(page):
    """A new table of figures that nobody makes would grow stale in silence."""
    name = page.relative_to(ROOT).as_posix()
    starts = tuple(OTHER_TABLES.get(name, ()))
    if name not in MADE:
        loose = [
            line for line in first_lines_of_tables(page) if not line.startswith(starts or '\0')
        ]
        assert loose == []


def test_the_model_zoo_has_the_figures_of_the_runs():
    metafile = yaml.safe_load((ROOT / 'configs' / 'metafile.yml').read_text(encoding='utf-8'))
    found = {m['Name']: m['Results']['Metrics'].get('mIoU') for m in metafile['Models']}
    runs = {
        'ssprompt_sam-tiny_shapes': 'demo / sam / semantic / 0 / ssprompt_miou',
        'ssprompt_sam-tiny_shapes_zero-shot': 'demo / sam / semantic / 0 / zero_shot_miou',
        'ssprompt_sam-tiny_camvid_subset': 'camvid / after / mIoU',
    }
    made = {name: float(figures.figure(f'runs / {key}')) for name, key in runs.items()}
    assert {name: value for name, value in found.items() if value is not None} == made


#: Decimals of these pages that are no results.
NO_RESULTS = {
    *('2401.04651', '2.0', '0.2.0'),  # the paper, licence and version
    *('3.10', '2.1', '1.2.2'),  # what is needed
    '5.5',  # GB on disk
}


@pytest.mark.parametrize(
    'page', ['README.md', 'docs/README.md', *(f'docs/start/{name}.md' for name in WAYS)]
)
def test_each_decimal_of_pages_for_newcomers_comes_from_results(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    text = re.sub(r'^```.*?^```$', '', text, flags=re.MULTILINE | re.DOTALL)
    keys = ''.join(re.findall(r'<!-- figures\n(.*?)-->', text, flags=re.DOTALL))
    comments = re.compile(r'<!-- (figures.*?-->|table: .*?<!-- end of table -->)', re.DOTALL)
    made = [line.partition(' = ')[0] for line in keys.splitlines()]
    written = re.findall(r'\d+(?:\.\d+)+', comments.sub('', text))
    decimals = [each for each in made if '.' in each]
    assert sorted(each for each in written if each not in NO_RESULTS) == sorted(decimals)


# What keys stand for


NAMED = [dict(name='first', d=9), dict(name='second', d=8)]


@pytest.fixture
def results(monkeypatch):
    """A study of two rows, and other results."""
    rows = [
        dict(name='ours', miou=[60.0, 61.0, 62.0], trainable_parameters=1234),
        dict(name='other', miou=[50.0, 50.0, 50.0], trainable_parameters=5),
        dict(name='in part', miou=[59.0, None, 61.0], trainable_parameters=5),
        dict(name='the rest', miou=[None, 60.0, None], trainable_parameters=5),
    ]
    files = dict(
        small=dict(study='small', rows=rows), runs=dict(a=dict(b=[0.25, 7, 'sky']), c=NAMED)
    )
    monkeypatch.setattr(figures, 'read_results', files.__getitem__)


@pytest.mark.parametrize(
    ('key', 'expected'),
    [
        ('small / ours / miou', '61.0'),
        ('small / ours / miou ±', '61.0 ± 1.0'),
        ('small / ours / trained', '1,234'),
        ('small / ours / above / other', '11.0 ± 2.5'),
        ('small / ours / over / other', '+11.0 ± 2.5'),
        ('small / other / below / ours | mean', '11.0'),
        ('small / in part / miou ±', '60.0 ± 1.4'),
        ('small / ours / above / in part', '1.0 ± 0.0'),
        ('runs / a / b / 0', '0.2'),
        ('runs / a / b / 0 | %', '25'),
        ('runs / a / b / 0 | .2f', '0.25'),
        ('runs / a / b / 0 | .1%', '25.0'),
        ('runs / a / b / 1', '7'),
        ('runs / a / b / 2', 'sky'),
        ('runs / c / second / d', '8'),
    ],
)
def test_figures(results, key, expected):
    assert figures.figure(key) == expected


@pytest.mark.parametrize(
    'key',
    [
        *('small / ours / below / other', 'small / other / above / ours', 'small / none / miou'),
        'small / the rest / over / in part',  # no seed of both
        *('small / ours', 'runs / a / c', 'runs / a / b / 3', 'runs / a / b / 2 | .1f'),
    ],
)
def test_keys_that_stand_for_nothing_are_errors(results, key):
    with pytest.raises(PageError, match=re.escape(repr(key))):
        figures.figure(key)


def test_files_without_results_are_errors():
    with pytest.raises(PageError, match=r'nothing\.json: expected results'):
        figures.figure('nothing / a')


# Marks


TEXT = """# Title 61.0

Not this 61.0.

## Part

It is 61.0, and 1.0 more than 161.0 or 61.05; again 61.0.

<!-- figures
61.0 = one
61.0 = two
-->

After it 61.0.
"""


def test_figures_are_replaced_in_their_order_and_nothing_else_is():
    made = render(TEXT, {}, dict(one='62.5', two='63.5').__getitem__)
    expected = TEXT.replace('It is 61.0', 'It is 62.5').replace('again 61.0', 'again 63.5')
    expected = expected.replace('61.0 = one', '62.5 = one').replace('61.0 = two', '63.5 = two')
    assert made == expected
    assert render(made, {}, dict(one='62.5', two='63.5').__getitem__) == made


def test_a_figure_that_somebody_has_changed_by_hand_is_an_error():
    with pytest.raises(PageError, match="'61.0 = two', but '61.0' is not there"):
        render(TEXT.replace('again 61.0', 'again 60.0'), {}, lambda key: '61.0')
    with pytest.raises(PageError, match="expected FIGURE = KEY .* found '61.0'"):
        render(TEXT.replace('61.0 = one', '61.0'), {}, lambda key: '61.0')


def test_tables_are_written_between_their_marks():
    page = 'a\n<!-- table: x -->\nold\n<!-- end of table -->\nb 1.5\n\n<!-- figures\n1.5 = k\n-->\n'
    made = render(page, dict(x=lambda: '| 2.5 |'), lambda key: '1.5')
    table = '<!-- table: x -->\n\n| 2.5 |\n\n<!-- end of table -->'
    assert made == page.replace('<!-- table: x -->\nold\n<!-- end of table -->', table)
    assert render(made, dict(x=lambda: '| 2.5 |'), lambda key: '1.5') == made


@pytest.mark.parametrize(
    'text', ['', '<!-- table: x -->\n', '<!-- table: y -->\n<!-- end of table -->']
)
def test_marks_that_are_missing_are_errors(text):
    with pytest.raises(PageError, match=r"of each of \['x'\]"):
        render(text, dict(x=str), str)


def test_results_of_other_code_are_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(figures, 'describe_code', lambda: '0' * 12)
    monkeypatch.setattr('sys.argv', ['figures.py', '--check'])
    figures.main()  # without --today it is said alone
    said = capsys.readouterr().out
    for name in (
        'components',
        'performance_cpu_1',
        'runs / camvid',
        'runs / demo / seem / panoptic',
        'ways / from_mmseg',
    ):
        assert name in said
    monkeypatch.setattr('sys.argv', ['figures.py', '--check', '--today'])
    with pytest.raises(SystemExit, match='dev.measured_runs'):
        figures.main()
    names = list(figures.find_codes())
    monkeypatch.setattr(figures, 'find_codes', lambda: dict.fromkeys(names, '0' * 12))
    capsys.readouterr()
    figures.main()
    assert capsys.readouterr().out == 'every page says what the results say\n'
