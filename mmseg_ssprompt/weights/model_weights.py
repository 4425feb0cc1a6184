"""One setting for files of weights: ``model.weights``, which is handed down to the parts.

A part says of itself what it reads: its class has ``weights_from``, ``'sam'`` or ``'clip'``. It
takes the entry of that name, unless its config has a ``checkpoint`` of its own.
"""

import copy
from os import PathLike
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from mmseg.registry import MODELS

from ..models.clip.activation import check_activation
from ..models.clip.clip_file import where_to_get as where_to_get_clip
from ..models.clip.clip_variants import CLIP_IMAGE_VARIANTS
from ..models.clip.text_variants import CLIP_TEXT_VARIANTS
from ..models.sam.sam_file import where_to_get as where_to_get_sam
from ..models.sam.sam_variants import SAM_VARIANTS
from .state_dicts import CheckpointError, resolve_checkpoint_path

__all__ = [
    'WEIGHTS',
    'check_weights_are_there',
    'hand_down_weights',
    'missing_weights',
    'walk_parts',
]

#: The files that ``model.weights`` names, and the settings that go with them: by their entry, the
#: argument of a part that takes it.
WEIGHTS: Dict[str, Dict[str, str]] = dict(
    sam=dict(sam='checkpoint'), clip=dict(clip='checkpoint', clip_activation='activation')
)
_ENTRIES = [entry for arguments in WEIGHTS.values() for entry in arguments]


def hand_down_weights(model: Mapping[str, Any]) -> Dict[str, Any]:
    """Give each part of a model the files that ``model.weights`` names.

    Args:
        model: Config of a model, or of anything with ``weights`` and parts; it is not changed.

    Returns:
        A copy, without ``weights``. A part that has a ``checkpoint`` of its own keeps it; None is
        one, too, and means random weights.

    Raises:
        ValueError: If ``weights`` has an unknown entry, or one of another type.
    """
    model = copy.deepcopy(model)
    weights = model.pop('weights', None) or {}
    check_weights(weights)
    for part, source in find_parts(model):
        if source is not None and 'checkpoint' not in part:
            for entry, argument in WEIGHTS[source].items():
                if weights.get(entry) is not None:
                    part[argument] = weights[entry]
    return model


def check_weights(weights: Any) -> None:
    """Refuse a setting ``model.weights`` that is not one.

    Raises:
        ValueError: With the entries that there are.
    """
    expected = "expected model.weights=dict(sam='FILE', clip='FILE')"
    if not isinstance(weights, Mapping):
        raise ValueError(f'{expected}, found {weights!r}')
    unknown = [entry for entry in weights if entry not in _ENTRIES]
    if unknown:
        raise ValueError(f'{expected}, found {unknown} in it: known entries are {_ENTRIES}')
    for entry, value in weights.items():
        if value is not None and not isinstance(value, (str, PathLike)):
            raise ValueError(f'{expected}, found {entry}={value!r}: give a path, or None')
    check_activation(weights.get('clip_activation'))


def find_parts(config: Any) -> Iterator[Tuple[Dict[str, Any], Optional[str]]]:
    """Every config of a module in a config, with the entry of ``weights`` that it reads.

    Args:
        config: A config, with whatever it nests.

    Yields:
        The config of the module, itself; and ``'sam'``, ``'clip'`` or None.
    """
    for part, source, _ in walk_parts(config, ''):
        yield part, source


def walk_parts(config: Any, name: str) -> Iterator[Tuple[Dict[str, Any], Optional[str], str]]:
    """As :func:`find_parts`, with dotted names, which begin with ``name``."""
    entries: List[Tuple[Any, Any]] = []
    if isinstance(config, dict):
        kind = config.get('type')
        cls = MODELS.get(kind) if isinstance(kind, str) else kind
        if kind is not None:
            yield config, getattr(cls, 'weights_from', None), name
        entries = list(config.items())
    elif isinstance(config, (list, tuple)):
        entries = list(enumerate(config))
    for key, value in entries:
        yield from walk_parts(value, f'{name}.{key}'.lstrip('.'))


class MissingFile(NamedTuple):
    """A file of weights that is not there.

    Attributes:
        path: As the config names it.
        parts: Dotted names of the parts that read it.
        remedy: Where it is published; may be empty.
    """

    path: str
    parts: Tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        parts = ', '.join(self.parts)
        file = resolve_checkpoint_path(self.path)
        state = 'is a directory' if file.is_dir() else 'does not exist'
        return f'checkpoint {str(file)!r} {state} (for {parts}). {self.remedy}'.rstrip()


def missing_weights(model: Mapping[str, Any], name: str = 'model') -> List[MissingFile]:
    """The files of weights of a model that are not there, each once.

    Args:
        model: Config of a model, with ``weights`` or without.
        name: What its parts are named by. Defaults to 'model'.

    Raises:
        ValueError: As :func:`hand_down_weights`.
    """
    files: Dict[str, List[str]] = {}
    remedies: Dict[str, str] = {}
    optional = ''
    for part, source, where in walk_parts(hand_down_weights(model), name):
        path = part.get('checkpoint')
        if _only_compares(part):
            optional = f'{where}.'
        elif _is_missing(path) and not (optional and where.startswith(optional)):
            files.setdefault(str(path), []).append(where)
            remedies[str(path)] = _REMEDIES.get(source, lambda _: '')(part.get('variant'))
    return [MissingFile(path, tuple(parts), remedies[path]) for path, parts in files.items()]


def check_weights_are_there(model: Mapping[str, Any]) -> None:
    """Refuse a model whose files of weights are not all there.

    Args:
        model: Config of a model.

    Raises:
        FileNotFoundError: With all that are not there, and where they are published.
        ValueError: As :func:`hand_down_weights`.
    """
    missing = missing_weights(model)
    if missing:
        listed = '\n  '.join(map(str, missing))
        raise FileNotFoundError(
            f'files of weights that are not there: {len(missing)}\n  {listed}\n'
            'If they lie elsewhere, set model.weights=dict(sam=..., clip=...)'
        )


def _is_missing(path: Any) -> bool:
    if not isinstance(path, (str, PathLike)):
        return False
    try:
        return not resolve_checkpoint_path(path).is_file()
    except CheckpointError:  # a URL, which whoever reads it refuses
        return False


def _only_compares(part: Mapping[str, Any]) -> bool:
    """Whether a part does without its file, of which it only takes the fingerprint."""
    cls = MODELS.get(part['type']) if isinstance(part['type'], str) else part['type']
    return bool(getattr(cls, 'weights_are_optional', False))


def _remedy_sam(variant: Any) -> str:
    return where_to_get_sam(variant) if variant in SAM_VARIANTS else ''


def _remedy_clip(variant: Any) -> str:
    variants = {**CLIP_IMAGE_VARIANTS, **CLIP_TEXT_VARIANTS}
    geometry = variants.get(variant or 'ViT-B/16')
    return '' if geometry is None else where_to_get_clip(geometry.official_file)


_REMEDIES: Dict[Optional[str], Callable[[Any], str]] = dict(sam=_remedy_sam, clip=_remedy_clip)
