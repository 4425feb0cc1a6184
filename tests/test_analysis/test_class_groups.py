"""Things and stuff, from the data set or from the published lists."""

import pytest

from mmseg_ssprompt.analysis.class_groups import find_class_groups, group_of_each, mean_by_group


def test_the_groups_of_the_metainfo():
    metainfo = dict(classes=('a', 'b', 'c', 'd'), thing_classes=('d', 'b'), stuff_classes=('a',))
    groups = find_class_groups(metainfo, 'ADE20KDataset')
    assert groups == dict(things=[1, 3], stuff=[0], other=[2])
    assert group_of_each(groups) == ['stuff', 'things', 'other', 'things']


def test_published_groups_of_selected_classes():
    groups = find_class_groups(dict(classes=('sky', 'car', 'road')), 'CityscapesDataset')
    assert groups == dict(things=[1], stuff=[0, 2])


def test_one_group_where_nobody_knows():
    assert find_class_groups(dict(classes=('a', 'b')), 'BaseSegDataset') == dict(all=[0, 1])


def test_means_leave_out_nan():
    nan = float('nan')
    means = mean_by_group([1.0, 4.0, nan, 2.0, nan], dict(things=[0, 2, 3], stuff=[1], other=[4]))
    assert means['things'] == pytest.approx(dict(count=2, mean=1.5, std=0.5, min=1, max=2))
    assert means['stuff'] == pytest.approx(dict(count=1, mean=4, std=0, min=4, max=4))
    assert means['other'] == dict(count=0)
