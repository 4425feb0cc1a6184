"""Bad annotations of objects are named, with file and id, before the first training step."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image
from torch import nn

import segment_trees as trees
from mmseg_ssprompt.datasets import DatasetError, UnreadableFileError
from mmseg_ssprompt.datasets.packed_checks import check_packed
from mmseg_ssprompt.datasets.sample_checks import SampleChecks
from mmseg_ssprompt.datasets.survey import Survey
from mmseg_ssprompt.hooks import DatasetCheckHook
from mmseg_ssprompt.label_ids import LabelIds

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs'),
]
PANOPTIC = dict(
    type='COCOPanopticDataset',
    ann_file='annotations/panoptic_train2017.json',
    data_prefix=dict(img_path='train2017', seg_map_path='annotations/panoptic_train2017'),
)
INSTANCES = dict(
    type='COCOInstanceDataset',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img_path='train2017'),
)
CITYSCAPES = dict(
    type='CityscapesPanopticDataset',
    data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
)
BITMASKS = dict(
    type='BDD100KInstanceDataset',
    data_prefix=dict(img_path='images/10k/train', seg_map_path='labels/ins_seg/bitmasks/train'),
)
MAP = 'annotations/panoptic_train2017/000000000009.png'
CITY_MAP = 'gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png'
BITMASK = 'labels/ins_seg/bitmasks/train/0004a4c0-d4dff0ad.png'


def build(root: Path, config: Dict[str, Any], **options: Any) -> Any:
    settings = dict(config, data_root=str(root), pipeline=PIPELINE, serialize_data=False)
    return DATASETS.build(dict(settings, **options))


def check(root: Path, config: Dict[str, Any]) -> None:
    """All that comes before the first step: the data set is built, and its samples are read."""
    dataset = build(root, config)
    runner = SimpleNamespace(
        cfg=Config(),
        model=Model(dataset.metainfo['classes']),
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=None,
        logger=SimpleNamespace(info=print),
    )
    DatasetCheckHook().before_train(runner)


class Model(nn.Module):
    """All that the hook asks of a model."""

    def __init__(self, class_names: Any) -> None:
        super().__init__()
        self.decode_head = nn.Identity()
        self.decode_head.num_classes = len(class_names)
        self.decode_head.ignore_index = 255
        self.decode_head.class_names = class_names


@pytest.fixture
def root(tmp_path) -> Path:
    """Trees of all formats that the bad files are of."""
    trees.make_coco_panoptic(tmp_path)
    trees.make_coco_instances(tmp_path)
    trees.make_cityscapes(tmp_path)
    trees.make_bdd100k_instances(tmp_path)
    return tmp_path


def edit(root: Path, config: Dict[str, Any], change: Callable[[Dict[str, Any]], None]) -> None:
    file = root / config['ann_file']
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def paint(root: Path, name: str, change: Callable[[np.ndarray], None]) -> None:
    content = np.array(Image.open(root / name))
    change(content)
    Image.fromarray(content).save(root / name)


@pytest.mark.parametrize('config', [PANOPTIC, INSTANCES, CITYSCAPES, BITMASKS])
def test_good_files(root, config):
    check(root, config)


def infos_of(content: Dict[str, Any]) -> Any:
    return content['annotations'][0]['segments_info']


def repeat_id(content: Dict[str, Any]) -> None:
    infos_of(content)[1]['id'] = infos_of(content)[0]['id']


def rename_images(content: Dict[str, Any]) -> None:
    for image in content['images']:
        image['file_name'] = f'other_{image["file_name"]}'


def rename_maps(content: Dict[str, Any]) -> None:
    for annotation in content['annotations']:
        annotation['file_name'] = f'other_{annotation["file_name"]}'


PANOPTIC_FILES = {
    'a segment without pixels': (
        lambda c: infos_of(c).append(dict(id=77, category_id=3, iscrowd=0, area=4)),
        [MAP, 'expected pixels of each segment', 'none of the ids [77]'],
    ),
    'an id without a segment': (
        lambda c: infos_of(c).pop(2),
        [MAP, 'expected the ids that', 'found also [210003] (the first in 64 pixels)'],
    ),
    'a category that the classes lack': (
        lambda c: infos_of(c)[0].update(category_id=300),
        ["segment 70001 of image '000000000009.jpg' has category_id 300, which the file does not"],
    ),
    'a name that the classes lack': (
        lambda c: c['categories'][0].update(name='dragon'),
        ["segment 70001 of image '000000000009.jpg'", "category_id 3 ('dragon')", 'void_classes'],
    ),
    'an id that two segments have': (
        repeat_id,
        ["ids in segments_info of image '000000000009.jpg': expected them all different", '70001'],
    ),
    'an id that means void': (
        lambda c: infos_of(c)[0].update(id=0),
        ['expected ids from 1 to 16777215 (0 is void), found 0'],
    ),
    'an id that no colour has': (
        lambda c: infos_of(c)[0].update(id=256**3),
        ['expected ids from 1 to 16777215', 'found 16777216'],
    ),
    'an id that is a text': (
        lambda c: infos_of(c)[0].update(id='70001'),
        ["segments_info of image '000000000009.jpg' '70001', id: expected a whole number"],
    ),
    'other images': (
        rename_images,
        ['is for other images', "2 missing: 'other_000000000009.jpg'", 'the same split'],
    ),
    'other panoptic maps': (
        rename_maps,
        ['is for other panoptic maps', "'other_000000000009.png'"],
    ),
    'images of another size': (
        lambda c: c['images'][0].update(height=25),
        [MAP, 'expected 24 x 32', "000000000009.jpg' has, found 25 x 32"],
    ),
    'an annotation of no image': (
        lambda c: c['annotations'][0].update(image_id=4),
        ['annotation 4: expected the id of one of the 2 images, found image_id 4'],
    ),
    'an image without an annotation': (
        lambda c: c['annotations'].pop(),
        ["expected one annotation of image '000000000025.jpg', found 0"],
    ),
    'an image twice': (
        lambda c: c['images'].append(c['images'][0]),
        ['ids of images: expected them all different, found 9 2 times'],
    ),
    'a thing that is stuff': (
        lambda c: c['categories'][0].update(isthing=0),
        [
            'isthing to be 1 of the things of COCOPanopticDataset alone',
            "found it otherwise of ['person",
        ],
    ),
    'a crowd of two': (
        lambda c: infos_of(c)[0].update(iscrowd=2),
        ['iscrowd: expected 0 or 1, found 2'],
    ),
    'no images': (lambda c: c.pop('images'), ['images: expected a list, found nothing']),
    'no segments': (
        lambda c: c['annotations'][0].pop('segments_info'),
        ['annotations 9, segments_info: expected a list, found nothing'],
    ),
}


@pytest.mark.parametrize('name', PANOPTIC_FILES)
def test_panoptic_files(root, name):
    change, texts = PANOPTIC_FILES[name]
    edit(root, PANOPTIC, change)
    with pytest.raises(DatasetError) as caught:
        check(root, PANOPTIC)
    for text in [*texts, 'panoptic_train2017']:
        assert text in str(caught.value)


INSTANCE_FILES = {
    'polygons outside': (
        lambda c: c['annotations'][1].update(segmentation=[[2, 2, 90, 2, 90, 9]]),
        ["annotation 901 of image '000000000009.jpg', segmentation: polygon 0", 'x from 2 to 90'],
    ),
    'run lengths of another size': (
        lambda c: c['annotations'][3]['segmentation'].update(size=[32, 24]),
        ["annotation 903 of image '000000000009.jpg'", 'of the size [24, 32]', 'found [32, 24]'],
    ),
    'run lengths that do not add up': (
        lambda c: c['annotations'][3]['segmentation']['counts'].append(5),
        ['annotation 903', 'add up to 24 x 32 = 768, found 773'],
    ),
    'an object without a mask': (
        lambda c: c['annotations'][0].update(segmentation=[]),
        ['annotation 900', 'found no polygon: the object has no pixels'],
    ),
    'a category that the classes lack': (
        lambda c: c['annotations'][0].update(category_id=99),
        ["segment 900 of image '000000000009.jpg' has category_id 99"],
    ),
    'other images': (rename_images, ['is for other images', 'other_000000000009.jpg']),
    'images of another size': (
        lambda c: c['images'][0].update(height=30) or c['annotations'].pop(3),
        ['expected 24 x 32 (height x width)', 'found 30 x 32'],
    ),
    'an object twice': (
        lambda c: c['annotations'].append(c['annotations'][0]),
        ['ids of annotations: expected them all different, found 900 2 times'],
    ),
    'an object of no image': (
        lambda c: c['annotations'][0].update(image_id=1234),
        ['annotation 900: expected the id of one of the 2 images, found image_id 1234'],
    ),
}


@pytest.mark.parametrize('name', INSTANCE_FILES)
def test_files_of_instances(root, name):
    change, texts = INSTANCE_FILES[name]
    edit(root, INSTANCES, change)
    with pytest.raises(DatasetError) as caught:
        check(root, INSTANCES)
    for text in [*texts, 'instances_train2017.json']:
        assert text in str(caught.value)


PICTURES = {
    'a label that Cityscapes lacks': (
        CITYSCAPES,
        CITY_MAP,
        lambda p: p.__setitem__((slice(3, 5), slice(4)), 40002),
        ['expected labels from 0 to 33, found 40 (id 40002, 8 pixels)'],
    ),
    'an object with two classes': (
        BITMASKS,
        BITMASK,
        lambda p: p.__setitem__((5, 5), [2, 12, 1, 45]),
        ['the object 301 with the labels 2 and 3', 'the ids of two objects overlap'],
    ),
    'a class that BDD100K lacks': (
        BITMASKS,
        BITMASK,
        lambda p: p.__setitem__((5, 25), [9, 12, 9, 9]),
        ['expected labels from 1 to 8, found 9 (id 2313, 1 pixels)'],
    ),
    'a colour that the file lacks': (
        PANOPTIC,
        MAP,
        lambda p: p.__setitem__((5, 25), [1, 2, 3]),
        ['found also [197121] (the first in 1 pixels)', 'panoptic_train2017.json'],
    ),
}


@pytest.mark.parametrize('name', PICTURES)
def test_pictures(root, name):
    config, file, change, texts = PICTURES[name]
    paint(root, file, change)
    with pytest.raises(DatasetError) as caught:
        check(root, config)
    for text in [*texts, file]:
        assert text in str(caught.value)


def test_instances_in_place_of_a_panoptic_file(root):
    with pytest.raises(DatasetError, match='because COCOPanopticDataset has stuff classes, found'):
        build(root, dict(PANOPTIC, ann_file=INSTANCES['ann_file']))


def test_objects_of_a_panoptic_file(root):
    """Its regions are the rest."""
    dataset = build(root, dict(PANOPTIC, type='COCOInstanceDataset'))
    infos = dataset[0]['data_samples'].gt_segments.segments_info
    assert sorted(info['category_id'] for info in infos) == [-1, 0, 0, 0, 33]


@pytest.mark.parametrize(('config', 'name'), [(CITYSCAPES, CITY_MAP), (PANOPTIC, MAP)])
def test_pictures_of_another_size(root, config, name):
    Image.open(root / name).crop((0, 0, 30, 24)).save(root / name)
    with pytest.raises(DatasetError, match='expected 24 x 32 .* found 24 x 30') as caught:
        check(root, config)
    assert name in str(caught.value)


@pytest.mark.parametrize(('config', 'name'), [(BITMASKS, BITMASK), (PANOPTIC, MAP)])
def test_pictures_with_other_channels(root, config, name):
    Image.open(root / name).convert('L').save(root / name)
    with pytest.raises(DatasetError, match='channels, in which R .* found uint8 of the shape'):
        check(root, config)


def test_label_maps_in_place_of_instance_ids(root):
    Image.open(root / BITMASK).save(root / CITY_MAP)
    with pytest.raises(DatasetError, match='expected 1 channel, in which label . 1000'):
        check(root, CITYSCAPES)


@pytest.mark.parametrize('damage', ['missing', 'cut', 'empty'])
@pytest.mark.parametrize(('config', 'name'), [(CITYSCAPES, CITY_MAP), (BITMASKS, BITMASK)])
def test_pictures_that_cannot_be_read(root, config, name, damage):
    file = root / name
    content = file.read_bytes()
    file.unlink()
    if damage != 'missing':
        file.write_bytes(content[:-30] if damage == 'cut' else b'')
    with pytest.raises(UnreadableFileError) as caught:
        check(root, config)
    assert name in str(caught.value)
    assert 'segment map' in str(caught.value)


def test_no_file(root):
    (root / PANOPTIC['ann_file']).unlink()
    with pytest.raises(DatasetError, match='no such file. Set ann_file'):
        check(root, PANOPTIC)


@pytest.mark.parametrize('text', ['{', '[]', '\udcff'])
def test_a_file_that_is_none(root, text):
    (root / PANOPTIC['ann_file']).write_bytes(text.encode('utf-8', 'surrogateescape'))
    with pytest.raises(DatasetError, match='expected a (JSON file|dict)'):
        check(root, PANOPTIC)


def test_a_data_set_without_its_file(root):
    with pytest.raises(DatasetError, match='expected ann_file, a JSON file in a format of COCO'):
        build(root, dict(PANOPTIC, ann_file=''))


def test_no_objects_at_all(root):
    edit(root, INSTANCES, lambda content: content['annotations'].clear())
    with pytest.raises(DatasetError):
        check(root, INSTANCES)
    for name in (CITY_MAP, CITY_MAP.replace('aachen_000000', 'aachen_000001')):
        paint(root, name, lambda picture: np.copyto(picture, 4))
    with pytest.raises(DatasetError, match='all 2 label maps have only ignored|none of 2 images'):
        check(root, CITYSCAPES)


def test_no_object_of_instances(root):
    for name in (BITMASK, BITMASK.replace('0004a4c0-d4dff0ad', '00054602-3bf57337')):
        paint(root, name, lambda picture: np.copyto(picture, 0))
    with pytest.raises(DatasetError, match='none of 2 images has an object of the 8 classes'):
        check(root, BITMASKS)


def test_hidden_objects_are_said(root, log):
    """Official files have some; a larger object may lie below others as a whole."""

    def hide(content: Dict[str, Any]) -> None:
        first = content['annotations'][0]
        content['annotations'].insert(0, dict(first, id=4))

    edit(root, INSTANCES, hide)
    check(root, INSTANCES)
    assert '1 of 2 images have objects that show no pixel' in log.text


def test_hidden_segments_of_ade20k(tmp_path):
    """Its converter lists regions that objects hide: these count as missed, where asked for."""
    trees.make_ade20k_panoptic(tmp_path)
    config = dict(
        type='ADE20KPanopticDataset',
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img_path='images/training', seg_map_path='ade20k_panoptic_train'),
    )
    hidden = dict(id=77, category_id=6, iscrowd=0, area=9)
    edit(tmp_path, config, lambda content: infos_of(content).append(hidden))
    dataset = build(tmp_path, config)
    (findings,) = [SampleChecks(dataset, LabelIds(150))[0]]
    assert (findings.errors, findings.remarks) == ([], ['hidden'])
    for min_pixels, count in ((0, 6), (1, 5)):
        pack = dict(type='PackSegmentInputs', min_pixels=min_pixels)
        dataset = build(tmp_path, config, pipeline=[*PIPELINE[:2], pack])
        infos = dataset[0]['data_samples'].gt_segments.segments_info
        assert len(infos) == count
        assert ((hidden['id'], 9) in [(each['id'], each['area']) for each in infos]) == (count == 6)


def test_a_survey_counts_what_segments_show(root):
    dataset = build(root, CITYSCAPES)
    checks = SampleChecks(dataset, LabelIds(19))
    survey = Survey(dataset.metainfo['classes'])
    for index in range(len(checks)):
        survey.add(checks[index])
    seen = [n for n, count in zip(survey.classes, survey.images_of_class) if count]
    assert seen == ['road', 'sky', 'person', 'car']
    assert set(survey.images_of_class) == {0, 2}
    assert (survey.pixels, survey.ignored) == (2 * 24 * 32, 2 * 2 * 32)
    assert survey.most_segments[0] == 5
    assert not survey.errors


def test_images_cannot_be_mixed(root):
    """Segments of several images have the same numbers."""
    settings = dict(CITYSCAPES, data_root=str(root), pipeline=PIPELINE[:2])
    mosaic = dict(type='RandomMosaic', prob=1.0, img_scale=(24, 32))
    config = dict(type='MultiImageMixDataset', dataset=settings, pipeline=[mosaic, PIPELINE[2]])
    dataset = DATASETS.build(config)
    with pytest.raises(DatasetError, match='RandomMosaic makes one image of several'):
        check_packed(dataset, LabelIds(19), 'training', training=True)


def test_the_wrong_end_of_a_pipeline(root):
    """mmseg's own packing leaves segments out."""
    pipeline = [*PIPELINE[:2], dict(type='PackSegInputs')]
    dataset = build(root, CITYSCAPES, pipeline=pipeline)
    with pytest.raises(DatasetError, match=r"expected a label map .* dict\(type='PackSegmentInpu"):
        check_packed(dataset, LabelIds(19), 'training', training=True)


@pytest.mark.parametrize('training', [True, False])
def test_loading_on_the_wrong_side_of_a_resize(root, training):
    resize = dict(type='ResizeWithLabels', scale=(64, 48))
    steps = [PIPELINE[1], resize] if not training else [resize, PIPELINE[1]]
    dataset = build(root, CITYSCAPES, pipeline=[PIPELINE[0], *steps, PIPELINE[2]])
    place = 'before' if training else 'after'
    with pytest.raises(DatasetError, match=f'Put LoadSegments {place} what changes sizes'):
        check_packed(dataset, LabelIds(19), 'a', training=training)
