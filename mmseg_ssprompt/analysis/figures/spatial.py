"""The figure of learned spatial prompts."""

from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from .style import new_figure, save

__all__ = ['draw_spatial_prompts']

_MARKERS = {'positive': 'o', 'negative': 'X', 'box corner 1': 'v', 'box corner 2': '^'}


def draw_spatial_prompts(report: Dict[str, Any], path: Path) -> None:
    """Draw arrows from default to nearest points, the weights, and how near to points they are.

    Args:
        report: The ``spatial`` part of ``prompts.json``.
        path: The PNG file to write.
    """
    is_embedding = report['prompts'][0]['drift'] is not None
    with new_figure(13.5 if is_embedding else 9, 5.8) as figure:
        axes = figure.subplots(1, 3 if is_embedding else 2)
        _draw_moves(figure, axes[0], report)
        if is_embedding:
            _draw_weights(figure, axes[1], report)
            _draw_cosines(axes[2], report)
        else:
            _draw_displacements(axes[1], report)
        figure.suptitle(
            f'Spatial prompts ({report["learner"]}; {report["weight_says"]})', fontsize=11
        )
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc='outside lower left', ncols=5)
        save(figure, path)


def _points(report: Dict[str, Any], which: str) -> np.ndarray:
    """(P, 2) x and y in pixels of 'default' or 'nearest' points."""
    return np.array([[p[which]['x_pixels'], p[which]['y_pixels']] for p in report['prompts']])


def _marker_area(count: int) -> float:
    """In points squared: less where there are more prompts."""
    return float(np.clip(3600 / count, 12, 90))


def _frame(axis: Axes, report: Dict[str, Any], points: Optional[np.ndarray] = None) -> None:
    """The input frame in pixels, wider if points have left it."""
    size = report['frame_size']
    low, high = (0.0, 0.0), (float(size), float(size))
    if points is not None:
        low, high = np.minimum(points.min(axis=0), 0), np.maximum(points.max(axis=0), size)
    axis.set_xlim(low[0] - 0.01 * size, high[0] + 0.01 * size)
    axis.set_ylim(high[1] + 0.01 * size, low[1] - 0.01 * size)
    axis.plot([0, size, size, 0, 0], [0, 0, size, size, 0], color='#999999', linewidth=0.8)
    axis.set_aspect('equal')
    axis.set_xlabel('x (pixels of the input frame)')
    axis.set_ylabel('y (pixels)')


def _draw_moves(figure: Figure, axis: Axes, report: Dict[str, Any]) -> None:
    start, end = _points(report, 'default'), _points(report, 'nearest')
    labels = np.array([p['nearest']['label'] for p in report['prompts']])
    drifts = [p['drift'] for p in report['prompts']]
    has_drift = drifts[0] is not None
    values = np.array(drifts) if has_drift else np.linalg.norm(end - start, axis=1)
    lines = LineCollection(
        [*np.stack([start, end], axis=1)], array=values, cmap='viridis_r', linewidths=1.1
    )
    if not values.any():
        lines.set_clim(0, 1)
    axis.add_collection(lines)
    area = _marker_area(len(start))
    axis.scatter(start[:, 0], start[:, 1], s=area / 6, color='#aaaaaa', label='default point')
    for label in np.unique(labels):
        chosen = labels == label
        points = _scatter(axis, end[chosen], values[chosen], area / 2, _MARKERS[label])
        points.set_norm(lines.norm)
        points.set_label(f'nearest: {label} ({chosen.sum()})' if has_drift else 'learned point')
    _frame(axis, report, np.concatenate([start, end]))
    moved = 100 * report['summary']['learned']['share_displaced']
    where = 'nearest' if has_drift else 'learned'
    axis.set_title(f'default point to {where} point ({moved:.0f} % displaced)')
    bar = figure.colorbar(lines, ax=axis, location='top', shrink=0.75)
    bar.set_label('drift, |learned - default| / |default|' if has_drift else 'move (pixels)')


def _scatter(
    axis: Axes, points: np.ndarray, values: np.ndarray, area: float, marker: str
) -> PathCollection:
    x, y = points.T
    return axis.scatter(x, y, c=values, cmap='viridis_r', s=area, marker=marker, edgecolors='none')


def _draw_weights(figure: Figure, axis: Axes, report: Dict[str, Any]) -> None:
    start = _points(report, 'default')
    weights = np.array([p['weight'] for p in report['prompts']])
    spread = max(0.01, float(np.abs(weights - 0.5).max()))
    drawn = axis.scatter(
        start[:, 0],
        start[:, 1],
        c=weights,
        cmap='RdBu',
        vmin=0.5 - spread,
        vmax=0.5 + spread,
        s=2.2 * _marker_area(len(start)),
        edgecolors='#666666',
        linewidths=0.4,
    )
    _frame(axis, report)
    axis.set_title('weight at the default point')
    bar = figure.colorbar(drawn, ax=axis, location='top', shrink=0.75)
    bar.set_label('W of the learned prompt')


def _draw_cosines(axis: Axes, report: Dict[str, Any]) -> None:
    """How near learned embeddings are to any point, beside random ones as far from the default."""
    axis.set_title('how near the nearest point is')
    axis.set_xlabel('drift, |learned - default| / |default|')
    axis.set_ylabel('cosine to the nearest point and label (1: is that point)')
    if 'random' not in report['summary']:
        place: Dict[str, Any] = dict(
            transform=axis.transAxes, ha='center', va='center', color='#666666'
        )
        axis.text(0.5, 0.5, 'no prompt has left\nits default point', **place)
        axis.set_axis_off()
        return
    drifts = [p['drift'] for p in report['prompts']]
    area = _marker_area(len(drifts)) / 2
    random = [p['random_cosine_to_nearest'] for p in report['prompts']]
    axis.scatter(drifts, random, s=area, color='#bdbdbd', label='random, as far (mean)')
    learned = [p['cosine_to_nearest'] for p in report['prompts']]
    axis.scatter(drifts, learned, s=area, color='#2166ac', alpha=0.8, label='learned')
    axis.ticklabel_format(useOffset=False)
    axis.grid(color='#dddddd', linewidth=0.6)
    axis.set_axisbelow(True)
    axis.legend(loc='lower left')


def _draw_displacements(axis: Axes, report: Dict[str, Any]) -> None:
    """How far learned coordinates are from where they started."""
    moved = [p['displacement_pixels'] for p in report['prompts']]
    axis.hist(moved, bins=20, color='#2166ac')
    median = report['summary']['learned']['median_displacement_pixels']
    axis.axvline(median, color='black', linestyle='--', label=f'median {median:.2f}')
    axis.set_title('displacement')
    axis.set_xlabel('from default to learned point (pixels)')
    axis.set_ylabel('prompts')
    axis.legend(loc='upper right')
