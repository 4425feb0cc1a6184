"""Few-shot training sets: K images a class of any data set, or K objects."""

import copy
import logging
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from mmengine.dataset import (
    BaseDataset,
    Compose,
    ConcatDataset,
    RepeatDataset,
    force_full_init,
)
from mmengine.logging import print_log
from mmseg.registry import DATASETS

from ..config_entries import ConfigDict
from ..dataset_wrappers import build_dataset, each_dataset, each_layer
from ..main_process import on_main_process
from .checks import DatasetError
from .few_shot_draws import check_positive, draw_few_shot
from .few_shot_manifest import (
    check_unit,
    find_images,
    list_parts,
    make_manifest,
    read_manifest,
    write_manifest,
)

__all__ = ['FewShotDataset', 'draw_few_shot']


@DATASETS.register_module()
class FewShotDataset:
    """K images for each class of any mmseg data set, drawn by :func:`draw_few_shot`.

    An image shows many classes; each drawn image is *credited* to one of them, and a class may be
    seen in further images that are credited to others. The custom of prompt learning is 1, 2, 4, 8
    or 16 shots, with seeds 1, 2 and 3.

    To draw, the main process reads every label map once; other processes wait for it, which NCCL
    does for ten minutes. With a ``manifest`` that happens in the first run only, or before it with
    ``mmseg-ssprompt few-shot``.

    With ``unit='objects'`` it is K objects of each class, or regions of stuff, of a data set with
    objects (:class:`SegmentsDataset`): each drawn image keeps its drawn objects, and the others
    become void, which is neither an object nor background. Crowds are not drawn.

    Args:
        dataset: The data set, its config, or a list of configs, of which the images are taken
            together. It may be a ``ConcatDataset`` or ``RepeatDataset``, whose images count once.
        shots: Images to be credited to each class, or objects of it. Defaults to 16.
        seed: Which draw. Defaults to 1.
        manifest: JSON file of the draw, see ``make_manifest``. If it exists it is used, and
            must fit; otherwise it is written. Defaults to None: nothing is written.
        min_pixels: Pixels from which on an image contains a class, or an object counts. Defaults
            to 1.
        unit: 'images' or 'objects'. Defaults to 'images'.
        lazy_init: Whether to draw later, in :meth:`full_init`. Defaults to False.

    Raises:
        DatasetError: If the manifest is of another draw or data set, with the first entry that
            differs; if there is nothing to draw from; or if another wrapper, such as one that mixes
            images, is inside of this one.
        ValueError: If ``shots`` or ``min_pixels`` is not positive, or ``unit`` is another one.
    """

    def __init__(
        self,
        dataset: Union[Any, ConfigDict, List[ConfigDict]],
        shots: int = 16,
        seed: int = 1,
        manifest: Optional[str] = None,
        min_pixels: int = 1,
        unit: str = 'images',
        lazy_init: bool = False,
    ) -> None:
        check_positive(shots=shots, min_pixels=min_pixels)
        check_unit(unit)
        self.dataset = build_dataset(dataset)
        self.shots, self.seed, self.min_pixels = shots, seed, min_pixels
        self.unit = unit
        self.manifest = manifest
        self.drawn: Dict[str, Any] = {}
        self._metainfo = self.dataset.metainfo
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> Dict[str, Any]:
        """Metainfo of the whole data set, a copy."""
        return copy.deepcopy(self._metainfo)

    @property
    def pipeline(self) -> Compose:
        """The transforms of the data set, or of the first of several."""
        return next(each_dataset(self.dataset)).pipeline

    def full_init(self) -> None:
        """Draw, or read what was drawn, and keep nothing else of the data set."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        parts = list_parts(self.dataset)  # which checks them, in every process
        for layer in each_layer(self.dataset):
            if not isinstance(layer, (BaseDataset, ConcatDataset, RepeatDataset)):
                raise DatasetError(
                    f'FewShotDataset cannot draw inside of a {type(layer).__name__}: put '
                    'FewShotDataset inside of it, around the data set that lists files'
                )
        self.drawn = on_main_process(self._read_or_draw)
        images = find_images(
            self.drawn,
            self.manifest,
            self.dataset,
            classes=list(self._metainfo['classes']),
            shots=self.shots,
            seed=self.seed,
            min_pixels=self.min_pixels,
            unit=self.unit,
        )
        self.dataset = _choose(parts, images)
        self._fully_initialized = True
        self._report()

    @force_full_init
    def get_data_info(self, idx: int) -> Dict[str, Any]:
        """The record of a drawn image."""
        record: Dict[str, Any] = self.dataset.get_data_info(idx)
        return record

    @force_full_init
    def __getitem__(self, idx: int) -> Any:
        return self.dataset[idx]

    @force_full_init
    def __len__(self) -> int:
        return len(self.dataset)

    def _read_or_draw(self) -> Dict[str, Any]:
        if self.manifest is not None and Path(self.manifest).exists():
            return read_manifest(self.manifest)
        drawn = make_manifest(self.dataset, self.shots, self.seed, self.min_pixels, self.unit)
        if self.manifest is not None:
            write_manifest(drawn, self.manifest)
        return drawn

    def _report(self) -> None:
        where = f', manifest {str(self.manifest)!r}' if self.manifest else ''
        print_log(f'{self.shots} shots, seed {self.seed}: {len(self)} images{where}', 'current')
        if self.drawn.get('incomplete'):
            print_log(
                f'Fewer than {self.shots} {self.unit} are credited to these classes, all of whose '
                f'{self.unit} are drawn: {self.drawn["incomplete"]}',
                'current',
                logging.WARNING,
            )


def _keep_objects(part: BaseDataset, objects: List[Any]) -> None:
    """Note in each record of a data set which of its objects remain, in place."""
    records = [part.get_data_info(index) for index in range(len(part))]
    for record, kept in zip(records, objects):
        record['segments'] = dict(record['segments'], kept=kept)
    part.serialize_data, part.data_list = False, records


def _choose(parts: List[BaseDataset], images: List[Dict[int, Any]]) -> Any:
    """The parts with some of their images only, as one data set.

    Each is a subset in its own right, so that where a transform gives None another image is tried.
    """
    chosen = []
    for part, indices in zip(parts, images):
        if indices:
            # Not get_subset(), whose copies remember all that was copied before by addresses, which
            # are used again (mmengine's _copy_without_annotation has a dict as default of "memo").
            part = copy.copy(part)
            part.get_subset_(list(indices))
            if any(objects is not None for objects in indices.values()):
                _keep_objects(part, list(indices.values()))
            chosen.append(part)
    if len(chosen) == 1:
        return chosen[0]
    keys = {key for part in chosen for key in part.metainfo}
    return ConcatDataset(chosen, ignore_keys=list(keys))  # their classes were compared
