"""The tables of the report and of the terminal."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from ..evaluation.grouped_iou_metric import name_rest
from .report_numbers import UNKNOWN, format_duration, format_large, format_number

__all__ = [
    'MEASURES',
    'ArmRow',
    'ClassRow',
    'count_classes',
    'count_pictures',
    'describe_sizes',
    'find_confusions',
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
                f'{arm["best_iteration"]} of {arm["iterations"]}',
                arm['train_seconds'],
                arm['name'] == results['best'],
                number,
            )
        )
    return rows


def _score(figures: Optional[Mapping[str, Any]], key: str) -> Optional[float]:
    return None if figures is None else figures.get(key)


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
        train_share: Its share of the labelled pixels of training pictures, in percent.
        objects: How many there are in training pictures; None without objects.
        cover: How much of a training picture that shows it it covers, in percent, or None.
    """

    name: str
    colour: str
    before: Optional[float]
    after: Optional[float]
    train_pictures: int
    shown_pictures: int
    train_share: float
    objects: Optional[int]
    cover: Optional[float]


def count_pictures(data: Mapping[str, Any]) -> Dict[str, int]:
    """How many pictures of ``data.json`` each part has."""
    return {
        part: sum(each['split'] == part for each in data['pictures'])
        for part in ('train', 'val', 'test')
    }


def describe_sizes(data: Mapping[str, Any]) -> str:
    """The sizes of the pictures, width x height."""
    sizes = sorted({(each['width'], each['height']) for each in data['pictures']})
    if len(sizes) == 1:
        return f'{sizes[0][0]} \N{MULTIPLICATION SIGN} {sizes[0][1]} pixels'
    sizes.sort(key=lambda size: size[0] * size[1])
    first, last = (
        f'{width} \N{MULTIPLICATION SIGN} {height}' for width, height in (sizes[0], sizes[-1])
    )
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


def name_numbers(data: Mapping[str, Any], scenes: Sequence[Any]) -> List[str]:
    """Names of the classes that pictures of the report show."""
    numbers = sorted({number for scene in scenes for number in scene.classes})
    names = _names(data)
    if data.get('rest_id') is not None:  # the number of the rest may be 255
        by_number = {data['rest_id']: name_rest(data['classes'])}
        return [by_number.get(number, data['classes'][0]) for number in numbers]
    return [names[number] for number in numbers]


def list_classes(data: Mapping[str, Any], results: Mapping[str, Any], shown: str) -> List[ClassRow]:
    """What is known of each class of ``data.json``, by its number.

    Args:
        data: The content of ``data.json``.
        results: The content of ``results.json``.
        shown: The part whose results are shown, ``'validation'`` or ``'test'``.
    """
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


def count_classes(data: Mapping[str, Any]) -> List[Dict[str, Any]]:
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


def find_confusions(
    data: Mapping[str, Any], results: Mapping[str, Any]
) -> Optional[Dict[str, Any]]:
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
