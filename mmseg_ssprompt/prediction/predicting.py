"""Label maps of pictures of one's own, by a trained model: what ``mmseg-ssprompt predict`` does."""

import io
import os
from functools import partial
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
    Sequence,
    Tuple,
    Union,
)

import cv2
import numpy as np
from PIL import Image

from ..config_reading import ConfigError
from ..datasets.checks import DatasetError
from ..files import check_writable, remove_leftovers, write_atomically
from ..outputs import check_outputs, result_file
from .batches import BatchSize
from .geotiff import read_geotiff_labels, write_geotiff_labels
from .input_files import InputFile, InputFiles, find_input_files
from .pictures import LoadedPicture, Picture, count_frames, each_frame, open_windows, to_bgr
from .prediction import (
    FoundObject,
    ModelFacts,
    Prediction,
    find_objects,
    find_void_id,
    paint_objects,
    read_objects,
)
from .predictor import Predictor, TrainedModel, read_model
from .record import RECORD, PredictionRecord, file_state
from .tiles import Tile, Tiling

__all__ = ['COCO_FILE', 'LABELS', 'OVERLAYS', 'Predictions', 'predict']

#: What is written into the folder of predictions.
LABELS, OVERLAYS, COCO_FILE = 'labels', 'overlays', 'coco.json'
#: Of a JPEG file of an overlay.
_QUALITY = 90
#: The sides of tiles in pixels, and the pixels from which on a picture is cut, where the size of
#: the photographs that a model was trained on is unknown.
_TILE, _LARGE_PICTURE = 2048, 50_000_000

PathLike = Union[str, 'os.PathLike[str]']


class Progress(Protocol):
    """What is told how far a prediction is."""

    def __call__(self, done: float, total: int, what: str) -> None:
        """``done`` of ``total`` pictures are done; ``what`` is the one in work."""


class _Task(NamedTuple):
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


