"""AP of objects is what COCO's own code finds, on one and on two processes; files are read back."""

import contextlib
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as official_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmseg_ssprompt.evaluation import InstanceMetric, instance_metric, run_lengths
from mmseg_ssprompt.evaluation.run_lengths import box_of_mask, pack_mask
from segment_scenes import (
    CATEGORY_IDS,
    CLASSES,
    META,
    THINGS,
    make_scene,
    run_in_two_processes,
    run_metric,
)

CONFIG = dict(type='InstanceMetric')
SCENES = [make_scene(seed) for seed in range(7)]
#: Figures in the order of COCOeval.stats; AR for 100 objects is the ninth.
STATS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@pytest.fixture(params=['faster_coco_eval', 'pycocotools'])
def package(request, monkeypatch):
    """Each of the packages that may count."""
    only = [each for each in instance_metric._PACKAGES if each[0] == request.param]
    monkeypatch.setattr(instance_metric, '_PACKAGES', only)


def true_file(scenes, file: Path) -> Path:
    """The objects of scenes as pycocotools writes them."""
    annotations = []
    for number, scene in enumerate(scenes):
        for index, segment in enumerate(scene.segments):
            mask = np.asfortranarray((scene.numbers == index).astype(np.uint8))
            if segment['category_id'] < len(THINGS):
                runs = official_masks.encode(mask)
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=100 + number,
                        category_id=CATEGORY_IDS[segment['category_id']],
                        iscrowd=segment['iscrowd'],
                        area=float(official_masks.area(runs)),
                        bbox=official_masks.toBbox(runs).tolist(),
                        segmentation=dict(runs, counts=runs['counts'].decode()),
                    )
                )
    height, width = scenes[0].numbers.shape
    images = [dict(id=100 + n, height=height, width=width) for n in range(len(scenes))]
    categories = [dict(id=i, name=name) for i, name in zip(CATEGORY_IDS, CLASSES)][: len(THINGS)]
    content = dict(images=images, annotations=annotations, categories=categories)
    file.write_text(json.dumps(content))
    return file


class Numbered(type(SCENES[0])):
    """A scene whose image has a number in the file of objects."""

    def sample(self, **metainfo):
        sample = super().sample(**metainfo)
        sample.set_metainfo(dict(img_id=100 + int(self.name[len('scene') :])))
        return sample


NUMBERED = [Numbered(*scene) for scene in SCENES]


