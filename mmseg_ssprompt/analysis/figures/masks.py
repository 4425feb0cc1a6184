"""The figure of what each spatial prompt is used for."""

import math
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
from matplotlib.axes import Axes

from .style import new_figure, save, shorten

__all__ = ['draw_mask_usage']

_MAX_COLUMNS = 9


def draw_mask_usage(
    report: Dict[str, Any], mean_masks: np.ndarray, path: Path, max_shown: int = 36
) -> None:
    """Draw the mean mask of the most used prompts, with their points.

    Args:
        report: The content of ``masks.json``.
        mean_masks: (N, mh, mw) mean probabilities, NaN outside the images.
        path: The PNG file to write.
        max_shown: The most masks that are drawn. Defaults to 36.
    """
    masks = report['masks']
    order = sorted(range(len(masks)), key=lambda i: -masks[i]['won_share'])[:max_shown]
    columns = min(_MAX_COLUMNS, max(4, math.ceil(math.sqrt(len(order)))))
    rows = math.ceil(len(order) / columns)
    rows_seen, columns_seen = _seen(mean_masks)
    aspect = rows_seen / columns_seen
    with new_figure(1.5 * columns + 1, rows * (1.37 * aspect + 0.42) + 0.6) as figure:
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis in axes:
            axis.set_axis_off()
        for axis, i in zip(axes, order):
            picture = axis.imshow(
                mean_masks[i, :rows_seen, :columns_seen],
                vmin=0,
                vmax=1,
                cmap='magma',
                extent=(0, columns_seen, rows_seen, 0),
            )
            _mark_points(axis, masks[i]['points'], mean_masks.shape[1:])
            axis.set_title(_describe(masks[i], report['masks_per_prompt']), fontsize=7.5)
        bar = figure.colorbar(picture, ax=list(axes), shrink=0.6, aspect=30)
        bar.set_label('mean mask probability')
        figure.suptitle(_title(report, len(order)), fontsize=11)
        save(figure, path)


def _seen(mean_masks: np.ndarray) -> Tuple[int, int]:
    """Rows and columns of the masks that some image covers."""
    inside = ~np.isnan(mean_masks[0])
    return int(inside.any(axis=1).sum()), int(inside.any(axis=0).sum())


def _mark_points(axis: Axes, points: Any, shape: Tuple[int, int]) -> None:
    for x, y in points:
        axis.plot(
            x * shape[1],
            y * shape[0],
            marker='o',
            markersize=5,
            markerfacecolor='#00e5ff',
            markeredgecolor='black',
            clip_on=False,
        )


def _describe(mask: Dict[str, Any], masks_per_prompt: int) -> str:
    output = f'.{mask["output"]}' if masks_per_prompt > 1 else ''
    head = f'#{mask["prompt"]}{output}: {100 * mask["won_share"]:.1f} %'
    if mask['won_class'] is None:
        return f'{head}\nwins no pixel'
    return f'{head}\n{shorten(mask["won_class"], 15)} {100 * mask["won_class_share"]:.0f} %'


def _title(report: Dict[str, Any], shown: int) -> str:
    total = len(report['masks'])
    which = f'All {total}' if shown == total else f'The {shown} most used of {total}'
    return (
        f'{which} masks, mean of {report["num_images"]} images\n'
        '#prompt: share of all pixels that it wins, and the class that it gives most of them'
    )
