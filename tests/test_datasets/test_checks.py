"""Each mistake in a data set is named with its file, what was expected and what was found."""

import re
from pathlib import Path
from typing import Any, List, Sequence

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from mmseg_ssprompt.datasets import DatasetError, SeededDataset, explain_dataset_errors
from mmseg_ssprompt.datasets.checks import check_classes, check_label_ids
from mmseg_ssprompt.datasets.seeded import PlacedIndex
from mmseg_ssprompt.datasets.survey import Survey, survey_samples
from mmseg_ssprompt.label_ids import LabelIds
from picture_files import CLASSES, LOAD
from picture_files import build_dataset as build
from trees import write_pair

LABELS = (np.arange(48).reshape(6, 8) % 3).astype(np.uint8)
TEXT = b'this is no picture\n'

explained = pytest.mark.usefixtures('explained_errors')


@pytest.fixture
def explained_errors():
    """As in our own runs."""
    with explain_dataset_errors():
        yield


def write_tree(root: Path, labels: Sequence[np.ndarray]) -> Path:
    """An image for each label map, all of the same size."""
    for index, label_map in enumerate(labels):
        write_label(root, index, label_map)
    return root


def write_label(root: Path, index: int, labels: np.ndarray) -> None:
    picture = np.full((*LABELS.shape, 3), index, np.uint8)
    names = (f'img/{index:02d}.png', f'ann/{index:02d}.png')
    write_pair(root, *names, picture, labels)


def check(dataset: Any, max_samples: int = 100) -> int:
    return survey_samples(Survey(CLASSES), dataset, LabelIds(3), max_samples)


def with_label(value: int) -> np.ndarray:
    """Two pixels of it."""
    labels = LABELS.copy()
    labels[2, 3:5] = value
    return labels


@pytest.fixture
def good(tmp_path):
    return write_tree(tmp_path, [LABELS, with_label(255), LABELS])


def test_good_files_pass(good):
    assert check(build(good)) == 3


def test_void_is_accepted(tmp_path):
    assert check(build(write_tree(tmp_path, [np.full((6, 8), 255, np.uint8)]))) == 1


@pytest.mark.parametrize('pipeline', [[], LOAD[:1], LOAD, LOAD[::-1]])
def test_whatever_the_pipeline_loads(good, pipeline):
    assert check(build(good, pipeline=pipeline)) == 3


def test_other_transforms_do_not_run(good):
    """A label map that a crop would hide is seen, and nothing is drawn at random."""
    crop = dict(type='RandomCrop', crop_size=(1, 1))
    write_tree(good, [with_label(9)])
    with pytest.raises(DatasetError, match=r'found \[9\] in 2 pixels'):
        check(build(good, pipeline=[*LOAD, crop]))


@explained
def test_an_empty_data_set_names_folders_and_suffixes(good):
    with pytest.raises(DatasetError) as info:
        build(good, img_suffix='.jpg', seg_map_suffix='_label.png', serialize_data=True)
    text = str(info.value)
    assert 'the data set BaseSegDataset is empty' in text
    assert "'*.jpg' images with '*_label.png' label maps" in text
    assert repr(str(good / 'img')) in text
    assert repr(str(good / 'ann')) in text


@explained
def test_an_empty_data_set_is_found_when_it_is_read(good):
    dataset = build(good, img_suffix='.jpg', lazy_init=True, serialize_data=True)
    with pytest.raises(DatasetError, match='is empty'):
        len(dataset)


def test_an_empty_data_set_that_is_not_serialised(good):
    with pytest.raises(DatasetError, match=r"is empty: expected '\*\.jpg' images"):
        check(build(good, img_suffix='.jpg'))


def test_label_maps_without_a_folder(good):
    message = r"cannot read label map 'None'.*found no path \(is it in data_prefix\?\)"
    with pytest.raises(DatasetError, match=message):
        check(build(good, data_prefix=dict(img_path='img')))


@pytest.mark.parametrize(('folder', 'kind'), [('img', 'image'), ('ann', 'label map')])
def test_a_text_named_png(good, folder, kind):
    file = good / folder / '01.png'
    file.write_bytes(TEXT)
    message = f'cannot read {kind} {str(file)!r}: expected a file of a picture'
    with pytest.raises(DatasetError, match=re.escape(message)) as info:
        check(build(good))
    assert f'found {len(TEXT)} bytes that begin with {TEXT[:12]!r}' in str(info.value)
    assert info.value.__cause__ is not None


