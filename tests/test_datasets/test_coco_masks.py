"""Masks of COCO's annotations are those of pycocotools, pixel by pixel.

``tests/data/coco/masks.json`` was made with pycocotools 2.0: ``frPyObjects``, ``merge`` and
``decode`` of random polygons and of run lengths, packed and not.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mmseg_ssprompt.datasets.coco_masks import draw_mask, find_mask_problem

CASES = json.loads(
    (Path(__file__).resolve().parents[1] / 'data' / 'coco' / 'masks.json').read_text()
)
SQUARE = [[2, 2, 8, 2, 8, 6, 2, 6]]


@pytest.mark.parametrize('case', CASES)
def test_as_pycocotools(case):
    size = tuple(case['size'])
    assert find_mask_problem(case['segmentation'], size) is None
    expected = np.array([[int(pixel) for pixel in row] for row in case['rows']], bool)
    found = draw_mask(case['segmentation'], size)
    assert found.dtype == bool
    assert np.array_equal(found, expected)


def test_cases_are_of_all_kinds():
    kinds = {type(case['segmentation']) for case in CASES}
    packed = [type(c['segmentation']['counts']) for c in CASES if type(c['segmentation']) is dict]
    assert kinds == {list, dict}
    assert set(packed) == {str, list}
    assert len(CASES) > 25


@pytest.mark.parametrize(
    ('segmentation', 'problem'),
    [
        ([], 'found no polygon: the object has no pixels'),
        (None, 'expected polygons or run lengths, found NoneType'),
        ([[1, 2, 3, 4]], 'polygon 0: expected x, y, x, y, ... of at least three points'),
        ([*SQUARE, [1, 2, 3, 4, 5, 6, 7]], 'polygon 1: expected x, y, x, y'),
        ([[1, 2, 3, 4, 'a', 6]], 'polygon 0: expected x, y, x, y'),
        ([[1, 2, 3, 4, float('nan'), 6]], 'polygon 0: expected x, y, x, y'),
        ([[2, 2, 40, 2, 40, 6]], 'expected points in the picture of 12 x 16, found x from 2 to 40'),
        ([[2, -9, 4, 2, 4, 6]], 'y from -9 to 6'),
        (dict(size=[16, 12], counts=[192]), r'expected run lengths of the size \[12, 16\]'),
        (dict(size=[12, 16], counts=[100, 91]), 'add up to 12 x 16 = 192, found 191'),
        (dict(size=[12, 16], counts=[-1, 193]), 'add up to 12 x 16'),
        (dict(size=[12, 16]), 'expected counts as a list or as COCO packs it, found None'),
        (dict(size=[12, 16], counts='~~~'), 'expected counts as a list or as COCO packs it'),
        (dict(counts=[192]), r'expected run lengths of the size \[12, 16\]'),
    ],
)
def test_problems(segmentation, problem):
    found = find_mask_problem(segmentation, (12, 16))
    assert found is not None
    assert re.search(problem, found), found


def test_a_little_outside_is_rounding():
    assert find_mask_problem([[-1.5, 2, 8, 2, 17.5, 6]], (12, 16)) is None
