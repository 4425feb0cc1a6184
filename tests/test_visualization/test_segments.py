"""Objects and panoptic maps are drawn in colours of their classes, with outlines and names."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmseg_ssprompt import segment_drawing
from mmseg_ssprompt.hooks import SegmentVisualizer
from mmseg_ssprompt.label_ids import LABEL_IDS_KEY, LabelIds
from mmseg_ssprompt.segment_drawing import DrawnSegment, draw_segments, vary_colour
from segment_scenes import META, make_scene

NAMES, PALETTE = ('cat', 'dog', 'sea'), ((250, 10, 20), (30, 240, 40), (50, 60, 230))
GREY = np.full((40, 60, 3), 100, np.uint8)


def block(top: int, left: int, label: int = 0, is_thing: bool = True, size: int = 10):
    mask = np.zeros((40, 60), bool)
    mask[top : top + size, left : left + size] = True
    return DrawnSegment(mask, label, is_thing)


def draw(*segments: DrawnSegment, **options) -> np.ndarray:
    return draw_segments(GREY, segments, NAMES, PALETTE, **{'with_labels': False, **options})


@pytest.fixture
def texts(monkeypatch) -> list:
    """What is written, and around which pixel (x, y)."""
    written: list = []
    monkeypatch.setattr(
        segment_drawing, '_write', lambda picture, text, place, *rest: written.append((text, place))
    )
    return written


def test_a_segment_has_the_colour_of_its_class_and_the_rest_is_the_image():
    picture = draw(block(5, 5, label=1), alpha=0.5)
    np.testing.assert_array_equal(picture[10, 10], (65, 170, 70))
    np.testing.assert_array_equal(picture[30, 30], GREY[30, 30])
    assert picture.dtype == np.uint8


def test_objects_of_a_class_differ_and_regions_do_not():
    places = ((5, 5), (5, 25), (5, 45), (25, 5))
    things = draw(*(block(y, x) for y, x in places), alpha=1.0)
    stuff = draw(*(block(y, x, is_thing=False) for y, x in places), alpha=1.0)
    middles = [(y + 5, x + 5) for y, x in places]
    assert len({tuple(things[place]) for place in middles}) == 4
    assert {tuple(stuff[place]) for place in middles} == {PALETTE[0]}
    assert tuple(things[middles[0]]) == PALETTE[0]


@pytest.mark.parametrize('colour', PALETTE)
def test_varied_colours_differ_and_are_near_their_class(colour):
    varied = [vary_colour(colour, number) for number in range(50)]
    assert len(set(varied)) == 50
    assert all(0 <= value <= 255 for each in varied for value in each)
    strongest = np.argmax(colour)
    assert all(np.argmax(each) == strongest for each in varied)


def test_outlines_are_thin_and_of_objects_alone():
    picture = draw(block(5, 5), alpha=1.0)
    inside = (picture[5:15, 5:15] == PALETTE[0]).all(axis=-1)
    assert inside[1:-1, 1:-1].all() and not inside[0].any() and not inside[:, -1].any()
    region = draw(block(5, 5, is_thing=False), alpha=1.0)
    assert (region[5:15, 5:15] == PALETTE[0]).all()


def test_touching_objects_are_told_apart_and_the_border_of_the_image_is_none():
    mask = np.ones((40, 60), bool)
    left, right = mask.copy(), mask.copy()
    left[:, 30:], right[:, :30] = False, False
    picture = draw(DrawnSegment(left, 0, True), DrawnSegment(right, 0, True), alpha=1.0)
    first = (picture == PALETTE[0]).all(axis=-1)
    assert first[:, :29].all() and not first[:, 29:].any()


def test_later_segments_lie_on_top():
    picture = draw(block(5, 5, size=20), block(10, 10, label=1, size=8), alpha=1.0)
    assert tuple(picture[14, 14]) == PALETTE[1]


def test_each_name_is_written_once_into_the_largest_of_its_segments(texts):
    segments = (block(2, 2, size=5), block(20, 30, size=15), block(2, 40, label=2))
    draw(*segments, with_labels=True)
    assert {text for text, _ in texts} == {'cat', 'sea'} and len(texts) == 2
    ((x, y),) = (place for text, place in texts if text == 'cat')
    assert 30 <= x < 45 and 20 <= y < 35


def test_hidden_segments_have_no_name(texts):
    draw(block(5, 5), block(5, 5, label=1), with_labels=True)
    assert [text for text, _ in texts] == ['dog']


def test_names_are_written_inside_of_the_picture():
    corner = np.zeros((40, 60), bool)
    corner[-3:, -3:] = True
    picture = draw(DrawnSegment(corner, 1, True), with_labels=True, alpha=1.0)
    changed = (picture != GREY).any(axis=-1)
    assert changed[20:, 30:].sum() > 100 and not changed[:15].any()


def test_nothing_to_draw():
    np.testing.assert_array_equal(draw(), GREY)


def test_a_mask_of_another_size():
    with pytest.raises(ValueError, match='expected a mask of 40 x 60 pixels'):
        draw(DrawnSegment(np.ones((40, 50), bool), 0, True))


# The visualiser.


@pytest.fixture
def shown(monkeypatch):
    """Draw a sample, and return the picture."""
    visualizer = SegmentVisualizer(name='test_segments', alpha=1.0)
    visualizer.dataset_meta = dict(META)
    saved = []
    monkeypatch.setattr(visualizer, 'add_image', lambda name, image, step: saved.append(image))

    def show(sample, size=(300, 420), meta=META, **options) -> np.ndarray:
        visualizer.dataset_meta = dict(meta)
        image = np.full((*size, 3), 90, np.uint8)
        visualizer.add_datasample('image', image, sample, with_labels=False, **options)
        picture = saved.pop()
        np.testing.assert_array_equal(visualizer.get_image(), picture)
        return picture

    return show


SCENE = make_scene(3, 300, 420)


def without(*keys: str):
    sample = SCENE.sample()
    for key in keys:
        delattr(sample, key)
    return sample


@pytest.mark.parametrize(
    ('keys', 'options', 'count'),
    [
        ((), {}, 3),
        ((), dict(draw_gt=False), 2),
        ((), dict(draw_pred=False), 1),
        (('gt_segments',), {}, 2),
        (('pred_instances',), {}, 2),
        (('pred_panoptic_seg', 'gt_segments'), {}, 1),
    ],
)
def test_truth_and_predictions_are_side_by_side(shown, keys, options, count):
    assert shown(without(*keys), **options).shape == (300, 420 * count, 3)


def test_colours_of_classes(shown):
    truth, found, objects = np.split(shown(SCENE.sample()), 3, axis=1)
    road = META['palette'][3]
    for picture, is_road in ((truth, SCENE.numbers == 0), (found, SCENE.found == 1)):
        inside = cv2.erode(is_road.astype(np.uint8), np.ones((7, 7))) == 1
        assert inside.sum() > 1000
        assert (picture[inside] == road).all()
    assert (objects[SCENE.found == 1] == 90).mean() > 0.9  # no region


def test_objects_below_the_lowest_score_are_left_out(shown):
    sample = without('gt_segments', 'pred_panoptic_seg')
    sample.pred_instances.scores = torch.zeros_like(sample.pred_instances.scores)
    assert (shown(sample) == 90).all()
    assert len(sample.pred_instances) > 1


def test_small_images_are_enlarged(shown):
    scene = make_scene(3, 48, 64)
    assert shown(scene.sample(), size=(48, 64)).shape == (288, 3 * 384, 3)


def test_label_maps_are_drawn_as_mmseg_does(shown):
    sample = without('gt_segments', 'pred_panoptic_seg', 'pred_instances')
    sample.pred_sem_seg = PixelData(data=torch.full((1, 300, 420), 4))
    picture = shown(sample)
    assert picture.shape == (300, 420, 3)
    assert (picture == META['palette'][4]).all()


def test_a_true_label_map_beside_objects(shown):
    sample = without('gt_segments', 'pred_panoptic_seg')
    sample.gt_sem_seg = PixelData(data=torch.full((1, 300, 420), 4))
    picture = shown(sample)
    assert picture.shape == (300, 840, 3)
    assert (picture[:, :420] == META['palette'][4]).all()


def test_one_class_whose_label_maps_have_other_numbers(shown):
    """The rest has the number 0 there, and its name and colour before those of the class."""
    meta = dict(classes=('rest', 'crack'), palette=[[96, 96, 96], [200, 30, 30]])
    scene = SCENE._replace(
        found=np.ones_like(SCENE.found),
        found_segments=[dict(id=1, category_id=0, isthing=True, area=1, score=0.9)],
    )
    sample = scene.sample()
    del sample.gt_segments, sample.pred_instances
    sample.set_metainfo({LABEL_IDS_KEY: LabelIds(1, 255, 0)})
    assert (shown(sample, meta=meta) == [200, 30, 30]).all()


def test_a_file_is_written(tmp_path):
    visualizer = SegmentVisualizer(name='test_file')
    visualizer.dataset_meta = dict(META)
    file = tmp_path / 'a.png'
    image = np.full((300, 420, 3), 90, np.uint8)
    visualizer.add_datasample('image', image, SCENE.sample(), out_file=str(file))
    assert cv2.imread(str(file)).shape == (300, 1260, 3)
