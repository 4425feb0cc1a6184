"""Written predictions are compared with a data set's own files, by the ids that these have."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation.evalPanopticSemanticLabeling import evaluatePanoptic
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import DATASETS, METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmseg_ssprompt.evaluation import evaluate_panoptic
from segment_trees import LAYOUTS

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs', min_pixels=0),
]
PANOPTIC = [name for name, layout in LAYOUTS.items() if 'anoptic' in layout.train['ann_file']]


def build(name: str, root: Path) -> Any:
    layout = LAYOUTS[name]
    layout.make(root)
    return DATASETS.build(
        dict(layout.train, type=layout.type, data_root=str(root), pipeline=PIPELINE)
    )


def predict_the_truth(dataset: Any, metric: Any) -> Any:
    """Give a metric the true segments as predictions, crowds apart."""
    metric.dataset_meta = dataset.metainfo
    things = [dataset.metainfo['classes'].index(n) for n in dataset.metainfo['thing_classes']]
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        numbers, infos = sample.gt_segments.data, sample.gt_segments.segments_info
        known = [
            (number, info)
            for number, info in enumerate(infos)
            if info['category_id'] >= 0 and not info['iscrowd'] and (numbers == number).any()
        ]
        ids = torch.zeros_like(numbers, dtype=torch.int32)
        for number, _ in known:
            ids[numbers == number] = number + 1
        sample.pred_panoptic_seg = PixelData(
            metainfo=dict(
                segments_info=[
                    dict(
                        id=number + 1,
                        category_id=info['category_id'],
                        isthing=info['category_id'] in things,
                        area=int((numbers == number).sum()),
                        score=1.0,
                    )
                    for number, info in known
                ]
            ),
            data=ids,
        )
        objects = [each for each in known if each[1]['category_id'] in things]
        sample.pred_instances = InstanceData(
            labels=torch.tensor([info['category_id'] for _, info in objects]),
            scores=torch.ones(len(objects)),
            masks=torch.cat([numbers == number for number, _ in objects]),
            bboxes=torch.zeros(len(objects), 4),
        )
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(dataset))


@pytest.mark.parametrize('name', PANOPTIC)
def test_panoptic_maps(tmp_path, name):
    dataset = build(name, tmp_path / 'data')
    config = dict(type='PanopticMetric', output_dir=str(tmp_path / 'out'))
    figures = predict_the_truth(dataset, METRICS.build(config))
    found = tmp_path / 'out' / 'panoptic.json'
    truth, maps = dataset.ann_file, dataset.data_prefix['seg_map_path']
    results = evaluate_panoptic(truth, maps, found, tmp_path / 'out' / 'panoptic')
    assert figures['PQ'] == 100 * results['All']['pq'] == 100
    assert results['All']['n'] == 4
    assert figures['PQ.things'] == 100 * results['Things']['pq'] == 100


def test_panoptic_maps_of_cityscapes_by_its_own_tool(tmp_path, capfd):
    dataset = build('cityscapes_converted', tmp_path / 'data')
    config = dict(type='PanopticMetric', output_dir=str(tmp_path / 'out'))
    predict_the_truth(dataset, METRICS.build(config))
    results = evaluatePanoptic(
        *(dataset.ann_file, dataset.data_prefix['seg_map_path']),
        *(str(tmp_path / 'out' / 'panoptic.json'), str(tmp_path / 'out' / 'panoptic')),
        str(tmp_path / 'results.json'),
    )
    assert results['All'] == dict(pq=1.0, sq=1.0, rq=1.0, n=4)
    assert 'car' in capfd.readouterr().out


def test_pictures_and_their_converted_file_have_the_same_ids(tmp_path):
    pictures = build('cityscapes_panoptic', tmp_path / 'a')
    converted = build('cityscapes_converted', tmp_path / 'b')
    ids = dict(zip(pictures.metainfo['classes'], pictures.metainfo['category_ids']))
    others = dict(zip(converted.metainfo['classes'], converted.metainfo['category_ids']))
    assert {name: ids[name] for name in ('road', 'car')} == dict(road=7, car=26)
    assert {name: others[name] for name in ('road', 'car')} == dict(road=7, car=26)
    assert len(set(ids.values())) == len(set(others.values())) == 19


def test_objects_of_coco(tmp_path):
    dataset = build('coco_instances', tmp_path / 'data')
    config = dict(type='InstanceMetric', output_dir=str(tmp_path / 'out'), metric='segm')
    figures = predict_the_truth(dataset, METRICS.build(dict(config, ann_file=dataset.ann_file)))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(dataset.ann_file)
        run = COCOeval(truth, truth.loadRes(str(tmp_path / 'out' / 'instances_segm.json')), 'segm')
        run.evaluate()
        run.accumulate()
        run.summarize()
    np.testing.assert_allclose(figures['segm_mAP'], 100 * run.stats[0], rtol=1e-12)
    assert figures['segm_mAP'] > 90
    found = json.loads((tmp_path / 'out' / 'instances_segm.json').read_text())
    own = json.loads(Path(dataset.ann_file).read_text())
    assert {each['image_id'] for each in found} <= {each['id'] for each in own['images']}
    assert {each['category_id'] for each in found} <= {each['id'] for each in own['categories']}
