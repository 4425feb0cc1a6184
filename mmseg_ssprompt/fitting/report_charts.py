"""The charts of the report, as points of an SVG."""

import math
from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple

__all__ = ['Chart', 'Line', 'draw_charts']

_SIZE = (460, 220)  # in its own units
_MARGIN = (46, 14, 22, 34)  # left, top, right, bottom


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


def draw_charts(results: Mapping[str, Any], mean: str) -> List[Chart]:
    """The curves of all arms: validation and loss, where there are any.

    Args:
        results: The content of ``results.json``.
        mean: What the main metric is called.
    """
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
