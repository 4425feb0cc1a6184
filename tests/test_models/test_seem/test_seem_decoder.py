"""The decoder gives the official queries, masks, class logits and gradients."""

import copy

import pytest
import torch
import torch.nn.functional as F

from dev.benchmarks.plain_seem import Prompts, plain_decode
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.seem.seem_decoder import SEEMDecoder, _shrink
from mmseg_ssprompt.models.seem.seem_file import load_parts
from mmseg_ssprompt.models.seem.seem_variants import get_variant
from seem_files import make_weights, read_golden, read_keys

PREFIX = 'sem_seg_head.predictor.'
CASES = ['case1_tiny', 'case1_tiny_deform']


@pytest.fixture(scope='module')
def weights():
    """The tiny one's predictor, by its official names; the same with either pixel decoder."""
    return make_weights({k: v for k, v in read_keys('tiny')[0].items() if k.startswith(PREFIX)})


@pytest.fixture(scope='module')
def decoder(tiny_file):
    decoder = SEEMDecoder(get_variant('focal_tiny'))
    load_parts(dict(mask_decoder=decoder), tiny_file, 'focal_tiny')
    return decoder


def features_of(golden, images):
    levels = tuple(golden[f'{images}.multi_scale.{number}'] for number in (2, 1, 0))
    return ImageFeatures(levels, None, golden[f'{images}.mask_features'])