def predict(
    model: PathLike,
    inputs: Any,
    out: Optional[PathLike] = None,
    *,
    prompts: Optional[PathLike] = None,
    weights: Optional[PathLike] = None,
    clip_weights: Optional[PathLike] = None,
    overlay: bool = False,
    coco: bool = False,
    tile: Union[int, Tuple[int, int], None] = None,
    overlap: Optional[int] = None,
    every: int = 1,
    batch_size: Optional[int] = None,
    device: Optional[str] = None,
    overwrite: bool = False,
    on_progress: Optional[Progress] = None,
) -> Predictions:
    """Predict pictures with a trained model.

    ::

        for prediction in mmseg_ssprompt.predict('runs/first', 'photographs'):
            print(prediction.name, prediction.shares())
            prediction.label_map  # (H, W)

    Args:
        model: A folder that ``fit`` or ``publish`` has written, ``hf://USER/NAME[@REVISION]``, or
            a config.
        inputs: Folders, files or patterns of pictures and videos, one or a list; or pictures in
            memory, (H, W, 3) uint8 with red first, or of Pillow.
        out: A folder for results. Defaults to None: nothing is written. ``labels/NAME.png`` are
            label maps, of 16 bits above 255 classes; of a GeoTIFF ``labels/NAME.tif``, in its
            place. A command that was stopped goes on there.
        prompts: The trained prompts that belong to a config: a file, a folder with one, or
            ``hf://USER/NAME``. Defaults to None: the config has handcrafted ones.
        weights: The file of the base model. Defaults to None: where the config names it.
        clip_weights: That of CLIP, for SAM. Defaults to None: where the config names it.
        overlay: Whether ``overlays/NAME.jpg`` are written, at most 2048 pixels wide and high.
        coco: Whether ``coco.json`` is written: objects, or connected regions of label maps.
        tile: The side of square tiles in pixels, or (height, width). Larger pictures are cut.
            Defaults to None: those more than twice as large as the photographs that the model was
            trained on, into tiles of their size. Pictures of which objects are told apart are
            always seen as a whole.
        overlap: What tiles share, in pixels. Defaults to None: a quarter of a tile.
        every: One frame of a video in so many. Defaults to 1.
        batch_size: How many pictures the model sees at once. Defaults to None: what fits.
        device: Such as 'cpu' or 'cuda:0'. Defaults to None: a GPU, if there is one.
        overwrite: Whether ``out`` may hold other files. Defaults to False.
        on_progress: Is called with the number of pictures done, their total, and the one in work.

    Returns:
        One :class:`Prediction` for each picture. Pictures that cannot be read are named in
        ``errors``, and the others go on.

    Raises:
        FileNotFoundError: If model or inputs are not there.
        CheckpointError: If what was published is damaged or none, or cannot be fetched.
        DatasetError: If there are no pictures.
        OutputError: If something that is read, or of others, would be overwritten.
        ConfigError: If the config is not one to predict with.
        OSError: If results cannot be written.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f'every: expected a number of frames from 1 on, found {every!r}')
    is_one = isinstance(inputs, (str, os.PathLike, np.ndarray)) or hasattr(inputs, 'convert')
    inputs = [inputs] if is_one else list(inputs)
    in_memory = [not isinstance(each, (str, os.PathLike)) for each in inputs]
    if any(in_memory):
        if not all(in_memory) or out is not None:
            raise ValueError(
                'inputs: expected paths, or pictures in memory and no folder of results, found '
                f'{sum(in_memory)} pictures in memory among {len(inputs)}, and out={out!r}'
            )
        found = None
        pictures = [LoadedPicture(to_bgr(each)) for each in inputs]
    else:
        found = find_input_files([os.fspath(each) for each in inputs])
    trained = read_model(model, prompts, weights, clip_weights)
    if out is not None and found is not None:
        folder = _prepare_folder(Path(out).expanduser(), trained, found, overwrite)
    predictor = Predictor(trained, device)
    session = _Session(predictor, _tiling(predictor, tile, overlap), batch_size, on_progress)
    if found is None:
        names = [f'picture {number}' for number in range(len(pictures))]
        tasks = [_Task(name, name, None, each) for name, each in zip(names, pictures)]
        return Predictions(lambda own: (p for _, p in session.run(tasks, own, len(tasks))))
    if out is None:
        return Predictions(partial(session.each_of_files, found, every))
    made_by = dict(model=os.fspath(model), digest=predictor.digest, tiles=session.tiling.describe())
    record = PredictionRecord(folder, made_by, is_new=overwrite)
    predictions = session.write_all(found, every, _Writer(record, session, overlay, coco))
    predictions.notes += _describe_inputs(found, predictor)
    return predictions


def _prepare_folder(
    folder: Path, trained: TrainedModel, found: InputFiles, overwrite: bool
) -> Path:
    """Refuse a folder that is read or holds files of others, before a model is built."""
    inputs = trained.find_inputs()
    inputs.folders.update((each, 'the pictures') for each in found.folders)
    inputs.files.update((each.path, 'a picture') for each in found.files)
    is_ours = (folder / RECORD).is_file()
    check_outputs({'--out': folder}, inputs, ['--out'], overwrite or is_ours)
    check_writable(folder)
    return folder


def _describe_inputs(found: InputFiles, predictor: Predictor) -> Iterator[str]:
    """What was passed over, and what one may not expect."""
    if found.left_out:
        others = ', '.join(f'{count} {suffix}' for suffix, count in sorted(found.left_out.items()))
        yield f'files that are neither pictures nor videos, and were left out: {others}'
    if predictor.is_zero_shot:
        yield 'these are predictions of handcrafted prompts'


def _tiling(
    predictor: Predictor, tile: Union[int, Tuple[int, int], None], overlap: Optional[int]
) -> Tiling:
    """How large pictures are cut."""
    if predictor.finds_objects or predictor.model.test_cfg.mode == 'slide':
        if tile is not None or overlap is not None:
            raise ConfigError(
                'tiles are for label maps of whole pictures: this model tells objects apart, which '
                'would be cut, or has windows of its own (test_cfg.mode). Leave out --tile and '
                '--overlap'
            )
        return Tiling(None, (0, 0))
    if tile is not None:
        size = (tile, tile) if isinstance(tile, int) else (tile[0], tile[1])
        if min(size) < 1:
            raise ValueError(f'tile: expected sides of at least 1 pixel, found {tile!r}')
        return Tiling.of(size, overlap, is_forced=True)
    return Tiling.of(predictor.training_size or (_TILE, _TILE), overlap, is_forced=False)


class _Canvas:
    """A picture of which tiles are predicted."""

    def __init__(self, task: _Task, tiles: Sequence[Tile], predictor: Predictor) -> None:
        self.task, self.tiles = task, tiles
        ids = predictor.label_ids
        self._void_id = find_void_id(ids)
        self.label_map: np.ndarray = np.full(task.picture.size, self._void_id, ids.dtype)
        self.objects: Optional[List[FoundObject]] = None
        self.missing = len(tiles)

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


class _Session:
    """A model at work."""

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

    def each_of_files(
        self, found: InputFiles, every: int, predictions: Predictions
    ) -> Iterator[Prediction]:
        """Predict all pictures and frames."""
        total = _count(found, every)
        tasks = self._open_all(found, every, predictions, lambda name, file: False)
        for task, prediction in self.run(tasks, predictions, total):
            yield self._without_picture(task, prediction)

    def write_all(self, found: InputFiles, every: int, writer: '_Writer') -> Predictions:
        """Predict all pictures and frames that are not complete, and write them."""
        predictions = Predictions(writer.read_all, writer.folder)
        total = _count(found, every)
        tasks = self._open_all(found, every, predictions, writer.is_complete)
        for task, prediction in self.run(tasks, predictions, total):
            writer.write(task, prediction)
            predictions.written += 1
        predictions.annotations = writer.end()
        return predictions

    def run(
        self, tasks: Iterable[_Task], predictions: Predictions, total: int
    ) -> Iterator[Tuple[_Task, Prediction]]:
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
        self, task: _Task, waiting: List[Tuple[_Canvas, Tile, Any]], predictions: Predictions
    ) -> Iterator[Tuple[_Task, Prediction]]:
        """Let the parts of a picture wait, and predict whenever there are enough."""
        tiles = self._cut(task.picture)
        canvas = _Canvas(task, tiles, self.predictor)
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
        if not is_known and height * width <= _LARGE_PICTURE:
            return Tiling(None, (0, 0)).cut(picture.size)
        return self.tiling.cut(picture.size)

    def _flush(
        self, waiting: List[Tuple[_Canvas, Tile, Any]], predictions: Predictions
    ) -> Iterator[Tuple[_Task, Prediction]]:
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
    ) -> Iterator[_Task]:
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
                        yield _Task(name, title, file, LoadedPicture(frame))
                elif is_wanted(file.result, file):
                    raster = open_windows(file)
                    picture = self.predictor.load(file.path) if raster is None else raster
                    yield _Task(file.result, str(file.path), file, picture, raster is not None)
            except (DatasetError, OSError, MemoryError, cv2.error) as error:
                predictions.errors[str(file.path)] = _describe(error, str(file.path))
                self._done += 1

    def _without_picture(self, task: _Task, prediction: Prediction) -> Prediction:
        """A prediction that reads its picture again when it is drawn: many fit in memory."""
        file = task.file
        if file is None or file.is_video:
            return prediction
        reduce = partial(_reduce_file, self.predictor, file)
        found = prediction.label_map, self.facts, reduce, prediction.objects
        return Prediction(prediction.name, *found)

    def _fail(self, task: _Task, error: Exception, predictions: Predictions) -> None:
        if task.title not in predictions.errors:
            predictions.errors[task.title] = _describe(error, task.title)
            self._done += 1

    def _tell(self, what: str, part: float = 0) -> None:
        if self._on_progress is not None:
            self._on_progress(round(self._done + part, 2), self._total, what)


class _Writer:
    """The folder of predictions."""

    def __init__(
        self, record: PredictionRecord, session: _Session, overlay: bool, coco: bool
    ) -> None:
        self.folder, self._record, self._session = record.folder, record, session
        self._overlay, self._coco = overlay, coco
        self._annotates = coco or session.predictor.finds_objects
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

    def write(self, task: _Task, prediction: Prediction) -> None:
        """Write what was predicted of a picture."""
        file = task.file
        assert file is not None  # pictures in memory are not written
        entry: Dict[str, Any] = dict(
            name=task.name,
            picture=_picture_name(task.name, file),
            title=task.title,
            file=file_state(file.path),
            size=list(prediction.label_map.shape),
        )
        suffix = '.tif' if task.is_geotiff else '.png'
        labels = result_file(self.folder / LABELS, task.name, suffix)
        facts = self._session.facts
        if task.is_geotiff:
            void_id = prediction.void_id
            write_geotiff_labels(prediction.label_map, labels, file.path, void_id, facts.palette)
        else:
            write_atomically(labels, _encode(prediction.label_map, 'PNG'))
        entry['labels'] = labels.relative_to(self.folder).as_posix()
        if self._overlay:
            overlay = result_file(self.folder / OVERLAYS, task.name, '.jpg')
            write_atomically(overlay, _encode(prediction.overlay(), 'JPEG', quality=_QUALITY))
            entry['overlay'] = overlay.relative_to(self.folder).as_posix()
        if self._annotates:
            entry['annotations'] = prediction.annotations()
        self._record.add(entry)
        self._done[task.name] = file

    def end(self) -> int:
        """Write what needs all pictures, and say how many annotations it has."""
        for folder in {(self.folder / LABELS / name).parent for name in self._done}:
            remove_leftovers(folder)
        if not self._coco:
            return 0
        categories, names = self._session.facts.categories, list(self._done)
        return self._record.write_coco(self.folder / COCO_FILE, categories, names)

    def read_all(self, predictions: Predictions) -> Iterator[Prediction]:
        """What was written by this command, read again."""
        predictor, facts = self._session.predictor, self._session.facts
        for name, file in self._done.items():
            entry = self._record.get(name)
            labels = self.folder / entry['labels']
            is_geotiff = labels.suffix == '.tif'
            label_map = read_geotiff_labels(labels) if is_geotiff else _decode(labels)
            objects = None
            if predictor.finds_objects:
                objects = read_objects(self._record.annotations(name))
            number = int(name.rpartition('/')[2]) if file.is_video else None
            reduce = partial(_reduce_file, predictor, file, number=number)
            yield Prediction(entry['title'], label_map, facts, reduce, objects)


def _frame_name(file: InputFile, number: int) -> str:
    return f'{file.result}/{number:06}'


def _picture_name(name: str, file: InputFile) -> str:
    """What a picture is called in COCO's file."""
    return f'{name}.png' if file.is_video else file.name


def _count(found: InputFiles, every: int) -> int:
    """How many pictures and frames there are, as far as it is known."""
    return sum(
        max(-(-count_frames(file) // every), 1) if file.is_video else 1 for file in found.files
    )


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


def _reduce_file(
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
