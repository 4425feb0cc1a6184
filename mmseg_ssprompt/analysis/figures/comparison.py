"""One picture of what learning the prompts changes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .labels import colour_labels
from .style import new_figure, shorten

__all__ = ['Comparison', 'PromptMark', 'Scene', 'draw_comparison']

_TITLES = ('handcrafted prompts', 'learned prompts')
_ROW, _HEAD, _LEGEND = 2.3, 0.95, 0.3  # inches
_LEGEND_COLUMNS = 5


class PromptMark(NamedTuple):
    """A spatial prompt, as it is drawn on an image.

    Attributes:
        x: In pixels of the image, from its left edge.
        y: From its upper edge.
        label: The class of the prompt's mask; None if that is "no object".
    """

    x: float
    y: float
    label: Optional[int]


@dataclass(frozen=True)
class Scene:
    """One image, and what is true and predicted of it.

    Label maps are (H, W) class ids, where what is no class is drawn black; pictures are (H, W, 3)
    uint8, RGB. Each of the pairs has the handcrafted prompts first, then the learned ones.

    Attributes:
        image: A picture.
        truth: A label map or a picture.
        found: What the prompts give, as ``truth``.
        prompts: Where the prompts are.
    """

    image: np.ndarray
    truth: np.ndarray
    found: Tuple[np.ndarray, np.ndarray]
    prompts: Tuple[Sequence[PromptMark], Sequence[PromptMark]]


@dataclass(frozen=True)
class Comparison:
    """What is compared: handcrafted prompts, the first of each pair, and learned ones.

    Attributes:
        class_names: The C names.
        palette: (C, 3) RGB, 0 to 255.
        scenes: What is shown.
        of_classes: The figures of each class in percent, by its name.
        means: Their means in percent.
        measure: What the figures of classes are called. Defaults to 'IoU'.
        mean_measure: What their mean is called. Defaults to 'mIoU'.
    """

    class_names: Sequence[str]
    palette: np.ndarray
    scenes: Sequence[Scene]
    of_classes: Tuple[Dict[str, float], Dict[str, float]]
    means: Tuple[float, float]
    measure: str = 'IoU'
    mean_measure: str = 'mIoU'


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw images with their prompts, what those give, the truth, and the gain of each class.

    Args:
        comparison: What is drawn.
        path: The PNG file to write.
    """
    rows = len(comparison.scenes)
    lines = -(-len(comparison.class_names) // _LEGEND_COLUMNS)
    foot = 0.55 + _LEGEND * lines
    with new_figure(12.0, _ROW * rows + _HEAD + foot) as figure:
        heights = [_HEAD, _ROW * rows, foot]
        (head,), (middle,), (below,) = figure.subfigures(3, 1, squeeze=False, height_ratios=heights)
        _write_head(comparison, head)
        for scene, axes in zip(comparison.scenes, middle.subplots(rows, 5, squeeze=False)):
            _draw_scene(comparison, scene, axes)
        _write_classes(comparison, below)
        figure.savefig(path)


def _write_head(comparison: Comparison, figure: Figure) -> None:
    """The means, large, over the two columns of each kind of prompts."""
    for left, title, mean in zip((0.2, 0.6), _TITLES, comparison.means):
        is_learned = title == _TITLES[1]
        colour = '#1a6b2d' if is_learned else '#555555'
        number = f'{mean:.1f} {comparison.mean_measure}'
        figure.text(left, 0.78, title, ha='center', va='center', fontsize=14, color=colour)
        figure.text(
            left,
            0.3,
            number,
            ha='center',
            va='center',
            fontsize=24,
            fontweight='bold',
            color=colour,
        )
    figure.text(0.9, 0.78, 'truth', ha='center', va='center', fontsize=14)


def _draw_scene(comparison: Comparison, scene: Scene, axes: Sequence[Axes]) -> None:
    before, after = (_paint(comparison, found) for found in scene.found)
    pictures = (scene.image, before, scene.image, after, _paint(comparison, scene.truth))
    for axis, picture in zip(axes, pictures):
        axis.imshow(picture, interpolation='nearest')
        axis.set_axis_off()
    for axis, marks in zip((axes[0], axes[2]), scene.prompts):
        _draw_prompts(comparison, marks, axis)


def _paint(comparison: Comparison, labels: np.ndarray) -> np.ndarray:
    """A label map in the colours of its classes; a picture stays as it is."""
    return colour_labels(labels, comparison.palette) if labels.ndim == 2 else labels


def _draw_prompts(comparison: Comparison, marks: Sequence[PromptMark], axis: Axes) -> None:
    """Dots in the colour of the class that a prompt finds; small ones where it finds none."""
    idle = [mark for mark in marks if mark.label is None]
    busy = [mark for mark in marks if mark.label is not None]
    if idle:
        x, y = _places(idle)
        axis.scatter(x, y, s=9, c='white', edgecolors='black', linewidths=0.5)
    if busy:
        (x, y), colours = _places(busy), [comparison.palette[mark.label] / 255 for mark in busy]
        axis.scatter(x, y, s=90, c=colours, edgecolors='black', linewidths=1.3)


def _places(marks: Sequence[PromptMark]) -> Tuple[List[float], List[float]]:
    return [mark.x for mark in marks], [mark.y for mark in marks]


def _write_classes(comparison: Comparison, figure: Figure) -> None:
    """The classes with their colours, and both figures of each."""
    before, after = comparison.of_classes
    handles = []
    for name, colour in zip(comparison.class_names, comparison.palette):
        gain = f'{_round(before[name])} → {_round(after[name])}'
        face = tuple(np.asarray(colour) / 255)
        label = f'{shorten(name, 18)}  {gain}'
        handles.append(Patch(facecolor=face, edgecolor='black', linewidth=0.6, label=label))
    figure.legend(
        handles=handles,
        title=f'{comparison.measure} of each class in percent, handcrafted → learned prompts. '
        'Dots are prompts: large in the colour of the class that they find, small without one',
        title_fontsize=10.5,
        fontsize=11.5,
        ncols=_LEGEND_COLUMNS,
        loc='center',
        frameon=False,
    )


def _round(percent: float) -> str:
    """Whole percents; a dash for a class that no image has."""
    return '-' if math.isnan(percent) else f'{percent:.0f}'
