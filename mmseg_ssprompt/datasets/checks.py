"""What can be wrong with a data set, said before a training step is spent on it."""

import contextlib
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.dataset import BaseDataset

from ..label_ids import LabelIds
from .left_out import count_pictures
from .steps import each_step, find_failed_step, is_foreign, loaded_kind

__all__ = [
    'DatasetError',
    'LabelFacts',
    'UnreadableFileError',
    'check_classes',
    'check_label_ids',
    'check_label_shape',
    'check_sample',
    'describe_empty',
    'explain_dataset_errors',
    'find_loaders',
    'propose_label_map',
    'read_error',
    'read_with',
]


class DatasetError(ValueError):
    """Data that the configured model cannot be trained or tested on."""


class UnreadableFileError(DatasetError):
    """A file that is not there, may not be read, or is no undamaged picture."""


# What opening and decoding raise where the settings are wrong and not the file.
_OF_SETTINGS = (ImportError, MemoryError, TypeError, KeyError, NotImplementedError)
_PATHS = {'image': 'img_path', 'label map': 'seg_map_path', 'segment map': 'seg_map_path'}
# What numpy says to mmengine when it packs a list of no samples.
_EMPTY = 'need at least one array to concatenate'


class LabelFacts(NamedTuple):
    """What a data set does to the ids in its label maps, for the advice in errors."""

    reduces_zero: bool = False  # 0 becomes the ignored id, and 1 is taken from all others
    label_map: Optional[Mapping[int, int]] = None  # new ids by those in the files


@contextlib.contextmanager
def explain_dataset_errors() -> Iterator[None]:
    """Let mmengine's data sets say where they looked for files, and which they cannot read.

    Of an empty data set mmengine 0.10 says numpy's "need at least one array to concatenate", and of
    a damaged label map Pillow says no name. Our own tools, loops and :class:`SeededDataset` build
    and read data sets within this context, and workers of data loaders that start in it inherit
    it. Afterwards data sets are what they were, also after an error.
    """
    if BaseDataset.prepare_data is _prepare_or_name:  # an outer context restores it
        yield
        return
    methods = BaseDataset.full_init, BaseDataset.prepare_data
    BaseDataset.full_init, BaseDataset.prepare_data = _init_if_any, _prepare_or_name
    try:
        yield
    finally:
        BaseDataset.full_init, BaseDataset.prepare_data = methods


_full_init, _prepare_data = BaseDataset.full_init, BaseDataset.prepare_data


def _init_if_any(dataset: BaseDataset) -> None:
    try:
        _full_init(dataset)
    except ValueError as error:
        if dataset.data_list or str(error) != _EMPTY:
            raise
        raise DatasetError(describe_empty(dataset)) from error


def _prepare_or_name(dataset: BaseDataset, idx: int) -> Any:
    try:
        return _prepare_data(dataset, idx)
    except DatasetError:
        raise
    except Exception as error:  # transforms and decoders raise almost any type
        # get_data_info raises mmengine's own error again for an index that is not there.
        raise _explain_failure(dataset, dataset.get_data_info(idx), error) from error


def _explain_failure(
    dataset: BaseDataset, sample: Dict[str, Any], error: Exception
) -> DatasetError:
    """The error of a sample that does not pass its pipeline, with the step that has failed."""
    step = find_failed_step(dataset.pipeline, error)
    kind = loaded_kind(step.transform) if step else None
    if step and kind:
        return read_error(step.transform, sample.get(_PATHS[kind]), kind, error, str(step))
    for kind in _PATHS if step and is_foreign(step.transform) else ():
        path = sample.get(_PATHS[kind])
        if path is not None and _find_unreadable(None, path, error) is not None:
            return read_error(None, path, kind, error)
    advice = 'Look for the mistake in its arguments, or in what the transforms before it hand on'
    if isinstance(error, MemoryError):
        advice = 'The memory of this machine does not suffice for it'
    elif isinstance(error, KeyError):
        advice = f'The sample has no entry {error}: a transform before it has to add it'
    return DatasetError(
        f'a sample of the data set {type(dataset).__name__} does not pass its pipeline: '
        f'{step or "it"} fails with image {str(sample.get("img_path"))!r}, label map '
        f'{str(sample.get("seg_map_path"))!r} ({type(error).__name__}: {error}). {advice}'
    )


