"""A data set of embedded samples: it needs neither images nor the image encoder."""

import copy
import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset, Compose, force_full_init
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..models.base.precomputed import ENCODER_KEY
from ..segments import find_large_segments, make_gt_segments, renumber_segments
from .embedder import EmbeddedSample
from .embedding_cache import EmbeddingCache
from .recipe import COMMAND, CacheError, Recipe

__all__ = ['EmbeddedDataset']


@DATASETS.register_module()
class EmbeddedDataset(Dataset[Any]):
    """The embedded samples of another data set, as ``mmseg-ssprompt cache`` has stored them.

    The settings of the recipe say how the samples are made; the tool makes them so, and a cache
    that was made in another way is refused. The other data set is built only to compare its list of
    files and their sizes, and only where its folders are; where they are not, the log says so.

    In training each access draws one of the V views from numpy's generator, which mmengine seeds
    in each worker; in testing it is always the first.

    Args:
        cache_dir: Folder of the cache.
        names: The images to take of the cache, in this order: paths below the folder of images, or
            a text file with one a line. Defaults to None: all.
        resize_labels: Whether label maps and segments, which a cache for testing has at the size of
            the photographs, are resized to that of the images in the frame, as the pipelines of
            training do. So one cache serves training and testing. Defaults to False.
        min_pixels: As for ``PackSegmentInputs``, of segments that are resized so. Defaults to 16,
            as in the pipelines of training.
        lazy_init: Whether to open the cache later, in :meth:`full_init`. Defaults to False.
        **recipe: As for :class:`Recipe`: ``dataset``, ``encoder``, ``data_preprocessor``,
            ``views``, ``seed``, ``dtype`` and ``test_mode``. An encoder without a ``checkpoint``
            has the weights that ``model.weights`` names: the tool makes the cache with them, and
            the model compares each sample's with its own.

    Raises:
        CacheError: If there is no such cache, it is damaged, or was made in another way, with the
            file, what was expected and found, and the command that makes it.
        FileNotFoundError: If the encoder's checkpoint is not there.
        ValueError: As :class:`Recipe`; and if labels are to be resized that are not those of a
            cache for testing.
    """

    pipeline = Compose([])  # all of it was run before

    def __init__(
        self,
        cache_dir: str,
        names: Union[str, Sequence[str], None] = None,
        resize_labels: bool = False,
        min_pixels: int = 16,
        lazy_init: bool = False,
        **recipe: Any,
    ) -> None:
        self.cache_dir = Path(cache_dir).expanduser()
        self.names, self.resize_labels, self.min_pixels = names, resize_labels, min_pixels
        self.recipe = Recipe(**recipe)
        if resize_labels and not self.recipe.test_mode:
            raise ValueError(
                'EmbeddedDataset.resize_labels: expected a cache with test_mode=True, whose labels '
                'have the size of the photographs; those of another have that of the images '
                'already. Leave resize_labels out'
            )
        self.test_mode = self.recipe.test_mode
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Open the cache, if it is the one that is asked for."""
        if self._fully_initialized:
            return
        here = self.recipe.files_are_here()
        if not here and is_main_process():
            print_log(
                f'The images of {str(self.cache_dir)!r} are not on this machine: their list is '
                'not compared with that of the cache',
                'current',
                logging.WARNING,
            )
        self._source: Optional[BaseDataset] = self.recipe.build_dataset() if here else None
        key = self.recipe.key(self._source, weights=self.recipe.names_weights())
        self._cache = EmbeddingCache(self.cache_dir, key)
        self._chosen = self._choose()
        self._fully_initialized = True

    def _choose(self) -> List[int]:
        """The numbers of the images that are taken."""
        views = self.recipe.views
        if self.names is None:
            return list(range(len(self._cache) // views))
        wanted = _read_names(self.names)
        # All lie below one folder, so of several paths that end with a name the shortest is meant.
        paths = ['/' + path.replace('\\', '/') for path in self._cache.image_paths()[::views]]
        order = sorted(range(len(paths)), key=lambda index: len(paths[index]), reverse=True)
        ends: Dict[str, int] = {}
        for index in order:
            parts = paths[index].split('/')
            ends.update(('/'.join(parts[start:]), index) for start in range(1, len(parts)))
        missing = [name for name in wanted if name not in ends]
        if missing or not wanted:
            found = f'{len(missing)} others, such as {missing[0]!r}' if missing else 'none'
            raise CacheError(
                f'EmbeddedDataset.names ({self.names!r}): expected names of images of the cache '
                f'{str(self.cache_dir)!r}, which has {len(paths)}, such as {paths[0][1:]!r}, found '
                f'{found}. Mend the list, or run `{COMMAND}` for these images'
            )
        return [ends[name] for name in wanted]

    @property
    @force_full_init
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo of the data set that was embedded, a copy."""
        return copy.deepcopy(self._cache.metainfo)

    @force_full_init
    def __len__(self) -> int:
        """Number of images, however many views there are."""
        return len(self._chosen)

    @force_full_init
    def __getitem__(self, idx: int) -> Dict[str, Any]:
        """The features of an image in the cache's type, by name, and its data sample.

        Raises:
            CacheError: If it is damaged, or its image or label map is there in another size than
                when it was embedded, with the file.
        """
        view = 0
        if not self.test_mode and self.recipe.views > 1:
            view = int(np.random.randint(self.recipe.views))
        sample = self._read(idx, view)
        if self.resize_labels:
            sample = _resize_labels(sample, self.min_pixels)
        return _pack(sample, self._cache.weights)

    @force_full_init
    def get_data_info(self, idx: int) -> Dict[str, Any]:
        """The record of an image, with label map and segments (H, W) of its first view."""
        sample = self._read(idx, 0)
        keys = ('img_path', 'seg_map_path', 'reduce_zero_label')
        info = {key: sample.metainfo.get(key) for key in keys}
        if sample.labels is not None:
            info['gt_seg_map'] = _unpad(sample.labels, sample.metainfo)[0].numpy()
        if sample.segments is not None:
            numbers = sample.segments[0].numpy()
            info['gt_segment_map'] = numbers
            counts = np.bincount(numbers.reshape(-1))[1:].tolist()
            counts += [0] * (len(sample.segments_info or ()) - len(counts))
            pairs = zip(sample.segments_info or (), counts)
            info['segments_info'] = [dict(each, pixels=pixels) for each, pixels in pairs]
        return info

    def _read(self, idx: int, view: int) -> EmbeddedSample:
        if not -len(self) <= idx < len(self):
            raise IndexError(f'{idx}: there are {len(self)} images')
        idx = self._chosen[idx]
        sample = self._cache[idx * self.recipe.views + view]
        if self._source is not None:
            _check_file_sizes(self._source.get_data_info(idx), sample.files or {})
        return sample


