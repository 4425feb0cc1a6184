"""A whole model on SEEM trains its prompts, tests, and keeps them apart from what is frozen."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_ssprompt.models.seem.seem_variants import PIXEL_MEAN, PIXEL_STD
from mmseg_ssprompt.models.segmentors import PromptStateError
from seem_files import make_buffers, make_weights, read_keys
from tiny_model import framed_config, train

FRAME = (64, 96)  # height, width
QUIET = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)


@pytest.fixture
def config(tiny_file, tmp_path):
    """ShapesWorld in a rectangular frame, on the tiny SEEM."""
    config = framed_config(FRAME, PIXEL_MEAN, PIXEL_STD, tmp_path / 'work')
    names = config.model.decode_head.semantic_prompts.get('class_names')
    dataset = config.model.decode_head.semantic_prompts.get('dataset')
    text = dict(type='SEEMTextEncoder', variant='focal_tiny', templates=['a {}.'])
    head = dict(
        type='SSPromptHead',
        segmenter=dict(type='SEEMSegmenter', variant='focal_tiny'),
        spatial_prompts=dict(type='SpatialPromptLearner'),
        semantic_prompts=dict(
            type='SemanticPromptLearner', class_names=names, dataset=dataset, text_encoder=text
        ),
        classifier=dict(type='BaseModelClassifier'),
        loss_decode=dict(type='MaskClassificationLoss', num_points=64),
    )
    config.model = dict(
        type='PromptSegmentor',
        weights=dict(seem=str(tiny_file)),
        data_preprocessor=config.model.data_preprocessor,
        backbone=dict(type='SEEMImageEncoder', variant='focal_tiny'),
        decode_head=head,
        test_cfg=dict(mode='whole', logits=False),
    )
    config.train_cfg.update(max_iters=3, val_interval=3)
    return config


SPATIAL = dict(
    queries=dict(type='SpatialPromptLearner'),
    points=dict(type='SpatialPromptLearner', num_prompts=4),
    coordinates=dict(type='CoordinatePromptLearner', num_prompts=4),
)


@pytest.mark.parametrize('kind', SPATIAL)
def test_it_trains_nothing_but_the_prompts_and_tests(config, kind):
    config.model.decode_head.spatial_prompts = SPATIAL[kind]
    torch.manual_seed(0)
    before = {n: p.detach().clone() for n, p in MODELS.build(config.model).named_parameters()}
    runner = train(config)
    after = dict(runner.model.named_parameters())
    trainable = {name for name, parameter in after.items() if parameter.requires_grad}
    own = ('coordinates',) if kind == 'coordinates' else ('fusion.learned', 'fusion.weight_logit')
    semantic = ('fusion.learned', 'fusion.weight_logit')
    assert trainable == {
        *(f'decode_head.spatial_prompts.{name}' for name in own),
        *(f'decode_head.semantic_prompts.{name}' for name in semantic),
    }
    frozen = before.keys() - trainable
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert 0 <= runner.test()['mIoU'] <= 100


def test_prompts_are_saved_loaded_and_refused(config, tmp_path):
    trained = train(config, **QUIET).model
    state = trained.without_frozen(trained.state_dict())
    assert all('_prompts.' in name for name in state)
    model = MODELS.build(config.model)
    model.load_state_dict(state)
    for name in state:
        assert torch.equal(model.state_dict()[name], state[name])
    shapes, buffers = read_keys('tiny')
    other = {**make_weights(shapes), **make_buffers(buffers)}
    other['sem_seg_head.predictor.query_feat.weight'].add_(1)
    torch.save(other, tmp_path / 'other.pt')
    config.model.weights = dict(seem=str(tmp_path / 'other.pt'))
    with pytest.raises(PromptStateError, match='prompt_encoder: expected the weights SHA-256'):
        MODELS.build(config.model).load_state_dict(state)


def test_a_trained_decoder_is_saved_with_the_prompts(config):
    config.model.decode_head.segmenter.trainable = True
    prefix = 'decode_head.segmenter.mask_decoder.'
    before = MODELS.build(config.model)
    trained = train(config, **QUIET).model
    state = trained.without_frozen(trained.state_dict())
    own = {name for name in before.state_dict() if name.startswith(prefix)}
    assert own <= set(state)
    assert not any(name.startswith('decode_head.segmenter.prompt_encoder.') for name in state)
    moved = [n for n in own if not torch.equal(state[n], before.state_dict()[n])]
    assert set(own) - set(moved) == {f'{prefix}logit_scale'}
    before.load_state_dict(state)
    assert all(torch.equal(before.state_dict()[name], state[name]) for name in own)


def test_resuming_gives_the_same_to_the_bit(config):
    whole = train(
        config, **QUIET, work_dir=f'{config.work_dir}_whole', **{'train_cfg.max_iters': 6}
    )
    train(config, **QUIET)
    resumed = train(config, **QUIET, resume=True, **{'train_cfg.max_iters': 6})
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
