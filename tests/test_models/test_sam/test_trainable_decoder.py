"""A mask decoder that trains is not frozen: gradients, train(), and checkpoints say so."""

import copy

import pytest
import torch
from torch import nn

from mmseg_ssprompt.models.sam import SAMMaskDecoder
from mmseg_ssprompt.models.segmentors import PromptStateError
from tiny_model import build_tiny, names_of_trainable, random_images, training_loss

PREFIX = 'decode_head.segmenter.mask_decoder.'
USED = dict(single=(0,), best=(1, 2, 3), all=(1, 2, 3))

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning'),
    pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning'),
]


def fine_tuned(mode: str = 'default_only', seed: int = 0, **options) -> nn.Module:
    options = {f'segmenter.{key}': value for key, value in options.items()}
    return build_tiny(mode, seed, **{'segmenter.trainable': True}, **options)


@pytest.mark.parametrize('mask_output', ['single', 'best', 'all'])
@pytest.mark.parametrize('decoding', ['joint', 'independent'])
def test_every_trainable_tensor_gets_a_gradient(decoding, mask_output):
    """Otherwise DDP stops in the second step."""
    model = fine_tuned(decoding=decoding, mask_output=mask_output).train()
    training_loss(model).backward()
    names = names_of_trainable(model)
    assert all(name.startswith(f'{PREFIX}decoder.') for name in names)
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    unused = [name for name in dict(model.named_parameters()) if name not in names]
    heads = [name[len(PREFIX) :] for name in unused if name.startswith(PREFIX)]
    others = [f'output_hypernetworks_mlps.{i}.' for i in range(4) if i not in USED[mask_output]]
    allowed = tuple(f'decoder.{part}' for part in ('iou_prediction_head.', *others))
    assert heads and all(name.startswith(allowed) for name in heads)


def test_frozen_by_default():
    decoder = SAMMaskDecoder('tiny').train()
    assert decoder.frozen
    assert not any(module.training for module in decoder.modules())
    assert not any(p.requires_grad for p in decoder.parameters())


def test_train_follows():
    decoder = SAMMaskDecoder('tiny', trainable=True)
    assert not decoder.frozen
    for mode in (True, False):
        assert decoder.train(mode) is decoder
        assert all(module.training == mode for module in decoder.modules())


def test_other_parts_stay_frozen():
    model = fine_tuned('learned_weight').train()
    assert model.decode_head.segmenter.mask_decoder.training
    assert not model.backbone.training
    assert not model.decode_head.segmenter.prompt_encoder.training
    parts = (
        model.backbone,
        model.decode_head.segmenter.prompt_encoder,
        model.decode_head.classifier,
    )
    assert not any(p.requires_grad for part in parts for p in part.parameters())


@torch.no_grad()
def test_starts_as_the_frozen_decoder_does():
    expected = build_tiny('default_only')(random_images(1), mode='tensor')
    found = fine_tuned()(random_images(1), mode='tensor')
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_chunks_are_recomputed_without_learned_prompts_too():
    """Gradients are those without chunks, and the graph between chunks is not kept."""
    gradients = []
    for chunk_size in (8, 64):
        model = fine_tuned(decoding='independent', chunk_size=chunk_size).train()
        training_loss(model).backward()
        gradients.append(model.decode_head.segmenter.mask_decoder.decoder.mask_tokens.weight.grad)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_init_weights_keeps_what_was_loaded():
    model = fine_tuned()
    before = copy.deepcopy(model.state_dict())
    model.init_weights()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_weights_are_saved_with_the_prompts():
    model = fine_tuned()
    kept = model.without_frozen(model.state_dict())
    assert {key for key in kept if key.startswith(PREFIX)} == {
        key for key in model.state_dict() if key.startswith(PREFIX)
    }
    frozen = ('backbone.', 'decode_head.segmenter.prompt_encoder.')
    assert not [key for key in kept if key.startswith(frozen)]


def test_weights_come_back():
    saved = fine_tuned()
    for parameter in saved.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    loaded = fine_tuned(seed=1)
    loaded.load_state_dict(saved.without_frozen(saved.state_dict()))
    for key, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_prompts_without_the_decoder_do_not_fit():
    frozen = build_tiny('default_only')
    prompts = frozen.without_frozen(frozen.state_dict())
    with pytest.raises(PromptStateError, match=rf'{PREFIX}decoder\..*: missing'):
        fine_tuned().load_state_dict(prompts)
