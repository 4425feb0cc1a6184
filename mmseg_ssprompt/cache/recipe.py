"""How embedded samples are made, and the key that tells two ways apart."""

import copy
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Union

import torch
from mmengine.dataset import BaseDataset

from ..dataset_wrappers import build_dataset
from ..plain import find_difference
from .files import CacheError
from .fingerprint import fingerprint_encoder, fingerprint_files

__all__ = ['DTYPES', 'FORMAT', 'Recipe', 'check_key']

#: Version of the files, and of what the code makes of the same key.
FORMAT = 3
DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16, float32=torch.float32)
#: Settings that say where something lies and not what it is, or (``activation``) what the
#: fingerprint of the weights says.
_LOCATIONS = ('activation', 'backend_args', 'checkpoint', 'data_root', 'manifest')


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
        test_mode: Whether images are padded as in testing, where label maps keep their size.
            Defaults to False.

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
        """Whether every folder that the data set's config names is on this machine."""
        return all(folder.exists() for folder in _folders(self.dataset))

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
                files=fingerprint_files(dataset, self.dataset),
            )
        as_json: Dict[str, Any] = json.loads(json.dumps(key, default=str))
        return as_json


def check_key(file: Path, expected: Mapping[str, Any], found: Any, remedy: str) -> None:
    """Refuse files that were made in another way.

    Args:
        file: The one that holds ``found``, for the error.
        expected: What :meth:`Recipe.key` returns; entries that it lacks are not compared.
        found: The key in the file.
        remedy: What to do, added to the error.

    Raises:
        CacheError: With the first entry that differs.
    """
    if isinstance(found, Mapping):
        if 'source' not in expected:
            found = _without(found, 'source')
        if 'weights' not in expected.get('encoder', {}):
            found = dict(found, encoder=_without(found.get('encoder'), 'weights'))
    difference = find_difference(dict(expected), found, 'key')
    if difference is not None:
        entry, *values = difference
        texts = ['nothing' if value is None else repr(value) for value in values]
        raise CacheError(
            f'embedding cache {str(file)!r}, {entry}: expected {texts[0]}, found {texts[1]}. '
            f'{remedy}'
        )


def _without(config: Any, name: str) -> Any:
    """A copy of a dict without an entry."""
    if not isinstance(config, Mapping):
        return config
    return {entry: value for entry, value in config.items() if entry != name}


def _without_locations(config: Any) -> Any:
    """A copy without the settings that may differ from machine to machine."""
    if isinstance(config, Mapping):
        return {k: _without_locations(v) for k, v in config.items() if k not in _LOCATIONS}
    if isinstance(config, (list, tuple)):
        return [_without_locations(value) for value in config]
    return config


def _folders(config: Any) -> Iterator[Path]:
    """The folders of images that a config and what it nests name."""
    if isinstance(config, Mapping):
        prefix = config.get('data_prefix')
        names = [prefix.get('img_path') or ''] if isinstance(prefix, Mapping) else ['']
        root = config.get('data_root') or ''
        if root or any(names):
            yield from (Path(os.path.join(root, name)) for name in names)
        for value in config.values():
            yield from _folders(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _folders(value)
