"""The figure of learned semantic prompts."""

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .style import GROUP_COLOURS, class_rows, group_handles, new_figure, save, shorten, tidy_rows

__all__ = ['draw_semantic_prompts']

_BASELINE = '#c9c9c9'
_NO_DATA: Dict[str, Any] = dict(ha='center', va='center', color='#666666')


def draw_semantic_prompts(report: Dict[str, Any], path: Path) -> None:
    """Draw weights, cosines to the defaults, and nearest other words beside random prompts.

    Args:
        report: The ``semantic`` part of ``prompts.json``.
        path: The PNG file to write.
    """
    classes = sorted(report['classes'], key=lambda c: list(GROUP_COLOURS).index(c['group']))
    rows_height, font_size = class_rows(len(classes))
    with new_figure(12.5, rows_height + 2.0) as figure:
        weight, cosine, word = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
        _draw_weights(weight, report, classes)
        _draw_cosines(cosine, report, classes)
        _draw_words(word, report, classes, font_size)
        tidy_rows(weight, [c['name'] for c in classes], font_size)
        for axis in (cosine, word):
            tidy_rows(axis, [''] * len(classes), font_size)
            axis.tick_params(axis='y', length=0)
        figure.suptitle(
            f'Semantic prompts ({report["learner"]}; {report["weight_says"]})', fontsize=11
        )
        groups = list(dict.fromkeys(c['group'] for c in classes))
        handles = [*group_handles(groups), *_word_handles(classes)]
        figure.legend(handles=handles, loc='outside lower center', ncols=len(handles))
        save(figure, path)


def _draw_weights(axis: Axes, report: Dict[str, Any], classes: List[Dict[str, Any]]) -> None:
    axis.set_title('weight of the learned prompt')
    axis.set_xlim(0, 1)
    axis.set_xlabel('W (dotted: mean of the group)')
    if report['weight_by_group'] is None:
        axis.text(0.5, 0.5, 'these prompts\nhave no weight', transform=axis.transAxes, **_NO_DATA)
        return
    _bars(axis, classes, 'weight')
    _mark_means(axis, report['weight_by_group'])


def _draw_cosines(axis: Axes, report: Dict[str, Any], classes: List[Dict[str, Any]]) -> None:
    axis.set_title('cosine to the class name (the default)')
    _bars(axis, classes, 'cosine_to_default')
    smallest = min(c['cosine_to_default'] for c in classes)
    axis.set_xlim(min(0, smallest - 0.05), 1)
    axis.set_xlabel('cosine (1: has not turned)')
    _mark_means(axis, report['cosine_by_group'])


def _bars(axis: Axes, classes: List[Dict[str, Any]], key: str) -> None:
    colours = [GROUP_COLOURS[c['group']] for c in classes]
    axis.barh(np.arange(len(classes)), [c[key] for c in classes], color=colours, height=0.7)


def _mark_means(axis: Axes, by_group: Dict[str, Dict[str, float]]) -> None:
    for group, summary in by_group.items():
        axis.axvline(summary['mean'], color=GROUP_COLOURS[group], linestyle=':', linewidth=1.6)


def _draw_words(
    axis: Axes, report: Dict[str, Any], classes: List[Dict[str, Any]], font_size: float
) -> None:
    """A point for each class on the band of its random prompts; the word stands at the right."""
    for row, entry in enumerate(classes):
        baseline = entry['baseline']
        if baseline is not None:
            mean, std = baseline['words']['mean'], baseline['words']['std']
            axis.barh(row, 4 * std, left=mean - 2 * std, height=0.7, color=_BASELINE)
            axis.plot([mean, mean], [row - 0.35, row + 0.35], color='#666666', linewidth=1)
        cosine = entry['nearest_other_word']['cosine']
        axis.plot(cosine, row, 'o', color=GROUP_COLOURS[entry['group']], markersize=5)
    axis.use_sticky_edges = False  # bands and points keep clear of the frame
    axis.margins(x=0.06)
    axis.locator_params(axis='x', nbins=6)
    axis.set_title('nearest word but its own')
    axis.set_xlabel(f'cosine ({report["vocabulary_size"]} words)')
    _write_words(axis, [c['nearest_other_word']['word'] for c in classes], font_size)


def _write_words(axis: Axes, words: List[str], font_size: float) -> None:
    right = axis.secondary_yaxis('right')
    right.set_yticks(np.arange(len(words)), [shorten(w, 26) for w in words], fontsize=font_size)
    right.tick_params(length=0)


def _word_handles(classes: List[Dict[str, Any]]) -> List[Artist]:
    handles: List[Artist] = [
        Line2D([], [], marker='o', linestyle='', color='#333333', label='its cosine')
    ]
    if any(c['baseline'] is not None for c in classes):
        label = 'random prompts turned as far: mean and 2 standard deviations'
        handles.append(Patch(facecolor=_BASELINE, label=label))
    return handles
