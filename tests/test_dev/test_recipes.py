"""The study of recipes: its options are those that there are, and what its rows train."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmseg.registry import MODELS
from torch import nn

import dev.studies.candidates  # noqa: F401  (registers what a row takes)
from dev.recipes_page import MOST_PARAMETERS
from dev.studies.recipes import RECIPES
from dev.studies.row_configs import make_config
from dev.studies.rows import StudyRow

ROWS = {row.name: row for row in RECIPES.rows}
RECIPE = 'SemPrompt, bridge and decoder bridges, rank 8'

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


def config_of(row: StudyRow) -> Config:
    """As the study makes it of the row, with images, which need no folder of embedded samples."""
    return make_config(replace(row, embedded=False), Path())


def build(row: StudyRow) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(config_of(row).model)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_each_row_is_compared_in_its_own_world():
    for row in RECIPES.rows:
        assert row.reference.partition(':')[0] == row.name.partition(':')[0]
        assert ROWS[row.reference].metric == row.metric


@pytest.mark.parametrize('base', ['sam', 'seem'])
def test_the_recipe_is_small_and_every_part_of_it_trains(base):
    row = ROWS[f'{base}-tiny, shapes: {RECIPE}']
    model = build(row)
    assert 0 < count(model) <= MOST_PARAMETERS
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    parts = ('semantic_prompts.fusion.', 'classifier.bridge.', 'decoder_bridges.')
    for part in parts:
        assert any(part in name for name in names)
    assert all(any(part in n for part in (*parts, 'no_object', 'logit_scale')) for n in names)
    wrapper = build_optim_wrapper(model, config_of(row).optim_wrapper)
    decays = {id(p): g['weight_decay'] for g in wrapper.param_groups for p in g['params']}
    scalars = [p for name, p in model.named_parameters() if name.endswith('bridge.weight_logit')]
    assert scalars and all(decays[id(p)] == 0 for p in scalars)


@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n in ROWS if 'bridges' in n and ' to ' not in n])
def test_no_recipe_trains_more_than_it_may(name):
    assert count(build(ROWS[name])) <= MOST_PARAMETERS


@pytest.mark.slow
@pytest.mark.parametrize(
    'row',
    [row for row in RECIPES.rows if ', shapes:' in row.name and row.trains],
    ids=lambda row: row.name,
)
def test_every_row_builds(row):
    assert count(build(row)) > 0
