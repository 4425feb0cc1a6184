"""A compiled step gives the losses of one that is not; when it is compiled, and for what."""

import copy
import functools
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import Tensor, nn

import tiny_model
from mmseg_ssprompt.models.heads import ssprompt_head
from mmseg_ssprompt.models.heads.compiled import CompiledForward
from tiny_model import build_tiny, random_images, random_labels, samples_of, training_loss

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning'),
    pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning'),
]
SEEM_CONFIG = tiny_model.CONFIG.with_name('ssprompt_seem-tiny_shapes.py')
#: Traces and differentiates ahead as inductor does, and then runs torch's own operators.
AOT = dict(backend='aot_eager')
BATCHES = (2, 2, 1, 2)  # images of each


class Compiler:
    """Stands for ``torch.compile``: notes options, calls and where gradients lie."""

    def __init__(self) -> None:
        self.options: List[Dict[str, Any]] = []
        self.calls = 0
        self.gradients: List[List[int]] = []

    def __call__(self, forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        self.options.append(options)

        def run(head: nn.Module, features: Any) -> Any:
            self.calls += 1
            self.gradients.append(addresses(head))
            return forward(head, features)

        return run


@pytest.fixture
def compiler(monkeypatch):
    compiler = Compiler()
    monkeypatch.setattr(torch, 'compile', compiler)
    return compiler


@functools.cache
def built(base: str) -> nn.Module:
    """A shipped model, which tests copy."""
    if base == 'sam':
        return build_tiny()
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(Config.fromfile(SEEM_CONFIG).model)


def make(base: str = 'sam', compile: Any = AOT) -> nn.Module:
    """A model with this setting, in training."""
    model = copy.deepcopy(built(base)).train()
    if compile is not False:
        model.decode_head._compiled = CompiledForward(ssprompt_head._decode, compile)
    return model


def addresses(model: nn.Module) -> List[int]:
    return [p.grad.data_ptr() for p in model.parameters() if p.grad is not None]


def trained(model: nn.Module) -> Dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def test_what_runs_compiled(compiler):
    """Batches of the first size, in training."""
    model = make()
    images = random_images()
    training_loss(model, images=images)
    assert compiler.options == [dict(backend='aot_eager', dynamic=False)]
    training_loss(model, images=images[:1])  # as at the end of an epoch
    with torch.no_grad():
        training_loss(model, images=images)
    model.eval()(images, samples_of(random_labels()), mode='predict')
    assert compiler.calls == 1
    training_loss(model.train(), images=images)
    assert compiler.calls == 2 and len(compiler.options) == 1


@pytest.mark.parametrize('setting', [True, False])
def test_nothing_is_compiled_on_cpus(compiler, setting):
    training_loss(make(compile=setting))
    assert compiler.options == []


def test_accumulated_gradients_do_not_lie_where_graphs_write(compiler):
    model = make()
    for _ in range(2):
        training_loss(model).backward()
        left = addresses(model)
    training_loss(model)
    (before, second, third) = compiler.gradients
    assert before == [] and len(second) == len(third) > 0
    assert not set(left) & set(third)


def test_a_copy_runs_itself(compiler):
    """Such as that of an average of weights."""
    model = make()
    loss = training_loss(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.decode_head.spatial_prompts.fusion.learned.zero_()
    assert training_loss(other) != loss and training_loss(model) == loss
    assert len(compiler.options) == 2


def test_tensors_have_the_same_names(compiler):
    model = make()
    training_loss(model)
    assert list(model.state_dict()) == list(built('sam').state_dict())


def test_it_is_a_setting_of_the_head(compiler):
    model = build_tiny(compile=dict(mode='default')).train()
    training_loss(model)
    assert compiler.options == [dict(mode='default', dynamic=False)] and compiler.calls == 1
    assert build_tiny(compile=True).decode_head._compiled.setting is True
    assert build_tiny().decode_head._compiled is None


@pytest.mark.parametrize(
    ('setting', 'found'),
    [('yes', "found 'yes'"), (None, 'found None'), (dict(mode='fast'), 'RuntimeError: .*fast')],
)
def test_settings_that_are_none(setting, found):
    with pytest.raises(ValueError, match=rf'decode_head\.compile[^\n]*{found}'):
        training_loss(build_tiny(compile=setting).train())


def losses_of(model: nn.Module, images: Tensor) -> Dict[str, Tensor]:
    torch.manual_seed(0)
    losses = model(images, samples_of(random_labels(len(images))), mode='loss')
    return {name: value for name, value in losses.items() if 'loss' in name}


def run(model: nn.Module, **wrapper: Any) -> Tuple[List[Dict[str, float]], Dict[str, Tensor]]:
    """Losses of some steps, of several batches, and what was trained; with a validation between."""
    settings = dict(
        type='PromptAmpOptimWrapper' if 'dtype' in wrapper else 'OptimWrapper',
        constructor='PromptOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=0.01),
        **wrapper,
    )
    optimizer = build_optim_wrapper(model, settings)
    optimizer.initialize_count_status(model, 0, len(BATCHES))
    found = []
    for seed, count in enumerate(BATCHES):
        images = random_images(count, seed)
        with optimizer.optim_context(model):
            losses = losses_of(model, images)
        found.append({name: value.item() for name, value in losses.items()})
        optimizer.update_params(sum(losses.values()))
        if seed == 1:
            model.eval()(images, samples_of(random_labels(count)), mode='predict')
            model.train()
    return found, trained(model)


WRAPPERS = [dict(), dict(accumulative_counts=2), dict(dtype='bfloat16')]


@pytest.mark.slow
@pytest.mark.parametrize('wrapper', WRAPPERS, ids=['plain', 'accumulated', 'amp'])
@pytest.mark.parametrize('base', ['sam', 'seem'])
def test_steps_are_those_without_it(base, wrapper):
    """Optimiser, a smaller batch, a validation, mixed precision and accumulation included."""
    torch._dynamo.reset()
    losses, after = run(make(base), **wrapper)
    expected_losses, expected = run(make(base, False), **wrapper)
    if 'dtype' in wrapper:
        # A compiler adds the bias of a linear layer in the same operator as its product or in
        # another, which rounds bfloat16 otherwise; 0.02 is how far it is from float32. AdamW's
        # first update is of the size of the rate whatever the gradient is, so what rounding has
        # made of the signs of small gradients is not small any more in the next step.
        assert losses[0] == pytest.approx(expected_losses[0], rel=0.02)
        return
    for step, expected_step in zip(losses, expected_losses):
        assert step == pytest.approx(expected_step, rel=1e-5)
    for name, tensor in expected.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_training_is_the_same_and_resumes(tmp_path):
    """By mmengine's runner: checkpoints, a validation, and a run that goes on."""
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    config = tiny_model.framed_config((96, 96), mean, std, tmp_path / 'plain')
    config.train_cfg.update(max_iters=6, val_interval=3)
    config.default_hooks.checkpoint.max_keep_ckpts = -1
    changes = {'model.decode_head.compile': AOT, 'work_dir': str(tmp_path / 'compiled')}
    plain = trained(tiny_model.train(config).model)
    compiled = tiny_model.train(config, **changes)
    checkpoint = tmp_path / 'compiled' / 'iter_3.pth'
    resumed = tiny_model.train(
        config,
        **{**changes, 'work_dir': str(tmp_path / 'resumed')},
        load_from=str(checkpoint),
        resume=True,
    )
    for runner in (compiled, resumed):
        assert runner.iter == 6
        for name, tensor in trained(runner.model).items():
            torch.testing.assert_close(tensor, plain[name], rtol=1e-5, atol=1e-6)
    states = [torch.load(f, weights_only=True)['state_dict'] for f in tmp_path.glob('*/iter_6.pth')]
    assert len(states) == 3 and all(state.keys() == states[0].keys() for state in states)
