"""Deep prompts: what they add and where, what trains, and what they cannot be used with."""

import pytest
import torch
from torch import nn

from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.prompts import DeepPrompts
from mmseg_ssprompt.models.sam import SAMSegmenter
from mmseg_ssprompt.models.seem import SEEMSegmenter
from tiny_model import build_tiny, names_of_trainable, training_loss


def test_all_tokens_of_a_prompt_are_moved_alike():
    norm = nn.LayerNorm(4)
    (layer,) = DeepPrompts([norm], num_prompts=3, initial_weight=0.25)
    x = torch.randn(2, 6, 4)  # two tokens of each prompt
    before = nn.functional.layer_norm(x, (4,))
    assert torch.equal(norm(x), before)
    nn.init.normal_(layer.learned)
    moved = (norm(x) - before).unflatten(1, (3, 2))
    expected = 0.25 * layer.learned[None, :, None].expand(2, -1, 2, -1)
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize('base', ['sam', 'seem'])
def test_each_layer_of_both_bases_has_prompts_with_gradients(base):
    torch.manual_seed(0)
    if base == 'sam':
        segmenter = SAMSegmenter('tiny')
        features = ImageFeatures((), None, torch.randn(1, 96, 12, 12))
        prompts, layers = segmenter.encode_points(torch.rand(3, 2)), 2
    else:
        segmenter = SEEMSegmenter('tiny')
        levels = tuple(torch.randn(1, 64, size, size) for size in (16, 8, 4))
        features = ImageFeatures(levels, None, torch.randn(1, 64, 32, 32))
        prompts, layers = segmenter.default_prompts(), 6
    before = segmenter.decode(features, prompts).mask_logits
    deep = DeepPrompts(segmenter.layer_ends(), len(prompts))
    assert len(deep) == layers
    assert torch.equal(segmenter.decode(features, prompts).mask_logits, before)
    for layer in deep:
        nn.init.normal_(layer.learned)
    after = segmenter.decode(features, prompts).mask_logits
    assert not torch.allclose(after, before)
    after.square().sum().backward()
    assert all((parameter.grad != 0).any() for parameter in deep.parameters())


def test_they_train_with_the_model():
    model = build_tiny(**{'deep_prompts.initial_weight': 0.5}).train()
    names = {name for name in names_of_trainable(model) if 'deep_prompts' in name}
    assert len(names) == 4  # embeddings and weights of two layers
    training_loss(model).backward()
    learned = [layer.learned.grad for layer in model.decode_head.deep_prompts]
    assert all((gradient != 0).any() for gradient in learned)


@pytest.mark.parametrize(
    ('setting', 'value'), [('remember_bytes', 100), ('decoding', 'independent')]
)
def test_what_they_cannot_be_used_with(setting, value):
    with pytest.raises(ValueError, match=rf'expected segmenter\.{setting}=.* beside them, found'):
        build_tiny(**{f'segmenter.{setting}': value, 'deep_prompts.initial_weight': 0.5})


@pytest.mark.parametrize('weight', [0, 1, None])
def test_a_weight_that_there_is_not(weight):
    with pytest.raises(ValueError, match=r'deep_prompts\.initial_weight must be in \(0, 1\)'):
        DeepPrompts([nn.LayerNorm(4)], 3, weight)
