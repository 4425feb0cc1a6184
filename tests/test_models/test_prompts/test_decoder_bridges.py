"""Bridges in the frozen decoder: where they are, what trains, copies, and transfer."""

import copy

import pytest
import torch
from torch import nn

from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.prompts import DecoderBridges
from mmseg_ssprompt.models.sam import SAMSegmenter
from mmseg_ssprompt.models.seem import SEEMSegmenter
from mmseg_ssprompt.prompt_files.prompt_file import PromptSource
from mmseg_ssprompt.prompt_files.transfer import PromptTransferError, transfer_prompts
from tiny_model import build_tiny, names_of_trainable, training_loss

SAM_NORMS = 4 * 2 + 1  # of the layers, and the last
SEEM_NORMS = 3 * 6 + 1
NAMES = ('up', 'down', 'shift', 'weight_logit')


def sam():
    """A decoder of random weights, with prompts and features of one image."""
    segmenter = SAMSegmenter('tiny')
    features = ImageFeatures((), None, torch.randn(1, 96, 12, 12))
    return segmenter, segmenter.encode_points(torch.rand(3, 2)), features, SAM_NORMS


def seem():
    segmenter = SEEMSegmenter('tiny')
    levels = tuple(torch.randn(1, 64, size, size) for size in (16, 8, 4))
    features = ImageFeatures(levels, None, torch.randn(1, 64, 32, 32))
    return segmenter, segmenter.default_prompts(), features, SEEM_NORMS


@pytest.mark.parametrize('base', [sam, seem])
def test_untrained_bridges_change_nothing_and_trained_ones_masks_and_tokens(base):
    torch.manual_seed(0)
    segmenter, prompts, features, count = base()
    before = segmenter.decode(features, prompts)
    bridges = DecoderBridges(segmenter.mask_decoder, rank=2)
    assert len(bridges) == count
    after = segmenter.decode(features, prompts)
    assert torch.equal(after.mask_logits, before.mask_logits)
    for bridge in bridges:
        nn.init.normal_(bridge.up, std=0.1)
    after = segmenter.decode(features, prompts)
    assert not torch.allclose(after.mask_logits, before.mask_logits)
    assert not torch.allclose(after.tokens, before.tokens)
    (after.mask_logits.square().sum() + after.tokens.square().sum()).backward()
    assert all((parameter.grad != 0).any() for parameter in bridges.parameters())
    assert all(p.grad is None for p in segmenter.parameters())


@pytest.mark.parametrize('base', [sam, seem])
def test_bridges_beside_mask_heads_change_masks(base):
    """``w + W * (A t + b)`` of the mask embedding ``w``; nothing while untrained."""
    torch.manual_seed(0)
    segmenter, prompts, features, count = base()
    before = segmenter.decode(features, prompts).mask_logits
    (head,) = segmenter.mask_heads()
    t = torch.randn(2, segmenter.token_dims)
    w = head(t)
    bridges = DecoderBridges(segmenter.mask_decoder, rank=2, mask_heads=[head])
    assert len(bridges) == count + 1
    assert torch.equal(segmenter.decode(features, prompts).mask_logits, before)
    bridge = bridges[-1]
    nn.init.normal_(bridge.up)
    torch.testing.assert_close(head(t), w + 0.5 * t @ bridge.up.t())
    after = segmenter.decode(features, prompts).mask_logits
    assert not torch.allclose(after, before)
    after.square().sum().backward()
    assert all((parameter.grad != 0).any() for parameter in bridge.parameters())


def test_the_first_bridge_by_hand():
    """``z + W * (A B z + b)`` of what the norm gives."""
    decoder = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    x = torch.randn(2, 3)
    z = decoder(x)
    (bridge,) = DecoderBridges(decoder, rank=1, initial_weight=0.75)
    nn.init.normal_(bridge.up)
    nn.init.normal_(bridge.shift)
    expected = z + 0.75 * (z @ bridge.down.t() @ bridge.up.t() + bridge.shift)
    torch.testing.assert_close(decoder(x), expected)


def test_a_decoder_without_norms_is_refused():
    with pytest.raises(ValueError, match='expected a mask decoder that has some, found none'):
        DecoderBridges(nn.Linear(3, 3))


def test_kept_decodings_are_refused():
    with pytest.raises(ValueError, match=r'expected segmenter\.remember_bytes=0 beside them'):
        build_tiny(**{'segmenter.remember_bytes': 100, 'decoder_bridges.rank': 2})


@pytest.fixture(scope='module')
def model() -> nn.Module:
    return build_tiny(**{'decoder_bridges.rank': 2})


@pytest.mark.parametrize(('output', 'count'), [('single', 1), ('all', 3)])
def test_each_mask_that_is_asked_for_has_a_bridge(output, count):
    options = {'segmenter.mask_output': output, 'decoder_bridges.masks': True}
    bridges = build_tiny(**options).decode_head.decoder_bridges
    assert len(bridges) == SAM_NORMS + count
    assert bridges[-1].up.shape == (96 // 8, 96)


def test_what_trains_is_saved_and_the_decoder_is_not(model):
    own = {f'decode_head.decoder_bridges.{i}.{n}' for i in range(SAM_NORMS) for n in NAMES}
    trains = set(names_of_trainable(model))
    assert own <= trains
    assert all('_prompts.' in name for name in trains - own)
    state = model.without_frozen(model.state_dict())
    assert own <= set(state)
    assert not any('segmenter' in name for name in state)
    described = state._metadata['']['prompts']
    assert 'decoder_bridges' in described['trained']
    frozen = build_tiny().state_dict()._metadata['']['prompts']['base']
    assert described['base'] == frozen  # the weights of the decoder are what they were


def test_a_copy_of_the_model_has_bridges_of_its_own(model):
    """As of a moving average."""
    copied, loss = copy.deepcopy(model), training_loss(model)
    for bridge in copied.decode_head.decoder_bridges:
        nn.init.normal_(bridge.shift)
    assert torch.equal(training_loss(model), loss)
    assert not torch.equal(training_loss(copied), loss)


def test_bridges_come_along_with_transferred_prompts(model):
    trained = copy.deepcopy(model)
    for bridge in trained.decode_head.decoder_bridges:
        nn.init.normal_(bridge.up)
    state = trained.without_frozen(trained.state_dict())
    source = PromptSource(state, state._metadata['']['prompts'], "checkpoint 'a.pth'")
    moved, _ = transfer_prompts(source, model)
    key = 'decode_head.decoder_bridges.8.up'
    assert torch.equal(moved[key], state[key])
    with pytest.raises(PromptTransferError, match=r'unexpected .*decoder_bridges'):
        transfer_prompts(source, build_tiny())
