"""Figures show what they are given, and their text does not overlap."""

from itertools import pairwise
from typing import List

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmseg_ssprompt.analysis import ERROR_TYPES
from mmseg_ssprompt.analysis.figures import (
    FailedScene,
    draw_error_types,
    draw_mask_usage,
    draw_semantic_prompts,
    draw_spatial_prompts,
    draw_worst_images,
    style,
)


@pytest.fixture
def figures(monkeypatch) -> List[Figure]:
    """Figures are written, and kept to look into."""
    kept: List[Figure] = []
    save = Figure.savefig

    def keep(self, path):
        save(self, path)
        kept.append(self)

    monkeypatch.setattr(Figure, 'savefig', keep)
    return kept


def axes_of(figure: Figure, title: str) -> Axes:
    (found,) = (a for a in figure.axes if a.get_title().startswith(title))
    return found


def assert_apart(labels) -> None:
    """One label below the other, and all within the figure."""
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    assert len(boxes) > 1
    boxes.sort(key=lambda box: box.y0)
    for lower, upper in pairwise(boxes):
        assert lower.y1 <= upper.y0 + 1
    assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)


def semantic(count: int = 3, weights: bool = True, moved: bool = True) -> dict:
    baseline = dict(words=dict(mean=0.5, std=0.05), any=dict(mean=0.4, std=0.01))
    classes = [
        dict(
            name=f'class of number {i}',
            group='stuff' if i % 3 == 1 else 'things',
            weight=(i + 1) / (count + 1) if weights else None,
            cosine_to_default=0.5,
            nearest_other_word=dict(word=f'word {i}', cosine=0.3 + 0.01 * i),
            baseline=baseline if moved else None,
        )
        for i in range(count)
    ]
    means = dict(things=dict(mean=0.4), stuff=dict(mean=0.6))
    return dict(
        learner='SemanticPromptLearner',
        weight_says='W is learned',
        weight_by_group=means if weights else None,
        cosine_by_group=means,
        vocabulary_size=99,
        classes=classes,
    )


def spatial(count: int, drift: bool = True, moved: bool = True) -> dict:
    side = int(count**0.5)
    prompts = []
    for i in range(count):
        x, y = (i % side + 0.5) * 96 / side, (i // side + 0.5) * 96 / side
        prompts.append(
            dict(
                prompt=i,
                weight=0.3 + 0.4 * i / count if drift else None,
                default=dict(x_pixels=x, y_pixels=y, label='positive'),
                nearest=dict(
                    x_pixels=x + 3 * moved,
                    y_pixels=y,
                    label='negative' if i == 1 else 'positive',
                ),
                drift=0.01 * i * moved if drift else None,
                cosine_to_nearest=0.9 if drift else None,
                random_cosine_to_nearest=0.8,
                displacement_pixels=3.0 * moved,
            )
        )
    summary = dict(learned=dict(share_displaced=float(moved), median_displacement_pixels=3.0))
    if moved:
        summary['random'] = {}
    return dict(
        learner='SpatialPromptLearner',
        weight_says='W is learned',
        frame_size=96,
        prompts=prompts,
        summary=summary,
    )


def test_semantic_prompts_by_group(figures, tmp_path):
    draw_semantic_prompts(semantic(), tmp_path / 'new' / 'a.png')
    assert cv2.imread(str(tmp_path / 'new' / 'a.png')) is not None
    weight = axes_of(figures[0], 'weight')
    names = [label.get_text() for label in weight.get_yticklabels()]
    assert names == ['class of number 0', 'class of number 2', 'class of number 1']
    assert [bar.get_width() for bar in weight.patches] == [0.25, 0.75, 0.5]
    word = axes_of(figures[0], 'nearest word')
    assert [line.get_xdata()[0] for line in word.lines if line.get_marker() == 'o'] == [
        pytest.approx(c) for c in (0.3, 0.32, 0.31)
    ]
    assert [(bar.get_x(), bar.get_width()) for bar in word.patches] == 3 * [
        (pytest.approx(0.4), pytest.approx(0.2))
    ]


def test_semantic_prompts_without_weights(figures, tmp_path):
    draw_semantic_prompts(semantic(weights=False, moved=False), tmp_path / 'a.png')
    weight = axes_of(figures[0], 'weight')
    assert [text.get_text() for text in weight.texts] == ['these prompts\nhave no weight']
    assert not weight.patches
    assert not axes_of(figures[0], 'nearest word').patches
    (legend,) = figures[0].legends
    assert [t.get_text() for t in legend.get_texts()] == ['things', 'stuff', 'its cosine']


@pytest.mark.parametrize(
    'count', [10, 41, *(pytest.param(n, marks=pytest.mark.slow) for n in (40, 150))]
)
def test_class_names_do_not_overlap(figures, tmp_path, count):
    draw_semantic_prompts(semantic(count), tmp_path / 'a.png')
    assert_apart(axes_of(figures[0], 'weight').get_yticklabels())
    (right,) = axes_of(figures[0], 'nearest word').child_axes
    assert len(right.get_yticklabels()) == count
    assert_apart(right.get_yticklabels())


@pytest.mark.parametrize('count', [4, 64, 400])
def test_spatial_prompts(figures, tmp_path, count):
    draw_spatial_prompts(spatial(count), tmp_path / 'a.png')
    moves = axes_of(figures[0], 'default point to nearest point (100 % displaced)')
    segments = moves.collections[0].get_segments()
    assert len(segments) == count
    assert segments[0][1][0] - segments[0][0][0] == pytest.approx(3)
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        'default point',
        'nearest: negative (1)',
        f'nearest: positive ({count - 1})',
    ]
    box = legend.get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= moves.xaxis.label.get_window_extent().y0 + 1
    weights = axes_of(figures[0], 'weight').collections[0]
    assert weights.get_array()[0] == 0.3
    assert len(axes_of(figures[0], 'how near').collections) == 2


