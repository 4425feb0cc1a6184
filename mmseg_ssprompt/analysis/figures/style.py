"""What the figures share: their writing, colours, and how wide text may be."""

from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Tuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

__all__ = [
    'GROUP_COLOURS',
    'class_rows',
    'group_handles',
    'new_figure',
    'save',
    'shorten',
    'tidy_rows',
]

GROUP_COLOURS: Dict[str, str] = dict(
    things='#2166ac', stuff='#b8860b', all='#4d4d4d', other='#9a9a9a'
)
_DPI = 110


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """A figure, in inches, that lays itself out."""
    with matplotlib.rc_context({'font.size': 9, 'axes.titlesize': 10}):
        yield Figure(figsize=(width, height), layout='constrained', dpi=_DPI)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def shorten(text: str, length: int) -> str:
    """At most ``length`` characters, with an ellipsis where some are left out."""
    return text if len(text) <= length else f'{text[: length - 1].rstrip()}…'


def class_rows(count: int) -> Tuple[float, float]:
    """Height in inches of a chart with a row for each of ``count`` classes, and its font size."""
    return (0.27 * count, 9.0) if count <= 40 else (0.17 * count, 7.0)


def tidy_rows(axis: Axes, names: Iterable[str], font_size: float) -> None:
    """One named row for each class, the first at the top, and light vertical lines."""
    labels = [shorten(name, 28) for name in names]
    axis.set_yticks(np.arange(len(labels)), labels, fontsize=font_size)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.grid(axis='x', color='#dddddd', linewidth=0.6)
    axis.set_axisbelow(True)


def group_handles(groups: Iterable[str]) -> List[Patch]:
    """Legend entries of groups of classes."""
    return [Patch(facecolor=GROUP_COLOURS[group], label=group) for group in groups]
