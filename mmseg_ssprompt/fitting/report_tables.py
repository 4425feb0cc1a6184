"""The tables of the report and of the terminal."""

from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional

from rich import box
from rich.markup import escape
from rich.table import Table

from ..label_ids import name_rest
from .fit_data import SPLITS, FitData, FoundPicture
from .report_numbers import UNKNOWN, format_duration, format_large, format_number

__all__ = [
    'MEASURES',
    'ArmRow',
    'ClassRow',
    'count_classes',
    'find_confusions',
    'last_iteration',
    'list_arms',
    'list_classes',
    'name_numbers',
    'subtract',
    'summary_table',
]

#: What means and results of classes are called, by the name of the main metric.
MEASURES = dict(mIoU=('mIoU', 'IoU'), PQ=('PQ', 'PQ'), segm_mAP=('mAP', 'AP'))
#: What results of classes begin with in ``results.json``.
_PREFIXES = dict(mIoU='IoU.', PQ='PQ.', segm_mAP='segm_AP.')
#: More classes than this are not shown in one table of confusions.
_MOST_CONFUSIONS = 24


def summary_table(results: Mapping[str, Any]) -> Table:
    """The results of zero-shot prompts and of all arms, for the terminal.

    Args:
        results: The content of ``results.json``.
    """
    mean = MEASURES[results['metric']][0]
    parts = ['validation'] + ['test'] * (results['zero_shot']['test'] is not None)
    table = Table(
        title=f'{mean} (%)',
        title_justify='left',
        box=box.SIMPLE_HEAD,
        caption='* best on validation',
        caption_justify='left',
    )
    table.add_column('learned')
    for column in (*parts, 'parameters', 'time'):
        table.add_column(column, justify='right')
    for row in list_arms(results):
        shown = [format_number(row.scores[part]) for part in parts]
        rest = [format_large(row.parameters), format_duration(row.seconds)]
        title = f'{row.title} *' if row.is_best else row.title
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


def list_arms(results: Mapping[str, Any]) -> List[ArmRow]:
    """Zero-shot prompts first, and the arms of ``results.json``."""
    metric, zero_shot = results['metric'], results['zero_shot']
    before = {part: _score(zero_shot[part], metric) for part in ('validation', 'test')}
    nothing: Dict[str, Optional[float]] = dict(validation=None, test=None)
    rows = [ArmRow('Zero-shot', before, nothing, None, UNKNOWN, '', UNKNOWN, None, False, None)]
    for number, arm in enumerate(results['arms']):
        scores = {part: _score(arm[part], metric) for part in ('validation', 'test')}
        rows.append(
            ArmRow(
                arm['title'],
                scores,
                {part: subtract(scores[part], before[part]) for part in scores},
                arm['trainable_parameters'],
                f'{arm["learning_rate"]:g}',
                ', '.join(f'{float(r):g}: {format_number(v)}' for r, v in arm['rates'].items()),
                f'{arm["best_iteration"]} of {last_iteration(arm)}',
                arm['train_seconds'],
                arm['name'] == results['best'],
                number,
            )
        )
    return rows


def _score(figures: Optional[Mapping[str, Any]], key: str) -> Optional[float]:
    return None if figures is None else figures.get(key)


def last_iteration(arm: Mapping[str, Any]) -> int:
    """How far an arm was trained; after a cross-validation the last training ends earlier."""
    return int(
        max([arm['iterations'], *(iteration for iteration, _ in arm['curve']['validation'])])
    )


def subtract(after: Optional[float], before: Optional[float]) -> Optional[float]:
    """``after - before``; None where either is not known."""
    return None if after is None or before is None else after - before


class ClassRow(NamedTuple):
    """What is known of a class, or of the rest.

    Attributes:
        name: Of the class.
        colour: For the page, such as ``'#8a2be2'``.
        before: Result of zero-shot prompts in the part that is shown, in percent, or None.
        after: The same of the best arm.
        train_pictures: Training pictures that show it.
        shown_pictures: Pictures of the part that is shown, with it.
        cover: How much of a training picture that shows it it covers, in percent, or None.
    """

    name: str
    colour: str
    before: Optional[float]
    after: Optional[float]
    train_pictures: int
    shown_pictures: int
    cover: Optional[float]


def _names(data: FitData) -> List[str]:
    """The classes; of label maps with one class, the rest first, as in the scores of models."""
    names = list(data.classes)
    return [name_rest(names), *names] if _has_rest(data) else names


def _has_rest(data: FitData) -> bool:
    """Whether pixels that show no class count as a class of their own."""
    return data.task == 'semantic' and data.rest_id is not None


def _count_pixels(picture: FoundPicture, data: FitData, name: str) -> int:
    """How many pixels of a class, or of the rest, a picture has."""
    if name in data.classes:
        return picture.pixels.get(name, 0)
    return picture.height * picture.width - picture.ignored - sum(picture.pixels.values())


def _colours(data: FitData) -> Dict[str, str]:
    colours = {
        name: '#{:02x}{:02x}{:02x}'.format(*map(int, colour))
        for name, colour in zip(data.classes, data.palette)
    }
    return {name: colours.get(name, '#606060') for name in _names(data)}


def name_numbers(data: FitData, numbers: Collection[int]) -> List[str]:
    """Names of the classes that have these numbers in label maps, or as labels of segments."""
    first = data.label_ids.classes.start if data.task == 'semantic' else 0
    names = dict(enumerate(data.classes, start=first))
    if _has_rest(data):
        names[data.label_ids.channels[0]] = name_rest(data.classes)
    return [name for number, name in names.items() if number in numbers]


def list_classes(data: FitData, results: Mapping[str, Any], shown: str) -> List[ClassRow]:
    """What is known of each class of ``data.json``, by its number.

    Args:
        data: What was fitted.
        results: The content of ``results.json``.
        shown: The part whose results are shown, ``'validation'`` or ``'test'``.
    """
    best = next(arm for arm in results['arms'] if arm['name'] == results['best'])
    prefix, colours = _PREFIXES[results['metric']], _colours(data)
    train = data.part('train')
    split = 'train' if results['cross_validated'] else 'val'
    judged = data.part('test' if shown == 'test' else split)
    rows = []
    for name in _names(data):
        counts = [_count_pixels(each, data, name) for each in train]
        area = sum(each.height * each.width for each, count in zip(train, counts) if count)
        rows.append(
            ClassRow(
                name,
                colours[name],
                _score(results['zero_shot'][shown], prefix + name),
                _score(best[shown], prefix + name),
                sum(count > 0 for count in counts),
                sum(_count_pixels(each, data, name) > 0 for each in judged),
                100 * sum(counts) / area if area else None,
            )
        )
    return rows


def count_classes(data: FitData) -> List[Dict[str, Any]]:
    """Pictures, pixels and objects of each class, by part."""
    found = []
    for name in _names(data):
        parts = {}
        for part in SPLITS:
            pictures = data.part(part)
            counts = [_count_pixels(each, data, name) for each in pictures]
            parts[part] = dict(
                pictures=sum(count > 0 for count in counts),
                pixels=sum(counts),
                objects=sum((each.objects or {}).get(name, 0) for each in pictures),
            )
        found.append(dict(name=name, parts=parts))
    return found


def find_confusions(data: FitData, results: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
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
