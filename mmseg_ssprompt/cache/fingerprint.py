"""Fingerprints: of the image encoder's weights, and of the list of a data set's files."""

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator, List, Mapping

from mmengine.dataset import BaseDataset

from ..fingerprint import fingerprint_tensors
from .files import CacheError

__all__ = ['fingerprint_files', 'fingerprint_weights']

_PART = 'image_encoder.'


def fingerprint_weights(checkpoint: Any) -> str:
    """SHA-256 of the image encoder in an official file of SAM.

    It is read from the file and not from the encoder, so that training on a cache need not build
    one. Other parts of the file do not count, nor does its format.

    Args:
        checkpoint: As for :class:`SAMImageEncoder`.

    Raises:
        CacheError: If it is None, or holds no image encoder.
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read.
    """
    # The models import class names from the data sets, which read caches.
    from ..models.checkpoint import resolve_checkpoint_path

    if checkpoint is None:
        raise CacheError(
            'encoder.checkpoint: expected the file of the image encoder, found None: random '
            'weights differ from run to run, so a cache of them would fit no other run'
        )
    file = resolve_checkpoint_path(checkpoint)
    state = file.stat() if file.is_file() else None
    return _fingerprint_file(file, state and (state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=8)  # training, validation and test ask for the same
def _fingerprint_file(file: Path, _state: Any) -> str:
    from ..models.checkpoint import read_checkpoint

    tensors = read_checkpoint(file)
    encoder = {k[len(_PART) :]: v for k, v in tensors.items() if k.startswith(_PART)}
    if not encoder:
        raise CacheError(
            f'checkpoint {str(file)!r}: expected tensors named {_PART}*, found '
            f'{sorted(tensors)[:5]}'
        )
    return fingerprint_tensors(encoder)


def fingerprint_files(dataset: BaseDataset, config: Mapping[str, Any]) -> str:
    """SHA-256 of all that a data set hands to its pipeline: names of files, not their content.

    Args:
        dataset: The data set.
        config: What it was built from. Its ``data_root`` does not count, so that data may lie
            elsewhere on another machine.
    """
    roots = [os.path.join(root, '').replace(os.sep, '/') for root in _roots(config)]
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        record = json.dumps(info, default=str, sort_keys=True).replace(os.sep, '/')
        for root in roots:
            record = record.replace(f'"{root}', '"')
        digest.update(f'{record}\n'.encode())
    return digest.hexdigest()


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