def _read_names(names: Union[str, Sequence[str]]) -> List[str]:
    """Names, of a list or of a text file with one a line."""
    if not isinstance(names, str):
        return [str(name) for name in names]
    file = Path(names).expanduser()
    if not file.is_file():
        raise CacheError(
            f'EmbeddedDataset.names: expected a text file with the name of an image a line, found '
            f'no file {names!r}'
        )
    lines = file.read_text(encoding='utf-8-sig').split('\n')
    return [line.rstrip('\r') for line in lines if line.strip()]


def _resize_labels(sample: EmbeddedSample, min_pixels: int) -> EmbeddedSample:
    """A sample whose labels have the size of the image in the frame, padded below and right."""
    meta = dict(sample.metainfo)
    (height, width), frame = meta['img_shape'][:2], meta.get('pad_shape', meta['img_shape'])
    meta['padding_size'] = (0, int(frame[1]) - int(width), 0, int(frame[0]) - int(height))
    labels = sample.labels
    if labels is not None:
        # Padded, as the labels of a cache for training are.
        labels = F.pad(_resize_nearest(labels, (height, width)), meta['padding_size'])
    segments, infos = sample.segments, sample.segments_info
    if segments is not None:
        infos = infos or []
        # In the cache they are counted from 1, and 0 is void.
        numbers = _resize_nearest(segments, (height, width)).int().numpy() - 1
        kept = find_large_segments(numbers, len(infos), min_pixels)
        segments = torch.from_numpy(renumber_segments(numbers, kept, len(infos)) + 1)
        infos = [dict(infos[number]) for number in kept]
    return sample._replace(labels=labels, segments=segments, segments_info=infos, metainfo=meta)


def _resize_nearest(numbers: Tensor, size: Sequence[int]) -> Tensor:
    """A map (1, H, W) at another size, of the places that Pillow reads for the pipelines."""
    picture = Image.fromarray(numbers[0].numpy().astype(np.int32))
    picture = picture.resize((int(size[1]), int(size[0])), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(picture)).to(numbers.dtype)[None]


def _check_file_sizes(info: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse a sample whose files are there in other sizes than when it was embedded."""
    for entry, identity in expected.items():
        file = Path(info.get(entry) or '')
        found = file.stat().st_size if file.is_file() else identity['bytes']
        if found != identity['bytes']:
            raise CacheError(
                f'{str(file)!r} is not the file that was embedded: expected {identity["bytes"]:,} '
                f'bytes, found {found:,}. Run `{COMMAND}` again: it '
                'compares the contents of all files, and computes again what has changed'
            )


def _pack(sample: EmbeddedSample, weights: Any) -> Dict[str, Any]:
    """What mmseg's ``PackSegInputs`` returns, with an embedding in place of the image."""
    data_sample = SegDataSample(metainfo={**sample.metainfo, ENCODER_KEY: weights})
    if sample.labels is not None:
        data_sample.gt_sem_seg = PixelData(
            data=_unpad(sample.labels, sample.metainfo).to(torch.int64)
        )
    if sample.segments is not None:
        infos: Any = sample.segments_info
        data_sample.gt_segments = make_gt_segments(sample.segments[0].long() - 1, infos)
    return dict(inputs=sample.features, data_samples=data_sample)


def _unpad(labels: Tensor, metainfo: Mapping[str, Any]) -> Tensor:
    """A label map (1, H, W) as the pipeline returned it.

    It was padded with the image, with a number that the model need not ignore; the model's data
    preprocessor pads it again.
    """
    left, right, top, bottom = metainfo.get('padding_size') or (0, 0, 0, 0)
    height, width = labels.shape[-2:]
    return labels[:, top : height - bottom, left : width - right]
