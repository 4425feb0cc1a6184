"""The report of ``fit``: its figures are those of the files that it is made of."""

import base64
import copy
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List

import cv2
import numpy as np
import pytest
from rich.console import Console

from mmseg_ssprompt.fitting.fit_data import FitData
from mmseg_ssprompt.fitting.report import render_report, summary_table, write_report
from mmseg_ssprompt.fitting.report_advice import find_advice
from mmseg_ssprompt.fitting.report_charts import draw_charts
from mmseg_ssprompt.fitting.report_numbers import (
    UNKNOWN,
    format_duration,
    format_large,
    format_number,
    format_short,
    format_signed,
)
from mmseg_ssprompt.fitting.report_tables import find_confusions, list_classes
from mmseg_ssprompt.fitting.segment_files import read_segments, write_segments
from mmseg_ssprompt.segment_drawing import DrawnSegment

HOSTILE = '</td><script>alert("1")</script>'
CLASSES = ['sky', HOSTILE, 'tree']
PALETTE = [[250, 0, 0], [0, 250, 0], [0, 0, 250]]
SIZE = (40, 60)
#: Names of pictures by part; those of the test are shown.
NAMES = dict(
    train=['a.png', 'b.png', 'c.png'], val=['v.png'], test=['x y/<b>é, "1".JPG', 't.png', 'u.png']
)


def write_picture(picture: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode('.png', picture)[1].tobytes())


def true_labels(number: int) -> np.ndarray:
    """Three columns of classes, and a row that is ignored."""
    columns = np.repeat([0, 1, 2], 20).astype(np.uint8)
    labels = np.tile(np.roll(columns, number), (SIZE[0], 1))
    labels[:4] = 255
    return labels


def make_data(out: Path, **settings: Any) -> Dict[str, Any]:
    pictures = [
        dict(
            name=name,
            height=SIZE[0],
            width=SIZE[1],
            split=split,
            fold=None,
            pixels={'sky': 720, HOSTILE: 720, 'tree': 720},
            objects=None,
            ignored=240,
        )
        for split, names in NAMES.items()
        for name in names
    ]
    return (
        dict(
            task='semantic',
            classes=CLASSES,
            palette=PALETTE,
            thing_classes=None,
            void_classes=None,
            images=str(out.parent / 'images'),
            labels=str(out.parent / 'labels'),
            coco=None,
            seg_map_suffix=None,
            label_map={'0': 0, '7': 1, '2': 2, '255': 255},
            rest_id=None,
            pictures=pictures,
            left_out=[dict(file='<i>bad</i>.jpg', reason='it is cut off')],
            notes=['A note on <data>.'],
            ignored_share=0.1,
            arguments={},
            stamp='',
            digest='',
        )
        | settings
    )


def figures(mean: float, *of_classes: Any) -> Dict[str, Any]:
    return {
        'mIoU': mean,
        'aAcc': 1.0,
        **{f'IoU.{name}': value for name, value in zip(CLASSES, of_classes)},
    }


def make_arm(name: str, title: str, validation: Any, test: Any, **settings: Any) -> Dict[str, Any]:
    return (
        dict(
            name=name,
            title=title,
            learning_rate=0.01,
            rates={'0.003': 10.04, '0.01': 20.06, '0.03': None},
            iterations=300,
            best_iteration=200,
            validation=validation,
            test=test,
            trainable_parameters=12345,
            train_seconds=61.4,
            curve=dict(loss=[[10, 2.5], [300, 0.5]], validation=[[100, 20.0], [200, 41.26]]),
        )
        | settings
    )


RESULTS = dict(
    base='sam-vit-b',
    task='semantic',
    metric='mIoU',
    method='auto',
    seed=0,
    seconds=dict(embeddings=3.2, training=150.0),
    cross_validated=False,
    zero_shot=dict(validation=figures(17.31), test=figures(16.28, 30.14, 2.46, None)),
    arms=[
        make_arm('ssprompt', 'SSPrompt', figures(33.33), figures(31.5), trainable_parameters=777),
        make_arm('both', 'Both & more', figures(41.26), figures(40.44, 55.55, 12.34, None)),
        make_arm('projection', 'Projection', figures(40.9), figures(42.04), train_seconds=7.0),
    ],
    best='both',
    confusion=[[90, 10, 0], [30, 60, 10], [0, 0, 0]],
    pictures_shown='test',
    notes=['A note on <results>.'],
)


