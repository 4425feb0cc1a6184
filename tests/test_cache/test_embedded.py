"""Training and testing on embedded samples, against the same without a cache."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate, worker_init_fn
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from torch.utils.data import DataLoader

from embedding_caches import LOAD, PACK, RANDOM, as_dataset, fill, recipe_of, shapes
from mmseg_ssprompt.cache import CacheError, Recipe
from mmseg_ssprompt.cache.recipe import fingerprint_encoder
from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.hooks import DatasetCheckHook
from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.base.precomputed import ENCODER_KEY
from tiny_model import build_tiny, tiny_config, use_sam_tiny
from trees import make_photograph_tree, make_tree

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
EXACT = recipe_of(shapes(4), dtype='float32')


def build(folder, recipe, **options):
    return DATASETS.build(as_dataset(folder, recipe, **options))


def build_cached(seed=0):
    """The model of the shipped config, on embeddings."""
    config = tiny_config().model
    encoder = dict(type='SAMImageEncoder', variant='tiny')
    config.backbone = dict(type='PrecomputedFeatures', encoder=encoder)
    config.data_preprocessor = dict(type='EmbeddingPreProcessor')
    torch.manual_seed(seed)
    return MODELS.build(config).eval()


def losses_of(model, dataset):
    """Of one batch, at the same points."""
    batch = model.data_preprocessor(pseudo_collate([dataset[i] for i in range(4)]), True)
    torch.manual_seed(0)
    return {k: v.item() for k, v in model.loss(**batch).items() if 'loss' in k}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Caches for training, in float32, and for testing, in float16."""
    folder = tmp_path_factory.mktemp('caches')
    with DefaultScope.overwrite_default_scope('mmseg'):
        fill(folder / 'train', EXACT)
        fill(folder / 'test', recipe_of(shapes(4), dtype='float32', test_mode=True))
        fill(folder / 'views', recipe_of(shapes(4, LOAD + RANDOM + PACK), views=3))
    return folder


def test_losses_are_those_without_a_cache(folder):
    expected = losses_of(build_tiny(), EXACT.build_dataset())
    found = losses_of(build_cached(), build(folder / 'train', EXACT))
    assert set(found) == {'decode.loss_cls', 'decode.loss_mask', 'decode.loss_dice'}
    assert found == pytest.approx(expected, rel=1e-5)


def train(config, work_dir, steps=3):
    """The losses of each step and the accuracy after the last, as they are logged."""
    config.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'train_cfg.max_iters': steps,
            'train_cfg.val_interval': steps,
            'default_hooks.logger.interval': 1,
            'experiment_name': work_dir.name,
            'visualizer.name': work_dir.name,  # one that exists would write to its own folder
            'log_processor.window_size': 1,  # else the log has means of ten steps
        }
    )
    Runner.from_cfg(config).train()
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line['loss'] for line in lines if 'loss' in line], lines[-1]['mIoU']


@pytest.fixture(scope='module')
def uncached_run(tmp_path_factory):
    """Losses and accuracy of a run of twenty steps on images, at the full learning rate."""
    config = Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_shapes.py')
    for split in ('train', 'val'):
        config[f'{split}_dataloader'].dataset = shapes(16)
    config.param_scheduler = []
    return train(config, tmp_path_factory.mktemp('run') / 'uncached', steps=20)


@pytest.mark.parametrize(
    ('dtype', 'tolerance', 'points'),
    [
        ('float32', 1e-5, 0.0),
        ('float16', 1e-3, 0.1),
        pytest.param('bfloat16', 1e-2, 0.5, marks=pytest.mark.slow),
    ],
)
def test_training_runs_have_the_same_losses(uncached_run, tmp_path, dtype, tolerance, points):
    """The same images in the same order, and the same random draws of the model."""
    config = Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_shapes_cached.py')
    for split in ('train', 'val'):
        recipe = recipe_of(shapes(16), dtype=dtype, test_mode=split != 'train')
        fill(tmp_path / split, recipe)
        config[f'{split}_dataloader'].dataset = as_dataset(tmp_path / split, recipe)
    config.param_scheduler = []
    expected, accuracy = uncached_run
    found, same_accuracy = train(config, tmp_path / dtype, steps=20)
    assert len(found) == 20 and len(set(found)) == 20
    assert found == pytest.approx(expected, rel=tolerance)
    assert found[-1] < found[0]
    assert same_accuracy == pytest.approx(accuracy, abs=points, rel=0)


