"""Every row of the ablations: what it trains, one step of it, a prediction, and its checkpoint."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, Tuple

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmseg.registry import DATASETS, MODELS
from torch import Tensor, nn

from mmseg_ssprompt.hooks import PromptCheckpointHook
from tiny_model import names_of_trainable, random_images, samples_of, training_loss

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'ablations'
FILES = sorted(CONFIGS.glob('*.py'))
#: By what their names say besides the base model, which is sam-tiny unless they name another.
ROWS = {re.sub(r'_sam-(clip-)?tiny_shapes', '', file.stem): file for file in FILES}

SPATIAL = 'spatial_prompts.fusion.learned'
SPATIAL_WEIGHT = 'spatial_prompts.fusion.weight_logit'
SEMANTIC = 'semantic_prompts.fusion.learned'
SEMANTIC_WEIGHT = 'semantic_prompts.fusion.weight_logit'
SSPROMPT = (SPATIAL, SPATIAL_WEIGHT, SEMANTIC, SEMANTIC_WEIGHT)
CONTEXT = 'semantic_prompts.context'
#: The beginnings of the names of what trains, without "decode_head."; each must be there.
TRAINS: Dict[str, Tuple[str, ...]] = {
    'coordinates': ('spatial_prompts.coordinates',),
    'spatial-only': (SPATIAL, SPATIAL_WEIGHT),
    'spatial-only_fixed-weight': (SPATIAL,),
    'spatial-only_learned-only': (SPATIAL,),
    'semantic-only': (SEMANTIC, SEMANTIC_WEIGHT),
    'semantic-only_fixed-weight': (SEMANTIC,),
    'semantic-only_learned-only': (SEMANTIC,),
    'fixed-weight': (SPATIAL, SEMANTIC),
    'learned-only': (SPATIAL, SEMANTIC),
    'coop': (CONTEXT,),
    'coop_class-specific': (CONTEXT,),
    'coop_spatial': (SPATIAL, SPATIAL_WEIGHT, CONTEXT),
    'projection': ('classifier.',),
    'ssprompt_projection': (*SSPROMPT, 'classifier.'),
    'linear': ('conv_seg.',),
    'decoder': ('segmenter.mask_decoder.decoder.',),
    'independent': SSPROMPT,
    'mask-output-best': SSPROMPT,
    'mask-output-all': SSPROMPT,
    'num-prompts': SSPROMPT,
    'token': SSPROMPT,
    'ensemble': SSPROMPT,
    'coop_seem-tiny_shapes': (CONTEXT,),
    'coordinates_seem-tiny_shapes': ('spatial_prompts.coordinates',),
    'linear_seem-tiny_shapes': ('conv_seg.',),
}

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning'),
    pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning'),
]


def config_of(row: str) -> Config:
    config = Config.fromfile(ROWS[row])
    config.model.test_cfg.logits = True  # scores are compared
    return config


def build(row: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return MODELS.build(config_of(row).model)


def predict(model: nn.Module) -> Tensor:
    """Class scores (C, H, W) of one image."""
    samples = samples_of(torch.zeros(1, 96, 96, dtype=torch.long))
    with torch.no_grad():
        return model.eval()(random_images(1), samples, mode='predict')[0].seg_logits.data


def take_one_step(model: nn.Module, row: str) -> None:
    """With the optimiser of the config."""
    optimizer = build_optim_wrapper(model, config_of(row).optim_wrapper)
    optimizer.update_params(training_loss(model.train()))


def saved_prompts(model: nn.Module, path: Path) -> Dict[str, Tensor]:
    """What a checkpoint file of a training run holds of the model."""
    checkpoint = dict(meta={}, state_dict=model.state_dict())
    PromptCheckpointHook().before_save_checkpoint(SimpleNamespace(model=model), checkpoint)
    torch.save(checkpoint, path)
    return torch.load(path, weights_only=True)['state_dict']


def test_every_row_has_a_config():
    assert set(ROWS) == set(TRAINS)
    assert len(FILES) == len(TRAINS)


@pytest.mark.parametrize('file', FILES, ids=[file.stem for file in FILES])
def test_begins_with_the_command_that_runs_it(file):
    first = file.read_text().splitlines()[0]
    assert first == f'# python tools/train.py configs/ablations/{file.name}'


@pytest.mark.parametrize('row', TRAINS)
def test_what_trains(row):
    names = [name[len('decode_head.') :] for name in names_of_trainable(build(row))]
    assert all(name.startswith(TRAINS[row]) for name in names), names
    assert all(any(name.startswith(prefix) for name in names) for prefix in TRAINS[row]), names


@pytest.mark.parametrize('row', TRAINS)
def test_a_step_changes_what_trains_and_nothing_else(row):
    model = build(row)
    before = copy.deepcopy(model.state_dict())
    trainable = names_of_trainable(model)
    take_one_step(model, row)
    changed = [
        key for key, value in model.state_dict().items() if not torch.equal(before[key], value)
    ]
    assert changed
    assert set(changed) == set(trainable)


#: Rows whose parts that train are those of no row before them; the others are slow tests.
KINDS = (
    *('coordinates', 'spatial-only', 'coop_spatial', 'projection', 'linear', 'decoder', 'token'),
    *('ensemble', 'coop_seem-tiny_shapes', 'coordinates_seem-tiny_shapes'),
)


@pytest.mark.parametrize(
    'row', [pytest.param(r, marks=[] if r in KINDS else [pytest.mark.slow]) for r in TRAINS]
)
def test_a_checkpoint_of_the_prompts_gives_the_same_prediction(row, tmp_path):
    model = build(row)
    take_one_step(model, row)
    expected = predict(model)
    assert expected.shape == (10, 96, 96)
    assert expected.isfinite().all()
    prompts = saved_prompts(model, tmp_path / 'prompts.pth')
    assert set(names_of_trainable(model)) <= set(prompts) < set(model.state_dict())
    loaded = build(row, seed=1)
    loaded.load_state_dict(prompts, strict=False)
    assert torch.equal(predict(loaded), expected)


@pytest.mark.parametrize('row', TRAINS)
def test_all_else_is_that_of_the_method(row):
    """Data, schedule and sizes are those that SSPrompt is measured with."""
    base = 'seem' if '_seem-' in row else 'sam'
    method = Config.fromfile(CONFIGS.parent / f'ssprompt_{base}-tiny_shapes.py')
    config = config_of(row)
    for key in ('train_dataloader', 'test_dataloader', 'optim_wrapper', 'train_cfg', 'randomness'):
        assert config[key] == method[key]
    backbone = config.model.backbone
    assert backbone.get('sam', backbone) == method.model.backbone
    classes = DATASETS.get(config.train_dataloader.dataset.type).METAINFO['classes']
    assert MODELS.build(config.model).decode_head.class_names == tuple(classes)


def test_coordinates_are_learned_through_prompt_encoder_and_decoder():
    """Each point has a gradient of its own, and steps make the loss smaller."""
    model = build('coordinates').train()
    optimizer = build_optim_wrapper(model, config_of('coordinates').optim_wrapper)
    first = training_loss(model)
    first.backward()
    assert (model.decode_head.spatial_prompts.coordinates.grad != 0).all()
    for _ in range(5):
        optimizer.update_params(training_loss(model))
    assert training_loss(model) < first


@pytest.mark.parametrize('number', [1, 4, 16, 25, 49, 100, 225, 400])
def test_number_of_prompts_is_an_option(number):
    config = config_of('num-prompts')
    config.merge_from_dict({'model.decode_head.spatial_prompts.num_prompts': number})
    model = MODELS.build(config.model).train()
    assert model.decode_head.spatial_prompts.num_prompts == number
    training_loss(model).backward()
    assert model.decode_head.spatial_prompts.fusion.learned.grad.isfinite().all()
    assert predict(model).shape == (10, 96, 96)
