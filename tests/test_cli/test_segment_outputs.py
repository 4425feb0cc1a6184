"""``tools/test.py`` writes and draws panoptic maps and objects; mmseg's inferencer draws them."""

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmseg.apis import MMSegInferencer
from mmseg.registry import DATASETS
from PIL import Image
from pycocotools import mask as official_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from commands import run_here
from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.evaluation import evaluate_panoptic

ROOT = Path(__file__).resolve().parents[2]
COUNT = 7
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments', with_label_map=True),
    dict(type='PackSegmentInputs', min_pixels=0),
]
OUTPUTS = ('semantic', 'panoptic', 'instances')
EVALUATORS = ('GroupedIoUMetric', 'PanopticMetric', 'InstanceMetric')


def make_config(outputs=OUTPUTS, evaluators=EVALUATORS) -> Config:
    """Handcrafted prompts on ShapesWorld; thresholds that let segments pass."""
    cfg = Config.fromfile(ROOT / 'configs' / 'ssprompt_sam-tiny_shapes_zero-shot.py')
    cfg.test_dataloader.dataset.update(num_images=COUNT, pipeline=PIPELINE)
    cfg.test_dataloader.batch_size = 3
    cfg.model.test_cfg.update(outputs=outputs, object_mask_threshold=0.1, overlap_threshold=0.5)
    cfg.test_evaluator = [dict(type=name) for name in evaluators]
    return cfg


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the tool in this process, and return its figures."""
    monkeypatch.chdir(tmp_path)

    def run_tool(cfg, *arguments):
        names = (f'experiment_name={tmp_path.name}', f'visualizer.name={tmp_path.name}')
        cfg.dump('config.py')
        run_here('test.py', 'config.py', '--work-dir', 'w', *arguments, '--cfg-options', *names)
        (file,) = Path('w').glob('*/*.json')
        return json.loads(file.read_text())

    return run_tool


def names_in(folder: str) -> set:
    return {str(file.relative_to(folder)) for file in Path(folder).rglob('*') if file.is_file()}


def write_truth(cfg: Config) -> None:
    """The true segments of the test set, in both formats of COCO."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    names, things = (dataset.metainfo[key] for key in ('classes', 'thing_classes'))
    categories = [
        dict(id=n, name=name, isthing=int(name in things)) for n, name in enumerate(names, 1)
    ]
    Path('truth').mkdir()
    images, maps, objects = [], [], []
    for index in range(COUNT):
        sample = dataset[index]['data_samples']
        numbers, segments = sample.gt_segments.data[0].numpy(), sample.gt_segments.segments_info
        ids = np.array([*(each['id'] for each in segments), 0])[numbers]
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1)
        Image.fromarray(colours.astype(np.uint8)).save(f'truth/{index}.png')
        infos = [dict(each, category_id=each['category_id'] + 1) for each in segments]
        image_id = sample.metainfo['img_id']
        height, width = numbers.shape
        images.append(dict(id=image_id, height=height, width=width))
        maps.append(dict(image_id=image_id, file_name=f'{index}.png', segments_info=infos))
        for number, each in enumerate(infos):
            runs = official_masks.encode(np.asfortranarray((numbers == number).astype(np.uint8)))
            if categories[each['category_id'] - 1]['isthing']:
                own = dict(id=len(objects) + 1, image_id=image_id)
                box = official_masks.toBbox(runs).tolist()
                shape = dict(runs, counts=runs['counts'].decode())
                objects.append(dict(each, **own, bbox=box, segmentation=shape))
    shared = dict(images=images, categories=categories)
    Path('truth.json').write_text(json.dumps(dict(shared, annotations=maps)))
    things = [each for each in categories if each['isthing']]
    content = dict(images=images, categories=things, annotations=objects)
    Path('objects.json').write_text(json.dumps(content))


def test_written_predictions_have_the_figures_of_the_test(run):
    cfg = make_config()
    figures = run(cfg, '--out', 'out', '--show-dir', 'pictures')
    write_truth(cfg)
    results = evaluate_panoptic('truth.json', 'truth', 'out/panoptic.json', 'out/panoptic')
    assert figures['PQ'] == 100 * results['All']['pq'] > 0
    assert figures['PQ.stuff'] == 100 * results['Stuff']['pq']
    for kind in ('segm', 'bbox'):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO('objects.json')
            official = COCOeval(truth, truth.loadRes(f'out/instances_{kind}.json'), kind)
            official.evaluate()
            official.accumulate()
            official.summarize()
        expected = [figures[f'{kind}_{name}'] for name in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s')]
        np.testing.assert_allclose(100 * official.stats[:4], expected, rtol=1e-12)
        assert figures[f'{kind}_mAP'] > 1
    images = {f'test_0_{index:06d}.png' for index in range(COUNT)}
    assert names_in('out') == {
        'panoptic.json',
        'instances_segm.json',
        'instances_bbox.json',
        *(f'panoptic/{name}' for name in images),
        *(f'semantic/{name}' for name in images),
    }
    assert names_in('pictures') == images
    # Truth, panoptic map and objects, three times as large as 96 x 96.
    assert cv2.imread('pictures/test_0_000000.png').shape == (288, 3 * 288, 3)


def test_a_writer_for_each_output_without_an_evaluator(run):
    figures = run(make_config(evaluators=('PanopticMetric',)), '--out', 'out')
    assert 'PQ' in figures and not {'mIoU', 'segm_mAP'} & set(figures)
    assert {'panoptic.json', 'instances_segm.json', 'semantic/test_0_000000.png'} <= names_in('out')


def test_panoptic_maps_alone(run):
    figures = run(make_config(('panoptic',), ('PanopticMetric',)), '--out', 'out')
    assert figures['PQ'] > 0
    assert names_in('out') == {
        'panoptic.json',
        *(f'panoptic/test_0_{index:06d}.png' for index in range(COUNT)),
    }


def test_an_evaluator_of_what_the_model_does_not_make(run):
    said = r"test_evaluator\[0\]: PanopticMetric fails.*model.test_cfg.outputs=\('panoptic',\)"
    with pytest.raises(DatasetError, match=said):
        run(make_config(('semantic',), ('PanopticMetric',)))


def test_the_inferencer_draws_segments(tmp_path):
    cfg = make_config()
    cfg.visualizer.name = tmp_path.name
    photo = tmp_path / 'photo.png'
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 255, (96, 96, 3)))
    inferencer = MMSegInferencer(cfg, device='cpu')
    found = inferencer(str(photo), out_dir=str(tmp_path / 'out'), return_vis=True)
    assert found['predictions'].shape == (96, 96)
    assert found['visualization'].shape == (288, 2 * 288, 3)
    assert cv2.imread(str(tmp_path / 'out' / 'vis' / 'photo.png')).shape == (288, 2 * 288, 3)


def test_the_inferencer_returns_samples_without_label_maps(tmp_path):
    cfg = make_config(('panoptic',))
    cfg.visualizer.name = tmp_path.name
    inferencer = MMSegInferencer(cfg, device='cpu')
    photo = np.random.default_rng(0).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    sample = inferencer(photo, out_dir=str(tmp_path), return_datasamples=True)
    assert sample.pred_panoptic_seg.data.shape == (1, 96, 96)
    assert len(list((tmp_path / 'vis').iterdir())) == 1
