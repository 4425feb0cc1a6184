"""What runs on SAM by some lines of config runs on SEEM by the same lines, or is refused.

The lines are those of the files of the ablations, read with SEEM in the place of their base.
"""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import MODELS

from mmseg_ssprompt.models.seem import SEEMSegmenter
from tiny_model import names_of_trainable, samples_of, training_loss, use_tiny_seem

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
SAM_BASE = "_base_ = ['../ssprompt_sam-tiny_shapes.py']"
#: SEEM in the place of sam-tiny, on the same data.
SEEM_BASE = """
_base_ = [
    '{configs}/_base_/models/ssprompt_seem.py',
    '{configs}/_base_/datasets/shapes_96x96.py',
    '{configs}/_base_/schedules/schedule_300.py',
    '{configs}/_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=10, semantic_prompts=dict(dataset='ShapesWorldDataset'))
)
"""

SPATIAL, SEMANTIC = ('spatial_prompts.fusion.learned',), ('semantic_prompts.fusion.learned',)
CONTEXT = ('semantic_prompts.context',)
SPATIAL_WEIGHT = ('spatial_prompts.fusion.weight_logit',)
SEMANTIC_WEIGHT = ('semantic_prompts.fusion.weight_logit',)
#: What trains in each row, without "decode_head."; of the decoder the beginning of the names.
TRAINS = {
    'coordinates': ('spatial_prompts.coordinates',),
    'spatial-only': SPATIAL + SPATIAL_WEIGHT,
    'semantic-only': SEMANTIC + SEMANTIC_WEIGHT,
    'fixed-weight': SPATIAL + SEMANTIC,
    'learned-only': SPATIAL + SEMANTIC,
    'coop': CONTEXT,
    'coop_class-specific': CONTEXT,
    'coop_spatial': SPATIAL + SPATIAL_WEIGHT + CONTEXT,
    'decoder': ('segmenter.mask_decoder.',),
    'num-prompts': SPATIAL + SPATIAL_WEIGHT + SEMANTIC + SEMANTIC_WEIGHT,
}
#: The rows that SEEM cannot have, and what is said of them.
REFUSED = {
    'independent': "SEEM's own queries, which know of each other only by being decoded together",
    'mask-output-all': 'SEEM has one mask for each query. Leave it out',
    'mask-output-best': 'SEEM has one mask for each query. Leave it out',
    'projection': "there is no projection here; the base model's own is a part of its mask decoder",
    'ssprompt_projection': 'there is no projection here',
}

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


@pytest.fixture
def read(tiny_file, tmp_path):
    """Reads the lines of a row on SEEM."""

    def config_of(row: str) -> Config:
        base = tmp_path / 'seem.py'
        base.write_text(SEEM_BASE.format(configs=CONFIGS))
        (file,) = (CONFIGS / 'ablations').glob(f'{row}_sam-tiny_shapes.py')
        text = file.read_text()
        assert SAM_BASE in text
        own = tmp_path / f'{row}.py'
        own.write_text(text.replace(SAM_BASE, f"_base_ = ['{base}']"))
        config = Config.fromfile(own)
        use_tiny_seem(config, str(tiny_file))
        if config.model.decode_head.spatial_prompts.get('num_prompts'):
            config.model.decode_head.spatial_prompts.num_prompts = 4  # for speed
        return config

    return config_of


@pytest.mark.parametrize('row', TRAINS)
def test_one_step_changes_what_trains_and_nothing_else(read, row):
    config = read(row)
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    before = copy.deepcopy(model.state_dict())
    trainable = names_of_trainable(model)
    names = [name[len('decode_head.') :] for name in trainable]
    assert all(name.startswith(TRAINS[row]) for name in names), names
    assert all(any(name.startswith(start) for name in names) for start in TRAINS[row]), names
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    loss = training_loss(model)
    assert loss.isfinite()
    optimizer.update_params(loss)
    after = model.state_dict()
    assert {name for name in after if not torch.equal(before[name], after[name])} == set(trainable)


def test_frozen_default_trains_nothing_and_predicts(read):
    config = read('fixed-weight')
    for part in ('spatial_prompts', 'semantic_prompts'):
        config.model.decode_head[part].fusion.mode = 'default_only'
    model = MODELS.build(config.model).eval()
    assert names_of_trainable(model) == []
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (sample,) = model(images, samples_of(torch.zeros(1, 96, 96)), mode='predict')
    assert sample.pred_sem_seg.data.shape == (1, 96, 96)


def test_no_object_trains_beside_the_prompts(read):
    config = read('fixed-weight')
    config.model.decode_head.classifier.fusion = dict(mode='learned_weight')
    model = MODELS.build(config.model).train()
    learned = {name for name in names_of_trainable(model) if 'classifier' in name}
    start = 'decode_head.classifier.no_object_prompt'
    assert learned == {f'{start}.learned', f'{start}.weight_logit'}
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    groups = optimizer.optimizer.param_groups
    own = {id(p) for name, p in model.named_parameters() if name in learned}
    decays = {group['weight_decay'] for group in groups for p in group['params'] if id(p) in own}
    assert decays == {0.0}
    before = {name: model.get_parameter(name).detach().clone() for name in learned}
    optimizer.update_params(training_loss(model))
    assert not any(torch.equal(before[name], model.get_parameter(name)) for name in learned)
    saved = model.without_frozen(model.state_dict())
    assert learned < set(saved) and f'{start}.default' in saved


def test_a_moving_average_is_kept(read, tmp_path):
    config = read('learned-only')
    config.merge_from_dict(
        dict(
            work_dir=str(tmp_path / 'work'),
            train_cfg=dict(max_iters=2),
            custom_hooks=[dict(type='EMAHook', momentum=0.5)],
            train_dataloader=dict(batch_size=1, dataset=dict(num_images=2)),
            log_level='ERROR',
            experiment_name='seem_average',
        )
    )
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        config[key] = None
    config.default_hooks.checkpoint.update(interval=2, save_best=None)
    with DefaultScope.overwrite_default_scope('mmseg'):
        Runner.from_cfg(config).train()
    saved = torch.load(tmp_path / 'work' / 'iter_2.pth', weights_only=False)
    for name in ('spatial_prompts', 'semantic_prompts'):
        key = f'decode_head.{name}.fusion.learned'
        average, own = saved['state_dict'][key], saved['ema_state_dict'][f'module.{key}']
        assert not torch.equal(average, own)


@pytest.mark.parametrize('row', REFUSED)
def test_what_it_has_not_is_refused_with_its_reason_when_it_is_built(read, row):
    with pytest.raises(ValueError, match=REFUSED[row]):
        MODELS.build(read(row).model)


def test_points_are_decoded_apart_by_the_line_of_sam(read):
    config = read('num-prompts')
    config.model.decode_head.segmenter.decoding = 'independent'
    model = MODELS.build(config.model).train()
    assert isinstance(model.decode_head.segmenter, SEEMSegmenter)
    assert training_loss(model).isfinite()


def test_every_row_is_told():
    """But those whose lines are of SAM's or CLIP's parts, and one side of those of both sides."""
    rows = {file.stem.partition('_sam-')[0] for file in (CONFIGS / 'ablations').glob('*_sam-*.py')}
    rows = {row for row in rows if '-only_' not in row} - {'linear', 'token', 'ensemble'}
    assert rows == TRAINS.keys() | REFUSED.keys()
