"""Fingerprints: of the image encoder's weights, and of the list of a data set's files."""

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

from torch.utils.data import Dataset

from ..files import sha256_of
from ..fingerprint import fingerprint_tensors
from ..folders import tell_apart
from .files import CacheError

__all__ = [
    'check_file_sizes',
    'fingerprint_encoder',
    'fingerprint_files',
    'fingerprint_weights',
    'identify_files',
    'names_weights',
]

_PART = 'image_encoder.'
_PAIR = ('sam', 'clip')
#: Entries of a data set's records that name files.
_FILES = ('img_path', 'seg_map_path')


def fingerprint_encoder(config: Mapping[str, Any]) -> Any:
    """Fingerprints of an image encoder's weights.

    Args:
        config: Of a ``SAMImageEncoder``, or a ``SAMCLIPImageEncoder``.

    Returns:
        SHA-256; of the pair, both by their names.

    Raises:
        As :func:`fingerprint_weights`.
    """
    if all(name in config for name in _PAIR):
        return {name: fingerprint_encoder(config[name]) for name in _PAIR}
    clip_variant = config['variant'] if config.get('type') == 'CLIPImageEncoder' else None
    return fingerprint_weights(config.get('checkpoint'), clip_variant, config.get('activation'))


def names_weights(config: Mapping[str, Any]) -> bool:
    """Whether the config of an image encoder names its files, which a model may do in its place.

    Args:
        config: As for :func:`fingerprint_encoder`.
    """
    parts = [config[name] for name in _PAIR] if all(name in config for name in _PAIR) else [config]
    return all(part.get('checkpoint') is not None for part in parts)


def fingerprint_weights(
    checkpoint: Any, clip_variant: Optional[str] = None, activation: Optional[str] = None
) -> str:
    """SHA-256 of the image encoder in an official file of SAM, or of CLIP.

    It is read from the file and not from the encoder, so that training on a cache need not build
    one. Other parts of the file do not count, nor does its format.

    Args:
        checkpoint: As for :class:`SAMImageEncoder` or :class:`CLIPImageEncoder`.
        clip_variant: Of the latter, as there. Defaults to None: the file is one of SAM.
        activation: Of the latter, as there. Defaults to None.

    Raises:
        CacheError: If it is None, or holds no image encoder.
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read.
    """
    # The models import class names from the data sets, which read caches.
    from ..weights.state_dicts import resolve_checkpoint_path

    if checkpoint is None:
        raise CacheError(
            'encoder.checkpoint: expected the file of the image encoder, found None: random '
            'weights differ from run to run, so a cache of them would fit no other run'
        )
    file = resolve_checkpoint_path(checkpoint)
    state = file.stat() if file.is_file() else None
    state = state and (state.st_size, state.st_mtime_ns)
    return _fingerprint_file(file, clip_variant, activation, state)


@lru_cache(maxsize=8)  # training, validation and test ask for the same
def _fingerprint_file(
    file: Path, clip_variant: Optional[str], activation: Optional[str], _state: Any
) -> str:
    from ..models.clip.image_file import fingerprint_image_tower
    from ..models.sam.sam_file import read_sam

    if clip_variant is not None:
        return fingerprint_image_tower(file, clip_variant, activation)
    tensors = read_sam(file).tensors
    encoder = {k[len(_PART) :]: v for k, v in tensors.items() if k.startswith(_PART)}
    if not encoder:
        raise CacheError(
            f'checkpoint {str(file)!r}: expected tensors named {_PART}*, found '
            f'{sorted(tensors)[:5]}'
        )
    return fingerprint_tensors(encoder)


def fingerprint_files(dataset: Dataset, config: Any) -> str:
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
                'compares the contents of all files, and computes anew what has changed'
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
