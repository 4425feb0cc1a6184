"""Figures of what goes wrong."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..class_groups import group_of_each
from ..failures import ERROR_TYPES
from .labels import colour_labels
from .style import class_rows, new_figure, save, shorten, tidy_rows

__all__ = ['FailedScene', 'draw_error_types', 'draw_worst_images']

_CORRECT_COLOUR = '#e3e3e3'
#: In the order of ``ERROR_TYPES``.
_ERROR_COLOURS = ('#7fb8de', '#d7301f', '#fdae61', '#762a83')
_ERROR_LABELS = (
    'rest of a found region',
    'wrong label (a mask fits)',
    'wrong mask (no mask fits)',
    'missed (neither)',
)
_MAX_LEGEND = 30
_LEGEND_COLUMNS = 6
_COLUMN = 2.1  # inches


@dataclass(frozen=True)
class FailedScene:
    """One image and what was made of it.

    Attributes:
        index: Its number in the data set.
        name: Its path.
        miou: Percent.
        image: (h, w, 3) uint8, RGB; it may be smaller than the maps.
        truth: (H, W) class ids.
        prediction: (H, W) class ids.
        errors: (H, W) uint8 as of ``mmseg_ssprompt.analysis.failures.map_errors``.
    """

    index: int
    name: str
    miou: float
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    errors: np.ndarray


def draw_worst_images(
    scenes: Sequence[FailedScene],
    num_images: int,
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]],
    path: Path,
) -> None:
    """Draw image, ground truth, prediction and errors of the worst images.

    Args:
        scenes: The images, the worst first.
        num_images: Images of the data set.
        class_names: The C names.
        palette: (C, 3) RGB, 0 to 255.
        path: The PNG file to write.
    """
    colours = np.asarray(palette)
    row = _COLUMN * float(np.mean([np.divide(*scene.truth.shape) for scene in scenes]))
    handles = _class_handles(scenes, class_names, colours)
    heights = [len(scenes) * (row + 0.09) + 0.6, 0.35 + 0.18 * -(-len(handles) // _LEGEND_COLUMNS)]
    with new_figure(4 * _COLUMN + 1.2, sum(heights)) as figure:
        (grid,), (legends,) = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)
        axes = grid.subplots(len(scenes), 4, squeeze=False)
        for row_axes, scene in zip(axes, scenes):
            _draw_scene(row_axes, scene, colours)
        for axis, title in zip(axes[0], ('image', 'ground truth', 'prediction', 'errors')):
            axis.set_title(title)
        shown = 'image' if len(scenes) == 1 else f'{len(scenes)} images'
        grid.suptitle(f'The {shown} of lowest mIoU, of {num_images}', fontsize=11)
        _draw_legends(legends, handles)
        save(figure, path)


def _draw_scene(axes: Sequence[Axes], scene: FailedScene, palette: np.ndarray) -> None:
    pictures = [
        scene.image,
        colour_labels(scene.truth, palette),
        colour_labels(scene.prediction, palette),
        _colour_errors(scene.errors),
    ]
    for axis, picture in zip(axes, pictures):
        axis.imshow(picture, interpolation='nearest', aspect='auto')
        height, width = scene.truth.shape
        axis.set_box_aspect(height / width)
        axis.set_xticks([])
        axis.set_yticks([])
    axes[0].set_ylabel(
        f'#{scene.index}\nmIoU {scene.miou:.1f} %', rotation=0, ha='right', va='center'
    )


def _colour_errors(errors: np.ndarray) -> np.ndarray:
    colours = [_rgb(colour) for colour in (_CORRECT_COLOUR, *_ERROR_COLOURS)]
    return colour_labels(errors, np.array(colours))


def _rgb(colour: str) -> List[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _class_handles(
    scenes: Sequence[FailedScene], class_names: Sequence[str], palette: np.ndarray
) -> List[Patch]:
    """Legend entries of the classes that are seen, the most frequent ones if they are many."""
    labels = np.concatenate([np.ravel(m) for s in scenes for m in (s.truth, s.prediction)])
    counts = np.bincount(labels[labels < len(class_names)], minlength=len(class_names))
    seen = np.argsort(-counts, kind='stable')[:_MAX_LEGEND]
    handles = [
        Patch(facecolor=palette[i] / 255, label=shorten(class_names[i], 20))
        for i in sorted(seen.tolist())
        if counts[i]
    ]
    hidden = int((counts > 0).sum()) - len(handles)
    if hidden:
        handles.append(Patch(facecolor='none', label=f'and {hidden} rarer ones'))
    return handles


def _draw_legends(figure: Figure, classes: List[Patch]) -> None:
    errors = [Patch(facecolor=_CORRECT_COLOUR, label='correct')]
    errors += [Patch(facecolor=c, label=t) for c, t in zip(_ERROR_COLOURS, _ERROR_LABELS)]
    errors.append(Patch(facecolor='black', label='not labelled'))
    figure.legend(
        handles=errors, loc='upper center', ncols=6, frameon=False, fontsize=7.5, columnspacing=1
    )
    columns = dict(ncols=_LEGEND_COLUMNS, columnspacing=1.2)
    figure.legend(handles=classes, loc='lower center', frameon=False, fontsize=7.5, **columns)


def draw_error_types(
    totals: Dict[str, Any], groups: Mapping[str, Sequence[int]], path: Path
) -> None:
    """Draw what becomes of the pixels of each class, with a row for each group and for all.

    Args:
        totals: The ``totals`` of ``failures.json``.
        groups: Class ids by group.
        path: The PNG file to write.
    """
    rows = [('ALL CLASSES (all pixels)', totals['errors'], _note('mIoU', totals['mIoU']))]
    if len(groups) > 1:
        rows += [
            (
                f'{group.upper()} (all pixels)',
                totals['errors_by_group'][group],
                _note('mIoU', totals['mIoU_by_group'][group]),
            )
            for group in groups
        ]
    by_id = group_of_each(groups)
    order = sorted(range(len(by_id)), key=lambda i: list(groups).index(by_id[i]))
    classes = [totals['classes'][i] for i in order]
    summaries = len(rows)
    rows += [(entry['name'], entry['errors'], _note('IoU', entry['IoU'])) for entry in classes]
    names, errors, notes = zip(*rows)
    _draw_bars(names, np.array([_shares(e) for e in errors]), notes, summaries, path)


def _note(what: str, iou: float) -> str:
    """What stands beside a bar; IoU is NaN where nothing is of the class nor predicted so."""
    return '-' if np.isnan(iou) else f'{what} {iou:.1f}'


def _shares(errors: Dict[str, Dict[str, float]]) -> List[float]:
    return [100 * errors[kind]['share_of_labelled'] for kind in ERROR_TYPES]


def _draw_bars(
    names: Sequence[str], shares: np.ndarray, notes: Sequence[str], summaries: int, path: Path
) -> None:
    """A bar for each name, of which the first are summaries; notes stand at the right."""
    rows_height, font_size = class_rows(len(names))
    with new_figure(9.5, rows_height + 1.7) as figure:
        axis = figure.subplots()
        left = np.zeros(len(names))
        for k, (colour, label) in enumerate(zip(_ERROR_COLOURS, _ERROR_LABELS)):
            axis.barh(np.arange(len(names)), shares[:, k], left=left, color=colour, label=label)
            left += shares[:, k]
        axis.set_xlim(0, 100)
        axis.set_xlabel('wrong pixels, in % of the labelled pixels of the class')
        axis.set_title('What is wrong, by class')
        tidy_rows(axis, names, font_size)
        right = axis.secondary_yaxis('right')
        right.set_yticks(np.arange(len(names)), notes, fontsize=font_size)
        axis.axhline(summaries - 0.5, color='black', linewidth=0.8)
        right.tick_params(length=0)
        figure.legend(loc='outside lower center', ncols=4, frameon=False)
        save(figure, path)
