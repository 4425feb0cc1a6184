"""A folder of predictions: label maps, overlays, and objects as JSON."""

import io
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator

import cv2
import numpy as np
from PIL import Image

from ..datasets.checks import DatasetError
from ..files import remove_leftovers, write_atomically
from ..outputs import result_file
from .geotiff import read_geotiff_labels, write_geotiff_labels
from .input_files import InputFile
from .picture_stream import Predictions, Task, reduce_file
from .prediction import ModelFacts, Prediction, read_objects
from .predictor import Predictor
from .record import PredictionRecord, file_state

__all__ = ['COCO_FILE', 'LABELS', 'OVERLAYS', 'PredictionFolder']

#: What is written into the folder of predictions.
LABELS, OVERLAYS, COCO_FILE = 'labels', 'overlays', 'coco.json'
#: Of a JPEG file of an overlay.
_QUALITY = 90


class PredictionFolder:
    """The folder of predictions.

    Args:
        record: What it holds.
        predictor: The model.
        facts: Of the model.
        overlay: Whether overlays are written.
        coco: Whether the file of objects is written.
    """

    def __init__(
        self,
        record: PredictionRecord,
        predictor: Predictor,
        facts: ModelFacts,
        overlay: bool,
        coco: bool,
    ) -> None:
        self.path, self._record = record.folder, record
        self._predictor, self._facts = predictor, facts
        self._overlay, self._coco = overlay, coco
        self._annotates = coco or predictor.finds_objects
        #: The results of this command: the name of each, and its picture.
        self._done: Dict[str, InputFile] = {}

    def is_complete(self, name: str, file: InputFile) -> bool:
        """Whether a picture was written before, and is still the same."""
        try:
            state = file_state(file.path)
        except OSError:
            return False
        if not self._record.has(name, state, self._overlay, self._annotates):
            return False
        self._done[name] = file
        return True

    def write(self, task: Task, prediction: Prediction) -> None:
        """Write what was predicted of a picture."""
        file = task.file
        assert file is not None  # pictures in memory are not written
        entry: Dict[str, Any] = dict(
            name=task.name,
            picture=f'{task.name}.png' if file.is_video else file.name,
            title=task.title,
            file=file_state(file.path),
            size=list(prediction.label_map.shape),
        )
        suffix = '.tif' if task.is_geotiff else '.png'
        labels = result_file(self.path / LABELS, task.name, suffix)
        if task.is_geotiff:
            void_id = prediction.void_id
            write_geotiff_labels(
                prediction.label_map, labels, file.path, void_id, self._facts.palette
            )
        else:
            write_atomically(labels, _encode(prediction.label_map, 'PNG'))
        entry['labels'] = labels.relative_to(self.path).as_posix()
        if self._overlay:
            overlay = result_file(self.path / OVERLAYS, task.name, '.jpg')
            write_atomically(overlay, _encode(prediction.overlay(), 'JPEG', quality=_QUALITY))
            entry['overlay'] = overlay.relative_to(self.path).as_posix()
        if self._annotates:
            entry['annotations'] = prediction.annotations()
        self._record.add(entry)
        self._done[task.name] = file

    def end(self) -> int:
        """Write what needs all pictures, and say how many annotations it has."""
        for folder in {(self.path / LABELS / name).parent for name in self._done}:
            remove_leftovers(folder)
        if not self._coco:
            return 0
        categories, names = self._facts.categories, list(self._done)
        return self._record.write_coco(self.path / COCO_FILE, categories, names)

    def read_all(self, predictions: Predictions) -> Iterator[Prediction]:
        """What was written by this command, read again."""
        for name, file in self._done.items():
            entry = self._record.get(name)
            labels = self.path / entry['labels']
            is_geotiff = labels.suffix == '.tif'
            label_map = read_geotiff_labels(labels) if is_geotiff else _decode(labels)
            objects = None
            if self._predictor.finds_objects:
                objects = read_objects(self._record.annotations(name))
            number = int(name.rpartition('/')[2]) if file.is_video else None
            reduce = partial(reduce_file, self._predictor, file, number=number)
            yield Prediction(entry['title'], label_map, self._facts, reduce, objects)


def _encode(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def _decode(labels: Path) -> np.ndarray:
    """A label map that was written as PNG."""
    found = cv2.imdecode(np.frombuffer(labels.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DatasetError(f'label map {str(labels)!r}: expected a PNG file, found a damaged one')
    return np.asarray(found)
