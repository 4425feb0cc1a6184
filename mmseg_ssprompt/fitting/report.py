"""``report.html``: what ``fit`` found, in one file that needs no network."""

import json
import math
import shlex
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import jinja2
from rich import box
from rich.markup import escape
from rich.table import Table

from ..evaluation.grouped_iou_metric import name_rest
from ..files import write_atomically
from .report_advice import RULES, ClassRow, find_advice
from .report_pictures import draw_scenes

__all__ = ['render_report', 'summary_table', 'write_report']

#: What means and results of classes are called, by the name of the main metric.
_MEASURES = dict(mIoU=('mIoU', 'IoU'), PQ=('PQ', 'PQ'), segm_mAP=('mAP', 'AP'))
#: What results of classes begin with in ``results.json``.
_PREFIXES = dict(mIoU='IoU.', PQ='PQ.', segm_mAP='segm_AP.')
_EXPLAINED = dict(
    mIoU='IoU is the share of pixels that two regions have in common, of all pixels that either '
    'has; mIoU is its mean over classes.',
    PQ='PQ is the panoptic quality: how well segments are found and outlined, from 0 to 100; the '
    'result is its mean over classes.',
    segm_mAP='AP is the average precision of objects at overlaps from 50 to 95 %; mAP is its mean '
    'over classes.',
)
#: More classes than this are not shown in one table of confusions.
_MOST_CONFUSIONS = 24
_MOST_LEFT_OUT = 200
_SIZE = (460, 220)  # of a chart, in its own units
_MARGIN = (46, 14, 22, 34)  # left, top, right, bottom


def write_report(out: Path) -> Path:
    """Write ``report.html`` from the other files in the folder.

    Args:
        out: The folder that ``fit`` wrote: ``data.json``, ``results.json`` and ``predictions``.

    Returns:
        The path of the report.

    Raises:
        FileNotFoundError: If a file that it needs is not there.
    """
    file = out / 'report.html'
    # A file name may hold bytes that are no text; they are shown as escapes.
    write_atomically(file, render_report(out).encode('utf-8', 'backslashreplace'))
    return file


def render_report(out: Path) -> str:
    """The text of the report; see ``write_report``."""
    data, results = (json.loads((out / name).read_bytes()) for name in ('data.json', 'results.json'))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_number, signed=_signed, duration=_duration, short=_short, large=_large
    )
    return environment.get_template('report.html').render(_gather(out, data, results))


def summary_table(results: Mapping[str, Any]) -> Table:
    """The results of zero-shot prompts and of all arms, for the terminal.

    Args:
        results: The content of ``results.json``.
    """
    mean = _MEASURES[results['metric']][0]
    parts = ['validation'] + ['test'] * (results['zero_shot']['test'] is not None)
    table = Table(title=f'{mean} (%)', title_justify='left', box=box.SIMPLE_HEAD)
    table.add_column('learned')
    for column in (*parts, 'parameters', 'rate', 'time'):
        table.add_column(column, justify='right')
    for row in _arm_rows(results):
        shown = [_number(row.scores[part]) for part in parts]
        rest = [_large(row.parameters), row.rate, _duration(row.seconds)]
        title = f'{row.title} (best)' if row.is_best else row.title
        table.add_row(escape(title), *shown, *rest, style='bold' if row.is_best else None)
    return table


class ArmRow(NamedTuple):
    """A row of the table of results.

    Attributes:
        title: What was learned.
        scores: The main metric in percent, of ``'validation'`` and ``'test'``; None where it is
            not known.
        gains: How much that is above zero-shot.
        parameters: That were trained.
        rate: The learning rate, as text.
        tried: Learning rates that were tried and their results, as text.
        best_iteration: The iteration that was kept, and of how many.
        seconds: Of training.
        is_best: Whether it won.
        colour: The number of its colour in charts; None of zero-shot.
    """

    title: str
    scores: Dict[str, Optional[float]]
    gains: Dict[str, Optional[float]]
    parameters: Optional[int]
    rate: str
    tried: str
    best_iteration: str
    seconds: Optional[float]
    is_best: bool
    colour: Optional[int]


