"""A model at work: pictures and frames of videos, in batches of whole pictures and of tiles."""

from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Tuple,
)

import cv2
import numpy as np

from ..datasets.checks import DatasetError
from .batches import BatchSize
from .input_files import InputFile, InputFiles
from .pictures import LoadedPicture, Picture, count_frames, each_frame, open_windows
from .prediction import (
    FoundObject,
    ModelFacts,
    Prediction,
    find_objects,
    find_void_id,
    paint_objects,
)
from .predictor import Predictor
from .tiles import Tile, Tiling

__all__ = ['PictureStream', 'Predictions', 'Progress', 'Task', 'reduce_file']

#: The pixels from which on a picture is cut, where the size of the photographs that a model was
#: trained on is unknown.
_LARGE_PICTURE = 50_000_000


class Progress(Protocol):
    """What is told how far a prediction is."""

    def __call__(self, done: float, total: int, what: str) -> None:
        """``done`` of ``total`` pictures are done; ``what`` is the one in work."""


class Task(NamedTuple):
    """A picture that is to be predicted."""

    name: str  # of its results, without suffix
    title: str  # for people
    file: Optional[InputFile]
    picture: Picture
    is_geotiff: bool = False

    @property
    def shown(self) -> str:
        """What a progress bar says of it."""
        return self.name if self.file is None else self.file.name


class Predictions:
    """Predictions of several pictures.

    Without a folder, pictures are predicted while one iterates; with one, all were predicted
    before, and are read from its files.

    Attributes:
        errors: What is wrong with pictures that cannot be predicted, by their paths; complete when
            all were gone through.
        out: The folder of results; None if nothing was written.
        skipped: How many pictures were there already.
        written: How many pictures were predicted into the folder.
        annotations: How many of them ``coco.json`` has.
        notes: What else is to be said of them, in sentences.
    """

    def __init__(
        self, each: Callable[['Predictions'], Iterator[Prediction]], out: Optional[Path] = None
    ) -> None:
        self.errors: Dict[str, str] = {}
        self.out = out
        self.skipped = self.written = self.annotations = 0
        self.notes: List[str] = []
        self._each = each

    def __iter__(self) -> Iterator[Prediction]:
        """A :class:`Prediction` for each picture."""
        return self._each(self)


class _Canvas:
    """A picture of which tiles are predicted."""

    def __init__(self, task: Task, num_tiles: int, predictor: Predictor) -> None:
        self.task, self.missing = task, num_tiles
        ids = predictor.label_ids
        self._void_id = find_void_id(ids)
        self.label_map: np.ndarray = np.full(task.picture.size, self._void_id, ids.dtype)
        self.objects: Optional[List[FoundObject]] = None

    def put(self, tile: Tile, sample: Any, predictor: Predictor) -> None:
        """Take what was predicted of a tile."""
        self.missing -= 1
        if predictor.finds_objects:
            self.objects = find_objects(sample, predictor.things)
        if 'pred_sem_seg' in sample:
            labels = sample.pred_sem_seg.data[0].cpu().numpy()
        else:
            labels = paint_objects(self.objects or [], self.label_map.shape, predictor.label_ids)
        part = tile.kept.inside(tile.seen)
        kept = labels[part.rows, part.columns].astype(self.label_map.dtype)
        void = self.task.picture.find_void(tile.kept)
        if void is not None:
            kept[void] = self._void_id
        self.label_map[tile.kept.rows, tile.kept.columns] = kept


