"""Class token, dense features and region scores are those of open_clip with the same weights."""

from pathlib import Path
from typing import Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_files import WRITERS, make_clip, openai_state_dict, vision_of
from mmseg_ssprompt.models.classifiers import CLIPRegionClassifier
from mmseg_ssprompt.models.clip import CLIP_IMAGE_VARIANTS, CLIPImageEncoder
from mmseg_ssprompt.models.clip.tower import encode_patches, read_class_token, read_dense_features
from mmseg_ssprompt.models.sam.mask_decoder import DecoderOutput
from mmseg_ssprompt.models.text import CLIPClassNameEncoder

NAMES = ['road', 'sky', 'dog', 'traffic light']
CLOSE = dict(rtol=0, atol=1e-4)


@pytest.fixture(scope='module', params=['tiny', 'ViT-B/16', 'ViT-L/14'])
def pair(request, tmp_path_factory) -> Tuple[str, nn.Module, Path]:
    """A variant, open_clip's model of it, and its file in OpenAI's format."""
    model = make_clip(request.param, vision_of(request.param))
    file = tmp_path_factory.mktemp('clip') / 'clip.pt'
    WRITERS['plain'](openai_state_dict(model), file)
    return request.param, model, file


@pytest.fixture
def encoder(pair) -> CLIPImageEncoder:
    variant, _, file = pair
    return CLIPImageEncoder(variant, file, CLIP_IMAGE_VARIANTS[variant].image_size)


def images_of(variant: str, count: int = 2) -> Tensor:
    """Normalised images of the size that the tower was trained with."""
    size = CLIP_IMAGE_VARIANTS[variant].image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def open_clip_dense(visual: nn.Module, images: Tensor) -> Tensor:
    """open_clip's own layers; in the last block each token keeps its own value: (B, L, E)."""
    seen = []
    last = visual.transformer.resblocks[-1]
    handle = last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    visual(images)
    handle.remove()
    x = seen[0] if seen[0].shape[0] == len(images) else seen[0].transpose(0, 1)
    width = x.shape[-1]
    value = F.linear(
        last.ln_1(x), last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :]
    )
    x = x + last.attn.out_proj(value)
    x = x + last.mlp(last.ln_2(x))
    return (visual.ln_post(x) @ visual.proj)[:, 1:]


def test_class_token(pair, encoder):
    variant, model, _ = pair
    images = images_of(variant)
    with torch.no_grad():
        expected = model.encode_image(images)
        tokens, _ = encode_patches(encoder.tower, images)
        found = read_class_token(encoder.tower, tokens)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, **CLOSE)


def test_dense_features(pair, encoder):
    variant, model, _ = pair
    images = images_of(variant)
    expected = open_clip_dense(model.visual, images)
    with torch.no_grad():
        tokens, size = encode_patches(encoder.tower, images)
        found = read_dense_features(encoder.tower, tokens)
    assert size[0] * size[1] == found.shape[1]
    torch.testing.assert_close(found, expected, **CLOSE)


def test_region_scores(pair, encoder):
    """Class names and masks to logits, each step by open_clip or by hand."""
    open_clip = pytest.importorskip('open_clip')
    variant, model, file = pair
    images = images_of(variant, count=1)
    dense = open_clip_dense(model.visual, images)[0]  # (h w, E)
    side = int(len(dense) ** 0.5)
    generator = torch.Generator().manual_seed(2)
    mask_logits = torch.randn(1, 3, 2 * side, 2 * side, generator=generator)
    iou = torch.tensor([[0.2, 0.5, 0.9]])
    with torch.no_grad():
        text = model.encode_text(open_clip.tokenize([f'a photo of a {name}.' for name in NAMES]))
        text = F.normalize(text, dim=-1)
    # Each place counts with the mean of the four pixels of a mask in it.
    weights = mask_logits.sigmoid().unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-2, -1))[0].flatten(1)
    regions = F.normalize((weights @ dense) / weights.sum(dim=1, keepdim=True), dim=-1)
    expected = 100 * regions @ text.t()  # (N, C)

    prompts = CLIPClassNameEncoder(variant, file).encode(NAMES)
    classifier = CLIPRegionClassifier(token_dims=8, embed_dims=prompts.shape[1])
    with torch.no_grad():
        tokens, size = encode_patches(encoder.tower, images)
        features = read_dense_features(encoder.tower, tokens).mT.unflatten(2, size)
    decoded = DecoderOutput(mask_logits, torch.zeros(1, 3, 8), iou)
    found = classifier(decoded, prompts, [features])[0]
    torch.testing.assert_close(found[:, :-1] / 100, expected / 100, **CLOSE)
    # The probability of "no object" is that of SAM's being wrong.
    torch.testing.assert_close(found.softmax(-1)[:, -1], 1 - iou[0], **CLOSE)


@pytest.mark.parametrize('count', [1, 3])
def test_masks_that_show_everything_see_what_the_class_token_sees_of_patches(pair, encoder, count):
    """With the class token hidden from itself, by open_clip's attention with a mask."""
    variant, model, _ = pair
    images = images_of(variant)
    with torch.no_grad():
        tokens, (height, width) = encode_patches(encoder.tower, images)
        masks = torch.ones(2, count, height * width)
        found = read_class_token(encoder.tower, tokens, masks)
        block = model.visual.transformer.resblocks[-1]
        x = block.ln_1(tokens)
        hidden = torch.zeros(1, tokens.shape[1], dtype=torch.bool)
        hidden[:, 0] = True
        attended, _ = (
            block.attn(x[:, :1], x, x, attn_mask=hidden)
            if block.attn.batch_first
            else (block.attn(x[:, :1].transpose(0, 1), *[x.transpose(0, 1)] * 2, attn_mask=hidden))
        )
        attended = attended if block.attn.batch_first else attended.transpose(0, 1)
        y = tokens[:, :1] + attended
        y = y + block.mlp(block.ln_2(y))
        expected = model.visual.ln_post(y) @ model.visual.proj
    torch.testing.assert_close(found, expected.expand(-1, count, -1), **CLOSE)