@pytest.mark.parametrize(('folder', 'kind'), [('img', 'image'), ('ann', 'label map')])
def test_an_empty_file(good, folder, kind):
    (good / folder / '02.png').write_bytes(b'')
    with pytest.raises(DatasetError, match=rf"cannot read {kind} .*02\.png'.*found 0 bytes"):
        check(build(good))


def test_a_label_map_that_is_not_there(good):
    (good / 'ann' / '00.png').unlink()
    message = r"cannot read label map .*ann/00\.png'.*found no such file"
    with pytest.raises(DatasetError, match=message):
        check(build(good))


def test_an_image_that_the_loader_leaves_out(good):
    (good / 'img' / '00.png').write_bytes(TEXT)
    lenient = [dict(type='LoadImageFromFile', ignore_empty=True), LOAD[1]]
    with pytest.raises(DatasetError, match=r"cannot read image .*img/00\.png'"):
        check(build(good, pipeline=lenient))


@pytest.mark.parametrize('value', [3, 11, 254])
def test_an_id_that_is_no_class_is_named_with_file_and_pixels(good, value):
    write_label(good, 1, with_label(value))
    with pytest.raises(DatasetError) as info:
        check(build(good))
    text = str(info.value)
    assert f'label map {str(good / "ann" / "01.png")!r}' in text
    assert 'expected ids from 0 to 2 (the 3 classes) and 255 (ignored)' in text
    assert f'found [{value}] in 2 pixels' in text
    assert ('if 0 is void' in text.lower()) == (value == 3)  # then classes may begin at 1
    assert 'metainfo' not in text  # of a data set without METAINFO that would change nothing


def test_at_most_ten_ids_are_listed():
    with pytest.raises(DatasetError) as info:
        check_label_ids(np.arange(40), LabelIds(3, 255), 'a.png')
    assert f'found {list(range(3, 13))} in 37 pixels' in str(info.value)


def test_another_void_id():
    check_label_ids(np.array([0, 2, 9]), LabelIds(3, 9), 'a.png')
    with pytest.raises(DatasetError, match=r'found \[255\] in 1 pixels'):
        check_label_ids(np.array([0, 2, 255]), LabelIds(3, 9), 'a.png')


def test_ids_that_begin_at_one(tmp_path):
    dataset = build(write_tree(tmp_path, [LABELS + 1]), reduce_zero_label=True)
    assert check(dataset) == 1
    with pytest.raises(DatasetError, match=r'found \[3\] in 16 pixels.*reduce_zero_label'):
        check(build(tmp_path))


def test_colours_instead_of_ids(good):
    write_label(good, 1, np.stack([LABELS, LABELS, LABELS], axis=-1))
    message = r"label map .*ann/01\.png': expected one channel of class ids, .*\(6, 8, 3\)"
    with pytest.raises(DatasetError, match=message):
        check(build(good))


@pytest.mark.parametrize('labels', [LABELS.T, LABELS[:, :7], LABELS[:5]])
def test_another_size_than_the_image_names_both(good, labels):
    write_label(good, 2, labels)
    height, width = labels.shape
    message = rf"ann/02\.png' has {height} x {width} pixels, but its image .*img/02\.png' has 6 x 8"
    with pytest.raises(DatasetError, match=message):
        check(build(good))


def test_a_data_set_of_ours():
    dataset = DATASETS.build(dict(type='ShapesWorldDataset', num_images=2, pipeline=LOAD))
    survey = Survey(dataset.metainfo['classes'])
    assert survey_samples(survey, dataset, LabelIds(10), 100) == survey.read == 2
    assert not survey.remarks


@pytest.mark.parametrize(
    ('max_samples', 'expected'),
    [(1, [0]), (2, [0, 10]), (3, [0, 5, 10]), (5, [0, 2, 5, 8, 10]), (99, list(range(11)))],
)
def test_samples_are_thinned_out_evenly(tmp_path, monkeypatch, max_samples, expected):
    dataset = build(write_tree(tmp_path, [LABELS] * 11))
    read: List[int] = []
    original = dataset.get_data_info
    monkeypatch.setattr(
        dataset, 'get_data_info', lambda index: read.append(index) or original(index)
    )
    assert check(dataset, max_samples) == len(expected)
    assert read == expected


# While a training reads