class Page(HTMLParser):
    """Tables by their ids, tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: Dict[str, List[List[str]]] = {}
        self.tags: List[Any] = []
        self._texts: List[str] = []
        self._rows: List[List[str]] = []
        self.feed(text)
        self.text = ' '.join(' '.join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == 'table':
            self._rows = self.tables.setdefault(attributes.get('id', ''), [])
        elif tag == 'tr':
            self._rows.append([])
        elif tag in ('td', 'th'):
            self._rows[-1].append('')

    def handle_endtag(self, tag: str) -> None:
        if tag == 'table':
            self._rows = []

    def handle_data(self, data: str) -> None:
        self._texts.append(data)
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] = ' '.join(f'{self._rows[-1][-1]} {data}'.split())

    def images(self) -> List[np.ndarray]:
        """The pictures, RGB."""
        sources = [attributes['src'] for tag, attributes in self.tags if tag == 'img']
        contents = [base64.b64decode(source.partition(',')[2]) for source in sources]
        return [cv2.imdecode(np.frombuffer(each, np.uint8), 1)[..., ::-1] for each in contents]


@pytest.fixture(scope='module')
def out(tmp_path_factory) -> Path:
    """A folder as ``fit`` leaves it: the best arm is right everywhere, zero-shot only at 'sky'."""
    out = tmp_path_factory.mktemp('fit') / 'runs $1'
    for names in NAMES.values():
        for number, name in enumerate(names):
            labels, stem = true_labels(number), Path(name).with_suffix('.png')
            write_picture(np.full((*SIZE, 3), 200, np.uint8), out.parent / 'images' / name)
            in_file = np.where(labels == 1, 7, labels).astype(np.uint8)
            write_picture(in_file, out.parent / 'labels' / stem)
            write_picture(np.where(labels == 255, 2, labels), out / 'predictions' / 'best' / stem)
            before = np.where(np.roll(labels, number, axis=1) == 0, 0, 1).astype(np.uint8)
            write_picture(before, out / 'predictions' / 'zero-shot' / stem)
    write(out, make_data(out), RESULTS)
    return out


def write(out: Path, data: Dict[str, Any], results: Dict[str, Any]) -> None:
    (out / 'data.json').write_text(json.dumps(data))
    (out / 'results.json').write_text(json.dumps(results))
    FitData.read(out).write_lists()


@pytest.fixture(scope='module')
def text(out) -> str:
    return write_report(out).read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def page(text) -> Page:
    return Page(text)


def test_table_of_arms_has_the_figures_of_the_results(page):
    assert page.tables['arms'] == [
        ['Learned', 'Validation', 'Test', 'Parameters', 'Training'],
        ['Zero-shot', '17.3', '16.3', 'none', UNKNOWN],
        ['SSPrompt', '33.3 (+16.0)', '31.5 (+15.2)', '777', '61 s'],
        ['Both & more best', '41.3 (+23.9)', '40.4 (+24.2)', '12,345', '61 s'],
        ['Projection', '40.9 (+23.6)', '42.0 (+25.8)', '12,345', '7 s'],
    ]


def test_it_says_what_won_and_by_how_much(page):
    assert 'Both & more is 24.2 mIoU above zero-shot prompts' in page.text
    assert 'There it is 0.4 above “Projection” (40.9) and 7.9 above “SSPrompt” (33.3).' in page.text
    assert 'was chosen among 3 ways to learn, by its result on the 1 validation pic' in page.text
    assert 'On the test part “Projection” (42.0) is above the choice (40.4)' in page.text


def test_classes_have_their_figures_the_best_first(page):
    assert page.tables['by-class'][1:] == [
        ['sky', '', '30.1', '55.5', '+25.4', '3'],
        [HOSTILE, '', '2.5', '12.3', '+9.9', '3'],
        ['tree', '', UNKNOWN, UNKNOWN, UNKNOWN, '3'],
    ]


def test_bars_are_as_long_as_the_figures(text):
    widths = re.findall(r'<span class="(before|after)" style="width:([\d.]+)%">', text)
    assert widths[:2] == [('before', '30.14'), ('after', '55.55')]


def test_confusions_are_percent_of_true_pixels(page):
    assert page.tables['confusion'] == [
        ['True', *CLASSES],
        ['sky', '90', '10', ''],
        [HOSTILE, '30', '60', '10'],
        ['tree', UNKNOWN, UNKNOWN, UNKNOWN],
    ]
    assert f'Most often “{HOSTILE}” is taken for “sky” (30 % of its pixels)' in page.text


def test_data_are_counted(page):
    assert '7 pictures of 60 \N{MULTIPLICATION SIGN} 40 pixels: 3 for training,' in page.text
    assert '1 for validation, 3 for the test' in page.text
    assert '10.0 % of all pixels are ignored' in page.text
    assert page.tables['data-classes'][1] == ['sky', '3 / 2.16 k', '1 / 720', '3 / 2.16 k']
    assert page.tables['left-out'][1:] == [['<i>bad</i>.jpg', 'it is cut off']]
    assert 'A note on <data>.' in page.text and 'A note on <results>.' in page.text


def test_learning_rates_and_commands(page, out):
    tried = '0.003: 10.0, 0.01: 20.1, 0.03: \N{EN DASH}'
    assert ['SSPrompt', tried, '0.01', '200 of 300'] in page.tables['rates']
    assert f"mmseg-ssprompt predict '{out}' new_photos --out predictions" in page.text


def test_nothing_is_run_or_asked_for(text, page):
    """Names of classes and files come from others, and the page is for machines without network."""
    names = {tag for tag, _ in page.tags}
    assert not names & {'script', 'link', 'iframe', 'object', 'i'}
    for _, attributes in page.tags:
        assert not any(name.startswith('on') for name in attributes)
        assert all(
            attributes[name].startswith(('data:', '#'))
            for name in ('src', 'href')
            if name in attributes
        )
    assert 'url(' not in text and '@import' not in text
    assert html.escape(HOSTILE, quote=False).replace('"', '&#34;') in text


def test_pictures_show_photograph_before_after_and_truth(page):
    images = page.images()
    assert len(images) == 4 * len(NAMES['test'])
    photograph, before, after, truth = images[:4]
    assert photograph.shape[:2] == (7 * SIZE[0], 7 * SIZE[1])  # small ones are enlarged
    height = photograph.shape[0]
    # The ignored row at the top has a class in the prediction and none in the truth.
    assert np.abs(after[: height // 12].astype(int) - truth[: height // 12]).mean() > 20
    assert np.abs(after[height // 5 :].astype(int) - truth[height // 5 :]).mean() < 2
    assert np.abs(before[height // 5 :].astype(int) - truth[height // 5 :]).mean() > 20
    red, green, blue = (truth[height // 2, 7 * column].astype(int) for column in (12, 32, 52))
    for place, colour in enumerate((red, green, blue)):
        assert (colour[place] > np.delete(colour, place) + 80).all()
    assert 'right before, 100.0 % after' in page.text
    bluish = photograph[..., 2].astype(int) - photograph[..., 0]
    assert (bluish > 150).mean() > 0.01  # what became right is outlined
    assert (bluish < -150).mean() == 0  # nothing became wrong


def test_pictures_are_described(page):
    alts = [attributes['alt'] for tag, attributes in page.tags if tag == 'img']
    assert all(alts)
    assert 'Truth: sky 30 %, tree 30 %' in ' '.join(alts).replace(f'{HOSTILE} 30 %, ', '')


def test_same_files_give_the_same_report(out, text):
    assert render_report(out) == text


def test_labels_of_a_page_exist(page):
    """Links within the page, and what screen readers are told to read."""
    ids = [attributes['id'] for _, attributes in page.tags if 'id' in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        assert attributes.get('aria-labelledby', ids[0]) in ids
        assert attributes.get('href', f'#{ids[0]}')[1:] in ids


def test_summary_table_has_the_same_figures():
    console = Console(width=100, record=True, file=io.StringIO())
    results = copy.deepcopy(RESULTS)
    results['arms'][0]['title'] = 'SSPrompt [red]'
    console.print(summary_table(results))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert ['Zero-shot', '17.3', '16.3', UNKNOWN, UNKNOWN] in rows
    assert ['SSPrompt', '[red]', '33.3', '31.5', '777', '61', 's'] in rows
    assert ['Both', '&', 'more', '*', '41.3', '40.4', '12,345', '61', 's'] in rows


def test_cross_validation_without_test(out):
    data, results = make_data(out), copy.deepcopy(RESULTS)
    data['pictures'] = [
        dict(each, split='train', fold=number % 3)
        for number, each in enumerate(data['pictures'])
        if each['split'] == 'test'
    ]
    results.update(cross_validated=True, pictures_shown='val')
    for row in (results['zero_shot'], *results['arms']):
        row['test'] = None
    write(out, data, results)
    page = Page(render_report(out))
    write(out, make_data(out), RESULTS)
    assert page.tables['arms'][0] == ['Learned', 'Validation', 'Parameters', 'Training']
    assert 'a model that had not seen it (3-fold cross-validation)' in page.text
    assert 'There is no test part' in page.text
    assert len(page.images()) == 12


def test_one_class_and_the_rest(out):
    data, results = make_data(out), copy.deepcopy(RESULTS)
    data.update(classes=['crack'], palette=[[250, 0, 0]], rest_id=0)
    data['label_map'] = {'0': 1, '7': 0, '2': 0, '255': 255}
    for each in data['pictures']:
        each['pixels'] = dict(crack=720)
    results['confusion'] = [[75, 25], [10, 90]]
    results['arms'][1]['test'] = {'mIoU': 50.0, 'IoU.crack': 60.0, 'IoU.rest': 40.0}
    write(out, data, results)
    page = Page(render_report(out))
    write(out, make_data(out), RESULTS)
    assert page.tables['confusion'][1:] == [['rest', '75', '25'], ['crack', '10', '90']]
    assert [row[0:4] for row in page.tables['by-class'][1:]] == [
        ['crack', '', UNKNOWN, '60.0'],
        ['rest', '', UNKNOWN, '40.0'],
    ]
    assert page.tables['data-classes'][1][1] == '3 / 4.32 k'
    assert page.tables['data-classes'][2][1] == '3 / 2.16 k'


@pytest.mark.parametrize(('task', 'metric', 'prefix'), [
    ('panoptic', 'PQ', 'PQ'), ('instance', 'segm_mAP', 'segm_AP'),
])  # fmt: skip
def test_segments(out, task, metric, prefix):
    data, results = make_data(out), copy.deepcopy(RESULTS)
    data.update(task=task, coco='x.json', thing_classes=['sky'], label_map=None)
    for each in data['pictures']:
        each['objects'] = {'sky': 5}
    results.update(task=task, metric=metric, confusion=None)
    for row in (results['zero_shot'], *results['arms']):
        row['validation'] = {metric: 25.0}
        row['test'] = {metric: 36.0, f'{prefix}.sky': 66.6}
    for name in NAMES['test']:
        mask = np.zeros(SIZE, bool)
        mask[:, :30] = True
        for folder, label in (('truth', 0), ('best', 0), ('zero-shot', 2)):
            file = (out / 'predictions' / folder / name).with_suffix('.json')
            write_segments([DrawnSegment(mask, label, True)], file)
            assert (read_segments(file)[0].mask == mask).all()
    write(out, data, results)
    page = Page(render_report(out))
    write(out, make_data(out), RESULTS)
    # Panoptic truth is void in the other half; of objects, it shows that there is none.
    shares = '0.0 % of the pixels right before, 100.0 % after'
    assert (shares if task == 'panoptic' else f'5{shares}') in page.text
    assert page.tables['by-class'][1][:5] == ['sky', '', '66.6', '66.6', '0.0']
    assert 'confusion' not in page.tables
    mean = 'mAP' if task == 'instance' else 'PQ'
    assert f'25.0 {mean} on the one and 36.0 on the other' in page.text
    assert 'segm_mAP' not in page.text
    assert page.tables['data-classes'][1][1] == ('3 / 15' if task == 'instance' else '3 / 2.16 k')
    _, before, after, truth = page.images()[:4]
    assert np.abs(after.astype(int) - truth).mean() < 2
    assert np.abs(before.astype(int) - truth).mean() > 20


def test_names_that_are_no_text(out):
    """Linux has names of files that no encoding has; the page shows them as escapes."""
    data = make_data(out)
    data['left_out'] = [dict(file='caf\udce9.jpg', reason='cut off')]
    write(out, data, RESULTS)
    content = write_report(out).read_bytes()
    write(out, make_data(out), RESULTS)
    assert b'caf\\udce9.jpg' in content


def test_many_classes_are_cut(out):
    data = FitData.read(out)
    data.classes = [f'c{number}' for number in range(40)]
    matrix = np.diag(np.arange(40)) * 10
    found = find_confusions(data, dict(confusion=matrix.tolist()))
    assert found['hidden'] == 16 and found['names'][0] == 'c16' and len(found['shares']) == 24
    assert not found['pairs']


# ---- what to do next


def advise(out: Path, pictures: Any = None, **settings: Any) -> List[str]:
    """Advice for the results with some of them changed."""
    data = make_data(out)
    many = [dict(data['pictures'][0], split=split) for split in ('train', 'val', 'test')] * 20
    data.update(left_out=[], pictures=many if pictures is None else pictures)
    data['ignored_share'] = settings.pop('ignored_share', 0.0)
    data['left_out'] = settings.pop('left_out', [])
    best = make_arm(
        'both',
        'Both',
        figures(60.0, 60.0, 60.0, 60.0),
        figures(60.0, 60.0, 60.0, 60.0),
        rates={'0.003': 1.0, '0.01': 3.0, '0.03': 2.0},
    )
    best.update(settings.pop('best', {}))
    results = dict(RESULTS, arms=[best, *settings.pop('others', [])], **settings)
    (out / 'data.json').write_text(json.dumps(data))
    found = FitData.read(out)
    (out / 'data.json').write_text(json.dumps(make_data(out)))
    rows = list_classes(found, results, 'test')
    confusions = find_confusions(found, results)
    return [
        f'{each.what} {each.why}' for each in find_advice(found, results, rows, confusions['pairs'])
    ]


CLEAN = [[95, 5, 0], [5, 90, 5], [0, 0, 50]]


def test_no_advice_where_nothing_is_to_be_mended(out):
    assert advise(out, confusion=CLEAN) == []


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(base='sam-tiny'), '--base sam-vit-b'),
        (dict(base='seem-tiny'), '--base seem-focal-t'),
        (dict(confusion=[[70, 30, 0], [0, 9, 0], [0, 0, 9]]), 'Look at the labels of “sky” beside'),
        (dict(best=dict(best_iteration=300)), 'Train longer'),
        (dict(best=dict(learning_rate=0.03)), 'Try a higher learning rate'),
        (dict(best=dict(learning_rate=0.003)), 'Try a lower learning rate'),
        (dict(best=dict(test=figures(45.0, 45, 45, 45))), 'Look whether validation and test'),
        (dict(best=dict(validation=figures(17.0), test=figures(17.0, 17, 17, 17))), 'not helped'),
        (dict(ignored_share=0.3), '30 % of all pixels are ignored'),
        (dict(left_out=[dict(file='a', reason='b')]), 'Mend the file that was left out'),
        (
            dict(others=[make_arm('p', 'Cheap', figures(59.5), None, trainable_parameters=9)]),
            'Consider “Cheap”: --method p.',
        ),
    ],
)
def test_each_rule_speaks_alone(out, settings, expected):
    advice = advise(out, **dict(dict(confusion=CLEAN), **settings))
    assert len(advice) == 1 and expected in advice[0], advice


def test_what_a_cross_validation_cut_is_not_too_short(out):
    """The last training ends where the folds were best, on the mean."""
    curve = dict(loss=[], validation=[[200, 60.0], [300, 50.0]])
    assert not advise(out, confusion=CLEAN, best=dict(iterations=200, curve=curve))


def test_classes_that_lack_examples_are_named(out):
    first = make_data(out)['pictures'][0]
    without = dict(first, pixels=dict(sky=1200, tree=1200))
    pictures = [dict(without, split='train') for _ in range(30)]
    pictures[0] = pictures[1] = dict(first, split='train')
    pictures += [dict(first, split=split) for split in ('val', 'test')] * 20
    advice = advise(out, pictures, confusion=CLEAN)
    assert len(advice) == 1 and f'Label more pictures with “{HOSTILE}”' in advice[0]
    assert '2 training pictures show it, and its result is 60.0' in advice[0]
    # With more of them it lacks examples only where it is found badly.
    for number in range(2, 9):
        pictures[number] = pictures[0]
    assert not advise(out, pictures, confusion=CLEAN)
    weak = dict(test=figures(50.0, 70.0, 20.0, 60.0), validation=figures(50.0))
    assert '9 training pictures' in advise(out, pictures, confusion=CLEAN, best=weak)[0]


def test_small_and_unseen_classes_are_named(out):
    first = make_data(out)['pictures'][0]
    small = dict(first, pixels={'sky': 1200, HOSTILE: 3, 'tree': 1200})
    pictures = [dict(small, split=split) for split in ('train', 'val')] * 20
    pictures += [dict(first, split='test', pixels=dict(sky=1200, tree=1200))] * 20
    weak = dict(test=figures(50.0, 70.0, 20.0, 60.0), validation=figures(50.0))
    larger, unseen = advise(out, pictures, confusion=CLEAN, best=weak)
    assert f'Show “{HOSTILE}” larger' in larger and '0.12 % of a picture' in larger
    assert f'Label pictures with “{HOSTILE}” for the test part' in unseen


def test_few_pictures_are_said(out):
    pictures = make_data(out)['pictures']
    assert '1 validation picture and 3 test pictures' in advise(out, pictures, confusion=CLEAN)[-1]


# ---- charts and numbers


def test_points_of_charts_lie_where_the_figures_say():
    validation, loss = draw_charts(RESULTS, 'mIoU')
    left, top, right, bottom = validation.inner
    assert [text for _, text in validation.y_ticks] == ['20', '25', '30', '35', '40', '45']
    line = validation.lines[1]
    points = [tuple(map(float, point.split(','))) for point in line.points.split()]
    assert line.is_best and points[0] == ((left + right) / 2, bottom)
    assert points[1][1] == pytest.approx(bottom - (bottom - top) * 21.26 / 25, abs=0.1)
    assert validation.marks[1][:2] == points[1]
    assert 'Both & more: from 20 to 41.3' in validation.description
    assert loss.y_ticks[-1][1] == '2.5' and not loss.marks


def test_charts_of_little():
    results = copy.deepcopy(RESULTS)
    for arm in results['arms']:
        arm['curve'] = dict(loss=[[1, 2.0]], validation=[[1, None]])
    (chart,) = draw_charts(results, 'mIoU')
    assert chart.title == 'Training loss' and len(chart.y_ticks) > 1


def test_numbers():
    assert [format_number(value) for value in (None, float('nan'), -0.04, -1.26)] == [
        *(UNKNOWN, UNKNOWN, '0.0'),
        '\N{MINUS SIGN}1.3',
    ]
    assert [format_signed(value) for value in (None, 0.04, -2.0, 2.0)] == [
        *(UNKNOWN, '0.0', '\N{MINUS SIGN}2.0', '+2.0')
    ]
    assert format_large(1234567) == '1,234,567'
    assert [format_short(value) for value in (7, 1234, 2.5e6, 3e9)] == [
        '7',
        '1.23 k',
        '2.5 M',
        '3 G',
    ]
    assert [format_duration(value) for value in (None, 59.6, 600, 7200)] == [
        *(UNKNOWN, '60 s', '10 min', '2.0 h')
    ]
