"""What is found in a sample of a data set, whose loaders alone are run."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from ..label_ids import LabelIds
from .checks import DatasetError, check_sample, find_loaders
from .file_checks import check_image, check_labels, check_segments
from .steps import each_step, is_foreign, loaded_kind

__all__ = ['SampleChecks', 'SampleFindings']

_LOADED = {'image': 'img', 'label map': 'gt_seg_map'}


class SampleFindings(NamedTuple):
    """What was found in a sample."""

    image: str  # its path
    errors: List[Tuple[str, ValueError]]  # by kind: 'images', 'label maps', 'embeddings', ...
    remarks: List[str]  # keys of ``survey.REMARKS``
    present: Optional[np.ndarray] = None  # which classes a valid label map shows, (C,) bool
    pixels: int = 0  # of the label map
    ignored: int = 0  # how many of them have the ignored id
    segments: Optional[int] = None  # objects and regions that count
    size: Optional[Tuple[int, int]] = None  # (H, W) of the image, turned upright
    class_pixels: Optional[np.ndarray] = None  # of each class, (C,) int64
    class_objects: Optional[np.ndarray] = None  # without crowds, (C,) int64


class SampleChecks(Dataset[SampleFindings]):
    """The findings for each sample of a data set; nothing but its loaders is run.

    Transforms of somebody's own are run too until image and label map are there.
    """

    def __init__(self, dataset: BaseDataset, ids: LabelIds) -> None:
        self.dataset = dataset
        self.ids = ids
        self._transforms = [step.transform for step in each_step(dataset.pipeline)]
        maps = [getattr(loader, 'label_map', None) for loader in find_loaders(dataset)]
        self._map = next(filter(None, maps), None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> SampleFindings:
        errors: List[Tuple[str, ValueError]] = []
        remarks: List[str] = []
        try:
            sample = self.dataset.get_data_info(index)
        except DatasetError as error:  # of embedded samples
            return SampleFindings(f'sample {index}', [('embeddings', error)], remarks)
        orientation = 1
        for place, transform in enumerate(self._transforms):
            kind = loaded_kind(transform) or self._missing_kind(transform, sample)
            if kind is None:
                continue
            try:
                if kind == 'image':
                    sample, orientation, is_dark = check_image(transform, sample)
                    remarks += ['dark'] * is_dark
                elif kind == 'segment map':
                    sample = check_segments(transform, sample)
                else:
                    sample, is_lossy = check_labels(transform, sample)
                    remarks += ['lossy labels'] * is_lossy
                    if len(self._transforms) > place + 2:  # another besides what packs
                        _check_field(transform, sample)
            except DatasetError as error:
                errors.append((f'{kind}s', error))
        size = tuple(sample['img'].shape[:2]) if sample.get('img') is not None else None
        findings = SampleFindings(str(sample.get('img_path')), errors, remarks, size=size)
        labels = sample.get('gt_seg_map')
        try:
            check_sample(sample, self.ids, self._map, orientation)
        except DatasetError as error:
            errors.append(('label maps', error))
            return findings
        if sample.get('gt_segment_map') is not None:
            return _survey_segments(findings, sample, len(self.ids.classes))
        if labels is None:
            remarks += ['unlabelled'] * (not errors)
            return findings
        classes, ignored = np.array(self.ids.classes), self.ids.ignore_index
        pixels = np.bincount(labels.ravel().astype(int), minlength=max(classes.max(), ignored) + 1)
        remarks += ['orientation'] * (orientation != 1)
        remarks += ['ignored'] * bool(pixels[ignored] == labels.size > 0)
        present = (pixels[classes] > 0) & (classes != ignored)
        return findings._replace(
            present=present,
            pixels=labels.size,
            ignored=int(pixels[ignored]),
            class_pixels=pixels[classes] * (classes != ignored),
        )

    def _missing_kind(self, transform: Any, sample: Dict[str, Any]) -> Optional[str]:
        """What a transform of somebody's own may load: what is not there yet."""
        missing = [kind for kind, key in _LOADED.items() if sample.get(key) is None]
        return missing[0] if missing and is_foreign(transform) else None


def _survey_segments(
    findings: SampleFindings, sample: Dict[str, Any], num_classes: int
) -> SampleFindings:
    """Add what the segments of a sample show, a crowd as its class."""
    infos, size = sample['segments_info'], sample['gt_segment_map'].size
    counted = [info for info in infos if info['category_id'] >= 0]
    numbers = [info['category_id'] for info in counted]
    pixels = [info['pixels'] for info in counted]
    class_pixels = np.bincount(numbers, pixels, num_classes).astype(np.int64)
    objects = [info['pixels'] > 0 and not info['iscrowd'] for info in counted]
    class_objects = np.bincount(numbers, objects, num_classes).astype(np.int64)
    ignored = size - sum(info['pixels'] for info in infos)
    findings.remarks.extend(['hidden'] * any(info['pixels'] == 0 for info in counted))
    findings.remarks.extend(['ignored'] * (ignored == size))
    return findings._replace(
        present=class_pixels > 0,
        pixels=size,
        ignored=ignored,
        segments=sum(objects),
        class_pixels=class_pixels,
        class_objects=class_objects,
    )


def _check_field(transform: Any, sample: Dict[str, Any]) -> None:
    """Refuse a label map that later transforms would not move with its image."""
    if sample.get('gt_seg_map') is not None and 'gt_seg_map' not in sample.get('seg_fields', ()):
        raise DatasetError(
            f'{type(transform).__name__} loads label map {str(sample.get("seg_map_path"))!r}, but '
            "expected 'gt_seg_map' in results['seg_fields'], by which mmseg flips, crops and "
            f'resizes it with its image, found {sample.get("seg_fields")}. Let the transform '
            'append it'
        )
