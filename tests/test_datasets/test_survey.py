"""All that is wrong with a sample is found, and all samples are counted."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS

from mmseg_ssprompt.cache import CacheError
from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.sample_checks import SampleChecks, SampleFindings
from mmseg_ssprompt.datasets.survey import LISTED, Survey, survey_samples
from mmseg_ssprompt.hooks.dataset_check_hook import read_facts
from mmseg_ssprompt.label_ids import LabelIds
from picture_files import (
    CLASSES,
    LABELS,
    LOAD,
    build_dataset,
    encode,
    smooth_colours,
    with_orientation,
    write_pairs,
)

IMAGE = encode(smooth_colours(), 'PNG')
IDS = encode(LABELS, 'PNG')
IGNORED = encode(np.full_like(LABELS, 255), 'PNG')


def checks_of(root: Path, *pairs: Any, **options: Any) -> SampleChecks:
    return SampleChecks(build_dataset(write_pairs(root, *pairs), **options), LabelIds(len(CLASSES)))


def survey_of(root: Path, *pairs: Any, **options: Any) -> Survey:
    """Of all samples, with their errors."""
    checks = checks_of(root, *pairs, **options)
    survey = Survey(CLASSES, facts=read_facts([checks.dataset]))
    for index in range(len(checks)):
        survey.add(checks[index])
    return survey


def with_id(value: int) -> bytes:
    labels = LABELS.copy()
    labels[0, :2] = value
    return encode(labels, 'PNG')


def test_a_good_sample(tmp_path):
    findings = checks_of(tmp_path, (IMAGE, with_id(255)))[0]
    assert findings.image == str(tmp_path / 'img' / '00.png')
    assert (findings.errors, findings.remarks) == ([], [])
    assert findings.present.tolist() == [True, True, True]


@pytest.mark.parametrize('pipeline', [LOAD, LOAD[::-1]])
def test_image_and_label_map_are_both_checked(tmp_path, pipeline):
    findings = checks_of(tmp_path, (IMAGE[:-40], with_id(7)), pipeline=pipeline)[0]
    assert sorted(kind for kind, _ in findings.errors) == ['images', 'label maps']
    assert findings.present is None


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_more_than_one_channel_of_ids(tmp_path, mode):
    findings = checks_of(tmp_path, (IMAGE, encode(LABELS, 'PNG', mode)))[0]
    ((kind, error),) = findings.errors
    assert kind == 'label maps'
    assert f'found the shape (12, 16, {len(mode)}): colours must be converted' in str(error)


def test_files_that_are_not_there(tmp_path):
    checks = checks_of(tmp_path, (IMAGE, IDS))
    for folder in ('img', 'ann'):
        (tmp_path / folder / '00.png').unlink()
    (_, image), (_, labels) = checks[0].errors
    assert 'cannot read image' in str(image) and 'found no such file' in str(image)
    assert 'cannot read label map' in str(labels) and 'found no such file' in str(labels)


@pytest.mark.parametrize('tag', [5, 6, 7, 8])
def test_an_image_that_is_turned_no_longer_fits(tmp_path, tag):
    findings = checks_of(tmp_path, (with_orientation(tag), IDS))[0]
    ((kind, error),) = findings.errors
    assert kind == 'label maps'
    assert 'has 12 x 16 pixels, but its image' in str(error)
    assert f'has 16 x 12. The image has EXIF orientation {tag}, which the loader' in str(error)


@pytest.mark.parametrize('tag', [2, 3, 4])
def test_an_image_that_is_mirrored_fits_by_size_only(tmp_path, tag):
    survey = survey_of(tmp_path, (with_orientation(tag), IDS), (with_orientation(1), IDS))
    assert not survey.errors
    assert len(survey.remarks['orientation']) == 1
    expected = '1 of 2 images have an EXIF orientation, which the loader applies to the image and'
    assert expected in survey.warnings()[0]


@pytest.mark.parametrize(('ignore_index', 'present'), [(255, [1, 1, 1]), (1, [1, 0, 1])])
def test_the_ignored_id_is_no_class(tmp_path, ignore_index, present):
    dataset = build_dataset(write_pairs(tmp_path, (IMAGE, IDS)))
    assert SampleChecks(dataset, LabelIds(3, ignore_index))[0].present.tolist() == present


@pytest.mark.parametrize('dtype', [np.uint8, np.int32])
def test_labels_of_embedded_samples(dtype):
    class Embedded:
        pipeline = DATASETS.get('EmbeddedDataset').pipeline

        def get_data_info(self, index):
            labels = np.array([[0, 2], [255, 2]], dtype)
            return dict(img_path='a.png', seg_map_path='b.png', gt_seg_map=labels)

    findings = SampleChecks(Embedded(), LabelIds(3))[0]
    assert (findings.errors, findings.remarks) == ([], [])
    assert findings.present.tolist() == [True, False, True]


def test_damaged_embeddings():
    class Embedded:
        pipeline = DATASETS.get('EmbeddedDataset').pipeline

        def get_data_info(self, index):
            raise CacheError('shard-3 is damaged')

    ((kind, error),) = SampleChecks(Embedded(), LabelIds(3))[7].errors
    assert (kind, str(error)) == ('embeddings', 'shard-3 is damaged')


def test_classes_that_are_never_seen(tmp_path):
    some = encode(np.where(LABELS == 1, 255, LABELS).astype(np.uint8), 'PNG')
    survey = survey_of(tmp_path, (IMAGE, some), (IMAGE, IGNORED), (IMAGE, some))
    assert survey.images_of_class.tolist() == [2, 0, 2]
    assert survey.missing_classes() == ['dog']
    first = str(tmp_path / 'img' / '01.png')
    assert survey.warnings() == [
        f'1 of 3 images have only ignored pixels; the first is {first!r}',
        "1 of 3 classes are in none of 3 label maps: ['dog']",
    ]
    survey.check_whole()


def test_all_is_ignored(tmp_path):
    """As by reduce_zero_label=True where all that is labelled has the id 0."""
    zeros = encode(np.zeros_like(LABELS), 'PNG')
    survey_of(tmp_path, (IMAGE, zeros)).check_whole()
    survey = survey_of(tmp_path, (IMAGE, zeros), (IMAGE, IGNORED), reduce_zero_label=True)
    assert not survey.errors
    message = r'all 2 label maps have only ignored pixels, .*00\.png.*3 classes.*reduce_zero_label'
    with pytest.raises(DatasetError, match=message):
        survey.check_whole()


def test_images_without_label_maps(tmp_path):
    survey = survey_of(tmp_path, (IMAGE, IDS), (IMAGE, IDS), pipeline=LOAD[:1])
    assert survey.warnings() == [
        '2 of 2 images were read without a label map: the pipeline has no LoadAnnotations; the '
        f'first is {str(tmp_path / "img" / "00.png")!r}'
    ]
    assert survey.missing_classes() == []
    survey.check_whole()


def test_only_so_many_are_listed():
    survey = Survey(CLASSES)
    for index in range(LISTED + 20):
        errors = [('images', DatasetError(f'{index} is bad'))]
        survey.add(SampleFindings(f'{index}.png', errors, ['orientation'], None))
    report = survey.to_dict()
    errors, remarks = report['errors']['images'], report['remarks']['orientation']
    assert errors['count'] == remarks['count'] == LISTED + 20
    assert errors['listed'] == [f'{index} is bad' for index in range(LISTED)]
    assert remarks['listed'][-1] == f'{LISTED - 1}.png'


def test_plain_values(tmp_path):
    survey = survey_of(tmp_path, (IMAGE, with_id(9)), (IMAGE, IGNORED))
    report = json.loads(json.dumps(survey.to_dict()))
    assert report['read'] == 2
    assert report['errors']['label maps']['count'] == 1
    assert 'found [9] in 2 pixels' in report['errors']['label maps']['listed'][0]
    assert report['remarks']['ignored']['listed'] == [str(tmp_path / 'img' / '01.png')]
    assert report['images_of_class'] == dict.fromkeys(CLASSES, 0)
    assert report['missing_classes'] == list(CLASSES)
    assert report['warnings'] == survey.warnings()


def test_the_quick_form_ends_with_the_first_error(tmp_path):
    dataset = build_dataset(write_pairs(tmp_path, (IMAGE, IDS), (IMAGE, with_id(9)), (b'', IDS)))
    survey = Survey(CLASSES)
    with pytest.raises(DatasetError, match=r"ann/01\.png'.*found \[9\]"):
        survey_samples(survey, dataset, LabelIds(3), 10)
    assert survey.read == 1


def test_images_are_decoded_once(tmp_path, monkeypatch):
    """Which is what takes the time."""
    dataset = build_dataset(write_pairs(tmp_path, (encode(smooth_colours(), 'JPEG'), IDS)))
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: decoded.append(args) or decode(*args))
    monkeypatch.setattr('PIL.JpegImagePlugin.JpegImageFile.load', None)
    survey_samples(Survey(CLASSES), dataset, LabelIds(3), 10)
    assert len(decoded) == 1
