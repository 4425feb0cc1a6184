"""One picture of what learning the prompts changes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .labels import colour_labels

__all__ = ['Comparison', 'Scene', 'draw_comparison']

_COLOURS = {'zero-shot': '#9a9a9a', 'SSPrompt': '#2166ac'}


@dataclass(frozen=True)
class Scene:
    """One image and its label maps.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        truth: (H, W) class ids; what is no class is drawn black.
        zero_shot: (H, W) class ids found with handcrafted prompts.
        learned: (H, W) class ids found with learned prompts.
    """

    image: np.ndarray
    truth: np.ndarray
    zero_shot: np.ndarray
    learned: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        class_names: The C names.
        palette: (C, 3) RGB, 0 to 255.
        scenes: What is shown.
        zero_shot_iou: IoU in percent by class name.
        learned_iou: IoU in percent by class name.
        zero_shot_miou: Percent.
        learned_miou: Percent.
        semantic_weights: (C,) learned weights of the semantic prompts.
        spatial_weights: (rows, columns) learned weights of the spatial prompts.
        spatial_label: What their places are, below the figure.
    """

    class_names: Sequence[str]
    palette: np.ndarray
    scenes: Sequence[Scene]
    zero_shot_iou: Dict[str, float]
    learned_iou: Dict[str, float]
    zero_shot_miou: float
    learned_miou: float
    semantic_weights: np.ndarray
    spatial_weights: np.ndarray
    spatial_label: str


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw images, truth and both predictions, IoU by class, and the learned weights.

    Args:
        comparison: What is drawn.
        path: The PNG file to write.
    """
    rows = len(comparison.scenes)
    with matplotlib.rc_context({'font.size': 9, 'axes.titlesize': 10}):
        figure = Figure(figsize=(12.5, 2.15 * rows + 4.9), layout='constrained', dpi=110)
        heights = [2.15 * rows, 4.9]
        (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)
        _draw_scenes(comparison, top.subplots(rows, 4, squeeze=False))
        handles = [
            Patch(facecolor=tuple(np.asarray(colour) / 255), label=name)
            for name, colour in zip(comparison.class_names, comparison.palette)
        ]
        top.legend(handles=handles, loc='outside right center', frameon=False)
        bars, semantic, spatial = bottom.subplots(1, 3, width_ratios=[1.6, 1.1, 1.0])
        _draw_ious(comparison, bars)
        _draw_semantic_weights(comparison, semantic)
        _draw_spatial_weights(comparison, bottom, spatial)
        figure.savefig(path)


def _draw_scenes(comparison: Comparison, axes: np.ndarray) -> None:
    titles = (
        'image',
        'truth',
        f'zero-shot ({comparison.zero_shot_miou:.1f} mIoU)',
        f'SSPrompt ({comparison.learned_miou:.1f} mIoU)',
    )
    for row, scene in zip(axes, comparison.scenes):
        maps = (scene.truth, scene.zero_shot, scene.learned)
        pictures = [scene.image] + [colour_labels(labels, comparison.palette) for labels in maps]
        for axis, picture in zip(row, pictures):
            axis.imshow(picture, interpolation='nearest')
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles):
        axis.set_title(title)


def _draw_ious(comparison: Comparison, axis: Axes) -> None:
    places = np.arange(len(comparison.class_names))
    for offset, (name, ious) in zip(
        (-0.2, 0.2),
        (('zero-shot', comparison.zero_shot_iou), ('SSPrompt', comparison.learned_iou)),
    ):
        values = [ious[class_name] for class_name in comparison.class_names]
        axis.barh(places + offset, values, height=0.4, color=_COLOURS[name], label=name)
    axis.set_yticks(places, comparison.class_names)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_xlabel('IoU (%)')
    axis.set_title('IoU of each class', pad=24)
    _legend_above(axis)


def _draw_semantic_weights(comparison: Comparison, axis: Axes) -> None:
    places = np.arange(len(comparison.class_names))
    axis.barh(places, comparison.semantic_weights, color=_COLOURS['SSPrompt'])
    axis.axvline(0.5, color='black', linewidth=0.8, linestyle='--', label='start')
    axis.set_yticks(places, comparison.class_names)
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel('weight W of the learned prompt\n(1 - W: of the frozen text encoder)')
    axis.set_title('semantic prompts', pad=24)
    _legend_above(axis)


def _legend_above(axis: Axes) -> None:
    """Between title and bars, where it covers none of them."""
    axis.legend(loc='lower center', bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _draw_spatial_weights(comparison: Comparison, figure: Figure, axis: Axes) -> None:
    deviation = max(0.01, float(np.abs(comparison.spatial_weights - 0.5).max()))
    image = axis.imshow(
        comparison.spatial_weights, cmap='RdBu', vmin=0.5 - deviation, vmax=0.5 + deviation
    )
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(comparison.spatial_label)
    axis.set_title('spatial prompts')
    bar = figure.colorbar(image, ax=axis, orientation='horizontal', shrink=0.85)
    bar.set_label('weight W of the learned prompt')
