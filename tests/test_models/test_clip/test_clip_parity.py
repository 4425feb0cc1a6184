"""Class token, dense features and region scores are those of open_clip with the same weights."""

from pathlib import Path
from typing import Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_files import make_clip, openai_state_dict, save_torchscript, vision_of
from mmseg_ssprompt.models.base import Decoded, ImageFeatures
from mmseg_ssprompt.models.classifiers import CLIPRegionClassifier
from mmseg_ssprompt.models.clip import CLIP_VARIANTS, CLIPClassNameEncoder, CLIPImageEncoder
from mmseg_ssprompt.models.clip.image_tower import encode_patches
from mmseg_ssprompt.models.clip.read_out import read_class_token, read_dense_features
from mmseg_ssprompt.models.clip.region_read_out import READ_OUTS

NAMES = ['road', 'sky', 'dog', 'traffic light']
CLOSE = dict(rtol=0, atol=1e-4)


@pytest.fixture(
    scope='module',
    params=['tiny', *(pytest.param(v, marks=pytest.mark.slow) for v in ('ViT-B/16', 'ViT-L/14'))],
)
def pair(request, tmp_path_factory) -> Tuple[str, nn.Module, Path]:
    """A variant, open_clip's model of it, and its file in OpenAI's format."""
    model = make_clip(request.param, vision_of(request.param))
    file = tmp_path_factory.mktemp('clip') / 'clip.pt'
    save_torchscript(openai_state_dict(model), file)
    return request.param, model, file


@pytest.fixture(scope='module')
def encoder(pair) -> CLIPImageEncoder:
    variant, _, file = pair
    return CLIPImageEncoder(variant, file, CLIP_VARIANTS[variant].image_size)


def images_of(variant: str, count: int = 2) -> Tensor:
    """Normalised images of the size that the tower was trained with."""
    size = CLIP_VARIANTS[variant].image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def tokens_before_the_last(visual: nn.Module, images: Tensor) -> Tensor:
    """What open_clip's last block gets: (B, 1 + L, width)."""
    seen = []
    last = visual.transformer.resblocks[-1]
    handle = last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    visual(images)
    handle.remove()
    return seen[0] if seen[0].shape[0] == len(images) else seen[0].transpose(0, 1)


@torch.no_grad()
def open_clip_dense(visual: nn.Module, images: Tensor) -> Tensor:
    """open_clip's own layers; in the last block each token keeps its own value: (B, L, E)."""
    last, x = visual.transformer.resblocks[-1], tokens_before_the_last(visual, images)
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
        found = read_class_token(encoder.tower.read_out, tokens)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, **CLOSE)


def test_dense_features(pair, encoder):
    variant, model, _ = pair
    images = images_of(variant)
    expected = open_clip_dense(model.visual, images)
    with torch.no_grad():
        tokens, size = encode_patches(encoder.tower, images)
        found = read_dense_features(encoder.tower.read_out, tokens)
    assert size[0] * size[1] == found.shape[1]
    torch.testing.assert_close(found, expected, **CLOSE)


def read_by_hand(model: nn.Module, images: Tensor, weights: Tensor, kind: str) -> Tensor:
    """What masks (N, h w) show of one image, by open_clip's layers: (N, E)."""
    if kind == 'dense':
        dense = open_clip_dense(model.visual, images)[0]  # (h w, E)
        return weights @ dense / weights.sum(dim=1, keepdim=True)
    visual = model.visual
    last, tokens = visual.transformer.resblocks[-1], tokens_before_the_last(visual, images)
    count, length = len(weights), tokens.shape[1]
    # Each mask's class token goes through torch's own attention with a bias of its own.
    bias = torch.full((count, length), -torch.inf)
    bias[:, 1:] = weights.log()
    queries, keys = last.ln_1(tokens[:, :1]).expand(-1, count, -1), last.ln_1(tokens)
    attended, _ = F.multi_head_attention_forward(
        *(x.transpose(0, 1) for x in (queries, keys, keys)),
        keys.shape[-1],
        last.attn.num_heads,
        last.attn.in_proj_weight,
        last.attn.in_proj_bias,
        *(None, None, False, 0.0),
        last.attn.out_proj.weight,
        last.attn.out_proj.bias,
        training=False,
        attn_mask=bias,
    )
    x = tokens[:, :1] + attended.transpose(0, 1)
    x = x + last.mlp(last.ln_2(x))
    return (visual.ln_post(x) @ visual.proj)[0]


@pytest.mark.parametrize('kind', READ_OUTS)
def test_region_scores(pair, encoder, kind):
    """Class names and masks to logits, each step by open_clip or by hand."""
    open_clip = pytest.importorskip('open_clip')
    variant, model, file = pair
    pixels = images_of(variant, count=1)
    side = CLIP_VARIANTS[variant].count_patches(pixels.shape[-1])
    generator = torch.Generator().manual_seed(2)
    mask_logits = torch.randn(1, 3, 2 * side, 2 * side, generator=generator)
    iou = torch.tensor([[0.2, 0.5, 0.9]])
    # Each place counts with the mean of the four pixels of a mask in it.
    weights = mask_logits.sigmoid().unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-2, -1))[0].flatten(1)
    with torch.no_grad():
        text = model.encode_text(open_clip.tokenize([f'a photo of a {name}.' for name in NAMES]))
        regions = read_by_hand(model, pixels, weights, kind)
    expected = F.normalize(regions, dim=-1) @ F.normalize(text, dim=-1).t()  # (N, C)

    prompts = CLIPClassNameEncoder(variant, file).encode(NAMES)
    classifier = CLIPRegionClassifier(8, prompts.shape[1], variant, file, read_out=kind)
    tokens, _ = encode_patches(encoder.tower, pixels)
    decoded = Decoded(mask_logits, torch.zeros(1, 3, 8), iou)
    features = ImageFeatures((), tokens, torch.zeros(1, 1, 1, 1))
    found = classifier(decoded, prompts, features)[0]
    torch.testing.assert_close(found[:, :-1] / model.logit_scale.exp(), expected, **CLOSE)
    # The probability of "no object" is that of SAM's being wrong.
    torch.testing.assert_close(found.softmax(-1)[:, -1], 1 - iou[0], **CLOSE)
