"""A model on sam-tiny for pictures of one's own, loaded once, and its prompts as files."""

from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from mmseg_ssprompt.prompt_files.prompt_file import write_prompts
from own_photographs import own_config

NAMES = ('sky', 'tree', 'road', 'car')


def write_model(folder: Path, seed: int = 1, **options: Any) -> Path:
    """Write a config, and untrained prompts in ``prompts.safetensors`` beside it.

    Args:
        folder: Is made.
        seed: Of the prompts.
        **options: Settings of the config by their dotted names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cfg = own_config(folder / 'data', names=NAMES)
    cfg.model.decode_head.spatial_prompts.num_prompts = 9  # which are decoded faster
    cfg.merge_from_dict(options)
    write_prompts_of(cfg, folder / 'prompts.safetensors', seed)
    cfg.dump(str(folder / 'config.py'))
    return folder / 'config.py'


def write_prompts_of(cfg: Any, file: Path, seed: int = 1) -> None:
    """Write untrained prompts of a config, moved so far that several classes are predicted."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    generator = torch.Generator().manual_seed(seed)
    state = model.without_frozen(model.state_dict())
    for name, value in state.items():
        if value.is_floating_point() and 'learned' in name:
            state[name] = value + 0.5 * torch.randn(value.shape, generator=generator)
    write_prompts(state, {}, file)
