"""All files and folders that a run needs and that are not there, said at once."""

import difflib
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from mmengine.config import Config

from ..cache.embedding_cache import INDEX
from ..config_entries import innermost_model
from ..weights.model_weights import missing_weights

__all__ = ['check_files', 'each_needed_path', 'find_missing_files']

SPLITS = ('train', 'val', 'test')
_MAX_SHOWN = 20


def check_files(cfg: Config, splits: Sequence[str] = SPLITS, weights: bool = True) -> None:
    """Refuse a config whose files are not all there, before anything is built.

    Args:
        cfg: The config.
        splits: As for :func:`find_missing_files`.
        weights: As for :func:`find_missing_files`.

    Raises:
        FileNotFoundError: With every file and folder that is not there, who needs it, and where it
            is published or what lies there in its place.
        ValueError: If ``model.weights`` has an unknown entry.
    """
    missing = find_missing_files(cfg, splits, weights)
    if missing:
        hidden = len(missing) - _MAX_SHOWN
        more = [f'and {hidden} more'] if hidden > 0 else []
        listed = '\n  '.join([*missing[:_MAX_SHOWN], *more])
        raise FileNotFoundError(
            f'config {str(cfg.filename)!r}: files and folders that are needed and are not there: '
            f'{len(missing)}\n  {listed}'
        )


def find_missing_files(
    cfg: Config, splits: Sequence[str] = SPLITS, weights: bool = True
) -> List[str]:
    """The files and folders that a config names and that are not there.

    Args:
        cfg: The config.
        splits: Those of ``train``, ``val`` and ``test`` that are used. Defaults to all.
        weights: Whether the model is built. Defaults to True.

    Returns:
        A line for each, with who needs it and what to do.

    Raises:
        ValueError: If ``model.weights`` has an unknown entry.
    """
    found = missing_weights(innermost_model(cfg)) if weights else []
    needed: Dict[Tuple[str, str], List[str]] = {}
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset in _each_source(loader.get('dataset')):
            for path, what in each_needed_path(dataset):
                if '://' not in path and not os.path.exists(os.path.expanduser(path)):
                    needed.setdefault((path, what), []).append(f'{split}_dataloader.dataset')
    for (path, what), names in needed.items():
        remedy = _MAKE_CACHE if what == _CACHE else _suggest(path)
        users = ', '.join(dict.fromkeys(names))
        found.append(f'{what} {path!r} does not exist (for {users}).{remedy}')
    return found


#: What a path is, for people.
_FOLDER, _LIST, _CACHE = 'data folder', 'annotation file', 'embedding cache'
_MAKE_CACHE = ' Make it with `mmseg-ssprompt cache CONFIG`'


def _each_source(config: Any) -> Iterator[Mapping[str, Any]]:
    """The configs of what reads files: data sets, and caches in the place of their sources."""
    if isinstance(config, (list, tuple)):
        for each in config:
            yield from _each_source(each)
    elif isinstance(config, Mapping):
        is_cache = config.get('type') == 'EmbeddedDataset'
        inner = [] if is_cache else [config[k] for k in ('datasets', 'dataset') if config.get(k)]
        if inner:
            yield from _each_source(inner)
        else:
            yield config


def each_needed_path(dataset: Mapping[str, Any]) -> Iterator[Tuple[str, str]]:
    """Paths that a data set needs, and what each is."""
    if dataset.get('type') == 'EmbeddedDataset':
        yield os.path.join(str(dataset.get('cache_dir')), INDEX), _CACHE
        return
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    if backend != 'local':
        return
    root = str(dataset.get('data_root') or '')
    prefix = dataset.get('data_prefix')
    folders = [value for value in prefix.values() if value] if isinstance(prefix, Mapping) else []
    for folder in folders or ([''] if root else []):
        yield os.path.join(root, str(folder)), _FOLDER
    if dataset.get('ann_file'):
        yield os.path.join(root, str(dataset['ann_file'])), _LIST


def _suggest(path: str) -> str:
    """What lies in the place of a path: a near name in the last folder that is there."""
    place = Path(path).expanduser()
    while not place.parent.exists():
        place = place.parent
    names = [each.name for each in place.parent.iterdir()] if place.parent.is_dir() else []
    same = [name for name in names if name.casefold() == place.name.casefold()]
    near = same or difflib.get_close_matches(place.name, names, n=1)
    return f' Is {str(place.parent / near[0])!r} meant?' if near else ''