def _arm_rows(results: Mapping[str, Any]) -> List[ArmRow]:
    metric, zero_shot = results['metric'], results['zero_shot']
    before = {part: _score(zero_shot[part], metric) for part in ('validation', 'test')}
    nothing: Dict[str, Optional[float]] = dict(validation=None, test=None)
    rows = [ArmRow('Zero-shot', before, nothing, None, '–', '', '–', None, False, None)]
    for number, arm in enumerate(results['arms']):
        scores = {part: _score(arm[part], metric) for part in ('validation', 'test')}
        rows.append(
            ArmRow(
                arm['title'],
                scores,
                {part: _difference(scores[part], before[part]) for part in scores},
                arm['trainable_parameters'],
                f'{arm["learning_rate"]:g}',
                ', '.join(f'{float(r):g}: {_number(v)}' for r, v in arm['rates'].items()),
                f'{arm["best_iteration"]} of {arm["iterations"]}',
                arm['train_seconds'],
                arm['name'] == results['best'],
                number,
            )
        )
    return rows


def _score(figures: Optional[Mapping[str, Any]], key: str) -> Optional[float]:
    return None if figures is None else figures.get(key)


def _difference(after: Optional[float], before: Optional[float]) -> Optional[float]:
    return None if after is None or before is None else after - before


# ---- what the page is made of


def _gather(out: Path, data: Mapping[str, Any], results: Mapping[str, Any]) -> Dict[str, Any]:
    """What the template names."""
    rows = _arm_rows(results)
    best = next(row for row in rows if row.is_best)
    shown = 'test' if results['zero_shot']['test'] is not None else 'validation'
    classes = _class_rows(data, results, shown)
    confusion = _confusion(data, results)
    confusions = [] if confusion is None else confusion['pairs']
    mean, measure = _MEASURES[results['metric']]
    scenes = draw_scenes(out, data, results)
    return dict(
        data=data,
        results=results,
        rows=rows,
        best=best,
        zero_shot=rows[0],
        verdict=_verdict(rows, shown, mean),
        shown=shown,
        parts=['validation'] + ['test'] * (results['zero_shot']['test'] is not None),
        counts=_count_pictures(data),
        sizes=_sizes(data),
        folds=len({each['fold'] for each in data['pictures']} - {None}),
        mean=mean,
        measure=measure,
        explained=_EXPLAINED[results['metric']],
        scenes=scenes,
        legend=[row for row in classes if row.name in _shown_names(data, scenes)],
        classes=sorted(classes, key=lambda row: -1.0 if row.after is None else row.after)[::-1],
        class_counts=_class_counts(data),
        confusion=confusion,
        charts=_charts(results, mean),
        advice=find_advice(data, results, classes, confusions),
        rules=RULES,
        most_left_out=_MOST_LEFT_OUT,
        commands=_commands(out),
    )


def _verdict(rows: Sequence[ArmRow], shown: str, mean: str) -> Dict[str, Any]:
    """What won, by how much, and how sure that is."""
    best = next(row for row in rows if row.is_best)
    others = [row for row in rows[1:] if not row.is_best]
    others.sort(key=lambda row: -(row.scores['validation'] or 0.0))
    sentences = []
    for row in others:
        gap = _difference(best.scores['validation'], row.scores['validation'])
        if gap is not None:
            sentences.append(f'{_number(gap)} above “{row.title}” ({_number(row.scores["validation"])})')
    return dict(
        gain=best.gains[shown],
        above=sentences,
        better_on_test=[
            row for row in others if (_difference(row.scores['test'], best.scores['test']) or 0) > 0
        ],
    )


def _count_pictures(data: Mapping[str, Any]) -> Dict[str, int]:
    return {
        part: sum(each['split'] == part for each in data['pictures'])
        for part in ('train', 'val', 'test')
    }


def _sizes(data: Mapping[str, Any]) -> str:
    """The sizes of the pictures, width x height."""
    sizes = sorted({(each['width'], each['height']) for each in data['pictures']})
    if len(sizes) == 1:
        return f'{sizes[0][0]} × {sizes[0][1]} pixels'
    sizes.sort(key=lambda size: size[0] * size[1])
    first, last = (f'{width} × {height}' for width, height in (sizes[0], sizes[-1]))
    return f'{len(sizes)} sizes from {first} to {last} pixels'