def official_stats(truth: Path, found: Path, kind: str) -> np.ndarray:
    """What pycocotools says of two files."""
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO(str(truth))
        run = COCOeval(objects, objects.loadRes(str(found)), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return 100 * np.where(run.stats < 0, np.nan, run.stats)


@pytest.mark.usefixtures('package')
def test_the_official_code_reads_the_files_with_the_same_figures(tmp_path):
    metrics = run_metric(dict(CONFIG, output_dir=str(tmp_path)), NUMBERED)
    truth = true_file(SCENES, tmp_path / 'truth.json')
    for kind in ('segm', 'bbox'):
        stats = official_stats(truth, tmp_path / f'instances_{kind}.json', kind)
        found = [metrics[f'{kind}_{name}'] for name in STATS]
        np.testing.assert_allclose(found, stats[:6], rtol=1e-12)
        np.testing.assert_allclose(metrics[f'{kind}_AR@100'], stats[8], rtol=1e-12)
        assert 5 < metrics[f'{kind}_mAP'] < 95
        per_class = [metrics[f'{kind}_AP.{name}'] for name in THINGS]
        assert np.nanmean(per_class) == pytest.approx(metrics[f'{kind}_mAP'])


def test_a_file_of_objects_gives_the_figures_of_their_maps(tmp_path):
    truth = true_file(SCENES, tmp_path / 'truth.json')
    metrics = run_metric(dict(CONFIG, ann_file=str(truth)), NUMBERED)
    np.testing.assert_equal(metrics, run_metric(CONFIG, SCENES))


def test_objects_that_lie_under_others_count_with_a_file(tmp_path):
    """The map shows half of the object, an IoU of 0.5, the file all of it."""
    numbers = np.zeros((40, 56), int)
    numbers[:20] = 1
    segments = [dict(id=n + 1, category_id=n, iscrowd=0, area=40 * 56 // (n + 1)) for n in range(2)]
    found = [dict(id=1, category_id=0, isthing=True, area=40 * 56, score=0.5)]
    scene = Numbered('scene0', numbers, segments, np.ones((40, 56), int), found)
    file = true_file([scene], tmp_path / 'truth.json')
    content = json.loads(file.read_text())
    whole = official_masks.encode(np.ones((40, 56), np.uint8, order='F'))
    content['annotations'][0].update(
        segmentation=dict(whole, counts=whole['counts'].decode()), bbox=[0, 0, 56, 40]
    )
    file.write_text(json.dumps(content))
    assert run_metric(CONFIG, [scene])['segm_AP.person'] == pytest.approx(10.0)
    assert run_metric(dict(CONFIG, ann_file=str(file)), [scene])['segm_AP.person'] == 100.0


def test_images_that_were_not_tested_do_not_count(tmp_path):
    truth = true_file(SCENES, tmp_path / 'truth.json')
    metrics = run_metric(dict(CONFIG, ann_file=str(truth)), NUMBERED[:3])
    np.testing.assert_equal(metrics, run_metric(CONFIG, SCENES[:3]))


def test_two_processes_return_and_write_the_same(tmp_path):
    expected = run_metric(dict(CONFIG, output_dir=str(tmp_path / 'one')), SCENES)
    config = dict(CONFIG, output_dir=str(tmp_path / 'two'))
    results = run_in_two_processes(config, SCENES, tmp_path)
    np.testing.assert_equal(results, [expected, expected])
    for kind in ('segm', 'bbox'):
        first, second = (tmp_path / n / f'instances_{kind}.json' for n in ('one', 'two'))
        assert first.read_bytes() == second.read_bytes()


def test_files_have_the_ids_of_the_data_set(tmp_path):
    run_metric(dict(CONFIG, output_dir=str(tmp_path)), NUMBERED)
    objects = json.loads((tmp_path / 'instances_segm.json').read_text())
    assert {each['image_id'] for each in objects} == set(range(100, 107))
    assert {each['category_id'] for each in objects} == set(CATEGORY_IDS[:3])
    assert set(objects[0]) == {'image_id', 'category_id', 'score', 'segmentation'}


@pytest.mark.usefixtures('package')
def test_nothing_is_found():
    scenes = [scene._replace(found_segments=[]) for scene in SCENES]
    metrics = run_metric(CONFIG, scenes)
    assert metrics['segm_mAP'] == metrics['bbox_mAP'] == 0.0
    assert math.isnan(metrics['segm_mAP_l'])  # no object is as large


@pytest.mark.usefixtures('package')
def test_nothing_is_true():
    scenes = [s._replace(segments=[], numbers=np.full_like(s.numbers, -1)) for s in SCENES]
    metrics = run_metric(CONFIG, scenes)
    assert all(math.isnan(value) for value in metrics.values())


def test_classes_in_another_order_than_their_ids():
    """Ids in the file fall where numbers of classes rise."""
    first = run_metric(CONFIG, SCENES)
    turned = dict(META, thing_classes=THINGS[::-1])
    second = run_metric(CONFIG, SCENES, turned)
    assert second == pytest.approx(first, rel=1e-12, nan_ok=True)
    assert len({first[f'segm_AP.{name}'] for name in THINGS}) == 3


def test_masks_alone():
    metrics = run_metric(dict(CONFIG, metric='segm'), SCENES)
    assert 'segm_mAP' in metrics and not [key for key in metrics if key.startswith('bbox')]


def test_tables(log):
    run_metric(CONFIG, SCENES)
    for word in ('per class results (segm)', 'Summary (bbox)', 'bicycle', 'AP_50'):
        assert word in log.text


@pytest.mark.parametrize('seed', range(40))
def test_run_lengths_are_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    mask = rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.98, 1])
    expected = official_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert pack_mask(mask) == dict(expected, counts=expected['counts'].decode())
    if mask.any():
        assert list(box_of_mask(mask)) == official_masks.toBbox(expected).tolist()


# Errors.


def test_neither_package_is_there(monkeypatch):
    for name in ('faster_coco_eval', 'pycocotools'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match='pip install "faster-coco-eval>'):
        InstanceMetric()


def test_files_are_written_without_a_package(monkeypatch, tmp_path):
    for name in ('faster_coco_eval', 'pycocotools'):
        monkeypatch.setitem(sys.modules, name, None)
    config = dict(CONFIG, format_only=True, output_dir=str(tmp_path))
    assert run_metric(config, SCENES) == {}
    assert json.loads((tmp_path / 'instances_bbox.json').read_text())


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="metric is 'mask', expected 'segm'"):
        InstanceMetric(metric='mask')


