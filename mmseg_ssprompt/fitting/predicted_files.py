"""What ``fit`` predicts of the pictures that are looked at, as files that the report draws."""

from pathlib import Path
from typing import Any, List, Optional

import numpy as np
from PIL import Image

from ..evaluation.confusion import count_confusion
from ..files import replacing
from ..hooks.segment_visualizer import list_instances, list_panoptic, list_truth
from ..segments import number_things
from .fit_data import FitData
from .segment_files import write_segments

__all__ = ['PredictedFiles']

#: Objects with a lower score are not shown.
_MIN_SCORE = 0.3


class PredictedFiles:
    """Writes predictions as they come, and counts which classes are taken for which.

    Args:
        data: What is fitted.
        folder: Of the files; of objects, ``truth`` beside it has those that are labelled.
    """

    def __init__(self, data: FitData, folder: Path) -> None:
        self._data, self._folder = data, folder
        self._ids = data.label_ids
        count = len(self._ids.channels)
        self._counts = np.zeros((count, count + 1), np.int64)
        self._names = {Path(data.images, each.name).as_posix(): each.name for each in data.pictures}

    def confusion(self) -> Optional[List[List[int]]]:
        """Pixels by true and predicted class; None of objects."""
        if self._data.task != 'semantic':
            return None
        counts: List[List[int]] = self._counts[:, :-1].tolist()
        return counts

    def __call__(self, sample: Any) -> None:
        """Take a prediction."""
        name = self._names[Path(sample.img_path).as_posix()]
        file = (self._folder / name).with_suffix('.png')
        file.parent.mkdir(parents=True, exist_ok=True)
        if self._data.task != 'semantic':
            self._write_segments(sample, name)
            return
        truth, found = (
            each.data[0].cpu().numpy() for each in (sample.gt_sem_seg, sample.pred_sem_seg)
        )
        with replacing(file) as temporary:
            Image.fromarray(found.astype(self._ids.dtype)).save(temporary)
        self._counts += count_confusion(truth, found, self._ids)

    def _write_segments(self, sample: Any, name: str) -> None:
        things = number_things(self._data.classes, self._data.thing_classes)
        if self._data.task == 'panoptic':
            found = list_panoptic(sample)
        else:
            found = list_instances(sample, _MIN_SCORE)
        folders = {self._folder: found, self._folder.parent / 'truth': list_truth(sample, things)}
        for folder, segments in folders.items():
            write_segments(segments, (folder / name).with_suffix('.json'))
