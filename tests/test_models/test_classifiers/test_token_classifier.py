"""Class logits by hand, what trains with and without a pre-trained projection, and precision."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_ssprompt.models.base import Decoded
from mmseg_ssprompt.models.classifiers import TokenClassifier
from mmseg_ssprompt.weights.state_dicts import CheckpointError, read_checkpoint

PROJECTION = 'mmseg_ssprompt://projection-tiny_shapes.pth'
D, E = 96, 64  # widths of the pre-trained projection


def random_inputs(token_dims: int = D, embed_dims: int = E, classes: int = 5):
    """Mask tokens (2, 3, D) and semantic prompts (C, E) of unit length."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 3, token_dims, generator=generator)
    return tokens, F.normalize(torch.randn(classes, embed_dims, generator=generator), dim=-1)


def decoded(tokens: Tensor) -> Decoded:
    """Masks; the classifier reads their tokens alone."""
    return Decoded(None, tokens, None)


def classifier_by_hand(scale: float = 10.0) -> TokenClassifier:
    """Takes (x, y) to (2 x, 0, y + 1); "no object" points along the third axis."""
    classifier = TokenClassifier(2, 3)
    classifier.projection.weight.data.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    classifier.projection.bias.data.copy_(torch.tensor([0.0, 0.0, 1.0]))
    classifier.no_object.data.copy_(torch.tensor([0.0, 0.0, 5.0]))
    classifier.logit_scale.data.fill_(math.log(scale))
    return classifier


def test_logits_by_hand():
    """Scale times cosine: the length of neither token nor no-object row matters."""
    tokens = torch.tensor([[[1.5, 3.0], [4.0, -1.0], [0.0, -3.0]]])  # to (3, 0, 4), x, -z
    prompts = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0]])
    expected = [[6.0, 0.0, 3.6, 8.0], [10.0, 0.0, 6.0, 0.0], [0.0, 0.0, 0.0, -10.0]]
    logits = classifier_by_hand()(decoded(tokens), prompts)
    torch.testing.assert_close(logits, torch.tensor([expected]))


def test_shape():
    tokens, prompts = random_inputs()
    assert TokenClassifier(D, E)(decoded(tokens), prompts).shape == (2, 3, 6)


def test_initial_scale_is_clips():
    assert TokenClassifier(D, E).logit_scale.exp().item() == pytest.approx(1 / 0.07)


def test_logits_are_bounded_by_the_scale():
    tokens, prompts = random_inputs()
    classifier = TokenClassifier(D, E)
    assert classifier(decoded(1e6 * tokens), prompts).abs().max() <= 1 / 0.07 * (1 + 1e-5)
    torch.testing.assert_close(classifier_by_hand(3.0).logit_scale.exp(), torch.tensor(3.0))


def test_token_that_projects_to_zero():
    tokens = torch.tensor([[[0.0, -1.0]]], requires_grad=True)
    logits = classifier_by_hand()(decoded(tokens), torch.eye(3))
    assert torch.equal(logits, torch.zeros(1, 1, 4))
    logits.sum().backward()
    assert tokens.grad.isfinite().all()


def test_trains_unless_pretrained():
    classifier = TokenClassifier(D, E)
    names = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    assert names == {'projection.weight', 'projection.bias', 'no_object', 'logit_scale'}
    tokens, prompts = random_inputs()
    classifier(decoded(tokens), prompts).square().sum().backward()
    assert all((parameter.grad != 0).any() for parameter in classifier.parameters())


def test_pretrained_weights_are_those_of_the_file():
    classifier, file = TokenClassifier(D, E, PROJECTION), read_checkpoint(PROJECTION)
    state = classifier.state_dict()
    assert state.keys() == file.keys()
    assert all(torch.equal(state[key], file[key].float()) for key in file)
    assert all(value.dtype == torch.float32 for value in state.values())


def test_nothing_trains_when_pretrained():
    classifier = TokenClassifier(D, E, PROJECTION)
    assert not classifier.trainable
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert not any(module.training for module in classifier.train().modules())


def test_gradients_pass_a_pretrained_classifier():
    tokens, prompts = (tensor.requires_grad_() for tensor in random_inputs())
    classifier = TokenClassifier(D, E, PROJECTION)
    classifier(decoded(tokens), prompts).square().sum().backward()
    assert (tokens.grad != 0).any()
    assert (prompts.grad != 0).any()
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize('checkpoint', [None, PROJECTION])
@pytest.mark.parametrize('trainable', [True, False])
def test_trainable_overrides(checkpoint, trainable: bool):
    classifier = TokenClassifier(D, E, checkpoint, trainable)
    assert all(parameter.requires_grad == trainable for parameter in classifier.parameters())
    assert classifier.training == trainable


