"""What was tried as a part of recipes and is not in the package: it is what its row says."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from dev.studies.candidates import LateStartHook
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


def make_runner():
    """A head of three parts, one of which is frozen, and an optimiser for all of them."""
    head = nn.Module()
    head.early, head.late, head.frozen = (nn.Linear(2, 2) for _ in range(3))
    head.frozen.requires_grad_(False)
    head.late.bias.requires_grad_(False)
    model = nn.Module()
    model.decode_head = head
    parameters = [p for p in model.parameters() if p.requires_grad]
    return SimpleNamespace(model=model, iter=0), torch.optim.AdamW(parameters, lr=0.1)


def take_step(runner, optimizer, hook):
    hook.before_train_iter(runner, batch_idx=0)
    head = runner.model.decode_head
    optimizer.zero_grad()
    sum(part(torch.ones(1, 2)).sum() for part in (head.early, head.late, head.frozen)).backward()
    optimizer.step()
    runner.iter += 1


@pytest.mark.parametrize('resumed_at', [0, 1, 2, 3])
def test_what_waits_takes_no_step_until_its_turn(resumed_at):
    runner, optimizer = make_runner()
    runner.iter = resumed_at
    head, hook = runner.model.decode_head, LateStartHook(['late'], begin=2)
    hook.before_train(runner)
    for _ in range(4):
        early, late = head.early.weight.clone(), head.late.weight.clone()
        waits = runner.iter < 2
        take_step(runner, optimizer, hook)
        assert not torch.equal(head.early.weight, early)
        assert torch.equal(head.late.weight, late) == waits
    hook.after_train(runner)
    assert head.late.weight.requires_grad
    assert not head.late.bias.requires_grad  # frozen before, frozen still
    assert not head.frozen.weight.requires_grad


@pytest.mark.parametrize('part', ['frozen', 'nowhere'])
def test_a_part_that_does_not_train(part):
    with pytest.raises(ValueError, match=rf"some of \['early', 'late'\], found '{part}'"):
        LateStartHook([part], begin=2).before_train(make_runner()[0])


@pytest.mark.parametrize('parts', ['spatial_prompts', [], None])
def test_parts_that_are_none(parts):
    with pytest.raises(ValueError, match='LateStartHook: expected parts such as'):
        LateStartHook(parts, begin=2)


@pytest.mark.parametrize('begin', [0, -1, 1.5, True, '2'])
def test_a_beginning_that_there_is_not(begin):
    with pytest.raises(ValueError, match='LateStartHook: begin must be a positive integer'):
        LateStartHook(['late'], begin=begin)