def test_spatial_prompts_that_have_not_moved(figures, tmp_path):
    draw_spatial_prompts(spatial(4, moved=False), tmp_path / 'a.png')
    assert 'no prompt has left' in axes_of(figures[0], 'how near').texts[0].get_text()


def test_coordinates_have_neither_weights_nor_drift(figures, tmp_path):
    draw_spatial_prompts(spatial(9, drift=False), tmp_path / 'a.png')
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles == ['default point to learned point (100 % displaced)', 'displacement', '']
    assert sum(bar.get_height() for bar in axes_of(figures[0], 'displacement').patches) == 9


def usage(count: int, images: int = 7) -> dict:
    masks = [
        dict(
            prompt=i,
            output=0,
            won_share=i / 1000,
            won_class='an uncommonly long class name' if i else None,
            won_class_share=0.5,
            points=[[0.25, 0.25]],
        )
        for i in range(count)
    ]
    return dict(masks=masks, num_images=images, masks_per_prompt=1)


def test_the_most_used_masks_are_shown(figures, tmp_path):
    means = np.random.default_rng(0).random((40, 8, 8))
    means[:, 6:] = np.nan
    draw_mask_usage(usage(40), means, tmp_path / 'a.png')
    shown = [axes for axes in figures[0].axes if axes.images]
    assert len(shown) == 36
    assert shown[0].get_title() == '#39: 3.9 %\nan uncommonly… 50 %'
    np.testing.assert_array_equal(shown[0].images[0].get_array(), means[39, :6])
    assert (shown[0].lines[0].get_xdata()[0], shown[0].lines[0].get_ydata()[0]) == (2, 2)
    assert 'The 36 most used of 40 masks, mean of 7 images' in figures[0].get_suptitle()


def test_all_masks_if_they_are_few(figures, tmp_path):
    draw_mask_usage(usage(4), np.zeros((4, 8, 8)), tmp_path / 'a.png')
    assert 'All 4 masks' in figures[0].get_suptitle()
    titles = [axes.get_title() for axes in figures[0].axes if axes.images]
    assert titles[-1] == '#0: 0.0 %\nwins no pixel'


def scenes(count: int, classes: int) -> List[FailedScene]:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, classes, (2, 12, 16)) for _ in range(count)]
    return [
        FailedScene(
            index=i,
            name=f'{i}.png',
            miou=10.0 + i,
            image=rng.integers(0, 256, (6, 8, 3)).astype(np.uint8),
            truth=maps[i][0],
            prediction=maps[i][1],
            errors=np.array([[0, 1, 2, 3], [4, 255, 0, 0]], np.uint8),
        )
        for i in range(count)
    ]


