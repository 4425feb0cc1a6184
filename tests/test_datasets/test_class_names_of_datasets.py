"""Readable names, and things and stuff, against mmseg's own classes."""

import pytest
from mmseg.registry import DATASETS

from mmseg_ssprompt.class_names import check_class_names
from mmseg_ssprompt.models.prompts import SemanticPromptLearner
from mmseg_ssprompt.readable_names import (
    readable_class_names,
    stuff_classes,
    thing_classes,
)

COUNTS = dict(  # things, stuff
    ACDCDataset=(8, 11),
    ADE20KDataset=(100, 50),
    BDD100KDataset=(8, 11),
    CityscapesDataset=(8, 11),
    MapillaryDataset_v1=(37, 29),  # 28 and "Unlabeled"
    PascalContextDataset=(20, 40),
    PascalContextDataset59=(20, 39),
)

ENCODER = dict(
    type='CLIPClassNameEncoder',
    variant='tiny',
    checkpoint='mmseg_ssprompt://clip-tiny_shapes.pth',
)


def own_names(dataset: str) -> tuple:
    return DATASETS.get(dataset).METAINFO['classes']


@pytest.mark.parametrize('dataset', COUNTS)
def test_readable_names(dataset):
    names = readable_class_names(dataset)
    assert len(names) == len(own_names(dataset))
    assert check_class_names(names) == list(names)  # none is blank, and none is there twice
    for name in names:
        assert name.replace(' ', '').isalpha()
        assert name == name.lower()


@pytest.mark.parametrize('dataset', ['CityscapesDataset', 'BDD100KDataset', 'ACDCDataset'])
def test_cityscapes_own_names_are_readable(dataset):
    assert readable_class_names(dataset) == own_names('CityscapesDataset')


def test_ade20k_keeps_its_names():
    assert list(readable_class_names('ADE20KDataset')) == check_class_names(
        own_names('ADE20KDataset')
    )


@pytest.mark.parametrize(
    ('dataset', 'own', 'readable'),
    [
        ('PascalContextDataset', 'tvmonitor', 'tv monitor'),
        ('PascalContextDataset59', 'pottedplant', 'potted plant'),
        ('MapillaryDataset_v1', 'Lane Marking - General', 'lane marking'),
        ('MapillaryDataset_v1', 'Traffic Sign (Front)', 'traffic sign'),
        ('MapillaryDataset_v1', 'CCTV Camera', 'cctv camera'),
        ('ADE20KDataset', 'bed ', 'bed'),
        ('mmseg.PascalContextDataset', 'tvmonitor', 'tv monitor'),
    ],
)
def test_names_in_the_data_set_s_order(dataset, own, readable):
    assert readable_class_names(dataset)[own_names(dataset).index(own)] == readable


def test_some_classes():
    names = readable_class_names('PascalContextDataset59', ['wood', 'tvmonitor'])
    assert names == ('wood', 'tv monitor')


@pytest.mark.parametrize('classes', [['Car', 'car'], 'Car'])
def test_classes_that_the_data_set_has_not(classes):
    with pytest.raises(ValueError, match=r"'MapillaryDataset_v1' has no classes \['.*Bird"):
        readable_class_names('MapillaryDataset_v1', classes)


def test_unknown_data_sets_keep_their_names():
    assert readable_class_names('LoveDADataset') == own_names('LoveDADataset')
    assert readable_class_names('ShapesWorldDataset') == own_names('ShapesWorldDataset')


@pytest.mark.parametrize('dataset', COUNTS)
def test_things_and_stuff_share_the_classes_out(dataset):
    things, stuff = thing_classes(dataset), stuff_classes(dataset)
    assert (len(things), len(stuff)) == COUNTS[dataset]
    assert sorted(things + stuff) == sorted(own_names(dataset))
    assert list(things) == sorted(things, key=own_names(dataset).index)


@pytest.mark.parametrize(
    ('dataset', 'thing', 'stuff'),
    [
        ('CityscapesDataset', 'rider', 'traffic light'),
        ('ADE20KDataset', 'bed ', 'crt screen'),
        ('MapillaryDataset_v1', 'Crosswalk - Plain', 'On Rails'),
        ('PascalContextDataset', 'table', 'background'),
        ('PascalContextDataset59', 'tvmonitor', 'bench'),
    ],
)
def test_which_is_which(dataset, thing, stuff):
    assert thing in thing_classes(dataset)
    assert stuff in stuff_classes(dataset)


def test_things_of_unknown_data_sets():
    with pytest.raises(ValueError, match=r"data set 'LoveDADataset' are things is known only"):
        thing_classes('LoveDADataset')


@pytest.mark.parametrize('function', [readable_class_names, thing_classes, stuff_classes])
def test_data_set_that_is_not_registered(function):
    with pytest.raises(ValueError, match="data set 'Cityscape', which is not registered"):
        function('Cityscape')


@pytest.mark.parametrize('dataset', COUNTS)
def test_prompts_are_made_of_readable_names(dataset):
    learner = SemanticPromptLearner(ENCODER, dataset=dataset)
    assert learner.class_names == readable_class_names(dataset)


def test_prompts_for_some_classes():
    classes = own_names('MapillaryDataset_v1')[:-1]
    learner = SemanticPromptLearner(ENCODER, dataset='MapillaryDataset_v1', classes=classes)
    assert learner.class_names == readable_class_names('MapillaryDataset_v1')[:-1]
    assert learner().shape[0] == 65


def test_prompts_for_some_classes_of_no_data_set():
    with pytest.raises(ValueError, match=r"\(classes=\['car'\] are some of a dataset\)"):
        SemanticPromptLearner(ENCODER, classes=['car'])


@pytest.mark.parametrize(
    ('dataset', 'own', 'readable'),
    [
        ('COCOPanopticDataset', 'sky-other-merged', 'sky'),
        ('COCOPanopticDataset', 'wall-brick', 'wall-brick'),
        ('COCOInstanceDataset', 'dining table', 'dining table'),
        ('ADE20KInstanceDataset', 'bed ', 'bed'),
        ('MapillaryPanopticDataset_v1', 'On Rails', 'rail vehicle'),
        ('MapillaryPanopticDataset_v2', 'Road Shoulder', 'road shoulder'),
        ('CityscapesPanopticDataset', 'traffic light', 'traffic light'),
    ],
)
def test_readable_names_of_data_sets_with_objects(dataset, own, readable):
    names = readable_class_names(dataset)
    classes = DATASETS.get(dataset).METAINFO['classes']
    assert names[classes.index(own)] == readable
    assert len(names) == len(classes)
