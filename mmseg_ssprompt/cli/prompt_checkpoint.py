"""Look into files of trained prompts, convert them, and merge them with the frozen weights.

    mmseg-ssprompt prompts inspect FILE
    mmseg-ssprompt prompts convert IN OUT
    mmseg-ssprompt prompts merge CONFIG FILE OUT

Files end with ``.pth`` (torch) or ``.safetensors``.
"""

import argparse
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Tuple, Union

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from ..models import PromptSegmentor
from ..models.base.frozen import FrozenModule
from ..models.base.precomputed import PrecomputedFeatures
from ..outputs import find_inputs
from ..prompt_files.prompt_file import get_metadata, write_prompts
from ..prompt_files.prompt_metadata import PARTS
from ..prompt_files.published import is_published, read_published
from ..weights.checkpoint_loader import load_from_local
from ..weights.prompt_places import find_prompt_file
from ..weights.state_dicts import CheckpointError
from .inputs import prepare_outputs, read_config

from mmseg.registry import MODELS  # isort: skip  (after mmseg_ssprompt)

_PREFIX = 'decode_head.'
#: What mmengine's metadata says of a training, and how it is printed.
_TRAINING = dict(
    iter='iterations', epoch='epochs', seed='seed', time='saved', experiment_name='experiment'
)


PathLike = Union[str, 'os.PathLike[str]']


class MergeError(ValueError):
    """Prompts and a config that make no full checkpoint together."""