def _names(data: Mapping[str, Any]) -> List[str]:
    """The classes, and the rest where it counts, in the order of their numbers."""
    names = list(data['classes'])
    rest_id = data.get('rest_id')
    if rest_id is None:
        return names
    rest = [name_rest(names)]
    return rest + names if rest_id == 0 else names + rest


def _colours(data: Mapping[str, Any]) -> Dict[str, str]:
    colours = {
        name: '#{:02x}{:02x}{:02x}'.format(*map(int, colour))
        for name, colour in zip(data['classes'], data['palette'])
    }
    return {name: colours.get(name, '#606060') for name in _names(data)}


def _shown_names(data: Mapping[str, Any], scenes: Sequence[Any]) -> List[str]:
    numbers = sorted({number for scene in scenes for number in scene.classes})
    names = _names(data)
    if data.get('rest_id') is not None:  # the number of the rest may be 255
        by_number = {data['rest_id']: name_rest(data['classes'])}
        return [by_number.get(number, data['classes'][0]) for number in numbers]
    return [names[number] for number in numbers]


def _class_rows(
    data: Mapping[str, Any], results: Mapping[str, Any], shown: str
) -> List[ClassRow]:
    best = next(arm for arm in results['arms'] if arm['name'] == results['best'])
    prefix, colours = _PREFIXES[results['metric']], _colours(data)
    train = [each for each in data['pictures'] if each['split'] == 'train']
    parts = dict(test=['test'], validation=['train' if results['cross_validated'] else 'val'])
    judged = [each for each in data['pictures'] if each['split'] in parts[shown]]
    total = sum(sum(each['pixels'].values()) for each in train) or 1
    rows = []
    for name in _names(data):
        with_it = [each for each in train if each['pixels'].get(name)]
        pixels = sum(each['pixels'][name] for each in with_it)
        area = sum(each['height'] * each['width'] for each in with_it)
        objects = [each['objects'].get(name, 0) for each in train if each['objects'] is not None]
        rows.append(
            ClassRow(
                name,
                colours[name],
                _score(results['zero_shot'][shown], prefix + name),
                _score(best[shown], prefix + name),
                len(with_it),
                sum(bool(each['pixels'].get(name)) for each in judged),
                100 * pixels / total,
                sum(objects) if objects else None,
                100 * pixels / area if area else None,
            )
        )
    return rows