def with_sam_tiny(name):
    """The shipped config that trains on a cache, with the weights and size of sam-tiny."""
    uncached = Config.fromfile(CONFIGS / f'{name}.py')
    cached = Config.fromfile(CONFIGS / f'{name}_cached.py')
    use_sam_tiny(uncached)
    cached.model.decode_head = uncached.model.decode_head
    cached.model.backbone.encoder = uncached.model.backbone
    for split in ('train', 'val', 'test'):
        loader = cached[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.dataset = uncached[f'{split}_dataloader'].dataset
        loader.dataset.encoder = uncached.model.backbone
        loader.dataset.data_preprocessor = uncached.model.data_preprocessor
    return cached


@pytest.mark.parametrize(
    'name', ['ssprompt_sam_ade20k', 'ssprompt_sam_cityscapes', 'ssprompt_sam-clip_ade20k']
)
def test_shipped_configs_train_and_validate_on_their_caches(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = with_sam_tiny(name)
    make_tree(tmp_path, config.data_root)
    for split, samples in (('train', 2 * 4), ('val', 1)):
        options = config[f'{split}_dataloader'].dataset.to_dict()
        del options['type']
        folder = Path(options.pop('cache_dir'))
        assert fill(folder, Recipe(**options)) == [samples]
        assert folder == Path('data/embeddings') / name / split
    (tmp_path / config.data_root).rename(tmp_path / 'gone')
    losses, accuracy = train(config, tmp_path / name)
    assert len(losses) == 3 and np.isfinite(losses).all()
    assert 0 <= accuracy <= 100


def test_predictions_are_those_without_a_cache(folder):
    recipe = recipe_of(shapes(4), dtype='float32', test_mode=True)
    dataset = build(folder / 'test', recipe)
    source = recipe.build_dataset()
    with torch.no_grad():
        found = build_cached().test_step(pseudo_collate([dataset[i] for i in range(4)]))
        expected = build_tiny().test_step(pseudo_collate([source[i] for i in range(4)]))
    for one, two in zip(found, expected):
        torch.testing.assert_close(one.seg_logits.data, two.seg_logits.data, rtol=0, atol=1e-5)
        assert torch.equal(one.gt_sem_seg.data, two.gt_sem_seg.data)
        made_with = {ENCODER_KEY: fingerprint_encoder(recipe.encoder)}
        assert one.metainfo == {**two.metainfo, **made_with}


def test_padded_predictions_have_the_images_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'camvid', num_images=1)
    pipeline = [
        LOAD[0],
        dict(type='Resize', scale=(96, 96), keep_ratio=True, backend='pillow'),
        *(LOAD[1], *PACK),
    ]
    source = dict(
        type='BaseSegDataset',
        data_root='camvid',
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        img_suffix='.png',
        metainfo=dict(classes=[str(i) for i in range(11)]),
        pipeline=pipeline,
    )
    recipe = recipe_of(source, dtype='float32', test_mode=True)
    fill(tmp_path / 'cache', recipe)
    with torch.no_grad():
        found = build_cached().test_step(pseudo_collate([build('cache', recipe)[0]]))[0]
        expected = build_tiny().test_step(pseudo_collate([recipe.build_dataset()[0]]))[0]
    assert found.pred_sem_seg.data.shape == (1, 36, 48)
    torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data, rtol=0, atol=1e-5)


def test_prompts_fit_models_with_and_without_the_encoder():
    cached, uncached = build_cached(seed=1), build_tiny(seed=2)
    name = 'decode_head.spatial_prompts.fusion.learned'
    prompts = cached.without_frozen(cached.state_dict())
    assert set(prompts) == set(uncached.without_frozen(uncached.state_dict()))
    assert not torch.equal(uncached.state_dict()[name], prompts[name])
    uncached.load_state_dict(prompts, strict=True)
    assert torch.equal(uncached.state_dict()[name], prompts[name])
    other = build_tiny(seed=3)
    cached.load_state_dict(other.without_frozen(other.state_dict()), strict=True)
    assert torch.equal(cached.state_dict()[name], other.state_dict()[name])
    assert not list(cached.backbone.parameters())


def test_an_item_is_what_the_pipeline_packs(folder):
    dataset, source = build(folder / 'train', EXACT), EXACT.build_dataset()
    assert len(dataset) == 4
    assert dataset.metainfo == source.metainfo
    item, packed = dataset[2], source[2]
    assert {name: tuple(x.shape) for name, x in item['inputs'].items()} == {
        'embedding': (96, 12, 12)
    }
    assert item['data_samples'].gt_sem_seg.data.dtype == torch.int64
    labels = packed['data_samples'].gt_sem_seg.data
    assert torch.equal(item['data_samples'].gt_sem_seg.data, labels)
    assert item['data_samples'].img_path == packed['data_samples'].img_path
    assert dataset[-1]['data_samples'].img_path == dataset[3]['data_samples'].img_path
    with pytest.raises(IndexError, match='there are 4 images'):
        dataset[4]


def test_training_draws_views_and_testing_takes_the_first(folder):
    recipe = recipe_of(shapes(4, LOAD + RANDOM + PACK), views=3)
    training = build(folder / 'views', recipe)
    stored = [training._read(1, view).features['embedding'] for view in range(3)]
    np.random.seed(0)
    expected = np.random.randint(3, size=20).tolist()
    np.random.seed(0)
    drawn = [training[1]['inputs']['embedding'] for _ in range(20)]
    assert set(expected) == {0, 1, 2}
    for embedding, view in zip(drawn, expected):
        assert torch.equal(embedding, stored[view])
    training.test_mode = True
    assert all(torch.equal(training[1]['inputs']['embedding'], stored[0]) for _ in range(5))


