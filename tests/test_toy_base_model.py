"""Another base model plugs in by its own code alone: see ``toy_base_model``."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS

import toy_base_model as toy
from mmseg_ssprompt.cache import (
    CacheError,
    Embedder,
    Recipe,
    SourceViews,
    fill_cache,
    finish_cache,
)
from mmseg_ssprompt.models import PrecomputedFeatures
from mmseg_ssprompt.models.base import ClassNameEncoder, ImageEncoder, PromptableSegmenter
from mmseg_ssprompt.models.segmentors import PromptStateError
from mmseg_ssprompt.prompt_files import read_prompt_source, transfer_prompts
from mmseg_ssprompt.prompt_files.prompt_file import write_prompts
from mmseg_ssprompt.weights.model_weights import hand_down_weights
from tiny_model import CONFIG, framed_config, train

NAMES = ['ball', 'heart balloon', 'kite', 'tent', 'house', 'first aid post']
NAMES += ['sky', 'forest', 'lake', 'tiled pavement']
FRAME = (48, 80)  # height, width: no square
PROMPTS = 9


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Files of both parts."""
    folder = tmp_path_factory.mktemp('toy')
    torch.manual_seed(0)
    for part in (toy.ToyImageEncoder, toy.ToySegmenter):
        torch.save(part().state_dict(), folder / f'{part.part}.pth')
    return folder


@pytest.fixture
def config(weights, tmp_path):
    """ShapesWorld in a rectangular frame, on the toy."""
    mean = list(toy.ToyImageEncoder.pixel_mean)
    config = framed_config(FRAME, mean, mean, tmp_path / 'work')
    head = dict(
        type='SSPromptHead',
        segmenter=dict(type='ToySegmenter', checkpoint=str(weights / 'prompt_encoder.pth')),
        spatial_prompts=dict(type='SpatialPromptLearner', num_prompts=PROMPTS),
        semantic_prompts=dict(
            type='SemanticPromptLearner',
            class_names=NAMES,
            text_encoder=dict(type='ToyTextEncoder'),
        ),
        classifier=dict(type='BaseModelClassifier'),
        loss_decode=dict(type='MaskClassificationLoss', num_points=64),
    )
    backbone = dict(type='ToyImageEncoder')
    config.model = dict(
        type='PromptSegmentor',
        weights=dict(toy=str(weights / 'image_encoder.pth')),
        data_preprocessor=config.model.data_preprocessor,
        backbone=backbone,
        decode_head=head,
        test_cfg=dict(mode='whole', logits=False),
    )
    config.train_cfg.update(max_iters=6, val_interval=6)
    return config


def test_it_fulfils_the_contracts():
    assert isinstance(toy.ToyImageEncoder(), ImageEncoder)
    assert isinstance(toy.ToySegmenter(), PromptableSegmenter)
    with torch.no_grad():
        features = toy.ToyImageEncoder()(torch.randn(2, 3, *FRAME))
    assert [tuple(level.shape) for level in features.levels] == [
        (2, 6, 12, 20),
        (2, 8, 6, 10),
        (2, 10, 3, 5),
    ]
    assert features[-1] is features.embedding


def test_sam_and_clip_fulfil_them_too():
    config = Config.fromfile(CONFIG.with_name('ssprompt_sam-clip-tiny_shapes.py')).model
    model = MODELS.build(config)
    assert isinstance(model.backbone, ImageEncoder)
    assert isinstance(model.backbone.sam, ImageEncoder)
    assert isinstance(model.backbone.clip, ImageEncoder)
    assert isinstance(model.decode_head.segmenter, PromptableSegmenter)
    encoder = MODELS.build(dict(config.decode_head.semantic_prompts.text_encoder))
    assert isinstance(encoder, ClassNameEncoder)


