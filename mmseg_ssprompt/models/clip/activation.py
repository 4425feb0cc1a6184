"""Which activation a file of CLIP was trained with: its tensors do not say.

OpenAI trained with QuickGELU, ``x * sigmoid(1.702 x)``, LAION and DataComp with GELU. The other one
computes embeddings that look well and are wrong, so none is ever assumed.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from mmengine.logging import print_log
from torch import Tensor

from ...weights.state_dicts import CheckpointError, is_torchscript_archive
from ...weights.torchscript import find_activations

__all__ = [
    'ACTIVATIONS',
    'GELU',
    'QUICK_GELU',
    'check_activation',
    'choose_activation',
    'fingerprint_with_activation',
]

QUICK_GELU, GELU = 'quick_gelu', 'gelu'
#: Config of each, for mmseg's modules.
ACTIVATIONS: Dict[str, Dict[str, str]] = {
    QUICK_GELU: dict(type='QuickGELU'),
    GELU: dict(type='GELU'),
}
#: Files beside one of weights that say it, and the weights that are published with them.
_HUGGING_FACE_CONFIG, _OPEN_CLIP_CONFIG = 'config.json', 'open_clip_config.json'
_PUBLISHED_WITH = {
    _HUGGING_FACE_CONFIG: ('model.safetensors', 'pytorch_model.bin'),
    _OPEN_CLIP_CONFIG: (
        'open_clip_pytorch_model.bin',
        'open_clip_model.safetensors',
        'open_clip_pytorch_model.safetensors',
    ),
}
_TOWERS = dict(image='vision', text='text')
#: Defaults of transformers' configs, which leave out settings that are equal to them.
_DEFAULTS: Dict[str, Dict[str, Any]] = dict(
    image=dict(hidden_size=768, num_hidden_layers=12, patch_size=32, hidden_act=QUICK_GELU),
    text=dict(hidden_size=512, num_hidden_layers=12, hidden_act=QUICK_GELU),
)


def check_activation(activation: Optional[str]) -> None:
    """Refuse a setting other than those of :data:`ACTIVATIONS` and None.

    Raises:
        ValueError: With those that there are.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f'activation must be one of {tuple(ACTIVATIONS)}, got {activation!r}')


def fingerprint_with_activation(fingerprint: str, activation: str) -> str:
    """The fingerprint of an encoder: the same weights with another activation are another one.

    Args:
        fingerprint: Of the weights. With QuickGELU it stays as it is.
        activation: A key of :data:`ACTIVATIONS`.
    """
    if activation == QUICK_GELU:
        return fingerprint
    return hashlib.sha256(f'{fingerprint} {activation}'.encode()).hexdigest()


class _Statement(NamedTuple):
    """What something says of the activation.

    Attributes:
        activation: A key of :data:`ACTIVATIONS`, or a name that is not supported.
        where: What says it.
        is_certain: Whether it is in the file itself.
    """

    activation: str
    where: str
    is_certain: bool


def choose_activation(
    path: Path,
    source: str,
    tensors: Mapping[str, Tensor],
    tower: str,
    given: Optional[str],
    is_asset: bool,
) -> str:
    """The activation of a tower.

    Args:
        path: Of the file.
        source: It in words, for errors.
        tensors: By OpenAI's names.
        tower: ``'image'`` or ``'text'``.
        given: The setting, a key of :data:`ACTIVATIONS`, or None.
        is_asset: Whether the file is one of the package's, which were trained with QuickGELU.

    Raises:
        CheckpointError: If nothing says it, or what says it contradicts itself or the setting.
    """
    found = list(_find_statements(path, tensors, tower, is_asset))
    certain = [each for each in found if each.is_certain]
    if given is not None:
        for each in certain:
            if each.activation != given:
                raise CheckpointError(
                    f'{source}: the activation of its {tower} tower is {each.activation!r} '
                    f'according to {each.where}, and activation={given!r} is set: leave the '
                    'setting out'
                )
        for each in found:
            if each.activation != given:
                print_log(
                    f'{source}: activation={given!r} is set, and {each.where} says '
                    f'{each.activation!r}: the setting counts',
                    'current',
                    logging.WARNING,
                )
        return given
    known = {each.activation for each in certain or found}
    if len(known) != 1 or not known <= ACTIVATIONS.keys():
        raise CheckpointError(_describe(source, tower, certain or found))
    return known.pop()