def test_workers_repeat_their_views(folder):
    """With mmengine's seeding of workers."""
    dataset = build(folder / 'views', recipe_of(shapes(4, LOAD + RANDOM + PACK), views=3))

    def epochs(seed):
        loader = DataLoader(
            dataset,
            batch_size=1,
            num_workers=2,
            collate_fn=pseudo_collate,
            worker_init_fn=lambda worker: worker_init_fn(worker, 2, 0, seed),
            persistent_workers=True,
        )
        return torch.stack([batch['inputs']['embedding'][0] for _ in range(3) for batch in loader])

    assert torch.equal(epochs(0), epochs(0))
    assert not torch.equal(epochs(0), epochs(1))


def runner_of(dataset, model):
    return SimpleNamespace(
        cfg=Config(),
        model=model,
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=None,
        logger=SimpleNamespace(info=lambda message: None),
    )


def test_checks_before_training(folder):
    dataset, model, hook = build(folder / 'train', EXACT), build_cached(), DatasetCheckHook()
    runner = runner_of(dataset, model)
    hook.before_train(runner)
    batch = pseudo_collate([dataset[0]])
    hook.before_train_iter(runner, 0, batch)
    batch['data_samples'][0].gt_sem_seg.data[0, 0, 0] = 77
    with pytest.raises(DatasetError, match=r'shapes://.*found \[77\] in 1 pixels'):
        hook.before_train_iter(runner, 1, batch)


def test_checks_find_labels_that_are_no_classes(folder):
    dataset, model = build(folder / 'train', EXACT), build_cached()
    model.decode_head.label_ids = LabelIds(8)
    with pytest.raises(DatasetError, match=r'shapes://.*expected ids from 0 to 7.*found \[.*[89]'):
        DatasetCheckHook().before_train(runner_of(dataset, model))


def test_checks_find_other_classes(folder):
    dataset, model = build(folder / 'train', EXACT), build_cached()
    dataset._cache.metainfo['classes'] = dataset._cache.metainfo['classes'][::-1]
    with pytest.raises(DatasetError, match='EmbeddedDataset has 10 classes, in another order'):
        DatasetCheckHook().before_train(runner_of(dataset, model))


def test_neither_images_nor_their_list_are_needed(tmp_path, monkeypatch):
    """But all else is compared."""
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'camvid', num_images=1)
    source = dict(
        type='BaseSegDataset',
        data_root='camvid',
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        img_suffix='.png',
        metainfo=dict(classes=['a', 'b']),
        pipeline=LOAD + PACK,
    )
    recipe = recipe_of(source)
    fill(tmp_path / 'cache', recipe)
    (tmp_path / 'camvid').rename(tmp_path / 'gone')
    dataset = build('cache', recipe)
    assert dataset[0]['inputs']['embedding'].shape == (96, 12, 12)
    assert dataset.metainfo['classes'] == ['a', 'b']
    with pytest.raises(CacheError, match=r'key\.seed: expected 1, found 0'):
        build('cache', recipe_of(source, seed=1))


def test_inside_wrappers_of_mmengine(folder):
    config = dict(type='RepeatDataset', dataset=as_dataset(folder / 'train', EXACT), times=3)
    assert len(DATASETS.build(config)) == 12
    lazy = build(folder / 'train', EXACT, lazy_init=True)
    assert not hasattr(lazy, '_cache')
    assert len(lazy) == 4


def test_preprocessor_stacks_and_casts():
    preprocessor = MODELS.build(dict(type='EmbeddingPreProcessor'))
    half = [torch.full((2, 3, 3), value, dtype=torch.float16) for value in (1.5, -2.0)]
    inputs = dict(embedding=half, companion=[x[0] for x in half])
    for training in (True, False):
        samples = [SegDataSample(metainfo=dict(name=name)) for name in 'ab']
        batch = preprocessor(dict(inputs=inputs, data_samples=samples), training)
        assert set(batch['inputs']) == {'embedding', 'companion'}
        assert all(x.dtype == torch.float32 for x in batch['inputs'].values())
        assert batch['inputs']['embedding'].shape == (2, 2, 3, 3)
        assert batch['inputs']['companion'].shape == (2, 3, 3)
        assert batch['inputs']['embedding'][:, 0, 0, 0].tolist() == [1.5, -2.0]
        assert [sample.name for sample in batch['data_samples']] == ['a', 'b']


def test_images_are_refused_where_embeddings_belong():
    backbone = build_cached().backbone
    features = backbone(dict(embedding=torch.ones(2, 96, 12, 12)))
    assert features.embedding.shape == (2, 96, 12, 12)
    assert (features.levels, features.companion) == ((), None)
    expected = "expected features of SAMImageEncoder, ['embedding'], found "
    for inputs, name in (
        (torch.zeros(1, 3, 96, 96), 'an image'),
        (dict(other=torch.zeros(2, 96, 12, 12)), 'other'),
    ):
        with pytest.raises(ValueError, match=re.escape(f"{expected}['{name}']")):
            backbone(inputs)
