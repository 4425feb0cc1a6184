"""All that can be wrong with one sample."""

import contextlib
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from ..draws import draws_of_their_own
from ..label_ids import LabelIds
from .checks import (
    DatasetError,
    LabelFacts,
    check_label_ids,
    check_label_shape,
    check_label_size,
    loaded_kind,
    read_with,
)
from .file_checks import check_image, check_labels
from .steps import Trace, each_step, follow

__all__ = ['SampleChecks', 'SampleFindings']


class SampleFindings(NamedTuple):
    """What was found in a sample.

    Attributes:
        image: Path of its image.
        errors: Each with its kind: ``'images'``, ``'label maps'``, ``'sizes'``, ``'label ids'`` or,
            of a damaged cache, ``'embeddings'``.
        remarks: Keys of :data:`.survey.REMARKS`.
        present: Which of the C classes it shows, (C,) bool; None without a label map, or if that
            is not valid.
        pixels: How many pixels its label map has.
        ignored: How many of them have the ignored id.
    """

    image: str
    errors: List[Tuple[str, ValueError]]
    remarks: List[str]
    present: Optional[np.ndarray] = None
    pixels: int = 0
    ignored: int = 0


class SampleChecks(Dataset[SampleFindings]):
    """The findings for each sample of a data set; nothing but its loaders is run.

    A transform of somebody's own counts as a loader if it makes an image or a label map of the
    first sample. It may depend on others before it, which are run too if they leave the image as
    it is.

    Args:
        dataset: A data set of mmseg, without wrappers.
        ids: Which ids label maps may have.
    """

    def __init__(self, dataset: BaseDataset, ids: LabelIds) -> None:
        self.dataset = dataset
        self.ids = ids
        self._loaders = _find_loading(dataset)
        maps = [getattr(loader, 'label_map', None) for loader, _ in self._loaders]
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
        for loader, kind in self._loaders:
            try:
                if kind == 'image':
                    sample, found, orientation = check_image(loader, sample)
                elif kind == 'label map':
                    sample, found, _ = check_labels(loader, sample)
                else:
                    sample, found = read_with(loader, sample), []
                remarks += found
            except DatasetError as error:
                errors.append(('label maps' if kind == 'label map' else 'images', error))
        findings = SampleFindings(str(sample.get('img_path')), errors, remarks)
        if sample.get('gt_seg_map') is not None:
            remarks += ['orientation'] * (orientation != 1)
            return self._check_labels(findings, sample, orientation)
        remarks += ['unlabelled'] * (not errors)
        return findings

    def _check_labels(
        self, findings: SampleFindings, sample: Dict[str, Any], orientation: int
    ) -> SampleFindings:
        """Add the errors of a label map, and what it shows."""
        labels = sample['gt_seg_map']
        try:
            check_label_shape(sample)
        except DatasetError as error:
            findings.errors.append(('label maps', error))
            return findings
        try:
            check_label_size(sample)
        except DatasetError as error:
            findings.errors.append(('sizes', _explain_rotation(error, orientation)))
        try:
            facts = LabelFacts.of({**sample, 'label_map': sample.get('label_map') or self._map})
            check_label_ids(labels, self.ids, sample.get('seg_map_path'), facts)
        except DatasetError as error:
            findings.errors.append(('label ids', error))
            return findings
        classes, ignored = np.array(self.ids.classes), self.ids.ignore_index
        pixels = np.bincount(labels.ravel().astype(int), minlength=max(classes.max(), ignored) + 1)
        findings.remarks.extend(['ignored'] * bool(pixels[ignored] == labels.size > 0))
        present = (pixels[classes] > 0) & (classes != ignored)
        return findings._replace(present=present, pixels=labels.size, ignored=int(pixels[ignored]))


def _find_loading(dataset: BaseDataset) -> List[Tuple[Any, Optional[str]]]:
    """The transforms that load, with what they load; None of others that they depend on."""
    steps = list(each_step(dataset.pipeline))
    own = [step for step in steps if type(step.transform).__module__.split('.')[0] not in _STACK]
    if not own:
        kinds = [(step.transform, loaded_kind(step.transform)) for step in steps]
        return [(transform, kind) for transform, kind in kinds if kind is not None]
    loads = _see_loading(dataset)
    last = max((i for i, step in enumerate(steps) if loads.get(step.place)), default=-1)
    found = []
    for step in steps[: last + 1]:
        kind = loaded_kind(step.transform) or loads.get(step.place)
        if kind is not None or (step in own and step.place in loads):
            found.append((step.transform, kind))
    return found


#: Whose transforms are known to load only if they are loaders.
_STACK = ('mmcv', 'mmseg', 'mmengine', 'mmseg_ssprompt')


def _see_loading(dataset: BaseDataset) -> Dict[str, Optional[str]]:
    """What the steps load of the first sample, by place."""
    trace = Trace(training=True)
    with draws_of_their_own():
        # Whatever goes wrong will be said when samples are packed.
        with contextlib.suppress(Exception):
            follow(dataset, trace)[0]
    steps = each_step(dataset.pipeline)
    kinds = {step.place: loaded_kind(step.transform) for step in steps}
    return {**{place: kind for place, kind in kinds.items() if kind}, **trace.loads}


def _explain_rotation(error: DatasetError, orientation: int) -> DatasetError:
    if orientation == 1:
        return error
    return DatasetError(
        f'{error}. The image has EXIF orientation {orientation}, which the loader applies to the '
        'image and not to the label map: save the image upright, or draw the label map as the '
        'upright image shows it'
    )
