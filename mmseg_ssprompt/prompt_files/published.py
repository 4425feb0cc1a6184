"""Folders that ``publish`` has written, read without running anything that is in them.

``config.json`` in such a folder is plain data: the model and what its pictures pass, by the names
of components of this package. A config of mmengine may call any function of any installed module,
by its name as a ``type`` too; so what strangers have written is compared with what there may be
before a config is made of it.
"""

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

from mmengine.config import Config
from mmseg.registry import MODELS, TRANSFORMS

from ..plain import COUNT, DICT, NAMES, Kind, find_problem, from_json, is_number, shorten
from ..weights.hub import fetch_files, is_hub_name
from ..weights.prompt_places import PROMPTS, find_within
from ..weights.state_dicts import ASSETS_SCHEME, CheckpointError, read_safetensors_file

__all__ = [
    'CARD',
    'CONFIG',
    'FORMAT',
    'META_KEY',
    'PublishedFolder',
    'PublishedFolderError',
    'find_config_problem',
    'is_published',
    'read_published',
]

#: What a folder has beside :data:`PROMPTS`.
CONFIG, CARD = 'config.json', 'README.md'
#: What the metadata of the prompts have a copy of the config under.
META_KEY = 'published'
#: Version of ``config.json``; a later one is refused.
FORMAT = 1
#: A config is some kilobytes; what is larger is not read.
_MAX_BYTES = 4 << 20
_PACKAGE = __name__.partition('.')[0]
#: Components of others that there may be, beside those of this package.
_OTHERS = {
    MODELS: {'SegDataPreProcessor'},
    TRANSFORMS: {'LoadImageFromFile', 'PackSegInputs', 'Pad', 'Resize'},
}
#: Settings by which a component of these would read other files, other data sets or the network.
_REFUSED = ('backend_args', 'dataset', 'file_client_args', 'init_cfg', 'pretrained')
_FILE = re.compile(rf'(?:weights/|{ASSETS_SCHEME})\w[\w.-]*')
_TEXT = Kind('a text', lambda value: isinstance(value, str))
_LIST = Kind(
    'a list of dicts', lambda value: isinstance(value, list) and all(map(DICT.fits, value))
)
_SIZE = Kind(
    'two numbers of pixels',
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_number, value)),
)
_DATASET = 'test_dataloader.dataset'
_KINDS = {
    'format': COUNT,
    'package': _TEXT,
    'training_size': _SIZE.or_none(),
    'model': DICT,
    'model.type': Kind("'PromptSegmentor'", lambda value: value == 'PromptSegmentor'),
    'model.weights': DICT.or_none(),
    'test_dataloader': DICT,
    _DATASET: DICT,
    f'{_DATASET}.type': Kind("'ImageFolderDataset'", lambda value: value == 'ImageFolderDataset'),
    f'{_DATASET}.classes': Kind('a list of names', lambda v: isinstance(v, list) and NAMES.fits(v)),
    f'{_DATASET}.palette': Kind('a list of colours', lambda value: isinstance(value, list)),
    f'{_DATASET}.pipeline': _LIST,
}
#: Which settings there may be, by what holds them.
_ENTRIES = {
    '': {path for path in _KINDS if '.' not in path},
    'test_dataloader': {'dataset'},
    _DATASET: {path.rpartition('.')[2] for path in _KINDS if path.startswith(f'{_DATASET}.')},
}


class PublishedFolderError(CheckpointError):
    """A folder that ``publish`` has not written so, or that was damaged or changed since."""


class PublishedFolder(NamedTuple):
    """A folder that ``publish`` has written.

    Attributes:
        folder: Where it lies; of a repository of the hub, in the hub's cache.
        cfg: Its config, in which nothing runs.
        config: The file of it.
        prompts: The file of prompts.
    """

    folder: Path
    cfg: Config
    config: Path
    prompts: Path


def is_published(path: Union[str, 'PathLike[str]']) -> bool:
    """Whether a name is to be read by :func:`read_published`.

    Args:
        path: Any name of a model.

    Returns:
        True of a repository of the hub, and of a folder that has a ``config.json``.
    """
    return is_hub_name(path) or (Path(path).expanduser() / CONFIG).is_file()


