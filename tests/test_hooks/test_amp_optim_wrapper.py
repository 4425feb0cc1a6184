"""Mixed precision on CPUs: what is cast, what is scaled, and what a resumed run continues with."""

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from torch import nn

from mmseg_ssprompt.hooks import PromptAmpOptimWrapper, mmengine_fixes
from tiny_model import build_tiny, training_loss

LR = 0.5


@pytest.fixture(autouse=True)
def cpu(monkeypatch):
    """Also where there is a GPU."""
    monkeypatch.setattr(mmengine_fixes, 'get_device', lambda: 'cpu')


def wrap(model: nn.Module, **kwargs) -> PromptAmpOptimWrapper:
    settings = dict(type='PromptAmpOptimWrapper', optimizer=dict(type='SGD', lr=LR))
    return build_optim_wrapper(model, dict(settings, **kwargs))


def step(wrapper: PromptAmpOptimWrapper, model: nn.Module, factor: float = 0.5) -> torch.Tensor:
    """One whose gradient is ``factor``; 1 times the first scale is infinite in float16."""
    with wrapper.optim_context(model):
        output = model(torch.ones(1, 3))
    wrapper.update_params(factor * output.float().sum())
    return output


@pytest.mark.parametrize('name', ['float16', 'bfloat16'])
def test_casts_what_is_computed_but_not_what_trains(name):
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    wrapper = wrap(model, dtype=name)
    assert step(wrapper, model).dtype == getattr(torch, name)
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight, before - LR / 2)  # whatever the scale


def test_default_is_torch_s_of_cpus():
    model = nn.Linear(3, 2)
    assert step(wrap(model), model).dtype == torch.bfloat16


def test_only_float16_is_scaled():
    assert wrap(nn.Linear(3, 2), dtype='float16').loss_scaler.get_scale() == 2.0**16
    assert wrap(nn.Linear(3, 2), dtype='bfloat16').loss_scaler.get_scale() == 1.0


@pytest.mark.parametrize('loss_scale', [512.0, dict(init_scale=512.0, growth_interval=10)])
def test_loss_scale_is_a_setting(loss_scale):
    model = nn.Linear(3, 2)
    wrapper = wrap(model, dtype='float16', loss_scale=loss_scale)
    step(wrapper, model)
    assert wrapper.loss_scaler.get_scale() == 512.0


def test_a_step_that_overflows_is_skipped_and_halves_the_scale():
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    wrapper = wrap(model, dtype='float16', clip_grad=dict(max_norm=1e6))
    step(wrapper, model, factor=float('inf'))
    assert torch.equal(model.weight, before)
    assert wrapper.loss_scaler.get_scale() == 2.0**15
    step(wrapper, model)
    assert not torch.equal(model.weight, before)


def test_a_gradient_below_float16_survives():
    """1e-9 is zero in float16."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    (1e-9 * model(torch.ones(1, 3)).sum()).backward()
    expected = model[0].weight.grad.clone()
    model.zero_grad()
    wrapper = wrap(model, dtype='float16')
    with wrapper.optim_context(model):
        output = model(torch.ones(1, 3))
    wrapper.backward(1e-9 * output.float().sum())
    wrapper.loss_scaler.unscale_(wrapper.optimizer)
    torch.testing.assert_close(model[0].weight.grad, expected, rtol=0.02, atol=1e-12)


def test_a_resumed_run_continues_with_the_scale():
    model = nn.Linear(3, 2)
    wrapper, resumed = (wrap(model, dtype='float16') for _ in range(2))
    step(wrapper, model, factor=float('inf'))
    resumed.load_state_dict(wrapper.state_dict())
    assert resumed.loss_scaler.get_scale() == 2.0**15


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (dict(type='OptimWrapper'), dict(dtype='float16')),
        (dict(type='OptimWrapper'), dict(dtype='bfloat16')),
        (dict(dtype='float16'), dict(dtype='bfloat16')),
    ],
)
def test_a_run_resumes_in_another_precision(before, after):
    model = nn.Linear(3, 2)
    resumed = wrap(model, **after)
    resumed.load_state_dict(wrap(model, **before).state_dict())
    weight = model.weight.clone()
    step(resumed, model)
    assert not torch.equal(model.weight, weight)


@pytest.mark.parametrize('dtype', ['float64', 'half', torch.float32])
def test_other_types(dtype):
    with pytest.raises(ValueError, match=r"'float16', 'bfloat16'"):
        wrap(nn.Linear(3, 2), dtype=dtype)


def test_other_scales():
    with pytest.raises(TypeError, match=r"'dynamic', a float or a dict, got 'static'"):
        wrap(nn.Linear(3, 2), dtype='float16', loss_scale='static')


@pytest.mark.filterwarnings('ignore:.*GradScaler.*')
def test_torch_that_cannot_scale_gradients_on_cpus(monkeypatch):
    """Before 2.3: bfloat16 works all the same."""
    monkeypatch.delattr(torch.amp, 'GradScaler', raising=False)
    with pytest.raises(RuntimeError, match=r'torch 2\.3 or newer.*bfloat16'):
        wrap(nn.Linear(3, 2), dtype='float16')
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    step(wrap(model, dtype='bfloat16'), model)
    torch.testing.assert_close(model.weight, before - LR / 2)


@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [
        (None, dict(dtype=torch.float16, loss_scale=512.0)),
        ('bfloat16', dict(dtype=torch.bfloat16, loss_scale=dict(enabled=False))),
    ],
)
def test_elsewhere_it_is_mmengine_s(dtype, expected, monkeypatch):
    found = {}
    monkeypatch.setattr(mmengine_fixes, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(AmpOptimWrapper, '__init__', lambda self, **kwargs: found.update(kwargs))
    wrap(nn.Linear(3, 2), dtype=dtype, loss_scale=512.0)
    assert isinstance(found.pop('optimizer'), torch.optim.SGD)
    assert found == expected


@pytest.mark.parametrize(
    ('decoding', 'dtype', 'tolerance', 'tolerance_of_gradients'),
    [
        ('joint', 'float16', 2e-3, 0.03),
        ('joint', 'bfloat16', 2e-2, 0.15),
        pytest.param('independent', 'float16', 2e-3, 0.03, marks=pytest.mark.slow),
        # One of 16 matches is another.
        pytest.param('independent', 'bfloat16', 2e-2, 0.6, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')
def test_losses_and_gradients_are_near_those_of_float32(
    decoding, dtype, tolerance, tolerance_of_gradients
):
    model = build_tiny(**{'segmenter.decoding': decoding}).train()
    training_loss(model).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    expected_loss = training_loss(model)
    model.zero_grad()
    wrapper = wrap(model, dtype=dtype)
    with wrapper.optim_context(model):
        loss = training_loss(model)
    wrapper.backward(loss)
    wrapper.loss_scaler.unscale_(wrapper.optimizer)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected_loss.item(), rel=tolerance)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == parameter.grad.dtype == torch.float32
            error = (parameter.grad - expected[name]).norm() / expected[name].norm()
            assert error < tolerance_of_gradients, name
