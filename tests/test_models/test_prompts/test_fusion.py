"""The fusion formula by hand, where it starts, what trains, and what its checkpoint holds."""

import math

import pytest
import torch
from torch import Tensor

from mmseg_ssprompt.models.prompts import FUSION_MODES, PromptFusion

DEFAULT = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
LEARNED = torch.tensor([[5.0, -2.0], [0.0, 0.0]])
TRAINED = dict(
    learned_weight={'learned', 'weight_logit'},
    fixed_weight={'learned'},
    learned_only={'learned'},
    default_only=set(),
)


def random_default(*shape: int, seed: int = 0) -> Tensor:
    """Vectors whose norms differ by orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    size = 10 ** (2 * torch.rand(*shape[:-1], 1, generator=generator))
    return size * torch.randn(*shape, generator=generator)


def fusion_at(mode: str, weight: float = 0.25) -> PromptFusion:
    """A fusion of ``DEFAULT`` that has learned ``LEARNED``."""
    fusion = PromptFusion(DEFAULT, mode, initial_weight=weight)
    if mode != 'default_only':
        fusion.learned.data.copy_(LEARNED)
    return fusion


@pytest.mark.parametrize(
    ('mode', 'expected'),
    [
        ('learned_weight', [[2.0, 1.0], [2.25, 3.0]]),
        ('fixed_weight', [[2.0, 1.0], [2.25, 3.0]]),
        ('learned_only', [[5.0, -2.0], [0.0, 0.0]]),
        ('default_only', [[1.0, 2.0], [3.0, 4.0]]),
    ],
)
def test_formula_by_hand(mode: str, expected):
    torch.testing.assert_close(fusion_at(mode)(), torch.tensor(expected))


def test_each_prompt_has_its_own_weight():
    fusion = fusion_at('learned_weight')
    fusion.weight_logit.data.copy_(torch.tensor([0.25, 0.8]).logit())
    torch.testing.assert_close(fusion(), torch.tensor([[2.0, 1.0], [0.6, 0.8]]))


def test_all_tokens_of_a_prompt_share_its_weight():
    default = random_default(3, 2, 5)
    fusion = PromptFusion(default, noise=1.0)
    fusion.weight_logit.data.copy_(torch.tensor([-100.0, 100.0, 0.0]))
    expected = torch.stack([default[0], fusion.learned[1], (default[2] + fusion.learned[2]) / 2])
    assert fusion.weight_logit.shape == (3,)
    torch.testing.assert_close(fusion(), expected)


@pytest.mark.parametrize('mode', FUSION_MODES)
@pytest.mark.parametrize('shape', [(7, 5), (7, 2, 5)])
def test_without_noise_the_default_comes_out_to_the_bit(mode: str, shape):
    default = random_default(*shape)
    fused = PromptFusion(default, mode, initial_weight=0.3, noise=0.0)()
    assert fused.shape == shape
    assert torch.equal(fused, default)


@pytest.mark.parametrize(('kwargs', 'noise'), [({}, 0.02), (dict(noise=0.5), 0.5)])
def test_noise_is_relative_to_each_vector(kwargs: dict, noise: float):
    torch.manual_seed(0)
    default = random_default(300, 2, 256)
    added = PromptFusion(default, **kwargs).learned.detach() - default
    relative = added.norm(dim=-1) / default.norm(dim=-1)  # (300, 2)
    assert relative.mean().item() == pytest.approx(noise, rel=0.01)
    assert (relative - noise).abs().max() < 0.25 * noise


def test_noise_follows_the_seed_and_differs_between_prompts():
    default = random_default(1, 64).expand(2, -1)
    learned = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        learned.append(PromptFusion(default).learned.detach())
    assert torch.equal(learned[0], learned[1])
    assert not torch.equal(learned[0], learned[2])
    assert not torch.equal(learned[0][0], learned[0][1])


def test_starts_near_the_default():
    default = random_default(50, 64)
    away = (PromptFusion(default)() - default).norm(dim=-1) / default.norm(dim=-1)
    assert 0 < away.max() < 0.02


@pytest.mark.parametrize('mode', FUSION_MODES)
def test_what_trains(mode: str):
    fusion = PromptFusion(random_default(4, 2, 5), mode)
    assert {name for name, _ in fusion.named_parameters()} == TRAINED[mode]
    assert fusion().requires_grad == bool(TRAINED[mode])
    assert not fusion.default.requires_grad
    if TRAINED[mode]:
        fusion().square().sum().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in fusion.parameters())
        assert fusion.default.grad is None


def test_gradients_by_hand():
    fusion = fusion_at('learned_weight')
    downstream = torch.tensor([[1.0, -1.0], [2.0, 0.5]])
    (fusion() * downstream).sum().backward()
    torch.testing.assert_close(fusion.learned.grad, 0.25 * downstream)
    # W (1 - W) times the step from the default to what was learned, along the gradient
    expected = 0.25 * 0.75 * torch.tensor([4.0 + 4.0, -6.0 - 2.0])
    torch.testing.assert_close(fusion.weight_logit.grad, expected)


def test_noise_is_what_gives_the_weight_a_gradient_at_the_first_step():
    gradients = []
    for noise in (0.02, 0.0):
        fusion = PromptFusion(random_default(6, 2, 8), noise=noise)
        fusion().square().sum().backward()
        gradients.append(fusion.weight_logit.grad)
    assert (gradients[0] != 0).all()
    assert (gradients[1] == 0).all()


@pytest.mark.parametrize('weight', [0.1, 0.5, 0.9])
def test_initial_weight_is_a_sigmoid_of_the_logit(weight: float):
    fusion = PromptFusion(DEFAULT, initial_weight=weight)
    logit = torch.full((2,), math.log(weight / (1 - weight)))
    torch.testing.assert_close(fusion.weight_logit.detach(), logit)
    torch.testing.assert_close(fusion.weight.detach(), torch.full((2,), weight))


def test_initial_weight_is_one_half_unless_given():
    assert torch.equal(PromptFusion(DEFAULT).weight, torch.full((2,), 0.5))
    assert torch.equal(PromptFusion(DEFAULT, 'fixed_weight').weight, torch.full((2,), 0.5))


@pytest.mark.parametrize(
    ('mode', 'weight'), [('fixed_weight', 0.3), ('learned_only', 1.0), ('default_only', 0.0)]
)
def test_weight_of_the_other_modes_is_constant(mode: str, weight: float):
    fusion = PromptFusion(DEFAULT, mode, initial_weight=0.3)
    torch.testing.assert_close(fusion.weight, torch.full((2,), weight))
    assert not fusion.weight.requires_grad


@pytest.mark.parametrize('logit', [-1e4, 1e4])
def test_weight_stays_a_mixture(logit: float):
    fusion = fusion_at('learned_weight')
    fusion.weight_logit.data.fill_(logit)
    assert ((fusion.weight >= 0) & (fusion.weight <= 1)).all()
    assert torch.equal(fusion(), DEFAULT if logit < 0 else LEARNED)


def test_default_is_a_copy_without_history():
    given = DEFAULT.clone().requires_grad_()
    fusion = PromptFusion(given, 'learned_weight', noise=0.0)
    fusion().sum().backward()
    assert given.grad is None
    given.data.zero_()
    assert torch.equal(fusion.default, DEFAULT)
    assert torch.equal(fusion.learned, DEFAULT)


def test_learning_leaves_the_default_alone():
    fusion = PromptFusion(DEFAULT)
    optimizer = torch.optim.AdamW(fusion.parameters(), lr=0.1)
    before = (fusion() - LEARNED).norm()
    for _ in range(20):
        optimizer.zero_grad()
        (fusion() - LEARNED).square().sum().backward()
        optimizer.step()
    assert (fusion() - LEARNED).norm() < 0.8 * before
    assert torch.equal(fusion.default, DEFAULT)


@pytest.mark.parametrize('mode', FUSION_MODES)
def test_state_dict_round_trip(mode: str):
    """The default travels along, so that a checkpoint needs no pre-trained prompt encoder."""
    saved = PromptFusion(random_default(4, 2, 5, seed=0), mode, initial_weight=0.4)
    loaded = PromptFusion(random_default(4, 2, 5, seed=1), mode, initial_weight=0.4)
    assert set(saved.state_dict()) == {'default'} | TRAINED[mode]
    assert not torch.equal(loaded(), saved())
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded.default, saved.default)
    assert torch.equal(loaded(), saved())


def test_moves_as_a_whole():
    fusion = PromptFusion(DEFAULT).double()
    assert fusion().dtype == fusion.weight.dtype == torch.float64
    assert PromptFusion(DEFAULT.double()).learned.dtype == torch.float64


@pytest.mark.parametrize('mode', ['learned', '', None])
def test_unknown_mode(mode):
    with pytest.raises(ValueError, match=f"unknown fusion mode {mode!r}.*'learned_weight'"):
        PromptFusion(DEFAULT, mode)


@pytest.mark.parametrize('weight', [0.0, 1.0, -0.5, 1.5, float('nan')])
def test_initial_weight_out_of_range(weight: float):
    with pytest.raises(ValueError, match=rf'initial_weight must be in \(0, 1\), got {weight}'):
        PromptFusion(DEFAULT, initial_weight=weight)


@pytest.mark.parametrize('noise', [-0.02, float('nan'), float('inf')])
def test_noise_out_of_range(noise: float):
    with pytest.raises(ValueError, match=f'noise must .*, got {noise}'):
        PromptFusion(DEFAULT, noise=noise)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('mode', FUSION_MODES)
def test_default_that_is_not_finite(mode: str, value: float):
    default = DEFAULT.clone()
    default[1, 0] = value
    with pytest.raises(ValueError, match='default prompts hold NaN or infinite values'):
        PromptFusion(default, mode)