def read_published(name: Union[str, 'PathLike[str]']) -> PublishedFolder:
    """Read a folder that ``publish`` has written; nothing in it runs.

    Args:
        name: Its path, or ``hf://USER/NAME[@REVISION]``.

    Raises:
        FileNotFoundError: If a file is not there.
        PublishedFolderError: If the config holds other things than there may be, or is not the one
            that the prompts were published with.
        CheckpointError: If the prompts are damaged, a file is a link to elsewhere, or cannot be
            fetched (``HubError``).
        MissingExtraError: If the hub's library is needed and not installed.
    """
    if is_hub_name(name):
        folder = fetch_files(str(name), [CONFIG, PROMPTS])
    else:
        folder = Path(name).expanduser()
    config, prompts = find_within(folder, CONFIG), find_within(folder, PROMPTS)
    text, content = _read_json(config)
    try:
        problem = find_config_problem(content)
    except RecursionError:
        problem = 'expected few dicts inside of each other, found very many'
    if problem is not None:
        raise PublishedFolderError(
            f'{str(config)!r}: {problem}. Nothing of it was run; expected what `mmseg-ssprompt '
            'publish` has written'
        )
    _, meta = read_safetensors_file(prompts)
    if meta.get(META_KEY) != content:
        raise PublishedFolderError(
            f'{str(config)!r}: expected the config that {PROMPTS} was published with and has in '
            'its metadata, found another one: one of both was changed or damaged. Get the folder '
            'again'
        )
    return PublishedFolder(folder, Config(content, text, str(config)), config, prompts)


def _read_json(file: Path) -> Tuple[str, Any]:
    """The text of a file, and what it holds."""
    size = file.stat().st_size
    try:
        if size > _MAX_BYTES:
            raise ValueError(f'it has {size} bytes')
        text = file.read_text(encoding='utf-8')
        return text, from_json(json.loads(text, parse_constant=_refuse_constant))
    except (RecursionError, ValueError) as error:  # that of UTF-8 too
        raise PublishedFolderError(
            f'{str(file)!r}: expected JSON of at most {_MAX_BYTES} bytes, found what cannot be '
            f'read ({error}): it is damaged, or of another kind. Get the folder again'
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no number of JSON')


def find_config_problem(content: Any) -> Optional[str]:
    """Say what in a config is not as ``publish`` writes it, and may therefore not be used.

    Args:
        content: What JSON holds.

    Returns:
        The setting, what was expected and what was found; None if there is nothing.
    """
    version = content.get('format') if isinstance(content, Mapping) else None
    if type(version) is int and version > FORMAT:
        return (
            f'format: expected at most {FORMAT}, found {version}, written by version '
            f'{shorten(content.get("package"))} of the package: update the package'
        )
    problem = find_problem(content, _KINDS, set(_KINDS) - {'training_size', 'model.weights'})
    if problem is not None:
        return problem
    for where, known in _ENTRIES.items():
        found: Any = content
        for key in filter(None, where.split('.')):
            found = found[key]
        others = sorted(set(found) - known)
        if others:
            return f'{where or "the config"}: expected {sorted(known)}, found {others} too'
    parts = {'model': (content['model'], MODELS)}
    pipeline = content['test_dataloader']['dataset']['pipeline']
    parts[f'{_DATASET}.pipeline'] = (pipeline, TRANSFORMS)
    for where, (part, registry) in parts.items():
        for place, entry in _walk(part, where):
            problem = _find_problem_of_part(entry, registry)
            if problem is not None:
                return f'{place}: {problem}'
    return None


def _walk(value: Any, where: str) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Every dict in a value, with the path to it."""
    if isinstance(value, dict):
        yield where, value
        for key, entry in value.items():
            yield from _walk(entry, f'{where}.{key}')
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from _walk(entry, f'{where}[{number}]')


def _find_problem_of_part(part: Mapping[str, Any], registry: Any) -> Optional[str]:
    """Say which setting of a dict there may not be; None if all may be."""
    if not all(isinstance(key, str) for key in part):
        return f'expected names of settings, found {shorten(list(part))}'
    refused = [key for key in part if key in _REFUSED or key.startswith('_')]
    if refused:
        return f'expected no setting {refused[0]!r}, found {shorten(part[refused[0]])}'
    if 'type' in part:
        kind = part['type']
        cls = registry.module_dict.get(kind) if isinstance(kind, str) else None
        is_ours = cls is not None and cls.__module__.partition('.')[0] == _PACKAGE
        if not is_ours and str(kind) not in _OTHERS[registry]:
            return f'type: expected a component of {_PACKAGE}, found {shorten(kind)}'
    files = dict(part['weights'] or {}) if 'weights' in part else {}
    files = {key: value for key, value in files.items() if key != 'clip_activation'}
    if 'checkpoint' in part:
        files['checkpoint'] = part['checkpoint']
    for key, value in files.items():
        if value is not None and not (isinstance(value, str) and _FILE.fullmatch(value)):
            return f"{key}: expected a file named 'weights/NAME', found {shorten(value)}"
    for key in ('class_names', 'classes', 'thing_classes'):
        if key in part and part[key] is not None and not NAMES.fits(part[key]):
            return f'{key}: expected a list of names, found {shorten(part[key])}'
    return None
