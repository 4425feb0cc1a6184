"""What was tried as a part of recipes and is not in the package: it is what its row says."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from dev.studies.candidates import LateStartHook, PixelOutput
from dev.studies.recipes import RECIPES
from dev.studies.row_configs import make_config
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.heads.outputs import semantic
from mmseg_ssprompt.models.heads.ssprompt_head import SSPromptHead, enlarge

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


def build_head(option: str, folder: Path) -> SSPromptHead:
    """As the tools build it of a row's config."""
    (row,) = (row for row in RECIPES.rows if row.name == f'sam-tiny, shapes: {option}')
    make_config(replace(row, embedded=False), folder).dump(folder / 'config.py')
    config = Config.fromfile(folder / 'config.py')
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    built: SSPromptHead = MODELS.build(config.model).decode_head
    return built


@pytest.fixture(scope='module')
def head(tmp_path_factory: pytest.TempPathFactory) -> SSPromptHead:
    return build_head('SSPrompt, 4 prompts for each class', tmp_path_factory.mktemp('row'))


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


@pytest.fixture(scope='module')
def pixel_head(tmp_path_factory: pytest.TempPathFactory) -> SSPromptHead:
    return build_head('SSPrompt and pixel classifier', tmp_path_factory.mktemp('row'))


def decode(head: SSPromptHead) -> PixelOutput:
    embedding = torch.randn(2, 96, 12, 12, generator=torch.Generator().manual_seed(0))
    output: PixelOutput = head(ImageFeatures((), None, embedding))
    return output


@pytest.fixture
def samples():
    labels = torch.randint(0, 10, (2, 1, 96, 96), generator=torch.Generator().manual_seed(1))
    labels[0, :, :40] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]


def test_pixels_and_masks_are_mixed_by_trust(pixel_head):
    out = decode(pixel_head)
    mixed = pixel_head.semantic_scores(out)
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones_like(mixed[:, 0]))
    of_masks = pixel_head.semantic_scores(out._replace(trust=torch.tensor(0.0)))
    of_pixels = pixel_head.semantic_scores(out._replace(trust=torch.tensor(1.0)))
    assert torch.equal(
        of_masks.argmax(dim=1), semantic(out.mask_logits, out.class_logits).argmax(dim=1)
    )
    expected = enlarge(out.pixel_logits, of_pixels.shape[-2:]).softmax(dim=1)
    torch.testing.assert_close(of_pixels, expected)
    torch.testing.assert_close(mixed, (of_masks + of_pixels) / 2)  # it starts at one half
    torch.testing.assert_close(pixel_head.semantic_scores(out.image(1)), mixed[1])


def test_the_cross_entropy_of_the_mixture_joins_the_losses_of_masks(pixel_head, samples):
    out = decode(pixel_head)
    torch.manual_seed(0)
    losses = pixel_head.loss_by_feat(out, samples)
    torch.manual_seed(0)
    of_masks = SSPromptHead.loss_by_feat(pixel_head, out, samples)
    assert set(losses) == {*of_masks, 'loss_pixel'}
    for name, value in of_masks.items():
        torch.testing.assert_close(losses[name], value)
    scores = enlarge(pixel_head.semantic_scores(out).log(), (96, 96)).log_softmax(dim=1)
    labels = torch.stack([sample.gt_sem_seg.data for sample in samples])  # (B, 1, H, W)
    counts = labels != 255
    chosen = scores.gather(1, torch.where(counts, labels, 0))[counts]
    torch.testing.assert_close(losses['loss_pixel'], -30 * chosen.mean())
    losses['loss_pixel'].backward()
    trains = {name for name, p in pixel_head.named_parameters() if p.requires_grad}
    reached = {name for name, p in pixel_head.named_parameters() if p.grad is not None}
    assert reached == trains  # prompts too, by way of masks and of pixels


def test_without_pixels_only_the_loss_is_new(tmp_path, samples):
    head = build_head('SSPrompt, cross-entropy of pixels', tmp_path)
    assert not any(p.requires_grad for n, p in head.named_parameters() if n.startswith('pixel'))
    out = decode(head)
    scores = semantic(out.mask_logits, out.class_logits)
    torch.testing.assert_close(head.semantic_scores(out), scores / scores.sum(dim=1, keepdim=True))
    head.loss_by_feat(out, samples)['loss_pixel'].backward()
    assert head.spatial_prompts.fusion.learned.grad.abs().sum() > 0


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