@pytest.mark.parametrize('trainable', [True, False])
def test_train_and_eval_return_self(trainable: bool):
    classifier = TokenClassifier(D, E, trainable=trainable)
    assert classifier.train() is classifier
    assert classifier.training == trainable
    assert classifier.eval() is classifier
    assert not classifier.training


@pytest.mark.parametrize(
    ('widths', 'problem'),
    [
        ((256, E), 'projection.weight: expected shape (64, 256), found (64, 96)'),
        ((D, 512), 'no_object: expected shape (512,), found (64,)'),
    ],
)
def test_file_of_another_width(widths, problem: str):
    with pytest.raises(CheckpointError) as error:
        TokenClassifier(*widths, PROJECTION)
    assert problem in str(error.value)
    assert "projection-tiny_shapes.pth' does not fit TokenClassifier" in str(error.value)


def test_file_of_something_else():
    with pytest.raises(CheckpointError, match=r'missing.*\n.*unexpected'):
        TokenClassifier(D, E, 'mmseg_ssprompt://sam-tiny_shapes.pth')


def test_no_such_file():
    with pytest.raises(FileNotFoundError, match=r'no-such-file\.pth'):
        TokenClassifier(D, E, 'mmseg_ssprompt://no-such-file.pth')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('checkpoint', [None, PROJECTION])
def test_float32_under_autocast(checkpoint, dtype):
    classifier = TokenClassifier(D, E, checkpoint)
    tokens, prompts = random_inputs()
    expected = classifier(decoded(tokens), prompts)
    with torch.autocast('cpu', dtype):
        logits = classifier(decoded(tokens), prompts)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_tokens_of_half_precision(dtype):
    classifier = TokenClassifier(D, E)
    tokens, prompts = (tensor.to(dtype) for tensor in random_inputs())
    with torch.autocast('cpu', dtype):
        logits = classifier(decoded(tokens), prompts)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, classifier(decoded(tokens.float()), prompts.float()))


def test_state_dict_round_trip():
    saved, loaded = TokenClassifier(D, E), TokenClassifier(D, E)
    tokens, prompts = random_inputs()
    inputs = decoded(tokens), prompts
    assert not torch.equal(loaded(*inputs), saved(*inputs))
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded(*inputs), saved(*inputs))


def test_built_from_config():
    widths = dict(token_dims=D, embed_dims=E)
    config = dict(type='TokenClassifier', checkpoint=PROJECTION)
    assert isinstance(MODELS.build(config, default_args=widths), TokenClassifier)


def test_a_bridge_learns_beside_the_projection():
    """Until it is trained nothing changes; then what trains is bridge, "no object" and scale."""
    tokens, prompts = random_inputs()
    before = TokenClassifier(D, E, PROJECTION)(decoded(tokens), prompts)
    classifier = TokenClassifier(D, E, PROJECTION, bridge=dict(rank=8))
    assert classifier.trainable and classifier.training
    found = classifier(decoded(tokens), prompts)
    assert torch.equal(found[..., :-1], before[..., :-1])
    torch.testing.assert_close(found[..., -1], before[..., -1], atol=1.0, rtol=0)  # its noise
    found.square().sum().backward()
    parts = dict(classifier.named_parameters())
    trains = {name for name, parameter in parts.items() if parameter.requires_grad}
    assert trains == {
        *(f'bridge.{name}' for name in ('up', 'down', 'shift', 'weight_logit')),
        *('no_object_prompt.learned', 'no_object_prompt.weight_logit', 'logit_scale'),
    }
    assert all((parts[name].grad != 0).any() for name in ('bridge.up', 'logit_scale'))
    assert classifier.describe() == 'TokenClassifier, bridge of rank 8'
    torch.nn.init.normal_(classifier.bridge.up)
    changed = classifier(decoded(tokens), prompts)
    assert not torch.allclose(changed[..., :-1], before[..., :-1])
    other = TokenClassifier(D, E, PROJECTION, bridge=dict(rank=8))
    other.load_state_dict(classifier.state_dict())
    assert torch.equal(other(decoded(tokens), prompts), changed)


@pytest.mark.parametrize('beside', [dict(checkpoint=None), dict(trainable=True)])
def test_a_bridge_needs_a_projection_that_stays(beside):
    with pytest.raises(ValueError, match=r'expected a checkpoint and no trainable, found'):
        TokenClassifier(D, E, **dict(dict(checkpoint=PROJECTION), **beside), bridge=dict())
