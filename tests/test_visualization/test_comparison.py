"""The picture is written and shows what it was given."""

from dataclasses import replace
from pathlib import Path
from typing import List

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmseg_ssprompt.analysis.figures import Comparison, Scene, draw_comparison

CLASSES = ('cat', 'dog', 'sea')
PALETTE = np.array([[250, 10, 20], [30, 240, 40], [50, 60, 230]])
TITLES = ['image', 'truth', 'zero-shot (12.3 mIoU)', 'SSPrompt (45.7 mIoU)']


def scene(seed: int, dtype: type = np.uint8) -> Scene:
    rng = np.random.default_rng(seed)
    maps = [rng.integers(0, 3, (6, 8)).astype(dtype) for _ in range(3)]
    maps[0][0, :2] = 255
    return Scene(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8), *maps)


def comparison(num_scenes: int = 2, **changes) -> Comparison:
    original = Comparison(
        class_names=CLASSES,
        palette=PALETTE,
        scenes=[scene(seed) for seed in range(num_scenes)],
        zero_shot_iou=dict(sea=5.0, cat=10.0, dog=22.0),
        learned_iou=dict(cat=30.0, dog=47.0, sea=60.0),
        zero_shot_miou=12.34,
        learned_miou=45.66,
        semantic_weights=np.array([0.2, 0.5, 0.9]),
        spatial_weights=np.array([[0.4, 0.5], [0.55, 0.7]]),
        spatial_label='place',
    )
    return replace(original, **changes)


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draw without writing a file, and return the figure."""
    figures: List[Figure] = []
    monkeypatch.setattr(Figure, 'savefig', lambda self, path: figures.append(self))

    def draw_one(**changes) -> Figure:
        draw_comparison(comparison(**changes), tmp_path / 'a.png')
        return figures.pop()

    return draw_one


def axes_of(figure: Figure, title: str) -> Axes:
    (found,) = (axes for axes in figure.axes if axes.get_title() == title)
    return found


def labels_of(axes: Axes) -> List[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def widths_of(axes: Axes) -> List[float]:
    return [bar.get_width() for bar in axes.patches]


def pictures_of(figure: Figure) -> List[np.ndarray]:
    """What is drawn of the scenes, row by row."""
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    return [np.asarray(image) for image in images if image.ndim == 3]


def test_a_png_is_written(tmp_path):
    path = tmp_path / 'a.png'
    draw_comparison(comparison(), path)
    assert path.read_bytes().startswith(b'\x89PNG')
    height, width = cv2.imread(str(path)).shape[:2]
    assert width == 12.5 * 110
    assert height == pytest.approx((2 * 2.15 + 4.9) * 110, abs=1)


def test_the_same_every_time(tmp_path):
    for name in ('a.png', 'b.png'):
        draw_comparison(comparison(), tmp_path / name)
    assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


def test_an_existing_file_is_written_over(tmp_path):
    path = tmp_path / 'a.png'
    path.write_text('old')
    draw_comparison(comparison(1), path)
    assert cv2.imread(str(path)) is not None


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        draw_comparison(comparison(1), Path(tmp_path / 'none' / 'a.png'))


@pytest.mark.parametrize('num_scenes', [1, 3])
def test_a_row_for_each_scene_and_three_charts(draw, num_scenes):
    figure = draw(num_scenes=num_scenes)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[: 4 * num_scenes] == TITLES + 4 * (num_scenes - 1) * ['']
    charts = ['IoU of each class', 'semantic prompts', 'spatial prompts']
    assert titles[4 * num_scenes :] == [*charts, '']  # and the bar of colours
    assert len(pictures_of(figure)) == 4 * num_scenes


def test_images_and_label_maps_in_their_colours(draw):
    figure = draw(num_scenes=2)
    colours = np.concatenate([PALETTE, np.zeros((253, 3), int)])
    expected = []
    for seed in range(2):
        given = scene(seed)
        maps = (given.truth, given.zero_shot, given.learned)
        expected += [given.image, *(colours[labels] for labels in maps)]
    for found, picture in zip(pictures_of(figure), expected):
        np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize('dtype', [np.uint8, np.int64])
@pytest.mark.parametrize('label', [3, 200, 255])
def test_what_is_no_class_is_black(draw, label, dtype):
    given = scene(0, dtype)
    given.truth[2, 5] = label
    truth = pictures_of(draw(scenes=[given]))[1]
    black = (truth == 0).all(axis=-1)
    assert black.sum() == 3
    assert black[2, 5] and black[0, 0] and black[0, 1]


def test_iou_of_each_class_by_name(draw):
    axes = axes_of(draw(), 'IoU of each class')
    assert labels_of(axes) == list(CLASSES)
    assert widths_of(axes) == [10, 22, 5, 30, 47, 60]  # zero-shot, then learned
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ['zero-shot', 'SSPrompt']
    assert axes.get_xlim() == (0, 100)
    assert axes.yaxis_inverted()  # the first class is above


def test_semantic_weights(draw):
    axes = axes_of(draw(), 'semantic prompts')
    assert labels_of(axes) == list(CLASSES)
    assert widths_of(axes) == [0.2, 0.5, 0.9]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['start']
    assert axes.get_xlim() == (0, 1)


@pytest.mark.parametrize(
    ('weights', 'deviation'), [([[0.4, 0.5], [0.55, 0.7]], 0.2), (np.full((2, 2), 0.5), 0.01)]
)
def test_spatial_weights_around_where_they_started(draw, weights, deviation):
    weights = np.asarray(weights)
    image = axes_of(draw(spatial_weights=weights), 'spatial prompts').images[0]
    np.testing.assert_array_equal(image.get_array(), weights)
    assert image.get_clim() == pytest.approx((0.5 - deviation, 0.5 + deviation))


def test_the_legend_names_each_colour(draw):
    figure = draw()
    (legend,) = (legend for part in figure.subfigs for legend in part.legends)
    assert [text.get_text() for text in legend.get_texts()] == list(CLASSES)
    colours = [255 * np.array(patch.get_facecolor()[:3]) for patch in legend.get_patches()]
    np.testing.assert_allclose(colours, PALETTE)


def test_an_undefined_iou_leaves_an_empty_bar(draw):
    learned = dict(cat=float('nan'), dog=47.0, sea=60.0)
    assert np.isnan(widths_of(axes_of(draw(learned_iou=learned), 'IoU of each class'))[3])