def random_features(batch=2, size=(64, 96), seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = size

    def draw(stride):
        return torch.randn(batch, 32, height // stride, width // stride, generator=generator)

    return ImageFeatures((draw(8), draw(16), draw(32)), None, draw(4))


def queries_of(weights):
    names = ('query_feat.weight', 'query_embed.weight')
    return [weights[PREFIX + name].clone().requires_grad_() for name in names]


def predict(decoder, features, content, place, tokens=None):
    out = decoder(features, content[None], place[None], tokens)
    return decoder.mask_logits(decoder.mask_embed(out), features), decoder.class_embeddings(out)


@pytest.mark.parametrize('images', ['a', 'b'])
@pytest.mark.parametrize('case', CASES)
def test_equals_the_official_queries_of_every_layer(decoder, weights, case, images):
    golden, _ = read_golden(case)
    found, hooks = {}, []
    stages = dict(
        cross_attention=decoder.transformer_cross_attention_layers,
        self_attention=decoder.transformer_self_attention_layers,
        ffn=decoder.transformer_ffn_layers,
    )
    for stage, layers in stages.items():
        for number, layer in enumerate(layers):
            name = f'{images}.decoder.{number}.after_{stage}'
            hooks.append(
                layer.register_forward_hook(lambda _, i, out, n=name: found.update({n: out}))
            )
    predict(decoder, features_of(golden, images), *queries_of(weights))
    for hook in hooks:
        hook.remove()
    assert set(found) == {name for name in golden if name.startswith(f'{images}.decoder.')}
    for name, each in found.items():
        torch.testing.assert_close(each.transpose(0, 1), golden[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize('images', ['a', 'b'])
@pytest.mark.parametrize('case', CASES)
def test_equals_the_official_predictions_and_gradients(decoder, weights, case, images):
    golden, _ = read_golden(case)
    content, place = queries_of(weights)
    texts = golden['text.embeddings'].clone().requires_grad_()
    masks, classes = predict(decoder, features_of(golden, images), content, place)
    logits = classes @ texts.t()
    torch.testing.assert_close(masks, golden[f'{images}.pred_masks'], atol=3e-4, rtol=0)
    torch.testing.assert_close(logits, golden[f'{images}.pred_logits'], atol=2e-5, rtol=0)

    def drawn(like, seed):
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))

    loss = (masks * drawn(masks, 201)).sum() + (logits * drawn(logits, 202)).sum()
    torch.testing.assert_close(loss, golden[f'{images}.loss'], atol=5e-3, rtol=0)
    loss.backward()
    found = dict(query_feat=content, query_embed=place, text_embeddings=texts)
    for name, each in found.items():
        expected = golden[f'{images}.grad.{name}']
        bound = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(each.grad, expected, atol=bound, rtol=0)
    assert all(parameter.grad is None for parameter in decoder.parameters())


@pytest.mark.parametrize('size', [(64, 96), (32, 32), (160, 96)])
def test_equals_its_plain_computation_at_other_sizes(decoder, weights, size):
    features = random_features(1, size)
    masks, classes = predict(decoder, features, *queries_of(weights))
    expected = plain_decode(weights, features.levels[::-1], features.embedding, heads=4)
    torch.testing.assert_close(masks, expected[0], atol=3e-4, rtol=0)
    torch.testing.assert_close(classes, expected[1], atol=2e-5, rtol=0)


def random_prompts(weights, count=2, points=3):
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(11, (3 * count,), generator=generator)
    tokens = torch.randn(count, 3, points, 32, generator=generator)
    names = ('query_feat.weight', 'query_embed.weight')
    tokens = tokens[None].requires_grad_()
    return Prompts(*(weights[PREFIX + name][rows] for name in names), tokens)


def test_spatial_prompts_equal_their_plain_computation_with_gradients(decoder, weights):
    """The golden files hold no gradients of tokens, whose places are detached."""
    features = random_features(1)
    prompts = random_prompts(weights)
    levels = features.levels[::-1]
    masks, classes, _ = plain_decode(weights, levels, features.embedding, prompts, heads=4)
    expected = [masks[:, 11:], classes[:, 11:]]
    generator = torch.Generator().manual_seed(6)
    factors = [torch.randn(each.shape, generator=generator) for each in expected]
    gradient = torch.autograd.grad(
        sum((a * b).sum() for a, b in zip(expected, factors)), prompts.tokens
    )[0]
    found = predict(decoder, features, prompts.content, prompts.place, prompts.tokens)
    for one, other, bound in zip(found, expected, (3e-4, 2e-5)):
        torch.testing.assert_close(one, other, atol=bound, rtol=0)
    own = torch.autograd.grad(sum((a * b).sum() for a, b in zip(found, factors)), prompts.tokens)[0]
    torch.testing.assert_close(own, gradient, atol=1e-5 * gradient.abs().max().item(), rtol=0)


def test_prompts_do_not_know_of_each_other(decoder, weights):
    features = random_features(1)
    prompts = random_prompts(weights, count=3)
    together, _ = predict(decoder, features, prompts.content, prompts.place, prompts.tokens)
    for number in range(3):
        rows = slice(3 * number, 3 * number + 3)
        tokens = prompts.tokens[:, number : number + 1]
        alone, _ = predict(decoder, features, prompts.content[rows], prompts.place[rows], tokens)
        torch.testing.assert_close(together[:, rows], alone, atol=3e-4, rtol=0)


@pytest.mark.parametrize('prompted', [False, True])
def test_two_images_are_twice_one(decoder, weights, prompted):
    features = random_features(2)
    if prompted:
        prompts = random_prompts(weights)
        args = [prompts.content, prompts.place, prompts.tokens.expand(2, -1, -1, -1, -1)]
    else:
        args = [*queries_of(weights), None]
    both = predict(decoder, features, *args)
    for number in range(2):
        levels = tuple(level[number : number + 1] for level in features.levels)
        one = ImageFeatures(levels, None, features.embedding[number : number + 1])
        alone = predict(decoder, one, *args[:2], args[2] if args[2] is None else args[2][:1])
        torch.testing.assert_close(both[0][number : number + 1], alone[0], atol=3e-4, rtol=0)
        torch.testing.assert_close(both[1][number : number + 1], alone[1], atol=2e-5, rtol=0)


def test_queries_that_see_nothing_see_everything(decoder, weights):
    """Where a mask is empty in every layer, nothing is NaN."""
    features = random_features(1)
    content, place = queries_of(weights)
    # Mask embeddings are far below zero in all channels, and mask features are positive.
    decoder = copy.deepcopy(decoder)
    last = decoder.mask_embed.layers[2]
    last.bias.sub_(100)
    full = torch.ones_like(features.embedding)
    masks, classes = predict(decoder, features._replace(embedding=full), content, place)
    assert (masks < 0).all()
    (masks.sum() + classes.sum()).backward()
    assert torch.isfinite(content.grad).all() and torch.isfinite(place.grad).all()
    changed = {**weights, f'{PREFIX}mask_embed.layers.2.bias': last.bias}
    expected, others, _ = plain_decode(changed, features.levels[::-1], full, heads=4)
    torch.testing.assert_close(masks, expected, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(classes, others, atol=2e-5, rtol=0)


@pytest.mark.parametrize('size', [(32, 64), (16, 32), (8, 16), (4, 8), (7, 9), (64, 128), (12, 16)])
def test_mask_features_shrink_as_torch_interpolates(size):
    x = torch.randn(2, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(x, size=size, mode='bilinear', align_corners=False)
    torch.testing.assert_close(_shrink(x, size), expected, atol=1e-6, rtol=0)


def test_trainable_weights_get_gradients(tiny_file, weights):
    decoder = SEEMDecoder(get_variant('focal_tiny'), trainable=True)
    load_parts(dict(mask_decoder=decoder), tiny_file, 'focal_tiny')
    assert decoder.trainable and decoder.train().training
    masks, classes = predict(decoder, random_features(1), *queries_of(weights))
    (masks.square().sum() + classes.square().sum() + classes.sum()).backward()
    without = [name for name, each in decoder.named_parameters() if each.grad is None]
    assert without == ['logit_scale']


def test_lower_precision(decoder, weights):
    """Under autocast: masks and classes stay near, and class embeddings are float32."""
    features = random_features(1)
    masks, classes = predict(decoder, features, *queries_of(weights))
    with torch.autocast('cpu', torch.bfloat16):
        others = predict(decoder, features, *queries_of(weights))
    assert others[1].dtype == torch.float32
    assert not torch.equal(others[1], classes)
    agree = ((others[0] > 0) == (masks > 0)).float().mean()
    assert agree > 0.9
