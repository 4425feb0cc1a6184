"""SEEM's golden files, and its weights by their recipe: random numbers that each key's name seeds.

The recipe is that with which the golden files were made from the official code; the official
weights are not at hand.
"""

import json
import math
import os
import zlib
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).parent / 'data' / 'seem'
#: Names the folder of all golden files; those that are not in the repository need it.
FOLDER_VARIABLE = 'MMSEG_SSPROMPT_SEEM'

_TEXT_TABLES = ('token_embedding.weight', 'positional_embedding')
_TABLES = (
    *('pos_embed', 'level_embed', 'level_embed.weight', 'query_feat.weight', 'query_embed.weight'),
    *('spatial_embed.weight', 'spatial_featured.weight', 'pn_indicator.weight'),
)


def make_weight(key: str, shape: Sequence[int]) -> Tensor:
    """One tensor of the recipe, float32.

    Args:
        key: Whole name in an official file.
        shape: Its shape.
    """
    last = key.rpartition('.')[2]
    if last == 'logit_scale':
        return torch.tensor(2.0)
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    random = torch.randn(tuple(shape), generator=generator)
    if last in ('gamma_1', 'gamma_2'):
        return 0.5 + 0.1 * random
    if len(shape) == 1:
        return 1 + 0.1 * random if last == 'weight' else 0.1 * random
    if key.endswith(_TEXT_TABLES):
        return 0.02 * random
    if key.endswith(_TABLES):
        return random
    gain = 1.5 if '.mask_embed.' in key else 0.5 if '.predictor.transformer_' in key else 1.0
    return gain * random / math.sqrt(random.numel() / shape[0])


def make_weights(shapes: Mapping[str, Sequence[int]]) -> Dict[str, Tensor]:
    """The recipe's weights of a model.

    Args:
        shapes: Names and shapes of the parameters, as :func:`read_keys` gives them.
    """
    return {key: make_weight(key, shape) for key, shape in shapes.items()}


def make_buffers(shapes: Mapping[str, Sequence[int]]) -> Dict[str, Tensor]:
    """The buffers of an official file, whose values nothing uses."""
    return {key: torch.ones(tuple(shape)) for key, shape in shapes.items()}


def save_official_file(name: str, file: Path) -> None:
    """Write a file in the official format, with the recipe's weights.

    Args:
        name: As for :func:`read_keys`.
        file: Where to.
    """
    shapes, buffers = read_keys(name)
    torch.save({**make_weights(shapes), **make_buffers(buffers)}, file)


def find_folder() -> Path:
    """The folder of all golden files; a test that asks for it is skipped without one."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        pytest.skip(f'{FOLDER_VARIABLE} names no folder with the golden files of SEEM')
    return Path(folder)


def read_json(name: str) -> Dict[str, Any]:
    """A JSON file of the golden files, such as ``golden/case1_tiny.json``."""
    file = DATA / name
    content: Dict[str, Any] = json.loads(
        (file if file.is_file() else find_folder() / name).read_text(encoding='utf-8')
    )
    return content


def read_golden(name: str) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    """The tensors of a golden case and its JSON.

    Args:
        name: Such as ``case1_tiny``.
    """
    file = DATA / 'golden' / f'{name}.safetensors'
    file = file if file.is_file() else find_folder() / 'golden' / file.name
    return load_file(file), read_json(f'golden/{name}.json')


def read_keys(name: str) -> Tuple[Dict[str, Sequence[int]], Dict[str, Sequence[int]]]:
    """Names and shapes of an official configuration: of its parameters and of its buffers.

    Args:
        name: Such as ``focalt_unicl_lang_v1``, ``tiny`` or ``tiny_deform``.
    """
    if name == 'tiny_deform':
        return read_json('golden/case1_tiny_deform.json')['keys'], read_keys('tiny')[1]
    content = read_json(f'keys/{name}.json')
    return content['parameters'], content['buffers']


def make_input(case: Mapping[str, Any], name: str) -> Tensor:
    """The images of a golden case, as its JSON words them: ``randn(1, 3, 64, 96) seed 121...``."""
    words = case['inputs'][name]
    shape = [int(size) for size in words[words.index('(') + 1 : words.index(')')].split(',')]
    seed = int(words.split('seed ')[1].split(':')[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
