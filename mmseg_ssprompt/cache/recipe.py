"""How embedded samples are made, and the key that tells two ways apart."""

import copy
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Union

import torch
from mmengine.dataset import BaseDataset

from ..dataset_wrappers import build_dataset
from ..datasets.checks import DatasetError
from ..folders import tell_apart
from ..models.base import Fingerprints
from ..models.base.precomputed import get_encoder_class
from ..plain import find_difference
from ..weights.model_weights import check_weights_are_there, walk_parts

__all__ = [
    'COMMAND',
    'DTYPES',
    'FORMAT',
    'CacheError',
    'Recipe',
    'check_key',
    'fingerprint_encoder',
]

#: Version of the files, and of what the code makes of the same key.
FORMAT = 3
#: What makes a cache, for errors.
COMMAND = 'mmseg-ssprompt cache CONFIG'
DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16, float32=torch.float32)
#: Settings that say where something lies and not what it is, or (``activation``) what the
#: fingerprint of the weights says.
_LOCATIONS = ('activation', 'backend_args', 'checkpoint', 'data_root', 'manifest')


class CacheError(DatasetError):
    """An embedding cache that is missing, damaged, or built from other inputs."""


@dataclass(frozen=True)
class Recipe:
    """All that embedded samples depend on.

    Attributes:
        dataset: Config of the data set whose samples are embedded, with its pipeline; of a wrapper
            around some, or a list of configs, which are concatenated.
        encoder: Config of the frozen image encoder, with its files of weights; where samples are
            only read, it need not name them.
        data_preprocessor: Config of what normalises and pads the images.
        views: ``V``, how often each image goes through the pipeline. Defaults to 1.
        seed: Of the pipeline's random draws. Defaults to 0.
        dtype: ``'float16'``, ``'bfloat16'`` or ``'float32'``, of the embeddings on disk.
            Defaults to 'float16'.
        test_mode: Whether samples are for validation or test: images are padded as in testing,
            where label maps keep their size. Defaults to False.

    Raises:
        ValueError: If ``views`` is not a positive number, ``dtype`` is not one of the three, or the
            data preprocessor draws something at random.
    """

    dataset: Union[Dict[str, Any], List[Dict[str, Any]]]
    encoder: Dict[str, Any]
    data_preprocessor: Dict[str, Any]
    views: int = 1
    seed: int = 0
    dtype: str = 'float16'
    test_mode: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.views, bool) or not isinstance(self.views, int) or self.views < 1:
            raise ValueError(f'views must be a positive integer, got {self.views!r}')
        if self.dtype not in DTYPES:
            raise ValueError(f'dtype must be one of {sorted(DTYPES)}, got {self.dtype!r}')
        augments = self.data_preprocessor.get('batch_augments')
        if augments:
            raise ValueError(
                f'data_preprocessor.batch_augments: expected none, found {augments!r}: what it '
                'draws at each step would be drawn once and for all. Put random transforms into '
                "the data set's pipeline, which makes as many views as are asked for"
            )

    def build_dataset(self) -> BaseDataset:
        """The data set whose samples are embedded."""
        return build_dataset(copy.deepcopy(self.dataset))

    def files_are_here(self) -> bool:
        """Whether every folder of images that the data set's config names is on this machine."""
        for config in _each_config(self.dataset):
            root, prefix = config.get('data_root') or '', config.get('data_prefix')
            name = (prefix.get('img_path') if isinstance(prefix, Mapping) else None) or ''
            if (root or name) and not Path(root, name).exists():
                return False
        return True

    def names_weights(self) -> bool:
        """Whether the encoder's config names its files, which ``model.weights`` may do instead."""
        parts = walk_parts(self.encoder, '')
        files = [part.get('checkpoint') for part, cls, _ in parts if hasattr(cls, 'weights_from')]
        return None not in files

    def key(self, dataset: Optional[BaseDataset] = None, weights: bool = True) -> Dict[str, Any]:
        """The key of a cache, as JSON has it.

        Args:
            dataset: What :meth:`build_dataset` returns. Without it the key lacks the entry
                ``source``: the classes, the number of samples and the list of files.
            weights: Whether the key says what weights the encoder has. Defaults to True.

        Raises:
            CacheError: If the encoder names no file, and the key is to say its weights.
            FileNotFoundError: If there is no such file.
        """
        encoder = _without_locations(self.encoder)
        if weights:
            encoder['weights'] = fingerprint_encoder(self.encoder)
        key = dict(
            format=FORMAT,
            encoder=encoder,
            data_preprocessor=_without_locations(self.data_preprocessor),
            dataset=_without_locations(self.dataset),
            views=self.views,
            seed=self.seed,
            dtype=self.dtype,
            test_mode=self.test_mode,
        )
        if dataset is not None:
            key['source'] = dict(
                classes=dataset.metainfo['classes'],
                samples=len(dataset),
                files=_fingerprint_files(dataset, self.dataset),
            )
        as_json: Dict[str, Any] = json.loads(json.dumps(key, default=str))
        return as_json


def check_key(file: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse files that were made in another way.

    Args:
        file: The one that holds ``found``, for the error.
        expected: What :meth:`Recipe.key` returns; without ``source`` or the encoder's ``weights``
            these are not compared.
        found: The key in the file.

    Raises:
        CacheError: With the first entry that differs.
    """
    compared, encoder = dict(found), found.get('encoder')
    if 'source' not in expected:
        compared.pop('source', None)
    if isinstance(encoder, Mapping) and 'weights' not in expected.get('encoder', {}):
        compared['encoder'] = {name: value for name, value in encoder.items() if name != 'weights'}
    difference = find_difference(expected, compared, 'key')
    if difference is not None:
        entry, *values = difference
        texts = ['nothing' if value is None else repr(value) for value in values]
        raise CacheError(
            f'embedding cache {str(file)!r}, {entry}: expected {texts[0]}, found {texts[1]}. '
            f'Delete the folder or name another cache_dir, then run `{COMMAND}`'
        )


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


def _fingerprint_files(dataset: BaseDataset, config: Any) -> str:
    """SHA-256 of all that a data set hands to its pipeline: names of files, not their content.

    The ``data_root`` in its config does not count, so that data may lie elsewhere on another
    machine; of several, what tells them apart does.
    """
    folders = {str(each['data_root']) for each in _each_config(config) if each.get('data_root')}
    roots = sorted({os.path.join(folder, '').replace(os.sep, '/') for folder in folders})
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


def _without_locations(config: Any) -> Any:
    """A copy without the settings that may differ from machine to machine."""
    if isinstance(config, Mapping):
        return {k: _without_locations(v) for k, v in config.items() if k not in _LOCATIONS}
    if isinstance(config, (list, tuple)):
        return [_without_locations(value) for value in config]
    return config


def _each_config(config: Any) -> Iterator[Mapping[str, Any]]:
    """A config and those that it nests."""
    if isinstance(config, Mapping):
        yield config
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for value in config:
            yield from _each_config(value)
