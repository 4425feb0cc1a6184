"""One setting for files of weights: ``model.weights``, which is handed down to the parts.

A part says of itself what it reads: its class has ``weights_from``, such as
``dict(checkpoint='sam')``: the entries of ``model.weights`` that it takes, by its arguments, unless
its config has a ``checkpoint`` of its own. It may have ``where_to_get(variant)``, too.
"""

import contextlib
import copy
from os import PathLike
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from mmseg.registry import MODELS

from ..config_entries import ConfigDict
from .state_dicts import CheckpointError, resolve_checkpoint_path

__all__ = ['check_weights_are_there', 'hand_down_weights', 'missing_weights', 'walk_parts']


def hand_down_weights(model: ConfigDict) -> ConfigDict:
    """Give each part of a model the files that ``model.weights`` names.

    Args:
        model: Config of a model, or of anything with ``weights`` and parts; it is not changed.

    Returns:
        A copy without ``weights``. A part keeps a ``checkpoint`` of its own, also None (random).

    Raises:
        ValueError: If ``weights`` has an unknown entry, or one of another type.
    """
    model = copy.deepcopy(model)
    weights = model.pop('weights', None) or {}
    _check_weights(weights)
    for part, cls, _ in walk_parts(model, ''):
        if 'checkpoint' not in part:
            for argument, entry in getattr(cls, 'weights_from', {}).items():
                if weights.get(entry) is not None:
                    part[argument] = weights[entry]
    return model


def _check_weights(weights: Any) -> None:
    """Refuse a setting ``model.weights`` that is not one, with the entries that there are."""
    expected = "expected model.weights=dict(sam='FILE', clip='FILE')"
    if not isinstance(weights, Mapping):
        raise ValueError(f'{expected}, found {weights!r}')
    parts = MODELS.module_dict.values()
    known = {entry for cls in parts for entry in getattr(cls, 'weights_from', {}).values()}
    for entry, value in weights.items():
        if entry not in known:
            raise ValueError(f'{expected}, found {entry!r}: known entries are {sorted(known)}')
        if value is not None and not isinstance(value, (str, PathLike)):
            raise ValueError(f'{expected}, found {entry}={value!r}: give a path, or None')


def walk_parts(config: Any, name: str) -> Iterator[Tuple[Dict[str, Any], Any, str]]:
    """Every config of a module in a config of this dotted name, with whatever it nests.

    Yields:
        The config of the module, itself; its class or None; and its dotted name.
    """
    entries: List[Tuple[Any, Any]] = []
    if isinstance(config, dict):
        kind = config.get('type')
        if kind is not None:
            yield config, MODELS.get(kind) if isinstance(kind, str) else kind, name
        entries = list(config.items())
    elif isinstance(config, (list, tuple)):
        entries = list(enumerate(config))
    for key, value in entries:
        yield from walk_parts(value, f'{name}.{key}'.lstrip('.'))


def missing_weights(model: ConfigDict, name: str = 'model') -> List[str]:
    """Name the files of weights that a model, whose parts begin with a name, has not got.

    Returns:
        A line for each file, with the parts that read it and where it is published.

    Raises:
        ValueError: As :func:`hand_down_weights`.
    """
    parts: Dict[str, List[str]] = {}
    remedies: Dict[str, str] = {}
    optional = None
    for part, cls, where in walk_parts(hand_down_weights(model), name):
        path = part.get('checkpoint')
        if getattr(cls, 'weights_are_optional', False):  # it only takes fingerprints of files
            optional = f'{where}.'
        elif _is_missing(path) and not (optional and where.startswith(optional)):
            parts.setdefault(str(path), []).append(where)
            remedies[str(path)] = _where_to_get(cls, part)
    lines = []
    for path, users in parts.items():
        file = resolve_checkpoint_path(path)
        state = 'is a directory' if file.is_dir() else 'does not exist'
        line = f'checkpoint {str(file)!r} {state} (for {", ".join(users)}). {remedies[path]}'
        lines.append(line.rstrip())
    return lines


def check_weights_are_there(model: ConfigDict) -> None:
    """Refuse a model whose files of weights are not all there.

    Raises:
        FileNotFoundError: With all that are not there, and where they are published.
        ValueError: As :func:`hand_down_weights`.
    """
    missing = missing_weights(model)
    if missing:
        listed = '\n  '.join(missing)
        entries = ', '.join(f'{entry}=...' for entry in model.get('weights') or ('sam', 'clip'))
        raise FileNotFoundError(
            f'files of weights that are not there: {len(missing)}\n  {listed}\n'
            f'If they lie elsewhere, set model.weights=dict({entries}), or say --weights FILE '
            'where a command has it'
        )


def _is_missing(path: Any) -> bool:
    if not isinstance(path, (str, PathLike)):
        return False
    try:
        return not resolve_checkpoint_path(path).is_file()
    except CheckpointError:  # a URL, which whoever reads it refuses
        return False


def _where_to_get(cls: Any, part: Mapping[str, Any]) -> str:
    """What a part's class says of the file that its variant needs; may be empty."""
    arguments = (part['variant'],) if 'variant' in part else ()
    # AttributeError: it says nothing. Others: a wrong variant, which building the part refuses.
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        return str(cls.where_to_get(*arguments))
    return ''
