"""The same embeddings and tokens as open_clip, whose models these files are."""

from pathlib import Path
from typing import Callable, List, Sequence

import pytest
import torch
import torch.nn.functional as F
from mmseg.utils import tokenize
from torch import Tensor, nn

import mmseg_ssprompt  # noqa: F401
from clip_files import WRITERS, make_clip, openai_state_dict
from mmseg_ssprompt.models.clip import CLIPClassNameEncoder

open_clip = pytest.importorskip('open_clip')

NAMES = ['wall', 'traffic light', 'crt screen', "potted plant's leaf", 'Straße', '日本', '😀']
TEMPLATES = ('a photo of a {}.', 'There is the {} in the scene', '{}')


@torch.no_grad()
def reference(model: nn.Module, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """open_clip's zero-shot classifier, without the logit scale."""
    texts: List[Tensor] = []
    for template in templates:
        tokens = open_clip.tokenize([template.format(name) for name in names])
        texts.append(model.encode_text(tokens, normalize=True))
    return F.normalize(torch.stack(texts).mean(dim=0), dim=-1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_tiny(save_clip: Callable, dtype: torch.dtype, tiny_clip: nn.Module, tmp_path: Path):
    state = openai_state_dict(tiny_clip)
    half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    save_clip(half, tmp_path / 'clip.pt')
    encoder = CLIPClassNameEncoder('tiny', tmp_path / 'clip.pt', TEMPLATES, 'quick_gelu')
    found, expected = encoder.encode(NAMES), reference(tiny_clip, NAMES, TEMPLATES)
    assert found.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float32 else 5e-3
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.slow
def test_vit_b16(tmp_path: Path):
    model = make_clip('ViT-B/16')
    expected = reference(model, NAMES, TEMPLATES)
    for kind, save in WRITERS.items():
        save(openai_state_dict(model), tmp_path / 'clip.pt')
        encoder = CLIPClassNameEncoder('ViT-B/16', tmp_path / 'clip.pt', TEMPLATES, 'quick_gelu')
        found = encoder.encode(NAMES)
        torch.testing.assert_close(
            found, expected, atol=1e-5, rtol=0, msg=lambda m, kind=kind: f'{kind}: {m}'
        )


def test_test_can_fail(tiny_clip: nn.Module):
    """The reference tells names and templates apart by far more than the tolerance."""
    expected = reference(tiny_clip, NAMES, TEMPLATES)
    assert torch.pdist(expected).min() > 1e-2
    assert (expected - reference(tiny_clip, NAMES, TEMPLATES[:1])).abs().max() > 1e-2


def test_tokenizer():
    texts = [template.format(name) for template in TEMPLATES for name in NAMES]
    texts += ['  two   spaces ', 'UPPER Case', 'window-blind', 'caf&eacute;', "it's 42%", '<b>']
    assert torch.equal(tokenize(texts), open_clip.tokenize(texts))
