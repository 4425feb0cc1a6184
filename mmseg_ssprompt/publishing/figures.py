"""The figures of a card: all arms of ``fit``, with intervals, and what is to be said of them."""

from typing import Any, Iterator, Mapping, NamedTuple, Optional

from ..fitting.fit_data import FitData
from ..fitting.report_numbers import format_large, format_number
from ..fitting.report_tables import MEASURES, list_arms
from .intervals import Interval
from .markdown import escape, table

__all__ = ['FitFacts', 'list_figures']

#: Below this number of pictures figures are said to be uncertain.
_FEW = 20


class FitFacts(NamedTuple):
    """What is known of a model that ``fit`` has trained.

    Attributes:
        data: The pictures.
        results: The content of ``results.json``.
        intervals: Of figures of the test part.
    """

    data: FitData
    results: Mapping[str, Any]
    intervals: Mapping[str, Interval]


def list_figures(fit: Optional[FitFacts]) -> Iterator[str]:
    """Lines of Markdown.

    Args:
        fit: What ``fit`` has written; None of a config and its prompts.
    """
    if fit is None:
        yield 'No figures are known of these prompts.'
        return
    data, results, intervals = fit
    mean, _ = MEASURES[results['metric']]
    counts = dict(validation=len(data.names('val')), test=len(data.names('test')))
    if data.num_folds:
        counts['validation'] = len(data.names('train'))
    parts = ['validation'] + ['test'] * (results['zero_shot']['test'] is not None)
    yield f'{mean} in percent; the best in validation was chosen, and is what is published:'
    yield ''
    rows, arms = [], list_arms(results)
    for row in arms:
        cells = [format_number(row.scores[part]) for part in parts]
        own = 'zero-shot' if row.parameters is None else 'best' if row.is_best else ''
        if 'test' in parts and intervals:
            cells.append(_show(intervals.get(own)))
        title = f'**{escape(row.title)}** (published)' if row.is_best else escape(row.title)
        rows.append((title, *cells, format_large(row.parameters or 0)))
    heads = [f'{part} ({_count(counts[part])})' for part in parts]
    if 'test' in parts and intervals:
        heads.append('95 % interval of the test')
    head = ('what was learned', *heads, 'trained parameters')
    yield from table(head, rows, numbers=len(head) - 1)
    yield ''
    if 'gain' in intervals:
        yield (
            f'On the test part the published prompts are between '
            f'{format_number(intervals["gain"].low)} and {format_number(intervals["gain"].high)} '
            'above zero-shot. Intervals are of 2,000 draws of the same number of test pictures, '
            'with replacement: they say how far figures move with the pictures, not with another '
            'training.'
        )
    else:
        yield 'There are no intervals: figures are of one training and one division of the data.'
    few = [f'{counts[part]} in {part}' for part in parts if counts[part] < _FEW]
    if few:
        yield f'Figures of so few pictures are uncertain: {", ".join(few)}.'
    if 'test' not in parts:
        yield 'No picture was kept for a test: figures in validation are too good.'
    chosen = next(row for row in arms if row.is_best)
    better = [
        row.title
        for row in arms
        if 'test' in parts and (row.scores['test'] or 0.0) > (chosen.scores['test'] or 0.0)
    ]
    if better:
        yield f'In the test {", ".join(map(escape, better))} is above what is published.'
    for note in results['notes']:
        yield escape(note)


def _count(number: int) -> str:
    return f'{number} picture{"" if number == 1 else "s"}'


def _show(interval: Optional[Interval]) -> str:
    if interval is None:
        return ''
    return f'{format_number(interval.low)} to {format_number(interval.high)}'
