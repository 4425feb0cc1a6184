"""The base model's own class scores: logits by hand, and base models that have none."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from mmseg_ssprompt.models.base import Classifier, Decoded
from mmseg_ssprompt.models.classifiers import BaseModelClassifier

NO_OBJECT = torch.tensor([0.0, 0.0, 1.0])


def decoded(class_embeddings=None) -> Decoded:
    """Masks; the classifier reads their class embeddings alone."""
    return Decoded(None, None, None, class_embeddings)


def random_inputs():
    """Class embeddings (2, 4, E) and semantic prompts (5, E) of unit length."""
    generator = torch.Generator().manual_seed(0)
    embeddings = 3 * torch.randn(2, 4, 3, generator=generator)
    return embeddings, F.normalize(torch.randn(5, 3, generator=generator), dim=-1)


def test_logits_by_hand():
    """The base model's scale is in its class embeddings, so that nothing is normalised."""
    embeddings = torch.tensor([[[3.0, 0.0, 4.0], [0.0, -2.0, 0.5]]])
    prompts = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    found = BaseModelClassifier(8, 3, NO_OBJECT)(decoded(embeddings), prompts)
    expected = [[[3.0, 1.8, 4.0], [0.0, -1.6, 0.5]]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_nothing_trains_is_saved_or_is_kept_from_the_prompts():
    no_object = NO_OBJECT.clone().requires_grad_()
    classifier = BaseModelClassifier(8, 3, no_object)
    assert not classifier.trainable
    assert not list(classifier.parameters()) and not classifier.state_dict()
    embeddings, prompts = (tensor.requires_grad_() for tensor in random_inputs())
    classifier(decoded(embeddings), prompts).square().sum().backward()
    assert (embeddings.grad != 0).all() and (prompts.grad != 0).all()
    assert no_object.grad is None


@pytest.mark.parametrize('mode', ['learned_weight', 'fixed_weight', 'learned_only'])
def test_no_object_is_learned_as_semantic_prompts_are(mode):
    fusion = dict(mode=mode, noise=0)
    classifier = BaseModelClassifier(8, 3, NO_OBJECT, fusion)
    assert classifier.trainable
    embeddings, prompts = random_inputs()
    found = classifier(decoded(embeddings), prompts)
    expected = BaseModelClassifier(8, 3, NO_OBJECT)(decoded(embeddings), prompts)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    learned = classifier.no_object_prompt.learned
    learned.data.copy_(torch.tensor([[5.0, 0.0, 0.0]]))
    found = classifier(decoded(embeddings), prompts)
    assert torch.equal(found[..., :-1], expected[..., :-1])
    row = (1 - classifier.no_object_prompt.weight) * NO_OBJECT
    row = row + classifier.no_object_prompt.weight * learned[0]
    torch.testing.assert_close(found[..., -1], embeddings @ F.normalize(row, dim=-1))
    found.square().sum().backward()
    assert all((p.grad != 0).any() for p in classifier.parameters())
    names = {name for name, _ in classifier.named_parameters()}
    weight = {'no_object_prompt.weight_logit'} if mode == 'learned_weight' else set()
    assert names == {'no_object_prompt.learned', *weight}
    assert set(classifier.state_dict()) == {*names, 'no_object_prompt.default'}
    other = BaseModelClassifier(8, 3, NO_OBJECT, dict(mode=mode))
    other.load_state_dict(classifier.state_dict())
    assert torch.equal(other(decoded(embeddings), prompts), found)


def test_learning_no_object_or_not_are_told_apart():
    """By what prompts say that they were trained through."""
    fusions = [None, dict(mode='default_only'), dict(), dict(mode='fixed_weight')]
    found = [BaseModelClassifier(8, 3, NO_OBJECT, fusion).describe() for fusion in fusions]
    assert found == [
        'BaseModelClassifier',
        'BaseModelClassifier',
        'BaseModelClassifier, no object by learned_weight',
        'BaseModelClassifier, no object by fixed_weight of 0.5',
    ]
    assert not BaseModelClassifier(8, 3, NO_OBJECT, fusions[1]).state_dict()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_under_autocast(dtype):
    classifier = BaseModelClassifier(8, 3, NO_OBJECT)
    embeddings, prompts = random_inputs()
    expected = classifier(decoded(embeddings), prompts)
    with torch.autocast('cpu', dtype):
        found = classifier(decoded(embeddings), prompts)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ('no_object', 'found'),
    [(None, 'found none'), (torch.zeros(4), r'found shape \(4,\)'), (torch.zeros(1, 3), r'\(1, 3')],
)
def test_a_base_model_without_no_object_is_refused(no_object, found):
    expected = rf'an embedding of "no object" \(3,\) .*{found}.*or, for SAM, dict\(type=.TokenCl'
    with pytest.raises(ValueError, match=expected):
        BaseModelClassifier(8, 3, no_object)


def test_masks_without_class_embeddings_are_refused():
    classifier = BaseModelClassifier(8, 3, NO_OBJECT)
    with pytest.raises(ValueError, match='expected class embeddings of each mask .* found none'):
        classifier(decoded(), random_inputs()[1])


def test_built_from_config():
    widths = dict(token_dims=8, embed_dims=3, no_object=NO_OBJECT)
    classifier = MODELS.build(dict(type='BaseModelClassifier'), default_args=widths)
    assert isinstance(classifier, Classifier)
    assert classifier.describe() == 'BaseModelClassifier'


def test_there_is_no_projection_that_could_train():
    with pytest.raises(ValueError, match=r'no projection here.*segmenter=dict\(trainable=True\)'):
        BaseModelClassifier(8, 3, NO_OBJECT, trainable=True)


def test_a_bridge_keeps_the_base_models_scale():
    """Untrained it changes nothing but rounding; trained, the length of embeddings stays."""
    embeddings, prompts = random_inputs()
    tokens = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    inputs = Decoded(None, tokens, None, embeddings)
    classifier = BaseModelClassifier(8, 3, NO_OBJECT, bridge=dict())
    assert classifier.trainable
    assert classifier.describe() == 'BaseModelClassifier, bridge of full rank'
    expected = BaseModelClassifier(8, 3, NO_OBJECT)(inputs, prompts)
    torch.testing.assert_close(classifier(inputs, prompts), expected)
    torch.nn.init.normal_(classifier.bridge.up)
    found = classifier(inputs, torch.eye(3))
    assert not torch.allclose(found[..., :-1], embeddings)
    torch.testing.assert_close(found[..., :-1].norm(dim=-1), embeddings.norm(dim=-1))
    found.square()[..., :2].sum().backward()
    assert all((parameter.grad != 0).any() for parameter in classifier.parameters())
