"""Label maps of pictures of one's own, by a trained model: what ``mmseg-ssprompt predict`` does."""

import os
from functools import partial
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple, Union

import numpy as np

from ..config_reading import ConfigError
from ..files import check_writable
from ..outputs import check_outputs
from .input_files import InputFiles, find_input_files
from .picture_stream import PictureStream, Predictions, Progress, Task, reduce_file
from .pictures import LoadedPicture, to_bgr
from .prediction import Prediction
from .prediction_folder import PredictionFolder
from .predictor import Predictor, TrainedModel, read_model
from .record import RECORD, PredictionRecord
from .tiles import Tiling

__all__ = ['predict']

#: The sides of tiles in pixels, where the size of the photographs that a model was trained on is
#: unknown.
_TILE = 2048

PathLike = Union[str, 'os.PathLike[str]']


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
    tiling = _tiling(predictor, tile, overlap)
    stream = PictureStream(predictor, tiling, batch_size, on_progress)
    if found is None:
        names = [f'picture {number}' for number in range(len(pictures))]
        tasks = [Task(name, name, None, each) for name, each in zip(names, pictures)]
        return Predictions(lambda own: (p for _, p in stream.run(tasks, own, len(tasks))))
    if out is None:
        return Predictions(partial(_each_of_files, stream, found, every))
    made_by = dict(model=os.fspath(model), digest=predictor.digest, tiles=tiling.describe())
    record = PredictionRecord(folder, made_by, is_new=overwrite)
    written = PredictionFolder(record, predictor, stream.facts, overlay, coco)
    predictions = Predictions(written.read_all, folder)
    for task, prediction in stream.run_files(found, every, predictions, written.is_complete):
        written.write(task, prediction)
        predictions.written += 1
    predictions.annotations = written.end()
    predictions.notes += _describe_inputs(found, predictor)
    return predictions


def _each_of_files(
    stream: PictureStream, found: InputFiles, every: int, predictions: Predictions
) -> Iterator[Prediction]:
    """Predict all pictures and frames; of pictures in files many fit in memory.

    They are read again when they are drawn.
    """
    for task, prediction in stream.run_files(found, every, predictions):
        if task.file is not None and not task.file.is_video:
            reduce = partial(reduce_file, stream.predictor, task.file)
            facts, objects = stream.facts, prediction.objects
            prediction = Prediction(task.title, prediction.label_map, facts, reduce, objects)
        yield prediction


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
