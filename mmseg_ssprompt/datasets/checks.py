"""What can be wrong with a data set, said before a training step is spent on it."""

import contextlib
import struct
import zlib
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine import fileio
from mmengine.dataset import BaseDataset
from PIL import UnidentifiedImageError

from ..label_ids import LabelIds
from .left_out import count_pictures
from .steps import Step, each_step, find_failed_step

__all__ = [
    'DatasetError',
    'LabelFacts',
    'UnreadableFileError',
    'check_classes',
    'check_label_ids',
    'check_label_shape',
    'check_label_size',
    'check_sample',
    'describe_empty',
    'explain_dataset_errors',
    'find_loaders',
    'loaded_kind',
    'propose_label_map',
    'read_error',
    'read_with',
]


class DatasetError(ValueError):
    """Data that the configured model cannot be trained or tested on."""


class UnreadableFileError(DatasetError):
    """A file that is not there, may not be read, or is no undamaged picture."""


# What decoders raise of a damaged file; a loader of somebody's own may raise others for other
# reasons, such as an AssertionError of its arguments.
_OF_DECODERS = (EOFError, struct.error, zlib.error, cv2.error, UnidentifiedImageError)
# What opening and decoding raise where the settings are wrong and not the file.
_OF_SETTINGS = (ImportError, MemoryError, TypeError, KeyError, NotImplementedError)
_PATHS = {'image': 'img_path', 'label map': 'seg_map_path'}
# What numpy says to mmengine when it packs a list of no samples.
_EMPTY = 'need at least one array to concatenate'


class LabelFacts(NamedTuple):
    """What a data set does to the ids in its label maps, for the advice in errors.

    Attributes:
        reduces_zero: Whether 0 becomes the ignored id and 1 is taken from all others.
        label_map: New ids by those in the files; None if they stay.
    """

    reduces_zero: bool = False
    label_map: Optional[Mapping[int, int]] = None

    @classmethod
    def of(cls, sample: Mapping[str, Any]) -> 'LabelFacts':
        """Those that mmseg's data sets hand on with each sample."""
        return cls(bool(sample.get('reduce_zero_label')), sample.get('label_map'))