def _describe(source: str, tower: str, found: List[_Statement]) -> str:
    """Why no activation can be chosen, and what to do."""
    listed = ' and '.join(f'{each.activation!r} ({each.where})' for each in found)
    others = [each for each in found if each.activation not in ACTIVATIONS]
    if others:
        return (
            f'{source}: the activation of its {tower} tower is {listed}, which is not supported: '
            f'expected one of {tuple(ACTIVATIONS)}. Give another file of CLIP'
        )
    why = (
        f'two are said: {listed}'
        if found
        else f'the tensors do not say it, and there is neither the program of a TorchScript '
        f'archive, nor a {_HUGGING_FACE_CONFIG} or {_OPEN_CLIP_CONFIG} of this model beside the '
        'file'
    )
    return (
        f'{source}: expected to know the activation of its {tower} tower, but {why}. Set '
        f"activation='{QUICK_GELU}' (OpenAI, DFN, MetaCLIP and all whose name in open_clip ends in "
        f"-quickgelu) or activation='{GELU}' (LAION, DataComp) beside checkpoint, or for all parts "
        f'model.weights=dict(clip=..., clip_activation=...)'
    )


def _find_statements(
    path: Path, tensors: Mapping[str, Tensor], tower: str, is_asset: bool
) -> Iterator[_Statement]:
    """All that says something of the activation."""
    if is_asset:
        yield _Statement(QUICK_GELU, 'the package, whose file it is,', True)
    elif is_torchscript_archive(path):
        for activation in find_activations(path):
            yield _Statement(activation, 'the program in it', True)
    else:
        for name, published in _PUBLISHED_WITH.items():
            config = _read_config(path.parent / name)
            if config is None or _is_of_another_file(path, published):
                continue
            said = _read_activation(config, tower) if _fits(config, tensors) else None
            if said is not None:
                yield _Statement(said, f'{name} beside it', False)


def _is_of_another_file(path: Path, published: Tuple[str, ...]) -> bool:
    """Whether a config was published with another file that lies beside it, too."""
    return path.name not in published and any((path.parent / n).is_file() for n in published)


def _read_config(file: Path) -> Optional[Dict[str, Any]]:
    """A config of CLIP; None if there is none, or it is one of another model."""
    try:
        config = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    config = config.get('model_cfg', config) if isinstance(config, dict) else None
    if not isinstance(config, dict):
        return None
    is_hugging_face = str(config.get('model_type', '')).startswith('clip')
    is_open_clip = 'quick_gelu' in config or isinstance(config.get('vision_cfg'), dict)
    return config if is_hugging_face or is_open_clip else None


def _read_activation(config: Mapping[str, Any], tower: str) -> Optional[str]:
    """What a config says; transformers and open_clip both leave their default out."""
    if 'model_type' not in config:
        options = _tower_config(config, tower).get('act_kwargs')
        plain = QUICK_GELU if config.get('quick_gelu', False) else GELU
        return f'{plain} with {options}' if options else plain
    return str(_tower_config(config, tower).get('hidden_act', QUICK_GELU))


def _tower_config(config: Mapping[str, Any], tower: str) -> Mapping[str, Any]:
    """The part of a config for a tower; of Hugging Face's for one tower alone, all of it."""
    name = _TOWERS[tower]
    if 'model_type' not in config:
        return _as_mapping(config.get(f'{name}_cfg')) or {}
    own = _as_mapping(config.get(f'{name}_config'))
    older = _as_mapping(config.get(f'{name}_config_dict'))
    if older is not None:  # transformers completes it with defaults, which replace what is in own
        return {**(own or {}), **_DEFAULTS[tower], **older}
    if own is not None:
        return own
    return config if f'{name}_model' in str(config.get('model_type')) else {}


def _as_mapping(value: Any) -> Optional[Mapping[str, Any]]:
    return value if isinstance(value, Mapping) else None


def _fits(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the sizes in a config, as far as they are there, are those of the tensors."""
    found = dict(
        image=_sizes(tensors, 'visual.', 'visual.class_embedding', -1),
        text=_sizes(tensors, '', 'token_embedding.weight', -1),
    )
    for tower, sizes in found.items():
        own = _tower_config(config, tower)
        for names, size in zip((('hidden_size', 'width'), ('num_hidden_layers', 'layers')), sizes):
            said = [own[name] for name in names if isinstance(own.get(name), int)]
            if said and size is not None and said[0] != size:
                return False
    patches = tensors.get('visual.conv1.weight')
    side = _tower_config(config, 'image').get('patch_size')
    return patches is None or not isinstance(side, int) or patches.shape[-1:] == (side,)


def _sizes(tensors: Mapping[str, Tensor], prefix: str, key: str, axis: int) -> List[Optional[int]]:
    """Width and number of blocks of a tower; None where it is not there."""
    blocks = f'{prefix}transformer.resblocks.'
    numbers = {k[len(blocks) :].split('.')[0] for k in tensors if k.startswith(blocks)}
    width = tensors.get(key)
    return [
        width.shape[axis] if width is not None and width.ndim > 0 else None,
        len(numbers) or None,
    ]