def test_no_such_file():
    with pytest.raises(ValueError, match=r"ann_file is 'none.json', which is no file"):
        InstanceMetric(ann_file='none.json')


def test_a_file_for_other_images(tmp_path):
    truth = true_file(SCENES, tmp_path / 'truth.json')
    with pytest.raises(ValueError, match=r'found 7 that it lacks.*images/scene0.png'):
        run_metric(dict(CONFIG, ann_file=str(truth)), SCENES)


def test_a_file_of_other_classes(tmp_path):
    truth = true_file(SCENES, tmp_path / 'truth.json')
    content = json.loads(truth.read_text())
    content['categories'] = [dict(id=5, name='boat')]
    truth.write_text(json.dumps(content))
    said = r"such as \['person', 'car', 'bicycle'\], found \['boat'\]"
    with pytest.raises(ValueError, match=said):
        run_metric(dict(CONFIG, ann_file=str(truth)), NUMBERED)


def test_a_file_that_lacks_a_class(tmp_path, log):
    truth = true_file(SCENES, tmp_path / 'truth.json')
    content = json.loads(truth.read_text())
    content['categories'].pop()
    bicycle = CATEGORY_IDS[2]
    kept = [each for each in content['annotations'] if each['category_id'] != bicycle]
    truth.write_text(json.dumps(dict(content, annotations=kept)))
    expected = run_metric(CONFIG, SCENES)
    metrics = run_metric(dict(CONFIG, ann_file=str(truth)), NUMBERED)
    assert math.isnan(metrics['segm_AP.bicycle'])
    assert metrics['segm_AP.person'] == expected['segm_AP.person'] > 0
    assert "has no categories for 1 classes, which are NaN: ['bicycle']" in log.text


def test_classes_are_found_by_name_without_ids(tmp_path):
    truth = true_file(SCENES, tmp_path / 'truth.json')
    meta = {key: value for key, value in META.items() if key != 'category_ids'}
    metrics = run_metric(dict(CONFIG, ann_file=str(truth)), NUMBERED, meta)
    np.testing.assert_equal(metrics, run_metric(CONFIG, SCENES))


def test_masks_of_another_size():
    scene = SCENES[0]._replace(found=SCENES[0].found[:, :20])
    with pytest.raises(ValueError, match=r'images/scene0.png.*\(40, 20\)'):
        run_metric(CONFIG, [scene])


def test_a_model_that_predicts_no_objects():
    class Without(type(SCENES[0])):
        def sample(self, **metainfo):
            sample = super().sample(**metainfo)
            del sample.pred_instances
            return sample

    with pytest.raises(ValueError, match=r"test_cfg.outputs=\('instances',\)"):
        run_metric(CONFIG, [Without(*SCENES[0])])


@pytest.mark.parametrize('columns', [1, 3, 1024])
def test_a_part_of_a_mask_is_packed_like_the_whole(columns, monkeypatch):
    """Also one whose columns reach from the top of the picture to its bottom."""
    monkeypatch.setattr(run_lengths, '_COLUMNS', columns)
    generator = np.random.default_rng(0)
    for top, bottom, left, right in ((0, 7, 2, 6), (2, 5, 0, 9), (1, 1, 3, 3), (0, 7, 0, 9)):
        for part in (1, generator.integers(0, 2, (bottom - top, right - left))):
            mask = np.zeros((7, 9), bool)
            mask[top:bottom, left:right] = part
            expected = official_masks.encode(np.asfortranarray(mask, dtype=np.uint8))
            packed = pack_mask(mask[top:bottom, left:right], (top, left), mask.shape)
            assert packed == dict(size=[7, 9], counts=expected['counts'].decode())
