"""Models of every kind predict pictures: of objects, of one class, of embedded samples, on SEEM."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image
from pycocotools import mask as coco_masks

from mmseg_ssprompt.config_reading import ConfigError
from mmseg_ssprompt.models.segmentors import PromptStateError
from mmseg_ssprompt.prediction import predict, predicting
from mmseg_ssprompt.prediction.predictor import Predictor, read_model
from own_photographs import draw_photograph, save
from predicted_pictures import write_model, write_prompts_of

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture(scope='module')
def scene(tmp_path_factory) -> Path:
    """A folder with a picture of ShapesWorld."""
    cfg = Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_shapes.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    image = dataset[3]['inputs'].permute(1, 2, 0).numpy()[..., ::-1]
    return save(np.ascontiguousarray(image), tmp_path_factory.mktemp('scene') / 'a.png').parent


def sample_of(config: Path, scene: Path, monkeypatch):
    """What the model of a config predicts in tests, with the one that ``predict`` loads next."""
    predictor = Predictor(read_model(config))
    monkeypatch.setattr(predicting, 'Predictor', lambda *_: predictor)
    cfg = Config.fromfile(config).test_dataloader.dataset
    dataset = DATASETS.build(cfg)
    sample = dataset[3]
    assert sample['data_samples'].ori_shape == (96, 96)
    (found,) = predictor.model.test_step(pseudo_collate([sample]))
    return found


@pytest.mark.parametrize('base', ['sam', 'seem'])
def test_panoptic_maps(scene, tmp_path, monkeypatch, base):
    config = CONFIGS / f'ssprompt_{base}-tiny_shapes_panoptic_zero-shot.py'
    expected = sample_of(config, scene, monkeypatch).pred_panoptic_seg
    ids = expected.data[0].numpy()
    (found,) = predicted = predict(config, scene, tmp_path / 'out', overlay=True, coco=True)
    assert predicted.notes == ['these are predictions of handcrafted prompts']
    assert found.objects
    infos = sorted(expected.segments_info, key=lambda info: -info['score'])
    assert [(o.label, o.is_thing) for o in found.objects] == [
        (info['category_id'], info['isthing']) for info in infos
    ]
    label_map = np.full(ids.shape, 255)
    for info, each in zip(infos, found.objects):
        assert np.array_equal(each.on_canvas(ids.shape), ids == info['id'])
        label_map[ids == info['id']] = info['category_id']
    assert np.array_equal(found.label_map, label_map)
    assert np.array_equal(np.array(Image.open(tmp_path / 'out' / 'labels' / 'a.png')), label_map)
    coco = json.loads((tmp_path / 'out' / 'coco.json').read_text())
    assert [each['category_id'] for each in coco['annotations']] == [
        info['category_id'] + 1 for info in infos
    ]
    assert found.overlay().shape == (288, 288, 3)


def test_objects(scene, tmp_path, monkeypatch):
    config = CONFIGS / 'ssprompt_sam-tiny_shapes_instance_zero-shot.py'
    expected = sample_of(config, scene, monkeypatch).pred_instances
    kept = [number for number, mask in enumerate(expected.masks) if mask.any()]
    (found,) = predict(config, scene, tmp_path / 'out', coco=True)
    assert len(found.objects) == len(kept) > 5
    coco = json.loads((tmp_path / 'out' / 'coco.json').read_text())['annotations']
    for number, each, entry in zip(kept, found.objects, coco):
        mask = expected.masks[number].numpy()
        assert each.label == expected.labels[number]
        assert each.score == pytest.approx(float(expected.scores[number]), abs=1e-4)
        assert np.array_equal(each.on_canvas(mask.shape), mask)
        assert np.array_equal(coco_masks.decode(entry['segmentation']), mask)
        assert entry['score'] == each.score
    # The best lies on top, and those that are hardly seen are not painted.
    best = found.objects[0]
    assert (found.label_map[best.on_canvas(found.label_map.shape)] == best.label).all()
    with pytest.raises(ConfigError, match='tells objects apart, which would be cut'):
        predict(config, scene, tile=32)


def test_a_model_of_embedded_samples_takes_pictures(scene, tmp_path):
    """As the configs of ``fit`` are: with the image encoder that samples were embedded with."""
    configs = [CONFIGS / f'ssprompt_sam-tiny_shapes{name}.py' for name in ('', '_cached')]
    prompts = tmp_path / 'prompts.safetensors'
    write_prompts_of(Config.fromfile(configs[0]), prompts)
    maps = [next(iter(predict(each, scene, prompts=prompts))).label_map for each in configs]
    assert len(np.unique(maps[0])) > 2
    assert np.array_equal(*maps)
    with pytest.raises(ConfigError, match=r'expected the file of trained prompts too'):
        predict(configs[1], scene)


@pytest.mark.parametrize('rest_id', [0, 255])
def test_one_class_and_the_rest(tmp_path, rest_id):
    head, meta = 'model.decode_head', dict(classes=('crack',))
    config = write_model(
        tmp_path / 'model', 3,
        **{
            f'{head}.num_classes': 1, f'{head}.rest_id': rest_id,
            f'{head}.semantic_prompts.class_names': ('crack',),
            'val_dataloader.dataset.metainfo': meta, 'test_dataloader.dataset.metainfo': meta,
        },
    )  # fmt: skip
    save(draw_photograph()[0], tmp_path / 'in' / 'a.png')
    prompts = config.parent / 'prompts.safetensors'
    (found,) = predict(config, tmp_path / 'in', tmp_path / 'out', prompts=prompts, coco=True)
    own = 1 if rest_id == 0 else 0
    assert set(np.unique(found.label_map)) <= {own, rest_id}
    assert set(found.shares()) <= {'crack', 'rest'}
    assert found.classes[own] == 'crack' and found.classes[rest_id] == 'rest'
    coco = json.loads((tmp_path / 'out' / 'coco.json').read_text())
    assert coco['categories'] == [dict(id=1, name='crack')]
    assert sum(a['area'] for a in coco['annotations']) == (found.label_map == own).sum()
    assert found.overlay().shape == (288, 384, 3)


def test_prompts_of_another_model(tmp_path):
    one, other = (write_model(tmp_path / name).parent for name in ('one', 'other'))
    write_model(other, **{'model.decode_head.spatial_prompts.num_prompts': 4})
    with pytest.raises(PromptStateError, match='does not hold the prompts of the configured model'):
        predict(one / 'config.py', [draw_photograph()[0]], prompts=other / 'prompts.safetensors')


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ('model = dict(decode_head=1)', 'PromptSegmentor|decode_head'),
        ('test_dataloader = val_dataloader = None', r'expected the settings test_dataloader\.data'),
        (
            "test_dataloader = dict(dataset=dict(pipeline=[dict(type='PackSegInputs')]))",
            'expected a step that reads a picture',
        ),
        (
            "model = dict(backbone=dict(_delete_=True, type='PrecomputedFeatures', encoder={}))",
            'expected an image encoder, or an EmbeddedDataset',
        ),
    ],
)
def test_configs_that_cannot_predict(tmp_path, change, text):
    config = tmp_path / 'own.py'
    base = str(CONFIGS / 'ssprompt_sam-tiny_camvid.py')
    config.write_text(f'_base_ = [{base!r}]\n{change}\n')
    if 'decode_head=1' in change:
        config.write_text("model = dict(type='EncoderDecoder')\n")
        text = 'EncoderDecoder|expected the settings'
    with pytest.raises(ValueError, match=text):
        predict(config, [draw_photograph()[0]])
