"""Images get the sizes and the pixels that SEEM gives them."""

import numpy as np
import pytest
from mmcv import rescale_size
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmseg_ssprompt.datasets.seem_resize import SEEMResize, seem_size
from seem_files import read_json

RULE = read_json('golden/resize_rule.json')['sizes']
LIMITS = {name: tuple(map(int, name.split()[-1].split('/'))) for name in RULE}


@pytest.mark.parametrize('name', RULE)
def test_sizes_are_the_official_ones(name):
    assert len(RULE[name]) >= 10
    for size, expected in RULE[name]:
        assert list(seem_size(tuple(size), *LIMITS[name])) == expected


def test_mmcv_has_another_rule():
    """Else ``Resize`` would do, and this transform could go."""
    smallest, largest = LIMITS['COCO 800/1333']
    assert rescale_size((774, 99), (largest, smallest)) == (1333, 171)
    assert seem_size((99, 774), smallest, largest) == (170, 1333)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('size', [(99, 774), (61, 90), (90, 61), (120, 120)])
def test_pixels_are_those_of_pillow(size, dtype):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = random.integers(0, np.iinfo(dtype).max + 1, size).astype(dtype)
    resize = TRANSFORMS.build(dict(type='SEEMResize', min_size=160, max_size=267))
    for _ in range(2):  # nothing of one image is left for the next
        resize(dict(img=np.zeros((30, 50, 3), np.uint8), seg_fields=[]))
        results = resize(dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map']))
        height, width = seem_size(size, 160, 267)
        expected = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        assert np.array_equal(results['img'], np.asarray(expected))
        picture = Image.fromarray(labels.astype(np.int32))
        expected = picture.resize((width, height), Image.Resampling.NEAREST)
        assert results['gt_seg_map'].dtype == dtype
        assert np.array_equal(results['gt_seg_map'], np.asarray(expected))
        assert results['img_shape'] == (height, width)
        assert results['scale_factor'] == (width / size[1], height / size[0])


@pytest.mark.parametrize('sizes', [(0, 1333), (800, -1), (800.0, 1333), (800, None), (True, 2)])
def test_other_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match='SEEMResize: expected m.._size as a positive whole'):
        SEEMResize(*sizes)
