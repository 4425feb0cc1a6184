"""All that can be wrong with one sample."""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from mmcv.image import rescale_size
from mmcv.transforms import LoadImageFromFile, Resize
from torch.utils.data import Dataset

from ..cache import CacheError
from .checks import (
    DatasetError,
    check_label_ids,
    check_label_shape,
    check_label_size,
    find_loaders,
)
from .image_checks import check_image
from .label_checks import check_labels

__all__ = ['SampleChecks', 'SampleFindings', 'unwrap_datasets']


class SampleFindings(NamedTuple):
    """What was found in a sample.

    Attributes:
        image: Path of its image.
        errors: Each with its kind: ``'images'``, ``'label maps'``, ``'sizes'``, ``'label ids'`` or,
            of a damaged cache, ``'embeddings'``.
        remarks: Keys of :data:`.survey.REMARKS`.
        present: Which of the C classes it shows, (C,) bool; None without a label map, or if that
            is not valid.
    """

    image: str
    errors: List[Tuple[str, ValueError]]
    remarks: List[str]
    present: Optional[np.ndarray]


class SampleChecks(Dataset):
    """The findings for each sample of a data set; nothing but its loaders is run.

    Args:
        dataset: A data set of mmseg, without wrappers.
        num_classes: ``C``.
        ignore_index: The label that does not count.
    """

    def __init__(self, dataset: Dataset, num_classes: int, ignore_index: int) -> None:
        self.dataset = dataset
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._loaders = find_loaders(dataset)
        self._resizes = [
            transform
            for transform in dataset.pipeline.transforms
            if isinstance(transform, Resize) and transform.keep_ratio and transform.scale
        ]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> SampleFindings:
        try:
            sample = self.dataset.get_data_info(index)
        except CacheError as error:  # of embedded samples
            return SampleFindings(f'sample {index}', [('embeddings', error)], [], None)
        errors: List[Tuple[str, DatasetError]] = []
        remarks: List[str] = []
        orientation = 1
        for loader in self._loaders:
            is_image = isinstance(loader, LoadImageFromFile)
            try:
                if is_image:
                    sample, found, orientation = check_image(loader, sample)
                    self._check_resized(sample)
                else:
                    sample, found = check_labels(loader, sample)
            except DatasetError as error:
                errors.append(('images' if is_image else 'label maps', error))
            else:
                remarks += found
        present = None
        if sample.get('gt_seg_map') is not None:
            wrong, present = self._check_labels(sample, orientation)
            errors += wrong
            remarks += ['orientation'] * (orientation != 1)
            remarks += ['ignored'] * (present is not None and not present.any())
        elif not errors:
            remarks.append('unlabelled')
        return SampleFindings(str(sample.get('img_path')), errors, remarks, present)

    def _check_resized(self, sample: Dict[str, Any]) -> None:
        """Refuse an image of which a side of no pixel would remain."""
        height, width = sample['ori_shape'][:2]
        for resize in self._resizes:
            resized = rescale_size((width, height), resize.scale)
            if min(resized) < 1:
                raise DatasetError(
                    f'image {str(sample["img_path"])!r}: expected at least one pixel on each side '
                    f'after Resize(scale={resize.scale}), found {height} x {width} (height x '
                    f'width), which becomes {resized[1]} x {resized[0]}. Cut it into tiles, or '
                    'pad image and label map'
                )

    def _check_labels(
        self, sample: Dict[str, Any], orientation: int
    ) -> Tuple[List[Tuple[str, DatasetError]], Optional[np.ndarray]]:
        """Errors of a label map, and which classes it shows."""
        labels = sample['gt_seg_map']
        try:
            check_label_shape(sample)
        except DatasetError as error:
            return [('label maps', error)], None
        errors: List[Tuple[str, DatasetError]] = []
        try:
            check_label_size(sample)
        except DatasetError as error:
            errors.append(('sizes', _explain_rotation(error, orientation)))
        try:
            check_label_ids(labels, self.num_classes, self.ignore_index, sample['seg_map_path'])
        except DatasetError as error:
            return [*errors, ('label ids', error)], None
        present = np.isin(np.arange(self.num_classes), _find_ids(labels))
        if self.ignore_index in range(self.num_classes):
            present[self.ignore_index] = False
        return errors, present


def _find_ids(labels: np.ndarray) -> np.ndarray:
    """The ids in a label map."""
    if labels.dtype == np.uint8:  # as mmseg loads it: several times faster than np.unique
        return np.flatnonzero(cv2.calcHist([labels], [0], None, [256], [0, 256]))
    return np.unique(labels)


def _explain_rotation(error: DatasetError, orientation: int) -> DatasetError:
    if orientation == 1:
        return error
    return DatasetError(
        f'{error}. The image has EXIF orientation {orientation}, which the loader applies to the '
        'image and not to the label map: save the image upright, or draw the label map as the '
        'upright image shows it'
    )


def unwrap_datasets(dataset: Any) -> Iterator[Dataset]:
    """The data sets inside wrappers that repeat, concatenate or mix."""
    if hasattr(dataset, 'datasets'):
        for inner in dataset.datasets:
            yield from unwrap_datasets(inner)
    elif hasattr(dataset, 'dataset'):  # mmseg's MultiImageMixDataset also has a pipeline
        yield from unwrap_datasets(dataset.dataset)
    else:
        yield dataset
