"""What was tried as a part of recipes and is not in the package: it is what its row says."""

from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from dev.studies.recipes import RECIPES
from dev.studies.row_configs import make_config

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


@pytest.fixture(scope='module')
def head(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """As the tools build it of the row's config."""
    folder = tmp_path_factory.mktemp('row')
    name = 'sam-tiny, shapes: SSPrompt, 4 prompts for each class'
    (row,) = (row for row in RECIPES.rows if row.name == name)
    make_config(replace(row, embedded=False), folder).dump(folder / 'config.py')
    config = Config.fromfile(folder / 'config.py')
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    built: torch.nn.Module = MODELS.build(config.model).decode_head
    return built


def test_prompts_of_a_class_start_at_its_name_and_train_apart(head):
    learner = head.semantic_prompts
    prompts = learner()
    width = learner.embed_dims
    assert prompts.shape == (40, width)
    torch.testing.assert_close(prompts.norm(dim=-1), torch.ones(40))
    of_classes = prompts.unflatten(0, (10, 4))
    assert not torch.equal(of_classes[:, 0], of_classes[:, 1])
    assert learner.fusion.weight.shape == (10,)  # one trust weight for each class
    (prompts * torch.randn(40, width)).sum().backward()
    assert (learner.fusion.learned.grad.flatten(1) != 0).any(dim=1).all()


def test_a_class_takes_its_best_prompt(head):
    logits = torch.randn(2, 5, 41)
    pooled = head.pool(logits)
    assert pooled.shape == (2, 5, 11)
    assert torch.equal(pooled[..., -1], logits[..., -1])
    assert torch.equal(pooled[..., 1], logits[..., 4:8].max(dim=-1).values)