def test_worst_images(figures, tmp_path):
    palette = np.arange(9).reshape(3, 3) * 20
    shown = scenes(2, 3)
    draw_worst_images(shown, 50, ['cat', 'dog', 'sea'], palette, tmp_path / 'a.png')
    axes = [a for part in figures[0].subfigs for a in part.axes]
    assert [a.get_title() for a in axes[:4]] == ['image', 'ground truth', 'prediction', 'errors']
    assert axes[4].get_ylabel() == '#1\nmIoU 11.0 %'
    np.testing.assert_array_equal(axes[1].images[0].get_array(), palette[shown[0].truth])
    errors = np.asarray(axes[3].images[0].get_array())
    assert errors[0, 2].tolist() == [215, 48, 31]  # wrong label: red
    assert errors[1, 1].tolist() == [0, 0, 0]
    assert figures[0].subfigs[0].get_suptitle() == 'The 2 images of lowest mIoU, of 50'
    legends = [legend for part in figures[0].subfigs for legend in part.legends]
    assert [t.get_text() for t in legends[1].get_texts()] == ['cat', 'dog', 'sea']


@pytest.mark.parametrize(
    ('count', 'classes'),
    [(1, 3), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((8, 19), (3, 150)))],
)
def test_legends_do_not_overlap(figures, tmp_path, count, classes):
    names = [f'class of number {i}' for i in range(classes)]
    palette = np.zeros((classes, 3))
    draw_worst_images(scenes(count, classes), count, names, palette, tmp_path / 'a.png')
    errors, labels = (
        legend.get_window_extent() for part in figures[0].subfigs for legend in part.legends
    )
    assert labels.y1 <= errors.y0 + 1
    assert labels.y0 >= 0
    assert max(errors.x1, labels.x1) <= figures[0].bbox.x1
    assert min(errors.x0, labels.x0) >= 0


def test_rare_classes_are_not_in_the_legend(figures, tmp_path):
    names = [f'class of number {i}' for i in range(150)]
    draw_worst_images(scenes(3, 150), 3, names, np.zeros((150, 3)), tmp_path / 'a.png')
    legends = [legend for part in figures[0].subfigs for legend in part.legends]
    texts = [text.get_text() for text in legends[1].get_texts()]
    assert len(texts) == 31
    assert texts[-1].startswith('and ')


def test_error_types(figures, tmp_path):
    def kinds(*shares):
        return {kind: dict(share_of_labelled=s) for kind, s in zip(ERROR_TYPES, shares)}

    totals = dict(
        mIoU=40.0,
        mIoU_by_group=dict(things=30.0, stuff=float('nan')),
        errors=kinds(0.1, 0.2, 0.3, 0.4),
        errors_by_group=dict(things=kinds(0.1, 0, 0, 0), stuff=kinds(0, 0, 0, 0)),
        classes=[
            dict(name='sea', IoU=float('nan'), errors=kinds(0, 0, 0, 0)),
            dict(name='cat', IoU=30.0, errors=kinds(0.05, 0.15, 0.25, 0.35)),
        ],
    )
    draw_error_types(totals, dict(things=[1], stuff=[0]), tmp_path / 'a.png')
    (axes,) = figures[0].axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == 'ALL CLASSES (all pixels)'
    assert names[1:] == ['THINGS (all pixels)', 'STUFF (all pixels)', 'cat', 'sea']
    bars = np.array([bar.get_width() for bar in axes.patches]).reshape(4, 5)
    np.testing.assert_allclose(bars[:, 0], [10, 20, 30, 40])
    np.testing.assert_allclose(bars[:, 3], [5, 15, 25, 35])
    (right,) = axes.child_axes
    notes = [label.get_text() for label in right.get_yticklabels()]
    assert notes == ['mIoU 40.0', 'mIoU 30.0', '-', 'IoU 30.0', '-']


def test_long_names_are_cut():
    assert style.shorten('first aid post', 14) == 'first aid post'
    assert style.shorten('first aid post', 11) == 'first aid…'