@explained
@pytest.mark.parametrize('folder', ['img', 'ann'])
@pytest.mark.parametrize('damage', [TEXT, b'', None])
def test_a_file_that_is_damaged_later_is_named(good, folder, damage):
    dataset = build(good)
    assert dataset[1]['gt_seg_map'].shape == (6, 8)
    file = good / folder / '01.png'
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    found = 'no such file' if damage is None else f'{len(damage)} bytes'
    with pytest.raises(DatasetError, match=rf"{folder}/01\.png'.*found {found}") as info:
        dataset[1]
    assert info.value.__cause__ is not None


@explained
def test_a_label_map_that_is_cut_off_later_is_named(good):
    """Pillow does not know its name."""
    dataset, file = build(good), good / 'ann' / '02.png'
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DatasetError, match=r"label map .*ann/02\.png'.*truncated") as info:
        dataset[2]
    assert '02.png' not in str(info.value.__cause__)


@explained
def test_what_goes_wrong_later_in_the_pipeline_names_both_files(good):
    write_label(good, 1, LABELS[:3])
    dataset = build(
        good, pipeline=[*LOAD, dict(type='BioMedical3DRandomCrop', crop_shape=(2, 2, 2))]
    )
    with pytest.raises(DatasetError, match=r'does not pass its pipeline.*img/01.*ann/01.*Error: '):
        dataset[1]


@explained
def test_errors_of_ours_stay_as_they_are(good, monkeypatch):
    def refuse(sample):
        raise error

    error = DatasetError('from a transform')
    dataset = build(good)
    monkeypatch.setattr(dataset, 'pipeline', refuse)
    with pytest.raises(DatasetError) as info:
        dataset[0]
    assert info.value is error


@explained
@pytest.mark.parametrize('serialize_data', [True, False])
def test_the_end_of_a_data_set_is_still_an_index_error(good, serialize_data):
    dataset = build(good, serialize_data=serialize_data)
    with pytest.raises(IndexError):
        dataset[3]
    assert len(list(dataset)) == 3


# Classes


@pytest.mark.parametrize('prompts', [CLASSES[:2], (*CLASSES, 'sea')])
def test_another_number_of_classes_prints_both_lists(good, prompts):
    with pytest.raises(DatasetError) as info:
        check_classes(build(good), prompts, 'validation')
    text = str(info.value)
    counts = f'has 3 classes, but there are {len(prompts)} semantic prompts'
    assert f'the validation data set BaseSegDataset {counts}' in text
    assert f'data set: {list(CLASSES)}' in text
    assert f'prompts:  {list(prompts)}' in text


def test_the_same_names_in_another_order(good):
    with pytest.raises(DatasetError, match='3 classes, in another order than semantic') as info:
        check_classes(build(good), CLASSES[::-1], 'training')
    assert f'prompts:  {list(CLASSES[::-1])}' in str(info.value)


@pytest.mark.parametrize('prompts', [CLASSES, ('a cat', 'a dog', 'the sky'), ('cat', 'dog', 'sea')])
def test_prompts_may_be_worded_differently(good, prompts):
    check_classes(build(good), prompts, 'training')


def test_an_error_is_a_value_error():
    assert issubclass(DatasetError, ValueError)


def test_a_value_error_of_the_list_of_files_stays(good, monkeypatch):
    def refuse(dataset):
        raise ValueError('no such split')

    monkeypatch.setattr(BaseSegDataset, 'load_data_list', refuse)
    with explain_dataset_errors(), pytest.raises(ValueError, match='^no such split$'):
        build(good, serialize_data=True)


def test_data_sets_are_what_they_were_after_an_error(good):
    before = dict(vars(BaseDataset))

    @explain_dataset_errors()
    def fail() -> None:
        with explain_dataset_errors():
            pass
        build(good, img_suffix='.jpg', serialize_data=True)

    with pytest.raises(DatasetError, match='is empty'):
        fail()
    assert dict(vars(BaseDataset)) == before
    with pytest.raises(ValueError, match='^need at least one array'):  # as mmengine says it
        build(good, img_suffix='.jpg', serialize_data=True)


def test_a_seeded_data_set_explains_its_own_errors(good):
    """In a training run, whichever tool began it."""
    before = dict(vars(BaseDataset))
    config = dict(type='BaseSegDataset', data_root=str(good), data_prefix=dict(img_path='img'))
    with pytest.raises(DatasetError, match='is empty'):
        SeededDataset(dict(config, img_suffix='.tif'))
    dataset = SeededDataset(build(good))
    (good / 'img' / '01.png').unlink()
    with pytest.raises(DatasetError, match=r"img/01\.png'.*found no such file"):
        dataset[PlacedIndex(seed=0, place=0, sample=1)]
    assert dict(vars(BaseDataset)) == before
