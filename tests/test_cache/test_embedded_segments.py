"""Objects of embedded samples are those of the data set, and are checked as theirs."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from embedding_caches import RANDOM, as_dataset, fill, recipe_of, shapes
from mmseg_ssprompt.cache import SourceViews
from mmseg_ssprompt.datasets.packed_checks import check_packed
from mmseg_ssprompt.datasets.sample_checks import SampleChecks
from mmseg_ssprompt.label_ids import LabelIds

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadSegments')]
# Smaller than the frame, so that the data preprocessor pads.
SMALL = [dict(type='ResizeWithLabels', scale=(64, 80), keep_ratio=False, backend='pillow')]
PACK = [dict(type='PackSegmentInputs', min_pixels=16)]
KINDS = {
    'panoptic': shapes(3, LOAD + SMALL + RANDOM + PACK),
    'instances': dict(shapes(3, LOAD + SMALL + RANDOM + PACK), type='ShapesWorldInstanceDataset'),
    'both': shapes(
        3, [LOAD[0], dict(type='LoadSegments', with_label_map=True), *SMALL, *RANDOM, *PACK]
    ),
}


@pytest.fixture(scope='module', params=KINDS)
def made(request, tmp_path_factory):
    """A cache and its recipe."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = recipe_of(KINDS[request.param], views=2)
    with DefaultScope.overwrite_default_scope('mmseg'):
        fill(folder, recipe)
    return folder, recipe


def test_segments_are_those_of_the_data_set(made):
    folder, recipe = made
    cached = DATASETS.build(as_dataset(folder, recipe))
    source = SourceViews(recipe.build_dataset(), recipe.views, recipe.seed)
    for index in range(3):
        views = [source[2 * index + view]['data_samples'] for view in range(2)]
        seen = set()
        for seed in range(8):
            np.random.seed(seed)
            found = cached[index]['data_samples']
            same = [
                torch.equal(found.gt_segments.data, view.gt_segments.data)
                and found.gt_segments.segments_info == view.gt_segments.segments_info
                for view in views
            ]
            assert any(same)
            view = views[same.index(True)]
            seen.add(same.index(True))
            assert found.gt_segments.data.dtype == view.gt_segments.data.dtype == torch.int64
            assert ('gt_sem_seg' in found) == ('gt_sem_seg' in view)
            if 'gt_sem_seg' in found:
                assert torch.equal(found.gt_sem_seg.data, view.gt_sem_seg.data)
            assert found.img_id == view.img_id
        assert seen == {0, 1} or torch.equal(views[0].gt_segments.data, views[1].gt_segments.data)


def test_metainfo_says_what_things_are(made):
    folder, recipe = made
    metainfo = DATASETS.build(as_dataset(folder, recipe)).metainfo
    expected = recipe.build_dataset().metainfo
    for key in ('classes', 'thing_classes', 'stuff_classes'):
        assert metainfo[key] == expected[key]


def test_embedded_samples_are_surveyed(made):
    folder, recipe = made
    cached = DATASETS.build(as_dataset(folder, recipe))
    ids = LabelIds(len(cached.metainfo['classes']))
    findings = SampleChecks(cached, ids)[1]
    infos = cached.get_data_info(1)['segments_info']
    assert findings.errors == findings.remarks == []
    assert findings.segments == sum(info['category_id'] >= 0 for info in infos)
    assert set(np.flatnonzero(findings.present)) == {i['category_id'] for i in infos} - {-1}
    assert findings.pixels == 80 * 64
    assert check_packed(cached, ids, 'training', training=True)