def test_it_trains_nothing_but_the_prompts_and_tests(config):
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    prefix = 'decode_head.{}_prompts.fusion.{}'
    assert trainable == {
        prefix.format(part, name)
        for part in ('spatial', 'semantic')
        for name in ('learned', 'weight_logit')
    }
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    runner = train(config)
    after = dict(runner.model.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == trainable
    metrics = runner.test()
    assert 0 < metrics['mIoU'] <= 100


def test_prompts_see_the_image(config):
    model = MODELS.build(config.model).eval()
    learner, segmenter = model.decode_head.spatial_prompts, model.decode_head.segmenter
    features = model.backbone(torch.randn(2, 3, *FRAME))
    prompts = learner(segmenter, features)
    assert prompts.shape == (2, PROMPTS, 3, toy.WIDTH)
    assert not torch.allclose(prompts[0], prompts[1])
    weight = learner.fusion.weight[0]
    default = segmenter.encode_points(learner.handcrafted, features)
    mixed = weight * learner.fusion.learned + (1 - weight) * default
    assert torch.allclose(prompts, mixed, atol=1e-6)


def test_labels_have_the_size_of_the_image(config):
    model = MODELS.build(config.model).eval()
    dataset = DATASETS.build(config.test_dataloader.dataset)
    data = dataset[0]
    (sample,) = model.test_step(dict(inputs=[data['inputs']], data_samples=[data['data_samples']]))
    assert sample.pred_sem_seg.data.shape[-2:] == tuple(sample.ori_shape)


def make_cache(config, folder):
    """Embed the training scenes; the config that trains on them."""
    config = Config(config.to_dict())
    dataset = config.train_dataloader.dataset.to_dict()
    backbone = hand_down_weights(config.model.to_dict())['backbone']
    recipe = Recipe(dataset, backbone, config.model.data_preprocessor.to_dict(), dtype='float32')
    source = recipe.build_dataset()
    views, key = SourceViews(source, 1, 0), recipe.key(source)
    fill_cache(folder, key, views, Embedder(recipe), files=views.files)
    finish_cache(folder, key, source.metainfo, len(views))
    cached = copy.deepcopy(config)
    cached.train_dataloader.dataset = dict(
        vars(recipe), type='EmbeddedDataset', cache_dir=str(folder)
    )
    cached.model.data_preprocessor = dict(type='EmbeddingPreProcessor')
    cached.model.backbone = dict(type='PrecomputedFeatures', encoder=backbone)
    cached.val_dataloader = cached.val_cfg = cached.val_evaluator = None
    return cached


def test_it_is_cached(config, tmp_path):
    for part in ('spatial', 'semantic'):  # noise is drawn after the encoder's random weights
        config.model.decode_head[f'{part}_prompts'].fusion = dict(noise=0.0)
    cached = make_cache(config, tmp_path / 'cache')
    sample = DATASETS.build(cached.train_dataloader.dataset)[0]
    assert set(sample['inputs']) == {'embedding', 'level_0', 'level_1', 'level_2'}
    assert sample['inputs']['level_2'].shape == (10, 3, 5)
    with_images = train(config, val_dataloader=None, val_cfg=None, val_evaluator=None)
    with_cache = train(cached)
    assert isinstance(with_cache.model.backbone, PrecomputedFeatures)
    one, other = (r.model.decode_head.state_dict() for r in (with_images, with_cache))
    for name, value in one.items():
        assert torch.allclose(value, other[name], atol=1e-5), name
    state = with_cache.model.without_frozen(with_cache.model.state_dict())
    MODELS.build(config.model).load_state_dict(state)  # prompts fit the model with the encoder

    torch.manual_seed(9)
    torch.save(toy.ToyImageEncoder().state_dict(), tmp_path / 'other.pth')
    cached.train_dataloader.dataset.encoder.checkpoint = str(tmp_path / 'other.pth')
    with pytest.raises(CacheError, match=r'key\.encoder\.weights\.image_encoder: expected'):
        DATASETS.build(cached.train_dataloader.dataset)


def test_prompts_are_saved_loaded_and_refused(config, tmp_path):
    trained = train(config, val_dataloader=None, val_cfg=None, val_evaluator=None).model
    state = trained.without_frozen(trained.state_dict())
    write_prompts(state, {}, tmp_path / 'prompts.safetensors')
    source = read_prompt_source(tmp_path / 'prompts.safetensors')
    assert source.metadata['base']['kind'] == 'toy'
    assert set(source.metadata['base']['parts']) == {'image_encoder', 'prompt_encoder'}
    model = MODELS.build(config.model)
    model.load_state_dict(source.state_dict)
    name = 'decode_head.spatial_prompts.fusion.learned'
    assert torch.equal(model.state_dict()[name], state[name])

    torch.manual_seed(9)
    torch.save(toy.ToySegmenter().state_dict(), tmp_path / 'other.pth')
    config.model.decode_head.segmenter.checkpoint = str(tmp_path / 'other.pth')
    with pytest.raises(PromptStateError, match='prompt_encoder: expected the weights SHA-256'):
        MODELS.build(config.model).load_state_dict(source.state_dict)


def test_prompts_transfer_by_name(config, tmp_path):
    trained = train(config, val_dataloader=None, val_cfg=None, val_evaluator=None).model
    write_prompts(trained.without_frozen(trained.state_dict()), {}, tmp_path / 'prompts.pth')
    config.model.decode_head.semantic_prompts.class_names = ['Lake', 'river', 'sky']
    target = MODELS.build(config.model)
    state, report = transfer_prompts(read_prompt_source(tmp_path / 'prompts.pth'), target)
    assert (report.matched, report.unmatched) == (('Lake', 'sky'), ('river',))
    target.load_state_dict(state)
    learned = target.decode_head.semantic_prompts.fusion.learned
    theirs = trained.decode_head.semantic_prompts.fusion.learned
    assert torch.equal(learned[0], theirs[NAMES.index('lake')])
    assert torch.equal(
        target.decode_head.spatial_prompts.fusion.learned,
        trained.decode_head.spatial_prompts.fusion.learned,
    )


def test_resuming_gives_the_same_to_the_bit(config):
    quiet = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    whole = train(config, **quiet, work_dir=f'{config.work_dir}_whole').model.state_dict()
    train(config, **{**quiet, 'train_cfg.max_iters': 3})
    resumed = train(config, **quiet, resume=True).model.state_dict()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