def read_prompts(file: PathLike) -> Tuple[Dict[str, Tensor], Dict[str, Any], Dict[str, Any]]:
    """The state dict in a file, the metadata beside it, and all of the content.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, or holds no state dict.
    """
    content = load_from_local(str(file), 'cpu')
    state_dict = content.get('state_dict', content)
    others = [key for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if others or not state_dict:
        raise CheckpointError(
            f'checkpoint {str(file)!r}: expected a state dict of tensors, found '
            f'{f"{others[0]!r} in it" if others else "an empty one"}'
        )
    meta = content.get('meta')
    return state_dict, dict(meta) if isinstance(meta, Mapping) else {}, content


def describe_file(name: PathLike) -> Iterator[str]:
    """What a file, or what else :func:`find_prompt_file` takes, holds, in lines."""
    file = _find_file(name)
    state_dict, meta, content = read_prompts(file)
    yield f'{file}: {file.stat().st_size:,} bytes'
    yield f'tensors: {_describe_size(state_dict)}'
    for name, part in _group(state_dict).items():
        yield f'  {name}: {_describe_size(part)}'
    training = [key for key in ('optimizer', 'param_schedulers', 'message_hub') if key in content]
    yield f'state of a training: {", ".join(training) or "none, cannot be resumed"}'
    for key, name in _TRAINING.items():
        if meta.get(key) is not None:
            yield f'{name}: {meta[key]}'
    yield f'config: {"in the file" if isinstance(meta.get("cfg"), str) else "not in the file"}'
    metadata = get_metadata(state_dict, f'checkpoint {str(file)!r}')
    if metadata:
        yield from _describe_metadata(metadata)
    else:
        yield 'prompts: the file does not say what they were trained with'
    transfer = meta.get('prompt_transfer')
    if isinstance(transfer, Mapping):
        matched, unmatched = (len(transfer.get(key, ())) for key in ('matched', 'unmatched'))
        yield (
            f'transferred from: {transfer.get("source")} '
            f'({matched} of {matched + unmatched} classes)'
        )


def _find_file(name: PathLike) -> Path:
    """The file of prompts of a name; a folder that was published has to be as it was."""
    if is_published(name):
        return read_published(name).prompts
    return find_prompt_file(name)


def _describe_metadata(metadata: Mapping[str, Any]) -> Iterator[str]:
    """What the prompts say of themselves, in lines."""
    yield f'format: {metadata["format"]}, of version {metadata["package"]} of the package'
    names = metadata['class_names']
    yield f'classes: {len(names)}: {", ".join(names)}'
    for name in PARTS:
        entries = {k: v for k, v in metadata.get(name, {}).items() if not k.endswith('_encoder')}
        if entries:
            yield f'{name}: ' + ', '.join(f'{key} {value}' for key, value in entries.items())
    yield f'trained: {", ".join(metadata["trained"]) or "nothing (handcrafted prompts)"}'
    yield f'base model: {metadata["base"]["kind"]} (SHA-256 of the weights):'
    weights = dict(metadata['base']['parts'])
    semantic = metadata.get('semantic_prompts', {})
    if 'text_encoder' in semantic:
        weights['text encoder'] = semantic['text_encoder']
    for part, fingerprint in weights.items():
        yield f'  {part}: {fingerprint or "unknown (random weights)"}'


def _describe_size(tensors: Mapping[str, Tensor]) -> str:
    numbers = sum(value.numel() for value in tensors.values())
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    return f'{len(tensors)}, {numbers:,} numbers, {size:,} bytes'


def _group(state_dict: Mapping[str, Tensor]) -> Dict[str, Dict[str, Tensor]]:
    """The tensors of each part of the model."""
    groups: Dict[str, Dict[str, Tensor]] = {}
    for key, value in state_dict.items():
        head = _PREFIX if key.startswith(_PREFIX) else ''
        name = head + key[len(head) :].partition('.')[0]
        groups.setdefault(name, {})[key] = value
    return groups


def build_model(cfg: Config, path: Path) -> PromptSegmentor:
    """The model of a config, with all of its frozen weights.

    Raises:
        FileNotFoundError: If a file of weights is missing.
        MergeError: If it is no model of prompts, or a frozen part has no pre-trained weights.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = MODELS.build(cfg.model)
    if not isinstance(model, PromptSegmentor):
        raise MergeError(
            f'config {str(path)!r}: expected a PromptSegmentor, found a {type(model).__name__}'
        )
    _check_weights(model, path)
    return model


def _check_weights(model: nn.Module, path: Path) -> None:
    for name, part in model.named_modules():
        if isinstance(part, PrecomputedFeatures):
            raise MergeError(
                f'config {str(path)!r}: expected an image encoder as model.{name}, found '
                f'{type(part).__name__}, which has no weights: give the config without "_cached"'
            )
        if isinstance(part, FrozenModule) and not part.pretrained:
            raise MergeError(
                f'config {str(path)!r}: expected pre-trained weights for model.{name}, found '
                'random ones: give its checkpoint in the config'
            )


def convert(file: PathLike, out: Path) -> None:
    """Write the prompts of a file, and what is said of them, without the state of a training."""
    file = _find_file(file)
    prepare_outputs({'OUT': out}, find_inputs(files=[file]))
    state_dict, meta, _ = read_prompts(file)
    get_metadata(state_dict, f'checkpoint {str(file)!r}')  # nothing malformed is passed on
    write_prompts(state_dict, meta, out)


def merge(config: Path, file: PathLike, out: Path) -> None:
    """Write the prompts of a file with the frozen weights that a config names.

    Raises:
        FileNotFoundError: If there is no such config, or a file of weights is missing.
        ConfigError: If the config cannot be read, or has no model.
        OutputError: If something that is read would be overwritten.
    """
    cfg = read_config(config, needs=['model'])
    file = _find_file(file)
    prepare_outputs({'OUT': out}, find_inputs(cfg, files=[config, file]))
    state_dict, meta, _ = read_prompts(file)
    model = build_model(cfg, config)
    model.load_state_dict(state_dict)
    write_prompts(model.state_dict(), meta, out)


def run(args: argparse.Namespace) -> None:
    """Do the action of the command line."""
    if args.action == 'inspect':
        for line in describe_file(args.file):
            # Texts of strangers must not command the terminal.
            print(re.sub(r'[\x00-\x1f\x7f-\x9f]', lambda char: repr(char.group())[1:-1], line))
        return
    if args.action == 'convert':
        convert(args.file, args.out)
    else:
        merge(args.config, args.file, args.out)
    print(f'{args.out}: {args.out.stat().st_size:,} bytes')
