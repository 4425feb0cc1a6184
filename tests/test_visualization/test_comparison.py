"""The picture is written and shows what it was given."""

from dataclasses import replace
from pathlib import Path
from typing import List

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from mmseg_ssprompt.analysis.figures import Comparison, PromptMark, Scene, draw_comparison

CLASSES = ('cat', 'dog', 'sea')
PALETTE = np.array([[250, 10, 20], [30, 240, 40], [50, 60, 230]])
MARKS = [PromptMark(1, 2, 0), PromptMark(5, 3, None), PromptMark(6, 4, 2)]


def scene(seed: int, dtype: type = np.uint8) -> Scene:
    rng = np.random.default_rng(seed)
    truth, before, after = (rng.integers(0, 3, (6, 8)).astype(dtype) for _ in range(3))
    truth[0, :2] = 255
    image = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Scene(image, truth, (before, after), (MARKS[:2], MARKS[1:]))


def comparison(num_scenes: int = 2, **changes) -> Comparison:
    original = Comparison(
        class_names=CLASSES,
        palette=PALETTE,
        scenes=[scene(seed) for seed in range(num_scenes)],
        of_classes=(dict(sea=5.0, cat=10.0, dog=22.0), dict(cat=30.0, dog=47.0, sea=60.0)),
        means=(12.34, 45.66),
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


def pictures_of(figure: Figure) -> List[np.ndarray]:
    """What is drawn of the scenes, row by row."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def texts_of(figure: Figure) -> List[str]:
    return [text.get_text() for part in figure.subfigs for text in part.texts]


def legend_of(figure: Figure) -> Legend:
    (legend,) = (legend for part in figure.subfigs for legend in part.legends)
    return legend


def test_a_png_is_written(tmp_path):
    path = tmp_path / 'a.png'
    draw_comparison(comparison(), path)
    assert path.read_bytes().startswith(b'\x89PNG')
    height, width = cv2.imread(str(path)).shape[:2]
    assert width == 12 * 110
    assert height == pytest.approx((2 * 2.3 + 0.95 + 0.85) * 110, abs=1)


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
def test_a_row_for_each_scene(draw, num_scenes):
    assert len(pictures_of(draw(num_scenes=num_scenes))) == 5 * num_scenes


def test_the_means_are_above_their_columns(draw):
    texts = texts_of(draw(mean_measure='PQ'))
    assert texts == [
        *('handcrafted prompts', '12.3 PQ', 'learned prompts', '45.7 PQ', 'truth'),
    ]


def test_images_and_label_maps_in_their_colours(draw):
    figure = draw(num_scenes=2)
    colours = np.concatenate([PALETTE, np.zeros((253, 3), int)])
    expected = []
    for seed in range(2):
        given = scene(seed)
        before, after, truth = (colours[labels] for labels in (*given.found, given.truth))
        expected += [given.image, before, given.image, after, truth]
    for found, picture in zip(pictures_of(figure), expected):
        np.testing.assert_array_equal(found, picture)


def test_pictures_of_segments_stay_as_they_are(draw):
    picture = scene(5).image
    given = replace(scene(0), truth=picture, found=(picture, picture))
    for found in pictures_of(draw(scenes=[given]))[1::2]:
        np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize('dtype', [np.uint8, np.int64])
@pytest.mark.parametrize('label', [3, 200, 255])
def test_what_is_no_class_is_black(draw, label, dtype):
    given = scene(0, dtype)
    given.truth[2, 5] = label
    truth = pictures_of(draw(scenes=[given]))[4]
    black = (truth == 0).all(axis=-1)
    assert black.sum() == 3
    assert black[2, 5] and black[0, 0] and black[0, 1]


def test_prompts_are_dots_in_the_colour_of_what_they_find(draw):
    axes = draw(num_scenes=1).axes
    assert [len(each.collections) for each in axes] == [2, 0, 2, 0, 0]
    for axis, (x, y, label) in ((axes[0], MARKS[0]), (axes[2], MARKS[2])):
        idle, busy = axis.collections
        assert idle.get_offsets().tolist() == [[5, 3]]
        assert busy.get_offsets().tolist() == [[x, y]]
        np.testing.assert_allclose(255 * busy.get_facecolor()[0, :3], PALETTE[label])
        assert busy.get_sizes()[0] > 4 * idle.get_sizes()[0]


def test_a_scene_without_prompts_has_no_dots(draw):
    axes = draw(scenes=[replace(scene(0), prompts=((), ()))]).axes
    assert not any(each.collections for each in axes)


def test_the_legend_names_each_colour_and_the_gain(draw):
    legend = legend_of(draw(measure='AP'))
    gains = ['cat  10 → 30', 'dog  22 → 47', 'sea  5 → 60']
    assert [text.get_text() for text in legend.get_texts()] == gains
    assert legend.get_title().get_text().startswith('AP of each class')
    colours = [255 * np.array(patch.get_facecolor()[:3]) for patch in legend.get_patches()]
    np.testing.assert_allclose(colours, PALETTE)


def test_an_undefined_figure_is_a_dash(draw):
    after = dict(cat=float('nan'), dog=47.0, sea=60.0)
    legend = legend_of(draw(of_classes=(dict(sea=5.0, cat=10.0, dog=22.0), after)))
    assert legend.get_texts()[0].get_text() == 'cat  10 → -'
