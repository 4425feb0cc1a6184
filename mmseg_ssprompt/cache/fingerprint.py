"""Fingerprints: of the image encoder's weights, and of the list of a data set's files."""

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

from mmengine.dataset import BaseDataset

from ..files import sha256_of
from ..folders import tell_apart
from ..models.base import Fingerprints
from ..models.base.precomputed import get_encoder_class
from ..weights.model_weights import check_weights_are_there, walk_parts
from .files import CacheError

__all__ = [
    'check_file_sizes',
    'fingerprint_encoder',
    'fingerprint_files',
    'identify_files',
    'names_weights',
]

#: Entries of a data set's records that name files.
_FILES = ('img_path', 'seg_map_path')


def fingerprint_encoder(config: Mapping[str, Any]) -> Dict[str, str]:
    """Fingerprints of an image encoder's weights, by the names of its parts.

    They are read from the files and not from the encoder, so that training on a cache need not
    build one.

    Args:
        config: Of a frozen image encoder.

    Raises:
        CacheError: If it names no file for one of its parts.
        FileNotFoundError: If a file is not there.
        CheckpointError: If a file cannot be read.
    """
    check_weights_are_there(dict(encoder=config))
    found: Fingerprints = get_encoder_class(config).fingerprint_files(config)
    random = [part for part, sha256 in found.items() if sha256 is None]
    if random:
        raise CacheError(
            f'encoder.checkpoint: expected the file of {", ".join(random)}, found None: random '
            'weights differ from run to run, so a cache of them would fit no other run'
        )
    return {part: sha256 for part, sha256 in found.items() if sha256 is not None}


def names_weights(config: Mapping[str, Any]) -> bool:
    """Whether the config of an image encoder names its files, which a model may do in its place.

    Args:
        config: As for :func:`fingerprint_encoder`.
    """
    parts = [part for part, cls, _ in walk_parts(config, '') if hasattr(cls, 'weights_from')]
    return all(part.get('checkpoint') is not None for part in parts)


def fingerprint_files(dataset: BaseDataset, config: Any) -> str:
    """SHA-256 of all that a data set hands to its pipeline: names of files, not their content.

    Args:
        dataset: The data set, or a wrapper around some.
        config: What it was built from. Its ``data_root`` does not count, so that data may lie
            elsewhere on another machine; of several, what tells them apart does.
    """
    roots = sorted({os.path.join(root, '').replace(os.sep, '/') for root in _roots(config)})
    names = [f'{label}/' for label in tell_apart(roots)] if len(roots) > 1 else ['']
    # The longest first: one may lie inside of another.
    shortened = sorted(zip(roots, names), key=lambda pair: -len(pair[0]))
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        record = json.dumps(info, default=str, sort_keys=True).replace(os.sep, '/')
        for root, name in shortened:
            record = record.replace(f'"{root}', f'"{name}')
        digest.update(f'{record}\n'.encode())
    return digest.hexdigest()


def identify_files(info: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Size and SHA-256 of the image and the label map of a sample.

    Args:
        info: What ``get_data_info`` returns.

    Returns:
        ``bytes`` and ``sha256`` by the entry of ``info`` that names the file. Files that are not
        on a disk of this machine, but drawn or fetched, are left out.
    """
    found = {}
    for entry in _FILES:
        file = Path(info.get(entry) or '')
        if file.is_file():
            state = file.stat()
            sha256 = _hash_file(file, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            found[entry] = dict(bytes=state.st_size, sha256=sha256)
    return found


@lru_cache(maxsize=64)  # the views of an image come one after the other
def _hash_file(file: Path, *_state: int) -> str:
    return sha256_of(file)


def check_file_sizes(info: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse a sample whose files have other sizes than when it was embedded.

    Args:
        info: What ``get_data_info`` returns.
        expected: What :func:`identify_files` returned.

    Raises:
        CacheError: With the file and both sizes.
    """
    for entry, identity in expected.items():
        file = Path(info.get(entry) or '')
        found = file.stat().st_size if file.is_file() else identity['bytes']
        if found != identity['bytes']:
            raise CacheError(
                f'{str(file)!r} is not the file that was embedded: expected {identity["bytes"]:,} '
                f'bytes, found {found:,}. Run `mmseg-ssprompt cache CONFIG` again: it '
                'compares the contents of all files, and computes again what has changed'
            )


def _roots(config: Any) -> Iterator[str]:
    """Every ``data_root`` in a config and what it nests."""
    values: List[Any] = []
    if isinstance(config, Mapping):
        if config.get('data_root'):
            yield str(config['data_root'])
        values = list(config.values())
    elif isinstance(config, (list, tuple)):
        values = list(config)
    for value in values:
        yield from _roots(value)
