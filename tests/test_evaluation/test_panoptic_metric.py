"""Panoptic quality of a data set, on one and on two processes; its files are read back."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.evaluation.evalPanopticSemanticLabeling import pq_compute_single_core

from mmseg_ssprompt.evaluation import PanopticError, evaluate_panoptic
from segment_scenes import (
    CATEGORY_IDS,
    CLASSES,
    META,
    make_scene,
    run_in_two_processes,
    run_metric,
    write_panoptic_truth,
)

CONFIG = dict(type='PanopticMetric')
SCENES = [make_scene(seed) for seed in range(7)]


@pytest.fixture(scope='module')
def written(tmp_path_factory) -> Path:
    """True files of the scenes, files of their predictions, and what the metric returned."""
    folder = tmp_path_factory.mktemp('panoptic')
    write_panoptic_truth(SCENES, folder)
    metrics = run_metric(dict(CONFIG, output_dir=str(folder / 'out')), SCENES)
    (folder / 'metrics.json').write_text(json.dumps(metrics))
    return folder


def test_files_are_read_back_with_the_same_figures(written):
    metrics = json.loads((written / 'metrics.json').read_text())
    results = evaluate_panoptic(
        written / 'truth.json',
        written / 'truth',
        written / 'out' / 'panoptic.json',
        written / 'out' / 'panoptic',
    )
    for group, suffix in (('All', ''), ('Things', '.things'), ('Stuff', '.stuff')):
        for key in ('pq', 'sq', 'rq'):
            assert metrics[key.upper() + suffix] == 100 * results[group][key]
    for number, name in zip(CATEGORY_IDS, CLASSES):
        assert metrics[f'PQ.{name}'] == 100 * results['per_class'][number]['pq']
    assert 0 < metrics['PQ'] < 100
    assert sum(counts['fp'] > 0 for counts in results['counts'].values()) > 1


def test_the_official_code_reads_the_files(written):
    truth, found = (
        json.loads((written / file).read_text()) for file in ('truth.json', 'out/panoptic.json')
    )
    predictions = {each['image_id']: each for each in found['annotations']}
    pairs = [(each, predictions[each['image_id']]) for each in truth['annotations']]
    categories = {each['id']: each for each in truth['categories']}
    folders = str(written / 'truth'), str(written / 'out' / 'panoptic')
    mean, _ = pq_compute_single_core(0, pairs, *folders, categories).pq_average(categories, None)
    metrics = json.loads((written / 'metrics.json').read_text())
    assert [metrics[key] for key in ('PQ', 'SQ', 'RQ')] == [
        100 * mean[key] for key in ('pq', 'sq', 'rq')
    ]


def test_the_json_file_names_images_and_categories(written):
    found = json.loads((written / 'out' / 'panoptic.json').read_text())
    assert [each['id'] for each in found['images']] == [scene.name for scene in SCENES]
    assert [each['id'] for each in found['categories']] == list(CATEGORY_IDS)
    assert [each['isthing'] for each in found['categories']] == [1, 1, 1, 0, 0]
    entry = found['annotations'][0]['segments_info'][0]
    assert set(entry) == {'id', 'category_id', 'isthing', 'area', 'score'}


def test_two_processes_return_and_write_the_same(written, tmp_path):
    """Seven samples: the eighth only fills the last batch up, and counts in no figure."""
    config = dict(CONFIG, output_dir=str(tmp_path / 'out'))
    expected = json.loads((written / 'metrics.json').read_text())
    assert run_in_two_processes(config, SCENES, tmp_path) == [expected, expected]
    for file in (written / 'out').rglob('*.*'):
        other = tmp_path / 'out' / file.relative_to(written / 'out')
        assert other.read_bytes() == file.read_bytes()


def test_tables(log):
    run_metric(CONFIG, SCENES)
    for word in ('per class results', 'bicycle', 'Summary', 'things', 'stuff', 'averaged'):
        assert word in log.text


def test_perfect_predictions():
    truth = np.arange(6).repeat(20).reshape(10, 12) % 3
    segments = [dict(id=n + 1, category_id=n, iscrowd=0, area=40) for n in range(3)]
    found = [dict(id=n + 1, category_id=n, isthing=True, area=40, score=1.0) for n in range(3)]
    scene = SCENES[0]._replace(
        numbers=truth, segments=segments, found=truth + 1, found_segments=found
    )
    metrics = run_metric(CONFIG, [scene])
    assert {metrics[key] for key in ('PQ', 'SQ', 'RQ', 'PQ.things', 'PQ.car')} == {100.0}
    assert math.isnan(metrics['PQ.stuff']) and math.isnan(metrics['PQ.road'])


def test_a_data_set_without_groups():
    meta = {key: META[key] for key in ('classes', 'palette')}
    metrics = run_metric(CONFIG, SCENES, meta)
    assert set(metrics) == {'PQ', 'SQ', 'RQ', *(f'PQ.{name}' for name in CLASSES)}


def test_pixels_without_an_object_are_neither_void_nor_a_segment():
    """In instance tasks they count: a prediction on them is a false positive."""
    truth = np.zeros((4, 4), int)
    truth[:2] = 1
    rest = dict(id=0, category_id=-1, iscrowd=0, area=8)
    person = dict(id=9, category_id=0, iscrowd=0, area=8)
    found = [dict(id=n, category_id=0, isthing=True, area=8, score=1.0) for n in (1, 2)]
    scene = SCENES[0]._replace(
        numbers=truth, segments=[rest, person], found=truth + 1, found_segments=found
    )
    metrics = run_metric(CONFIG, [scene])
    assert metrics['PQ.person'] == pytest.approx(100 / 1.5)


def test_objects_that_share_an_id_are_several():
    truth = np.arange(2).repeat(8).reshape(4, 4)
    segments = [dict(id=5, category_id=0, iscrowd=0, area=8) for _ in range(2)]
    found = [dict(id=n + 1, category_id=0, isthing=True, area=8, score=1.0) for n in range(2)]
    scene = SCENES[0]._replace(
        numbers=truth, segments=segments, found=truth + 1, found_segments=found
    )
    assert run_metric(CONFIG, [scene])['PQ'] == 100.0


class Unlabelled(type(SCENES[0])):
    """A scene whose image has no annotation."""

    def sample(self, **metainfo):
        sample = super().sample(**metainfo)
        del sample.gt_segments
        return sample


def test_images_without_annotations_are_written_and_not_measured(written, tmp_path, log):
    scenes = [*SCENES, Unlabelled(*make_scene(50))]
    metrics = run_metric(dict(CONFIG, output_dir=str(tmp_path)), scenes)
    assert metrics == json.loads((written / 'metrics.json').read_text())
    assert '1 of 8 images have no true segments' in log.text
    assert (tmp_path / 'panoptic' / 'scene50.png').is_file()


def test_format_only(tmp_path):
    assert run_metric(dict(CONFIG, format_only=True, output_dir=str(tmp_path)), SCENES) == {}
    assert len(json.loads((tmp_path / 'panoptic.json').read_text())['annotations']) == 7


def test_format_only_needs_a_folder():
    with pytest.raises(ValueError, match='output_dir is None'):
        run_metric(dict(CONFIG, format_only=True), [])


class WithoutPrediction(type(SCENES[0])):
    """A scene of a model that makes label maps alone."""

    def sample(self, **metainfo):
        sample = super().sample(**metainfo)
        del sample.pred_panoptic_seg
        return sample


def test_a_model_that_makes_no_panoptic_maps():
    with pytest.raises(ValueError, match=r"test_cfg.outputs=\('panoptic',\)"):
        run_metric(CONFIG, [WithoutPrediction(*SCENES[0])])


def test_a_prediction_of_another_size():
    scene = SCENES[0]._replace(found=SCENES[0].found[:, :20])
    with pytest.raises(PanopticError, match=r'images/scene0.png.*\(40, 20\)'):
        run_metric(CONFIG, [scene])