@contextlib.contextmanager
def explain_dataset_errors() -> Iterator[None]:
    """Let mmengine's data sets say where they looked for files, and which they cannot read.

    mmengine 0.10 ends with numpy's "need at least one array to concatenate" while an empty data
    set is built, before any hook could look at it. Of a label map that is damaged while a training
    run reads it, Pillow says no name: "image file is truncated". Our own tools, loops and
    :class:`SeededDataset` build and read data sets within this context, and workers of data loaders
    that start in it inherit it. Afterwards data sets are what they were, also after an error.
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
    if step is not None:
        kind = loaded_kind(step.transform)
        if kind is not None:
            return read_error(step.transform, sample.get(_PATHS[kind]), kind, error, str(step))
        for kind in _PATHS if _is_foreign(step.transform) else ():
            path = sample.get(_PATHS[kind])
            if path is not None and _find_unreadable(step.transform, path, error) is not None:
                return read_error(step.transform, path, kind, error, str(step))
    return DatasetError(
        f'a sample of the data set {type(dataset).__name__} does not pass its pipeline: '
        f'{"it" if step is None else step} fails with image {str(sample.get("img_path"))!r}, '
        f'label map {str(sample.get("seg_map_path"))!r} ({type(error).__name__}: {error})'
        f'{_advise(step, error)}'
    )


def _advise(step: Optional[Step], error: Exception) -> str:
    if isinstance(error, MemoryError):
        return '. The memory of this machine does not suffice for it'
    if isinstance(error, KeyError):
        return f'. The sample has no entry {error}: a transform before it has to add it'
    where = 'in its arguments' if step is None else f'in the arguments of {step.name}'
    return f'. Look for the mistake {where}, or in what the transforms before it hand on'


def _is_foreign(transform: Any) -> bool:
    """Whether a transform is neither of mmcv nor of mmseg, nor derived from a loader of theirs."""
    return type(transform).__module__.split('.')[0] not in ('mmcv', 'mmseg', 'mmengine')


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

    Raises:
        DatasetError: If they do not agree, with both lists.
    """
    classes = list(dataset.metainfo.get('classes') or ())
    prompts = list(class_names)
    if len(classes) == len(prompts) and (classes == prompts or set(classes) != set(prompts)):
        return
    problem = (
        'in another order than' if len(classes) == len(prompts) else f'but there are {len(prompts)}'
    )
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

    Raises:
        DatasetError: With the file, the ids, the number of their pixels and what to do, as far as
            it follows from what was found.
    """
    wrong = ids.find_unknown(labels)
    if wrong.any():
        found = np.unique(labels[wrong]).tolist()
        expected = f'{"from " * (ids.rest_id is None)}{ids.describe()}'
        raise DatasetError(
            f'label map {str(file)!r}: expected ids {expected}, found {found[:10]} in '
            f'{int(wrong.sum())} pixels. {_advise_on_ids(labels, found, ids, facts)}'
        )


def _advise_on_ids(
    labels: np.ndarray, found: Sequence[int], ids: LabelIds, facts: Optional[LabelFacts]
) -> str:
    """What to do about ids of no class."""
    facts = facts or LabelFacts()
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
    text = '; '.join(advice)
    return text[0].upper() + text[1:]


def propose_label_map(values: Sequence[int], ids: LabelIds) -> Optional[str]:
    """Say how to make classes of the numbers in label maps: ``label_map={0: 0, 255: 1}``.

    Args:
        values: All numbers that were found.
        ids: Which ids there may be.

    Returns:
        None if there are not as many numbers as classes, with the ignored one or without it.
    """
    targets = sorted(ids.counted)
    values = sorted(set(values))
    if len(values) == len(targets) + 1:
        values = [value for value in values if value != ids.ignore_index]
    if len(values) != len(targets) or values == targets:
        return None
    label_map = dict(zip(values, targets))
    return (
        f"put dict(type='LoadLabelMap', label_map={label_map}) into the pipeline in place of "
        'LoadAnnotations'
    )


def find_loaders(dataset: BaseDataset) -> List[Any]:
    """The transforms of a data set's pipeline that read images and label maps, in its order.

    Also those inside of other transforms, such as ``TestTimeAug``; each only once.
    """
    steps = each_step(dataset.pipeline)
    return [step.transform for step in steps if loaded_kind(step.transform) is not None]


def loaded_kind(transform: Any) -> Optional[str]:
    """What a loader of mmcv or mmseg loads, ``'image'`` or ``'label map'``; None of others."""
    if isinstance(transform, LoadImageFromFile):
        return 'image'
    return 'label map' if isinstance(transform, LoadAnnotations) else None


def read_with(loader: Any, sample: Dict[str, Any], kind: Optional[str] = None) -> Dict[str, Any]:
    """Let a loader of a pipeline read its file.

    Args:
        loader: A ``LoadImageFromFile`` or ``LoadAnnotations``, or one of somebody's own.
        sample: What ``dataset.get_data_info`` gives.
        kind: What it loads: 'image' or 'label map'. Defaults to None: as its type says.

    Raises:
        UnreadableFileError: If the file cannot be read or decoded, with what was found there.
        DatasetError: If the loader fails for another reason.
    """
    kind = kind or loaded_kind(loader) or 'image'
    path = sample.get(_PATHS[kind])
    try:
        loaded: Optional[Dict[str, Any]] = loader(sample)
        if loaded is None:  # mmcv's loader with ignore_empty=True
            raise ValueError('the loader returned nothing')
    except DatasetError:
        raise
    except Exception as error:  # decoders raise almost any type
        raise read_error(loader, path, kind, error) from error
    return loaded


def read_error(
    loader: Any, path: Optional[str], kind: str, error: Exception, name: Optional[str] = None
) -> DatasetError:
    """The error of a loader that has failed: of its file, or of the loader itself.

    Args:
        loader: Has raised ``error``.
        path: Of the file that it was to read.
        kind: 'image' or 'label map'.
        error: What it has raised.
        name: Of the loader, with its place. Defaults to None: its type.

    Returns:
        An :class:`UnreadableFileError` if the file cannot be read or decoded.
    """
    raised = f'({type(error).__name__}: {error})'
    if path is None:
        return DatasetError(
            f'cannot read {kind} {str(path)!r}: expected a file of a picture (PNG, JPEG, ...), '
            f'found no path (is it in data_prefix?) {raised}'
        )
    found = _find_unreadable(loader, path, error)
    if found is None:
        return DatasetError(
            f'{name or type(loader).__name__} cannot load {kind} {str(path)!r}, but not because '
            f'of the file, which can be read {raised}. Look at the arguments of the transform and '
            'at what the data set hands on to it'
        )
    return UnreadableFileError(
        f'cannot read {kind} {str(path)!r}: expected a file of a picture (PNG, JPEG, ...), '
        f'found {found} {raised}'
    )


def _find_unreadable(loader: Any, path: str, error: Exception) -> Optional[str]:
    """Say what lies where a loader has failed, if that is the reason; else None."""
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
    if not content or _is_damaged(content, loader, path, error):
        return f'{len(content)} bytes that begin with {bytes(content[:12])!r}'
    return None


def _is_damaged(content: bytes, loader: Any, path: str, error: Exception) -> bool:
    """Whether a file is the reason why a loader has failed; of foreign ones the error says it."""
    if loaded_kind(loader) is not None and hasattr(loader, 'imdecode_backend'):
        return not _can_decode(content, loader.imdecode_backend)
    return _is_of_file(error, path) and not _can_decode(content, 'cv2')


def _is_of_file(error: Exception, path: str) -> bool:
    """Whether an error is what opening or decoding this very file raises."""
    if isinstance(error, OSError) and not isinstance(error, _OF_DECODERS):
        return error.filename == path or (error.filename is None and error.errno is None)
    return isinstance(error, _OF_DECODERS)


def _can_decode(content: bytes, backend: str) -> bool:
    try:
        return mmcv.imfrombytes(content, flag='unchanged', backend=backend) is not None
    except _OF_SETTINGS:
        return True
    except Exception as error:  # decoders raise almost any type
        return 'is not supported' in str(error)  # the backend


def check_sample(sample: Dict[str, Any], ids: LabelIds) -> None:
    """Check the label map of a sample: one channel, the size of its image, known ids.

    Args:
        sample: What the loaders have filled.
        ids: Which ids there may be.

    Raises:
        DatasetError: With the file, what was expected and what was found.
    """
    labels = sample.get('gt_seg_map')
    if labels is None:
        return
    check_label_shape(sample)
    check_label_size(sample)
    check_label_ids(labels, ids, sample['seg_map_path'], LabelFacts.of(sample))


def check_label_shape(sample: Dict[str, Any]) -> None:
    """Refuse a label map that has not one channel of whole numbers.

    Raises:
        DatasetError: With the file, and the shape or the type.
    """
    labels, file = sample['gt_seg_map'], sample.get('seg_map_path')
    if labels.ndim != 2:
        raise DatasetError(
            f'label map {str(file)!r}: expected one channel of class ids, found the shape '
            f'{labels.shape}: colours must be converted to ids'
        )
    if labels.dtype.kind not in 'iub':
        raise DatasetError(
            f'label map {str(file)!r}: expected ids as whole numbers, found {labels.dtype}. Let '
            'the transform that loads it return integers'
        )


def check_label_size(sample: Dict[str, Any]) -> None:
    """Refuse a label map (H, W) that has not the size of its image.

    Raises:
        DatasetError: With both files and sizes.
    """
    labels, file = sample['gt_seg_map'], sample.get('seg_map_path')
    size = sample.get('ori_shape')
    if size is None and sample.get('img') is not None:
        size = sample['img'].shape
    if size is not None and labels.shape != tuple(size[:2]):
        raise DatasetError(
            f'label map {str(file)!r} has {labels.shape[0]} x {labels.shape[1]} pixels, but its '
            f'image {str(sample.get("img_path"))!r} has {size[0]} x {size[1]}'
        )


def describe_empty(dataset: Any) -> str:
    """Say that a data set has no samples, where it looked for them, and what lies there."""
    folders: List[str] = [str(path) for path in getattr(dataset, 'data_prefix', {}).values()]
    suffixes = [getattr(dataset, key, '') for key in ('img_suffix', 'seg_map_suffix')]
    files = f"'*{suffixes[0]}' images with '*{suffixes[1]}' label maps"
    text = (
        f'the data set {type(dataset).__name__} is empty: expected {files} in '
        f'{" and ".join(map(repr, folders))}, found none'
    )
    if getattr(dataset, 'ann_file', ''):
        return f'{text} that ann_file {str(dataset.ann_file)!r} lists'
    others = count_pictures(folders[0]) if folders else {}
    if not others:
        return text
    listed = ', '.join(f'{count} {suffix!r}' for suffix, count in others.items())
    usual = max(others, key=lambda suffix: others[suffix])
    return f'{text}. There are other pictures ({listed}): set img_suffix={usual!r}'
