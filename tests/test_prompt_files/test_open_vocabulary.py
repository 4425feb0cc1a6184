"""Other class names at test time: labels change, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint
from mmseg.registry import DATASETS, MODELS
from PIL import Image

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.evaluation import GroupedIoUMetric
from mmseg_ssprompt.prompt_files.open_vocabulary import (
    rename_prompts,
    split_class_names,
    with_class_names,
)
from tiny_model import build_tiny, random_images, tiny_config
from trees import MMSEG_LAYOUT

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
OWN = [
    *('ball', 'heart balloon', 'kite', 'tent', 'house', 'first aid post'),
    *('sky', 'forest', 'lake', 'tiled pavement'),
]


def build(names, cfg=None):
    torch.manual_seed(0)
    return MODELS.build(with_class_names(cfg or tiny_config('default_only'), names).model).eval()


def zero_shot(name):
    cfg = Config.fromfile(CONFIGS / f'{name}_zero-shot.py')
    cfg.model.test_cfg.logits = True
    return cfg


@torch.no_grad()
def decode(model):
    return model.decode_head(model.extract_feat(random_images()))


def test_objects_of_other_names_are_not_told_apart():
    cfg = tiny_config('default_only')
    cfg.model.decode_head.thing_classes = OWN[:2]
    cfg.model.test_cfg.outputs = ['semantic', 'panoptic']
    model = build(['ball', 'dog'], cfg)
    assert model.outputs == ('semantic',) and model.decode_head.things is None


@pytest.mark.parametrize('name', ['ssprompt_sam-tiny_shapes', 'ssprompt_sam-clip-tiny_shapes'])
def test_labels_change_and_nothing_else(name):
    names, cfg = ['Lake', 'dog', 'ball'], zero_shot(name)
    own, other = MODELS.build(cfg.model).eval(), build(names, cfg)
    assert not any(p.requires_grad for p in other.parameters())
    expected, found = decode(own), decode(other)
    assert torch.equal(found.mask_logits, expected.mask_logits)
    assert found.class_logits.shape[-1] == 4
    for new, old in ((0, OWN.index('lake')), (2, OWN.index('ball'))):
        torch.testing.assert_close(found.class_logits[..., new], expected.class_logits[..., old])
    if 'clip' not in name:  # "no object" of the region classifier has its odds against all classes
        torch.testing.assert_close(found.class_logits[..., 3], expected.class_logits[..., -1])
    names_of_prompts = [key for key in own.state_dict() if 'semantic_prompts' in key]
    for key, value in own.state_dict().items():
        if key not in names_of_prompts:
            assert torch.equal(other.state_dict()[key], value), key


def test_the_config_that_is_given_stays_as_it_is():
    cfg = tiny_config()
    before = cfg.pretty_text
    with_class_names(cfg, ['a', 'b'])
    assert cfg.pretty_text == before
    assert with_class_names(str(cfg.filename), ['a', 'b']).model.decode_head.num_classes == 2


def test_label_maps_of_the_test_data():
    """Known names keep their pixels and colours, all else is ignored."""
    cfg = tiny_config()
    cfg.test_dataloader.dataset.num_images = 6
    own = DATASETS.build(cfg.test_dataloader.dataset)
    names = ['dog', 'SKY', 'ball', 'forest']
    other = DATASETS.build(with_class_names(cfg, names).test_dataloader.dataset)
    new_ids = {OWN.index('sky'): 1, OWN.index('ball'): 2, OWN.index('forest'): 3}
    assert other.metainfo['classes'] == tuple(names)
    assert other.metainfo['labelled_classes'] == ['SKY', 'ball', 'forest']
    for old, new in new_ids.items():
        assert list(other.metainfo['palette'][new]) == list(own.metainfo['palette'][old])
    seen = set()
    for mine, theirs in zip(own, other):
        assert torch.equal(mine['inputs'], theirs['inputs'])
        labels, found = (x['data_samples'].gt_sem_seg.data.numpy() for x in (mine, theirs))
        expected = np.full_like(labels, 255)
        for old, new in new_ids.items():
            expected[labels == old] = new
        np.testing.assert_array_equal(found, expected)
        seen |= set(np.unique(found))
    assert seen == {1, 2, 3, 255}


def test_names_as_prompts_have_them():
    """ADE20K and Pascal Context spell some classes in their own way."""
    cfg = Config.fromfile(CONFIGS / 'ssprompt_sam-clip_pascal_context-59_zero-shot.py')
    dataset = with_class_names(cfg, ['potted plant', 'pottedplant']).test_dataloader.dataset
    own = DATASETS.get('PascalContextDataset59').METAINFO['classes']
    assert dataset.label_map == {own.index('pottedplant'): 0}


def test_a_data_set_whose_classes_are_in_its_config():
    cfg = with_class_names(str(MMSEG_LAYOUT), ['road', 'zebra'])
    assert cfg.test_dataloader.dataset.label_map == {3: 0}


def test_names_that_no_label_has_are_logged(log):
    with_class_names(tiny_config(), ['dog', 'sky'])
    assert '1 of 2 class names are none of the test data set ShapesWorldDataset' in log.text
    assert "['dog']" in log.text


def test_learned_prompts_of_names_that_are_known(tmp_path, log):
    trained = build_tiny()
    with torch.no_grad():
        for part in ('spatial', 'semantic'):
            fusion = getattr(trained.decode_head, f'{part}_prompts').fusion
            fusion.learned.add_(torch.randn_like(fusion.learned))
    source = tmp_path / 'trained.pth'
    state = trained.without_frozen(trained.state_dict())
    torch.save(dict(state_dict=state, meta={}), source)
    cfg = with_class_names(tiny_config(), ['dog', 'kite'])
    rename_prompts(source, cfg, tmp_path / 'renamed.pth')
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, str(tmp_path / 'renamed.pth'))
    with torch.no_grad():
        expected, found = (
            trained.decode_head.semantic_prompts(),
            model.decode_head.semantic_prompts(),
        )
    torch.testing.assert_close(found[1], expected[OWN.index('kite')])
    handcrafted = build(['dog', 'kite']).decode_head.semantic_prompts()
    torch.testing.assert_close(found[0], handcrafted[0])
    torch.testing.assert_close(decode(model).mask_logits, decode(trained).mask_logits)
    assert 'for other class names' in log.text


@pytest.mark.parametrize('wrapped', [False, True])
def test_learned_prompts_where_no_name_is_known(tmp_path, wrapped):
    trained = build_tiny()
    torch.save(
        dict(state_dict=trained.without_frozen(trained.state_dict()), meta={}), tmp_path / 'a.pth'
    )
    cfg = tiny_config()
    if wrapped:
        datasets = [cfg.test_dataloader.dataset]
        cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=datasets)
    cfg = with_class_names(cfg, ['dog', 'cat'])
    rename_prompts(tmp_path / 'a.pth', cfg, tmp_path / 'b.pth')
    meta = torch.load(tmp_path / 'b.pth', weights_only=True)['meta']
    assert meta['dataset_meta']['classes'] == ['dog', 'cat']
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, str(tmp_path / 'b.pth'))
    torch.testing.assert_close(decode(model).mask_logits, decode(trained).mask_logits)


def test_the_inferencer_and_init_model_take_such_a_config(tmp_path):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    picture = np.random.RandomState(0).randint(256, size=(80, 120, 3), dtype=np.uint8)
    cfg = with_class_names(str(CONFIGS / 'ssprompt_sam-tiny_shapes_zero-shot.py'), ['sky', 'dog'])
    expected = inference_model(init_model(cfg, device='cpu'), picture).pred_sem_seg.data[0].numpy()
    assert expected.max() <= 1
    palette = [[0, 0, 255], [255, 0, 0]]
    inferencer = MMSegInferencer(cfg, classes=['sky', 'dog'], palette=palette, device='cpu')
    np.testing.assert_array_equal(inferencer(picture)['predictions'], expected)


def test_names_that_no_image_shows(tmp_path):
    """Predictions are written, and all figures are NaN."""
    cfg = with_class_names(zero_shot('ssprompt_sam-clip-tiny_shapes'), ['dog', 'cat'])
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    cfg.visualizer.name = tmp_path.name
    cfg.test_dataloader.dataset.num_images = 2
    cfg.test_evaluator.output_dir = str(tmp_path / 'maps')
    figures = Runner.from_cfg(cfg).test()
    assert np.isnan([figures['IoU.dog'], figures['IoU.cat'], figures['mIoU']]).all()
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 2


def test_written_ids_are_those_of_the_names(tmp_path):
    """Also where a data set leaves out the id 0, which mmseg would add to again."""
    metric = GroupedIoUMetric(output_dir=str(tmp_path), format_only=True)
    sample = dict(
        pred_sem_seg=dict(data=torch.tensor([[[0, 1], [2, 1]]])),
        gt_sem_seg=dict(data=torch.zeros(1, 2, 2, dtype=torch.long)),
        img_path='a.jpg',
        reduce_zero_label=True,
    )
    for labelled, added in (({}, 1), (dict(labelled_classes=['x']), 0)):
        metric.dataset_meta = dict(classes=['x', 'y', 'z'], **labelled)
        metric.process({}, [sample])
        written = np.asarray(Image.open(tmp_path / 'a.png'))
        np.testing.assert_array_equal(written, np.array([[0, 1], [2, 1]]) + added)


def test_pictures_have_the_names_that_were_given(tmp_path):
    cfg = with_class_names(tiny_config(), ['dog', 'sky'])
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    cfg.visualizer.name = tmp_path.name  # mmengine keeps one of each name
    cfg.test_dataloader.dataset.num_images = 1
    cfg.default_hooks.visualization.update(draw=True, interval=1)
    runner = Runner.from_cfg(cfg)
    assert {'IoU.dog', 'IoU.sky'} <= set(runner.test())
    assert list(runner.visualizer.dataset_meta['classes']) == ['dog', 'sky']
    assert list(tmp_path.rglob('*.png'))


@pytest.mark.parametrize('text', ['', ' , ', 'road,,sky', 'road,Road', ','])
def test_lists_of_names_that_are_none(text):
    with pytest.raises(ValueError, match='class names: '):
        split_class_names(text)


def test_a_list_of_names():
    assert split_class_names(' road,traffic  light , dog') == ['road', 'traffic light', 'dog']


def test_one_name_alone():
    head = with_class_names(tiny_config(), ['road']).model.decode_head
    assert (head.num_classes, head.rest_id) == (1, 0)


def test_a_config_without_prompts_made_of_names():
    cfg = Config.fromfile(CONFIGS / 'ablations' / 'linear_sam-tiny_shapes.py')
    with pytest.raises(
        ValueError, match=r'expected model\.decode_head\.semantic_prompts with a text'
    ):
        with_class_names(cfg, ['road', 'sky'])


def test_cached_features_have_no_names():
    cfg = Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_shapes_cached.py')
    with pytest.raises(ValueError, match='names its classes, found a EmbeddedDataset'):
        with_class_names(cfg, ['road', 'sky'])


def relabelled(**settings):
    dataset = dict(tiny_config().test_dataloader.dataset, type='RelabelledDataset')
    return dict(dataset, classes=['a', 'b'], palette=[[0] * 3] * 2, **settings)


def test_data_sets_that_load_no_label_maps():
    dataset = dict(relabelled(source='RepeatDataset', label_map={}), times=1)
    dataset = dict(
        dataset, dataset=dict(type='ShapesWorldDataset', pipeline=dataset.pop('pipeline'))
    )
    dataset.pop('split')
    with pytest.raises(DatasetError, match='expected a data set of mmseg, found RepeatDataset'):
        DATASETS.build(dataset)


def test_new_ids_that_are_no_class():
    wrong = relabelled(source='ShapesWorldDataset', label_map={3: 2})
    with pytest.raises(DatasetError, match=r'0 to 1 \(the 2 classes\).*found \{3: 2\}'):
        DATASETS.build(wrong)
