"""CLIP models of open_clip with random weights, and the three kinds of file made of them."""

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType
from typing import Callable, Dict, Optional

import pytest
import torch
from torch import Tensor, nn

import mmseg_ssprompt  # noqa: F401
from mmseg_ssprompt.models.clip import CLIP_VARIANTS

open_clip_model = pytest.importorskip('open_clip.model')


def vision_of(variant: str) -> Dict[str, int]:
    """The image tower of ``variant`` as open_clip configures it."""
    sizes = CLIP_VARIANTS[variant]
    return dict(
        layers=sizes.image.layers,
        width=sizes.image.width,
        head_width=sizes.image.width // sizes.image.heads,
        patch_size=sizes.patch_size,
        image_size=sizes.image_size,
    )


def make_clip(
    variant: str, vision: Optional[Dict[str, int]] = None, quick_gelu: bool = True
) -> nn.Module:
    """An open_clip model with the text tower of ``variant``; no weight is at a special value.

    Its image tower is small, unless it is given.
    """
    sizes = CLIP_VARIANTS[variant]
    small = dict(layers=2, width=64, head_width=32, patch_size=sizes.patch_size, image_size=32)
    text = sizes.text._asdict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip_model.CLIP(
            sizes.embed_dims,
            open_clip_model.CLIPVisionCfg(**(vision or small)),
            open_clip_model.CLIPTextCfg(**text),
            quick_gelu=quick_gelu,
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return model.eval()


def openai_state_dict(model: nn.Module) -> Dict[str, Tensor]:
    """The entries of an OpenAI file, with the three that are no weights."""
    sizes = dict(input_resolution=32, context_length=77, vocab_size=49408)
    return {**model.state_dict(), **{key: torch.tensor(value) for key, value in sizes.items()}}


class QuickGELU(nn.Module):
    """Of OpenAI's archives, which have its program."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def save_torchscript(state_dict: Dict[str, Tensor], path: Path) -> None:
    """Save modules that hold ``state_dict`` under its names, as OpenAI saved CLIP."""
    root = nn.Module()
    for key, value in state_dict.items():
        *parents, name = key.split('.')
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, nn.Module())
            module = getattr(module, parent)
        if value.is_floating_point():
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))
        else:
            module.register_buffer(name, value)
    if hasattr(root, 'transformer'):
        # The mask of a block of OpenAI's is a plain attribute.
        getattr(root.transformer.resblocks, '0').attn_mask = torch.zeros(77, 77)
    root.gelu = QuickGELU()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        torch.jit.save(torch.jit.script(root), str(path))


def save_plain(state_dict: Dict[str, Tensor], path: Path) -> None:
    """OpenAI's state dict as ``torch.save`` writes it, which does not name the activation."""
    torch.save(state_dict, path)


def save_converted(state_dict: Dict[str, Tensor], path: Path) -> None:
    """What mmseg's own converter makes of it."""
    converter = mmseg_converter()
    weights = converter.convert_key_name(dict(state_dict), visual_split=1)
    torch.save(converter.convert_tensor(weights), path)


def mmseg_converter() -> ModuleType:
    """mmseg's tools/model_converters/clip2mmseg.py, as it comes with the wheel."""
    folder = Path(importlib.util.find_spec('mmseg').origin).parent
    path = folder / '.mim' / 'tools' / 'model_converters' / 'clip2mmseg.py'
    if not path.is_file():
        pytest.skip(f'mmseg was installed without its tools ({path})')
    spec = importlib.util.spec_from_file_location('clip2mmseg', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITERS: Dict[str, Callable[[Dict[str, Tensor], Path], None]] = {
    'torchscript': save_torchscript,
    'plain': save_plain,
    'converted': save_converted,
}