def check_classes(
    dataset: BaseDataset, class_names: Sequence[str], name: str, key: Optional[str] = None
) -> None:
    """Compare the classes of a data set with the semantic prompts.

    Prompts may be worded differently from a data set's names, so only their number must agree;
    the same names in another order are a mistake.

    Args:
        dataset: With ``metainfo['classes']``.
        class_names: Of the semantic prompts.
        name: Of the split, for the error.
        key: Where the config has the data set. Defaults to None: it is not said.
    """
    classes, prompts = list(dataset.metainfo.get('classes') or ()), list(class_names)
    problem = f'but there are {len(prompts)}'
    if len(classes) == len(prompts):
        if classes == prompts or set(classes) != set(prompts):
            return
        problem = 'in another order than'
    raise DatasetError(
        f'the {name} data set {type(dataset).__name__} has {len(classes)} classes, {problem} '
        f'semantic prompts.\n  data set{"" if key is None else f" ({key})"}: {classes}\n'
        f'  prompts:  {prompts}\n'
        'Set decode_head.num_classes and decode_head.semantic_prompts to the classes of the data'
        f'{", or metainfo.classes of the data set to those of the prompts" * (key is not None)}.'
    )


def check_label_ids(
    labels: np.ndarray, ids: LabelIds, file: Optional[str], facts: Optional[LabelFacts] = None
) -> None:
    """Refuse ids that are neither of a class, nor of the rest, nor the ignored one.

    Args:
        labels: Integers of any shape.
        ids: Which ids there may be.
        file: Where they come from, for the error.
        facts: What the data set has done to them. Defaults to None: nothing.
    """
    wrong = ids.find_unknown(labels)
    if wrong.any():
        found = np.unique(labels[wrong]).tolist()
        advice = _advise_on_ids(labels, found, ids, facts or LabelFacts())
        raise DatasetError(
            f'label map {str(file)!r}: expected ids {"from " * (ids.rest_id is None)}'
            f'{ids.describe()}, found {found[:10]} in {int(wrong.sum())} pixels. '
            f'{advice[0].upper()}{advice[1:]}'
        )


def _advise_on_ids(
    labels: np.ndarray, found: Sequence[int], ids: LabelIds, facts: LabelFacts
) -> str:
    """What to do about ids of no class."""
    advice = []
    if facts.label_map:
        keys = sorted(facts.label_map)
        advice.append(f'label_map says nothing of it, only of {keys[:10]}: add it there')
    elif facts.reduces_zero:
        advice.append(
            'it is 1 more in the file, because reduce_zero_label=True takes 1 from each id: leave '
            'that out if classes begin at 0 in the files'
        )
    else:
        if list(found) == [ids.num_classes] and ids.rest_id is None:
            advice.append('if 0 is void and classes begin at 1, set reduce_zero_label=True')
        proposal = propose_label_map(np.unique(labels).tolist(), ids)
        if proposal is not None:
            advice.append(f'if these numbers stand for the classes, {proposal}')
    advice.append(f'if that is a void id, change it to {ids.ignore_index} in the files')
    return '; '.join(advice)


def propose_label_map(values: Sequence[int], ids: LabelIds) -> Optional[str]:
    """Say how to make classes of the numbers in label maps: ``label_map={0: 0, 255: 1}``.

    None if there are not as many numbers as classes, with the ignored one or without it.
    """
    targets = sorted(ids.counted)
    values = sorted(set(values))
    if len(values) == len(targets) + 1:
        values = [value for value in values if value != ids.ignore_index]
    if len(values) != len(targets) or values == targets:
        return None
    return (
        f"put dict(type='LoadLabelMap', label_map={dict(zip(values, targets))}) into the pipeline "
        'in place of LoadAnnotations'
    )


def find_loaders(dataset: BaseDataset) -> List[Any]:
    """The transforms of a pipeline that read images and label maps, also inside of others."""
    steps = each_step(dataset.pipeline)
    return [step.transform for step in steps if loaded_kind(step.transform) is not None]


def read_with(loader: Any, sample: Dict[str, Any], kind: Optional[str] = None) -> Dict[str, Any]:
    """Let a loader read a sample's file: of the kind that its type says by default.

    The errors are those of :func:`read_error`.
    """
    kind = kind or loaded_kind(loader) or 'image'
    try:
        loaded: Optional[Dict[str, Any]] = loader(sample)
        if loaded is None:  # mmcv's loader with ignore_empty=True
            raise ValueError('the loader returned nothing')
    except DatasetError:
        raise
    except Exception as error:  # decoders raise almost any type
        raise read_error(loader, sample.get(_PATHS[kind]), kind, error) from error
    return loaded


def read_error(
    loader: Any, path: Optional[str], kind: str, error: Exception, name: Optional[str] = None
) -> DatasetError:
    """The error of a loader that has failed to read a file.

    Args:
        loader: Has raised ``error``.
        path: Of the file.
        kind: 'image', 'label map' or 'segment map'.
        error: What it has raised.
        name: Of the loader, with its place. Defaults to None: its type.

    Returns:
        An :class:`UnreadableFileError` if the file cannot be read or decoded.
    """
    raised = f'({type(error).__name__}: {error})'
    expected = f'cannot read {kind} {str(path)!r}: expected a file of a picture (PNG, JPEG, ...), '
    if path is None:
        return DatasetError(f'{expected}found no path (is it in data_prefix?) {raised}')
    found = _find_unreadable(loader, path, error)
    if found is None:
        return DatasetError(
            f'{name or type(loader).__name__} cannot load {kind} {str(path)!r}, but not because '
            f'of the file, which can be read {raised}. Look at the arguments of the transform and '
            'at what the data set hands on to it'
        )
    return UnreadableFileError(f'{expected}found {found} {raised}')