def _class_counts(data: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Pictures, pixels and objects of each class, by part."""
    counts = []
    for name in _names(data):
        of_parts = {}
        for part in ('train', 'val', 'test'):
            pictures = [each for each in data['pictures'] if each['split'] == part]
            objects = [each['objects'].get(name, 0) for each in pictures if each['objects']]
            of_parts[part] = dict(
                pictures=sum(bool(each['pixels'].get(name)) for each in pictures),
                pixels=sum(each['pixels'].get(name, 0) for each in pictures),
                objects=sum(objects),
            )
        counts.append(dict(name=name, parts=of_parts))
    return counts


def _confusion(data: Mapping[str, Any], results: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """The matrix in percent of the true pixels of each class, and the pairs that are confused."""
    matrix = results.get('confusion')
    if not matrix:
        return None
    names = _names(data)
    totals = [sum(row) for row in matrix]
    shares = [
        [100 * count / total if total else None for count in row]
        for row, total in zip(matrix, totals)
    ]
    pairs = [
        dict(true=names[i], predicted=names[j], share=share)
        for i, row in enumerate(shares)
        for j, share in enumerate(row)
        if i != j and share
    ]
    pairs.sort(key=lambda each: -each['share'])
    largest = sorted(range(len(names)), key=lambda i: -totals[i])[:_MOST_CONFUSIONS]
    kept = sorted(largest)
    return dict(
        names=[names[i] for i in kept],
        shares=[[shares[i][j] for j in kept] for i in kept],
        totals=[totals[i] for i in kept],
        hidden=len(names) - len(kept),
        pairs=pairs,
    )


def _commands(out: Path) -> Dict[str, str]:
    folder = shlex.quote(str(out))
    return dict(
        predict=f'mmseg-ssprompt predict {folder} new_photos --out predictions',
        train=f'python tools/train.py {shlex.quote(str(out / "config.py"))}',
    )


# ---- charts


class Line(NamedTuple):
    """An arm in a chart: its title, the number of its colour, and where its points lie."""

    title: str
    colour: int
    points: str
    is_best: bool


class Chart(NamedTuple):
    """A chart with lines, in units of its own.

    Attributes:
        title: What it shows.
        description: The same with figures, for those who do not see it.
        lines: Of the arms.
        x_ticks: Places and texts on the axis of iterations.
        y_ticks: Places and texts on the other axis.
        marks: Where the best iterations are: x, y and the number of the colour.
        size: Width and height.
        inner: Left, top, right and bottom of what lies between the axes.
    """

    title: str
    description: str
    lines: List[Line]
    x_ticks: List[Tuple[float, str]]
    y_ticks: List[Tuple[float, str]]
    marks: List[Tuple[float, float, int]]
    size: Tuple[int, int]
    inner: Tuple[int, int, int, int]


def _charts(results: Mapping[str, Any], mean: str) -> List[Chart]:
    charts = []
    for key, title in (('validation', f'{mean} on validation (%)'), ('loss', 'Training loss')):
        curves = [
            (arm, [(x, y) for x, y in arm['curve'][key] if y is not None])
            for arm in results['arms']
        ]
        if any(points for _, points in curves):
            charts.append(_chart(title, curves, results['best'], marks=key == 'validation'))
    return charts


def _chart(
    title: str,
    curves: Sequence[Tuple[Mapping[str, Any], List[Tuple[float, float]]]],
    best: str,
    marks: bool,
) -> Chart:
    everything = [point for _, points in curves for point in points]
    last = max(x for x, _ in everything)
    y_steps = _ticks(min(y for _, y in everything), max(y for _, y in everything))
    low, high = y_steps[0], y_steps[-1]
    left, top = _MARGIN[:2]
    right, bottom = _SIZE[0] - _MARGIN[2], _SIZE[1] - _MARGIN[3]

    def place(x: float, y: float) -> Tuple[float, float]:
        across = left + (right - left) * x / (last or 1)
        return round(across, 1), round(bottom - (bottom - top) * (y - low) / (high - low), 1)

    lines, places, texts = [], [], []
    for number, (arm, points) in enumerate(curves):
        if not points:
            continue
        text = ' '.join('{},{}'.format(*place(*point)) for point in points)
        lines.append(Line(arm['title'], number, text, arm['name'] == best))
        texts.append(f'{arm["title"]}: from {points[0][1]:.3g} to {points[-1][1]:.3g}')
        kept = [point for point in points if point[0] == arm['best_iteration']]
        if marks and kept:
            places.append((*place(*kept[0]), number))
    x_steps = [step for step in _ticks(0, last) if step <= last]
    return Chart(
        title,
        f'{title} by iterations. ' + '; '.join(texts),
        lines,
        [(place(step, low)[0], f'{step:g}') for step in x_steps],
        [(place(0, step)[1], f'{step:g}') for step in y_steps],
        places,
        _SIZE,
        (left, top, right, bottom),
    )


def _ticks(low: float, high: float) -> List[float]:
    """Round numbers around a range, about five."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * span / 5)
    first, end = int(low // step), int(-(-high // step))
    return [round(step * number, 10) for number in range(first, max(end, first + 1) + 1)]


# ---- how numbers are written


def _number(value: Optional[float], digits: int = 1) -> str:
    if value is None or value != value:
        return '–'
    text = f'{value:.{digits}f}'
    return text.replace('-', '\N{MINUS SIGN}') if float(text) else f'{0:.{digits}f}'


def _signed(value: Optional[float]) -> str:
    text = _number(value)
    return text if text[0] in '–\N{MINUS SIGN}' or text == '0.0' else f'+{text}'


def _large(value: Optional[float]) -> str:
    return '–' if value is None else f'{value:,.0f}'


def _short(value: float) -> str:
    """A count in few characters."""
    for unit, name in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if value >= unit:
            return f'{value / unit:.3g} {name}'
    return f'{value:.0f}'


def _duration(seconds: Optional[float]) -> str:
    if seconds is None:
        return '–'
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'