class PictureStream:
    """A model at work.

    Args:
        predictor: The model.
        tiling: How large pictures are cut.
        batch_size: How many pictures the model sees at once; None: what fits.
        on_progress: Is called with the number of pictures done, their total, and the one in work.
    """

    def __init__(
        self,
        predictor: Predictor,
        tiling: Tiling,
        batch_size: Optional[int],
        on_progress: Optional[Progress],
    ) -> None:
        self.predictor, self.tiling = predictor, tiling
        self.facts = ModelFacts(predictor.classes, predictor.palette, predictor.label_ids)
        self._batches = BatchSize(predictor.device, batch_size)
        self._on_progress = on_progress
        self._done = self._total = 0

    def run_files(
        self,
        found: InputFiles,
        every: int,
        predictions: Predictions,
        is_complete: Callable[[str, InputFile], bool] = lambda name, file: False,
    ) -> Iterator[Tuple[Task, Prediction]]:
        """Predict all pictures and frames, without those that are complete.

        Args:
            found: The files.
            every: One frame of a video in so many.
            predictions: Is told what could not be read, and what was skipped.
            is_complete: Whether the result of this name is there already.
        """
        total = sum(
            max(-(-count_frames(file) // every), 1) if file.is_video else 1 for file in found.files
        )
        yield from self.run(
            self._open_all(found, every, predictions, is_complete), predictions, total
        )

    def run(
        self, tasks: Iterable[Task], predictions: Predictions, total: int
    ) -> Iterator[Tuple[Task, Prediction]]:
        """Predict pictures, in batches of pictures and tiles."""
        self._done, self._total = 0, total
        waiting: List[Tuple[_Canvas, Tile, Any]] = []
        for task in tasks:
            self._tell(task.shown)
            try:
                yield from self._add(task, waiting, predictions)
            except (DatasetError, OSError, MemoryError, cv2.error) as error:
                self._fail(task, error, predictions)
                waiting[:] = [each for each in waiting if each[0].task is not task]
        yield from self._flush(waiting, predictions)

    def _add(
        self, task: Task, waiting: List[Tuple[_Canvas, Tile, Any]], predictions: Predictions
    ) -> Iterator[Tuple[Task, Prediction]]:
        """Let the parts of a picture wait, and predict whenever there are enough."""
        tiles = self._cut(task.picture)
        canvas = _Canvas(task, len(tiles), self.predictor)
        for number, tile in enumerate(tiles):
            if len(tiles) > 1:
                self._tell(f'{task.shown}: tile {number + 1} of {len(tiles)}', number / len(tiles))
            packed = self.predictor.prepare(task.picture.read(tile.seen), task.title)
            # Others would be padded to the largest, which may change what is predicted of them.
            if waiting and waiting[0][2]['inputs'].shape != packed['inputs'].shape:
                yield from self._flush(waiting, predictions)
            waiting.append((canvas, tile, packed))
            if len(waiting) >= self._batches.size:
                yield from self._flush(waiting, predictions)
        if len(tiles) > 1:  # so that two large pictures are never in memory
            yield from self._flush(waiting, predictions)

    def _cut(self, picture: Picture) -> List[Tile]:
        """The tiles of a picture; without a known size of photographs only huge ones have them."""
        height, width = picture.size
        is_known = self.tiling.is_forced or self.predictor.training_size is not None
        is_cut = is_known or height * width > _LARGE_PICTURE
        return (self.tiling if is_cut else Tiling(None, (0, 0))).cut(picture.size)

    def _flush(
        self, waiting: List[Tuple[_Canvas, Tile, Any]], predictions: Predictions
    ) -> Iterator[Tuple[Task, Prediction]]:
        """Predict what waits."""
        batch = waiting[:]
        waiting.clear()
        samples = self._batches.run(self.predictor, [packed for _, _, packed in batch])
        for (canvas, tile, _), sample in zip(batch, samples):
            task = canvas.task
            if isinstance(sample, MemoryError):
                self._fail(task, sample, predictions)
                continue
            try:
                canvas.put(tile, sample, self.predictor)
            except DatasetError as error:  # what has no data could not be read
                self._fail(task, error, predictions)
                continue
            if canvas.missing == 0 and task.title not in predictions.errors:
                self._done += 1
                self._tell(task.shown)
                found = canvas.label_map, self.facts, task.picture.reduce, canvas.objects
                yield task, Prediction(task.title, *found)

    def _open_all(
        self,
        found: InputFiles,
        every: int,
        predictions: Predictions,
        is_complete: Callable[[str, InputFile], bool],
    ) -> Iterator[Task]:
        """Open pictures one by one, and the frames of videos, without those that are complete."""

        def is_wanted(name: str, file: InputFile) -> bool:
            if not is_complete(name, file):
                return True
            predictions.skipped += 1
            self._done += 1
            return False

        for file in found.files:
            try:
                if file.is_video:
                    for number, frame in each_frame(
                        file, every, lambda n, f=file: is_wanted(_frame_name(f, n), f)
                    ):
                        name = _frame_name(file, number)
                        title = f'{file.path}, frame {number}'
                        yield Task(name, title, file, LoadedPicture(frame))
                elif is_wanted(file.result, file):
                    raster = open_windows(file)
                    picture = self.predictor.load(file.path) if raster is None else raster
                    yield Task(file.result, str(file.path), file, picture, raster is not None)
            except (DatasetError, OSError, MemoryError, cv2.error) as error:
                predictions.errors[str(file.path)] = _describe(error, str(file.path))
                self._done += 1

    def _fail(self, task: Task, error: Exception, predictions: Predictions) -> None:
        if task.title not in predictions.errors:
            predictions.errors[task.title] = _describe(error, task.title)
            self._done += 1

    def _tell(self, what: str, part: float = 0) -> None:
        if self._on_progress is not None:
            self._on_progress(round(self._done + part, 2), self._total, what)


def _frame_name(file: InputFile, number: int) -> str:
    return f'{file.result}/{number:06}'


def reduce_file(
    predictor: Predictor, file: InputFile, size: Tuple[int, int], number: Optional[int] = None
) -> np.ndarray:
    """Read a picture again, at a smaller size."""
    if number is not None:
        frames = each_frame(file, 1, lambda each: each == number)
        return LoadedPicture(next(frames)[1]).reduce(size)
    picture: Picture = open_windows(file) or predictor.load(file.path)
    return picture.reduce(size)


def _describe(error: Exception, title: str) -> str:
    """What is wrong with a picture, in a sentence that names it."""
    if isinstance(error, DatasetError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            f'{title!r}: the memory does not suffice for this picture ({error}). Give --tile, such '
            'as --tile 1024, or a device with more memory'
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f'{title!r} cannot be read: {reason}'