def _find_unreadable(loader: Any, path: str, error: Exception) -> Optional[str]:
    """Say what lies where a loader has failed, if that is the reason; else None.

    Only loaders of mmcv and mmseg are known to decode pictures.
    """
    if isinstance(error, MemoryError):
        return None
    try:
        content = fileio.get(path, backend_args=getattr(loader, 'backend_args', None))
    except FileNotFoundError:
        return 'no such file'
    except _OF_SETTINGS:
        return None
    except Exception:  # storage backends raise almost any type
        return 'a file that cannot be opened'
    backend = getattr(loader, 'imdecode_backend', None)
    if not content or (backend is not None and not _can_decode(content, backend)):
        return f'{len(content)} bytes that begin with {bytes(content[:12])!r}'
    return None


def _can_decode(content: bytes, backend: str) -> bool:
    try:
        return mmcv.imfrombytes(content, flag='unchanged', backend=backend) is not None
    except _OF_SETTINGS:
        return True
    except Exception as error:  # decoders raise almost any type
        return 'is not supported' in str(error)  # the backend


def check_label_shape(sample: Dict[str, Any]) -> None:
    """Refuse a label map that has not one channel of whole numbers."""
    labels, where = sample['gt_seg_map'], f'label map {str(sample.get("seg_map_path"))!r}'
    if labels.ndim != 2:
        advice = 'colours must be converted to ids'
        if labels.ndim < 2:
            advice = 'mmseg drops a side of one pixel. Leave the image out, or pad both'
        raise DatasetError(
            f'{where}: expected one channel of class ids, found the shape {labels.shape}: {advice}'
        )
    if labels.dtype.kind not in 'iub':
        raise DatasetError(
            f'{where}: expected ids as whole numbers, found {labels.dtype}. Let the transform that '
            'loads it return integers'
        )


def check_sample(
    sample: Dict[str, Any],
    ids: LabelIds,
    label_map: Optional[Mapping[int, int]] = None,
    orientation: int = 1,
) -> None:
    """Refuse a label map, if there is one, of another size than its image, or with other ids.

    Args:
        sample: What the loaders have filled.
        ids: Which ids there may be.
        label_map: Of the loader, if the data set has none. Defaults to None.
        orientation: EXIF's, which the loader has applied to the image. Defaults to 1: upright.
    """
    labels, file = sample.get('gt_seg_map'), sample.get('seg_map_path')
    if labels is None:
        return
    check_label_shape(sample)
    size = sample.get('ori_shape')
    if size is None and sample.get('img') is not None:
        size = sample['img'].shape
    if size is not None and labels.shape != tuple(size[:2]):
        turned = (
            f'. The image has EXIF orientation {orientation}, which the loader does not apply to '
            'the label map: save the image upright, or draw the label map as that shows it'
        )
        raise DatasetError(
            f'label map {str(file)!r} has {labels.shape[0]} x {labels.shape[1]} pixels, but its '
            f'image {str(sample.get("img_path"))!r} has {size[0]} x {size[1]}'
            f'{turned * (orientation != 1)}'
        )
    label_map = sample.get('label_map') or label_map
    facts = LabelFacts(bool(sample.get('reduce_zero_label')), label_map)
    check_label_ids(labels, ids, file, facts)


def describe_empty(dataset: Any) -> str:
    """Say that a data set has no samples, where it looked for them, and what lies there."""
    folders: List[str] = [str(path) for path in getattr(dataset, 'data_prefix', {}).values()]
    images, labels = (getattr(dataset, key, '') for key in ('img_suffix', 'seg_map_suffix'))
    text = (
        f"the data set {type(dataset).__name__} is empty: expected '*{images}' images with "
        f"'*{labels}' label maps in {' and '.join(map(repr, folders))}, found none"
    )
    if getattr(dataset, 'ann_file', ''):
        return f'{text} that ann_file {str(dataset.ann_file)!r} lists'
    others = count_pictures(folders[0]) if folders else {}
    if not others:
        return text
    listed = ', '.join(f'{count} {suffix!r}' for suffix, count in others.items())
    usual = max(others, key=lambda suffix: others[suffix])
    return f'{text}. There are other pictures ({listed}): set img_suffix={usual!r}'
