"""The script that trains the CLIP pair runs, and its weights are what the docs say they are."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mmseg_ssprompt
from commands import run_here
from dev.clip_tiny.data import Photographs
from dev.clip_tiny.losses import contrastive_loss
from dev.clip_tiny.model import ClipPair
from dev.sam_tiny.data import TEMPLATES, Scenes, Vocabulary
from dev.sam_tiny.losses import UNKNOWN
from mmseg_ssprompt.miniature.shapes_world import get_world
from mmseg_ssprompt.models.clip import CLIPClassNameEncoder
from mmseg_ssprompt.models.clip.image_tower import encode_patches
from mmseg_ssprompt.models.clip.read_out import read_class_token, read_dense_features

ASSETS = Path(mmseg_ssprompt.__file__).parent / 'assets'
PAIR, PROJECTION = 'clip-pair-tiny_shapes.pth', 'projection-clip-pair-tiny_shapes.pth'


def load(name, folder=ASSETS):
    return torch.load(folder / name, weights_only=True)


def shapes_of(state):
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


@pytest.fixture(scope='module')
def pair():
    model = ClipPair()
    model.load(ASSETS)
    return model.eval()


@pytest.mark.slow
def test_a_few_steps(tmp_path):
    run_here(
        *('dev.pretrain_clip_tiny', '--out-dir', tmp_path, '--scenes', 20, '--held-out', 4),
        *('--iters', 2, '--batch-size', 2, '--photographs', 4),
        *('--projection-iters', 2, '--projection-batch-size', 2),
        *('--log-every', 1, '--gate-every', 2),
    )
    log = json.loads((tmp_path / 'clip-pair-tiny_shapes.json').read_text())
    assert [entry['step'] for entry in log['losses']] == [1, 2]
    assert log['gates'][-1]['step'] == 2
    assert log['passed'] is False
    assert log['projection']['joint_miou'] < 50
    for name in (PAIR, PROJECTION):
        assert shapes_of(load(name, tmp_path)) == shapes_of(load(name))


def test_captions_of_one_class_share_the_target():
    """By hand: two pictures of class 0, one of class 1, all cosines 1 or 0."""
    images = torch.eye(3)[[0, 0, 1]]
    loss = contrastive_loss(images, images, torch.tensor([0, 0, 1]), torch.tensor(2.0))
    first = math.log(2 * math.e**2 + 1) - 2  # each of two equal targets of one half
    last = math.log(math.e**2 + 2) - 2
    assert loss.item() == pytest.approx((2 * first + last) / 3)
    wrong = contrastive_loss(images, images, torch.tensor([0, 1, 2]), torch.tensor(2.0))
    assert loss.item() == pytest.approx(wrong.item())  # half of each target is the other's
    apart = contrastive_loss(torch.eye(3), torch.eye(3), torch.tensor([0, 0, 1]), torch.tensor(2.0))
    assert apart.item() == pytest.approx(math.log(math.e**2 + 2) - 2 + 2 / 3)


def toy_scenes():
    """Two scenes: a red thing of class 1 on a black texture of class 2, or on a blue one of 3."""
    images = torch.zeros(2, 96, 96, 3, dtype=torch.uint8)
    images[1, :, :, 2] = 255
    labels = torch.tensor([2, 3], dtype=torch.uint8)[:, None, None].repeat(1, 96, 96)
    regions = torch.zeros(2, 96, 96, dtype=torch.uint8)
    images[:, 30:50, 60:90] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    labels[:, 30:50, 60:90], regions[:, 30:50, 60:90] = 1, 1
    return Scenes(images, labels, regions)


def test_photographs_show_what_their_captions_name():
    taken = Photographs(toy_scenes(), num_things=2, stuff_named=0.25, seed=0)
    images, classes = taken.sample(400, size=48)
    assert images.shape == (400, 3, 48, 48)
    counts = torch.bincount(classes, minlength=4).tolist()
    assert counts[0] == 0
    assert counts[1] == pytest.approx(320, abs=30) and 20 < counts[2] < 60 and 20 < counts[3] < 60
    red, blue = images[:, 0] > 0, images[:, 2] > 0
    share = red.float().mean((1, 2))[classes == 1]
    # 30 x 20 pixels in a square of 30 to 66, of which a tenth of the side may be cut off.
    assert share.min() > 600 / 66**2 * 0.75 and share.max() < 0.7 and share.std() > 0.1
    assert not blue[classes == 2].any()
    assert (blue[classes == 3].float().mean((1, 2)) > 0).all()


def test_pieces_are_what_their_masks_show():
    taken = Photographs(toy_scenes(), num_things=2, stuff_named=0.5, seed=0)
    seen = set()
    for _ in range(20):
        images, masks, classes = taken.sample_pieces(num_scenes=2, places=12)
        assert images.shape == (2, 3, 96, 96) and masks.shape == (2, 2, 144)
        torch.testing.assert_close(masks.sum(dim=1), torch.ones(2, 144))  # every place is shown
        red = images[:, 0] > images[:, 0].amin()
        share = F.adaptive_avg_pool2d(red.float(), 12).flatten(1)
        torch.testing.assert_close(masks[:, 1], share)
        assert classes[:, 1].tolist() == [1, 1]  # things always have a caption
        seen |= set(classes[:, 0].tolist())
    assert seen == {UNKNOWN, 2, 3}


def test_photographs_repeat_with_their_seed():
    def sample(seed):
        return Photographs(toy_scenes(), 2, 0.25, seed).sample(8, size=48)[0]

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))


def test_captions_name_their_class():
    from mmseg.utils.tokenizer import tokenize

    world = get_world('pretraining')
    vocabulary = Vocabulary(world)
    classes = torch.tensor([0, 16, 0, 3])
    captions = vocabulary.caption(classes, torch.Generator().manual_seed(0))
    for index, caption in zip(classes.tolist(), captions):
        named = (*world.things, *world.stuff)[index]
        texts = [t.format(n) for t in TEMPLATES for n in (named.name, *named.synonyms)]
        allowed = tokenize(texts)[:, : len(caption)]
        assert (allowed == caption).all(dim=1).any()


def openai_forward(state, images):
    """OpenAI's VisionTransformer, written down from its names: float32, 4 heads."""
    state = {key[7:]: tensor.float() for key, tensor in state.items() if key[:7] == 'visual.'}
    width = state['class_embedding'].shape[0]

    def norm(name, x):
        return F.layer_norm(x, (width,), state[f'{name}.weight'], state[f'{name}.bias'])

    x = F.conv2d(images, state['conv1.weight'], stride=8).flatten(2).transpose(1, 2)
    first = state['class_embedding'].expand(len(x), 1, -1)
    x = norm('ln_pre', torch.cat([first, x], dim=1) + state['positional_embedding'])
    for layer in range(4):
        block = f'transformer.resblocks.{layer}'
        attention = nn.MultiheadAttention(width, 4, batch_first=True).eval()
        prefix = f'{block}.attn.'
        attention.load_state_dict(
            {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        )
        y = norm(f'{block}.ln_1', x)
        x = x + attention(y, y, y)[0]
        y = norm(f'{block}.ln_2', x)
        y = F.linear(y, state[f'{block}.mlp.c_fc.weight'], state[f'{block}.mlp.c_fc.bias'])
        y = y * torch.sigmoid(1.702 * y)
        x = x + F.linear(y, state[f'{block}.mlp.c_proj.weight'], state[f'{block}.mlp.c_proj.bias'])
    return norm('ln_post', x[:, 0]) @ state['proj']


@torch.no_grad()
def test_image_weights_mean_what_openais_names_say(pair):
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    expected = openai_forward(load(PAIR), images)
    found = read_class_token(pair.image.read_out, encode_patches(pair.image, images)[0])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    found = pair.encode_image(images)
    torch.testing.assert_close(found, F.normalize(expected, dim=-1), rtol=1e-4, atol=1e-4)


def test_training_sees_what_the_encoder_does(pair):
    """By mmseg's own blocks in bfloat16, and by fused attention in float32."""
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(2, 3, 144, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = pair.encode_pieces(images, masks)
        tokens, _ = encode_patches(pair.image, images)
        dense = (
            masks / masks.sum(-1, keepdim=True) @ read_dense_features(pair.image.read_out, tokens)
        )
        torch.testing.assert_close(expected['dense'], F.normalize(dense, dim=-1))
        found = pair.train().encode_pieces(images, masks)
        pair.eval()
    for kind, value in found.items():
        torch.testing.assert_close(value, expected[kind], rtol=0, atol=0.05, msg=kind)


@torch.no_grad()
def test_text_weights_are_read_by_the_class_name_encoder(pair):
    world = get_world('pretraining')
    encoder = CLIPClassNameEncoder('tiny', f'mmseg_ssprompt://{PAIR}')
    expected = pair.text(Vocabulary(world).plain())
    torch.testing.assert_close(encoder.encode(world.classes), expected, rtol=1e-4, atol=1e-4)


def test_weights_are_small_and_finite():
    assert sum((ASSETS / name).stat().st_size for name in (PAIR, PROJECTION)) < 5e6
    for name in (PAIR, PROJECTION):
        for key, tensor in load(name).items():
            assert tensor.dtype == torch.float16, (name, key)
            assert tensor.isfinite().all(), (name, key)
    assert shapes_of(load(PROJECTION)) == shapes_of(load('projection-tiny_shapes.pth'))


@pytest.mark.slow
@pytest.mark.parametrize('held_out', [50])
def test_gate(held_out, capsys):
    run_here('dev.pretrain_clip_tiny', '--out-dir', ASSETS, '--evaluate', '--held-out', held_out)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    logged = json.loads((ASSETS / 'clip-pair-tiny_shapes.json').read_text())['gates'][-1]
    for name in ('photo', 'dense', 'token'):
        assert figures[name] == pytest.approx(logged[name], abs=0.06), name
