"""All files and folders that a run needs and that are not there, said at once."""

import os
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from mmengine.config import Config

from ..cache.embedding_cache import INDEX
from ..config_entries import innermost_model
from ..weights.model_weights import missing_weights

__all__ = ['check_files']

#: What a path is, and what to do.
_DATA = ('data folder', ' Set data_root and data_prefix')
_LIST = ('annotation file', ' Set ann_file')
_CACHE = ('embedding cache', ' Make it with `mmseg-ssprompt cache CONFIG`')


def check_files(cfg: Config, splits: Sequence[str]) -> None:
    """Refuse a config whose files are not all there, before anything is built.

    Args:
        cfg: The config.
        splits: Those of ``train``, ``val`` and ``test`` that are used.

    Raises:
        FileNotFoundError: With every file and folder that is not there, who needs it, and where it
            is published or what to set.
        ValueError: If ``model.weights`` has an unknown entry.
    """
    missing = missing_weights(innermost_model(cfg))
    needed: Dict[Tuple[str, str, str], List[str]] = {}
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        for path, kind in _each_needed_path(loader.get('dataset')):
            if '://' not in path and not os.path.exists(os.path.expanduser(path)):
                needed.setdefault((path, *kind), []).append(f'{split}_dataloader.dataset')
    for (path, what, remedy), users in needed.items():
        names = ', '.join(dict.fromkeys(users))
        missing.append(f'{what} {path!r} does not exist (for {names}).{remedy}')
    if missing:
        listed = '\n  '.join(missing)
        raise FileNotFoundError(
            f'config {str(cfg.filename)!r}: files and folders that are needed and are not there: '
            f'{len(missing)}\n  {listed}'
        )


def _each_needed_path(config: Any) -> Iterator[Tuple[str, Tuple[str, str]]]:
    """Paths that data sets need; a cache takes the place of its source."""
    inner = config if isinstance(config, (list, tuple)) else []
    if isinstance(config, Mapping):
        if config.get('type') == 'EmbeddedDataset':
            yield os.path.join(str(config.get('cache_dir')), INDEX), _CACHE
            return
        inner = [config[key] for key in ('datasets', 'dataset') if config.get(key)]
        if not inner and (config.get('backend_args') or {}).get('backend', 'local') == 'local':
            root, prefix = str(config.get('data_root') or ''), config.get('data_prefix')
            folders = filter(None, prefix.values()) if isinstance(prefix, Mapping) else ()
            for folder in list(folders) or ([''] if root else []):
                yield os.path.join(root, str(folder)), _DATA
            if config.get('ann_file'):
                yield os.path.join(root, str(config['ann_file'])), _LIST
    for each in inner:
        yield from _each_needed_path(each)
