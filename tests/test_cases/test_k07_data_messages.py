"""The remedy that an error prints follows from what was found, and is never what was just done."""

from typing import Any, Optional

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_ssprompt.datasets import DatasetError, explain_dataset_errors
from mmseg_ssprompt.datasets.checks import LabelFacts, check_label_ids
from mmseg_ssprompt.datasets.file_checks import check_image
from mmseg_ssprompt.datasets.survey import Survey, survey_samples
from mmseg_ssprompt.label_ids import LabelIds, resolve_label_ids
from own_photographs import NAMES, draw_photograph, make_photographs, save

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')
    with explain_dataset_errors():  # as in our loops and tools
        yield


def message_of(values: Any, ids: LabelIds, facts: Optional[LabelFacts] = None) -> str:
    with pytest.raises(DatasetError) as raised:
        check_label_ids(np.array(values), ids, 'a.png', facts)
    return str(raised.value)


def test_a_subset_of_classes_without_metainfo_is_no_remedy():
    """mmseg makes no label_map of it, so it would be what was just done."""
    for values in ([0, 1, 7], [0, 2], [0, 1, 2, 254]):
        assert 'metainfo' not in message_of(values, LabelIds(2))


def test_classes_that_begin_at_one():
    assert 'If 0 is void and classes begin at 1, set reduce_zero_label=True' in message_of(
        [0, 1, 2, 3], LabelIds(3)
    )
    assert 'reduce_zero_label' not in message_of([0, 1, 2, 9], LabelIds(3))


def test_what_was_set_is_not_advised_again():
    reduced = message_of([0, 3, 255], LabelIds(3), LabelFacts(reduces_zero=True))
    assert 'takes 1 from each id: leave that out if classes begin at 0' in reduced
    assert 'set reduce_zero_label=True' not in reduced
    mapped = message_of([0, 3], LabelIds(2), LabelFacts(label_map={0: 0, 255: 1}))
    assert 'Label_map says nothing of it, only of [0, 255]: add it there' in mapped
    assert 'LoadLabelMap' not in mapped


@pytest.mark.parametrize(
    ('values', 'ids', 'label_map'),
    [
        ([0, 3], LabelIds(2), '{0: 0, 3: 1}'),
        ([0, 128, 255], LabelIds(3), '{0: 0, 128: 1, 255: 2}'),
        ([0, 3, 255], LabelIds(2), '{0: 0, 3: 1}'),
        ([0, 3], resolve_label_ids(1, None, 0), '{0: 0, 3: 1}'),
        ([3, 5, 11], LabelIds(11), None),
        ([0, 3, 4], LabelIds(2), None),
    ],
)
def test_masks_of_a_few_values(values, ids, label_map):
    text = f"dict(type='LoadLabelMap', label_map={label_map})"
    assert (text in message_of(values, ids)) == (label_map is not None)


def test_the_line_that_is_printed_works(tmp_path):
    root = make_photographs(tmp_path, ids=(0, 3))
    loader = dict(type='LoadLabelMap', label_map={0: 0, 3: 1})
    dataset = build(root, [LOAD[0], loader])
    survey = Survey(NAMES)
    survey_samples(survey, dataset, LabelIds(2), 10)
    assert survey.images_of_class.tolist() == [4, 4]


def build(root: Any, pipeline: Any = LOAD, **options: Any) -> Any:
    return DATASETS.build(
        dict(
            dict(
                type='BaseSegDataset',
                data_root=str(root),
                data_prefix=dict(img_path='img', seg_map_path='ann'),
                img_suffix='.png',
                metainfo=dict(classes=NAMES),
                pipeline=pipeline,
                serialize_data=False,
            ),
            **options,
        )
    )


def test_three_channels(tmp_path):
    image = save(draw_photograph()[0], tmp_path / 'a.png')
    grey = DATASETS.build(
        dict(
            type='BaseSegDataset',
            data_root=str(tmp_path),
            img_suffix='.png',
            metainfo=dict(classes=NAMES),
            pipeline=[dict(LOAD[0], color_type='grayscale')],
            serialize_data=False,
        )
    )
    (loader,) = grey.pipeline.transforms
    with pytest.raises(DatasetError, match="leave out color_type='grayscale'"):
        check_image(loader, dict(img_path=str(image)))
    with pytest.raises(DatasetError, match=r'let it return an array \(H, W, 3\)') as raised:
        check_image(lambda sample: dict(sample, img=np.zeros((4, 4))), dict(img_path=str(image)))
    assert 'color_type' not in str(raised.value)


def test_an_empty_data_set_says_what_lies_there(tmp_path):
    make_photographs(tmp_path, suffix='.PNG')
    with pytest.raises(DatasetError) as raised:
        build(tmp_path, serialize_data=True)
    assert "There are other pictures (4 '.PNG'): set img_suffix='.PNG'" in str(raised.value)
    (tmp_path / 'none').mkdir()
    prefix = dict(img_path='none', seg_map_path='ann')
    with pytest.raises(DatasetError) as raised:
        build(tmp_path, data_prefix=prefix, serialize_data=True)
    assert 'img_suffix=' not in str(raised.value)


@pytest.mark.parametrize(
    ('facts', 'remedy'),
    [
        (LabelFacts(reduces_zero=True), 'reduce_zero_label=True ignores 0'),
        (LabelFacts(label_map={0: 255, 1: 255}), 'label_map turns [0, 1] into 255'),
        (LabelFacts(), "dict(type='LoadLabelMap', label_map={0: 0, 255: 1})"),
    ],
)
def test_only_ignored_pixels(tmp_path, facts, remedy):
    root = make_photographs(tmp_path, ids=(255, 255))
    survey = Survey(NAMES, facts=facts)
    survey_samples(survey, build(root), LabelIds(2), 10)
    with pytest.raises(DatasetError, match='all 4 label maps have only ignored') as raised:
        survey.check_whole()
    assert remedy in str(raised.value)
    others = {'reduce_zero_label', 'label_map'} - {remedy.split('=')[0].split()[0]}
    assert facts == LabelFacts() or not any(name in str(raised.value) for name in others)
