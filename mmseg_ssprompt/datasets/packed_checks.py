"""What leaves a pipeline: whether a model can be trained or tested on it."""

import copy
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..dataset_wrappers import each_dataset, each_layer
from ..draws import draws_of_their_own, seed_draws
from ..label_ids import LabelIds
from .checks import (
    DatasetError,
    LabelFacts,
    UnreadableFileError,
    check_label_ids,
    check_label_shape,
)
from .seeded import SeededDataset
from .steps import each_step, find_failed_step, loaded_kind

__all__ = ['SAMPLES', 'Frame', 'check_batch_sizes', 'check_packed']

#: How many samples of each data set are looked at.
SAMPLES = 3
# In training, other samples replace those for which a pipeline returns None.
_REFETCHES = 20
#: Transforms of mmseg that move pixels and may keep the size.
_TURNS = ('RandomFlip', 'RandomRotate', 'RandomRotFlip')


class Frame(NamedTuple):
    """What the data preprocessor makes of images."""

    size: Optional[Tuple[int, int]] = None  # height and width to which they are padded
    normalises: bool = False  # so that values must count from 0 to 255


class Packed(NamedTuple):
    """A sample as it leaves a pipeline, one view of it."""

    image: Optional[Tensor]  # (3, H, W); None of embedded samples
    sample: Any  # a SegDataSample


def check_packed(
    dataset: Any, ids: LabelIds, name: str, training: bool, frame: Optional[Frame] = None
) -> List[Packed]:
    """Let the first samples of each data set pass the whole pipeline, and look at what leaves it.

    The data set and the generators of random numbers stay as they are.

    Args:
        dataset: A data set, or a wrapper.
        ids: Which ids label maps may have.
        name: The split, for errors: 'training', 'validation' or 'test'.
        training: Whether label maps must lie on the images that leave the pipeline; otherwise on
            the original ones, whose size predictions have.
        frame: What the data preprocessor makes of images. Defaults to None: not known.

    Returns:
        The samples. Those whose files cannot be read are left out.

    Raises:
        DatasetError: With the sample or the transform, what was expected and what was found.
    """
    found: List[Packed] = []
    with draws_of_their_own():
        for part in _each_part(dataset):
            for layer in each_layer(part):
                _check_order(layer, name, training)
            _check_mixing(part, name)
            if hasattr(part, 'max_refetch'):
                part = copy.copy(part)
                part.max_refetch = _REFETCHES
            for index in range(min(SAMPLES, len(part))):
                seed_draws(index)
                found += _pack(part, index, name)
    needed = [] if training else ['ori_shape', 'img_shape']
    layers = each_layer(dataset)
    steps = [step for layer in layers for step in each_step(getattr(layer, 'pipeline', []))]
    if not training and any(step.name == 'RandomFlip' for step in steps):
        needed += ['flip', 'flip_direction']
    for packed in found:
        if packed.image is not None:
            _check_image(packed, name, frame or Frame())
            _check_metainfo(packed, name, needed)
        if 'gt_sem_seg' in packed.sample:
            _check_labels(packed, ids, name, training)
        if 'gt_segments' in packed.sample:
            segments = packed.sample.gt_segments
            _check_size(packed, segments.data.shape[-2:], 'segment map', name, training)
        elif training and 'gt_sem_seg' not in packed.sample:
            raise DatasetError(
                f'{name} data, image {_file(packed, "img_path")}: expected a label map to train '
                "with, found none. Put dict(type='LoadAnnotations') into the pipeline, before it "
                "is packed; of objects dict(type='LoadSegments'), and dict(type="
                "'PackSegmentInputs') at its end"
            )
    return found


def _each_part(dataset: Any) -> Iterator[Any]:
    """The data sets that are read one after the other."""
    if isinstance(getattr(dataset, 'datasets', None), (list, tuple)):
        for inner in dataset.datasets:
            yield from _each_part(inner)
    elif isinstance(dataset, SeededDataset):
        yield from _each_part(dataset.dataset)
    else:
        yield dataset


def _check_order(dataset: Any, name: str, training: bool) -> None:
    """Refuse a label map that is loaded on the wrong side of what turns images.

    In training that comes after the label map; in validation before it, because predictions are
    turned back. Sizes say nothing of it, and it may not be drawn in the first samples.
    """
    steps = list(each_step(getattr(dataset, 'pipeline', [])))
    kinds = [loaded_kind(step.transform) for step in steps]
    loaders = [i for i, kind in enumerate(kinds) if kind in ('label map', 'segment map')]
    if not loaders:
        return
    first = loaders[0]
    for step in steps[:first] if training else steps[first:]:
        if step.name in _TURNS:
            place = 'before' if training else 'after'
            raise DatasetError(
                f'the {name} data set {type(dataset).__name__}: expected {steps[first]} {place} '
                f'{step}, which turns images, found it {"after" if training else "before"} it: '
                f'label maps would not lie on {"their" if training else "the original"} images'
            )


def _check_mixing(dataset: Any, name: str) -> None:
    """Refuse transforms that make one image of several where these have segments."""
    layers = each_layer(dataset)
    steps = [step for layer in layers for step in each_step(getattr(layer, 'pipeline', []))]
    mixes = [step for step in steps if hasattr(step.transform, 'get_indices')]
    if mixes and any(loaded_kind(step.transform) == 'segment map' for step in steps):
        raise DatasetError(
            f'the {name} data set {type(dataset).__name__}: {mixes[0].name} makes one image of '
            'several, whose segments have the same numbers: those of one would become those of '
            'another. Leave it out'
        )


def _pack(dataset: Any, index: int, name: str) -> Iterator[Packed]:
    """The views of a sample, one without test-time augmentation."""
    where = f'{name} data, sample {index} of {type(dataset).__name__}'
    try:
        result = dataset[index]
    except UnreadableFileError:
        return  # which is said, or counted, where files are looked at
    except DatasetError:
        raise
    except Exception as error:  # transforms raise almost any type
        step = find_failed_step(getattr(dataset, 'pipeline', []), error)
        raise DatasetError(
            f'{where} does not pass its pipeline: {step or "it"} fails '
            f'({type(error).__name__}: {error})'
            f'{"" if step else ". Let each transform return a sample"}'
        ) from error
    if not isinstance(result, Mapping) or not {'inputs', 'data_samples'} <= set(result):
        found = list(result) if isinstance(result, Mapping) else f'a {type(result).__name__}'
        raise DatasetError(
            f"{where}: expected 'inputs' and 'data_samples' from the pipeline, found {found}. End "
            "it with dict(type='PackSegInputs')"
        )
    images, samples = result['inputs'], result['data_samples']
    if not isinstance(samples, (list, tuple)):
        images, samples = [images], [samples]
    is_embedded = any(hasattr(leaf, 'recipe') for leaf in each_dataset(dataset))
    for image, sample in zip(images, samples):
        yield Packed(None if is_embedded else image, sample)


def _file(packed: Packed, key: str) -> str:
    return repr(str(packed.sample.metainfo.get(key)))


def _check_image(packed: Packed, name: str, frame: Frame) -> None:
    where = f'{name} data, image {_file(packed, "img_path")}, as it leaves the pipeline'
    image: Any = packed.image
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype == torch.bool or image.is_complex():
        raise DatasetError(
            f'{where}: expected numbers (3, H, W), found {image.dtype} {tuple(image.shape)}'
        )
    values = image.float()
    if not values.isfinite().all():
        bad = int((~values.isfinite()).sum())
        raise DatasetError(f'{where}: {bad} of {values.numel()} values are NaN or infinite')
    low, high = values.min().item(), values.max().item()
    if frame.normalises and (low < 0 or high > 255 or (high <= 1 and high > low)):
        raise DatasetError(
            f'{where}: expected values from 0 to 255, as model.data_preprocessor.mean and std '
            f'say, found {low:.3g} to {high:.3g}. Leave out of the pipeline the transform that '
            'scales or normalises them, because model.data_preprocessor does that'
        )
    size = frame.size
    if size is not None and (image.shape[1] > size[0] or image.shape[2] > size[1]):
        raise DatasetError(
            f'{where}: expected at most {size[0]} x {size[1]} (height x width), the size of '
            f'model.data_preprocessor, found {image.shape[1]} x {image.shape[2]}. Put '
            f"dict(type='Resize', scale={size[::-1]}, keep_ratio=True) into the pipeline"
        )


def _check_metainfo(packed: Packed, name: str, needed: Sequence[str]) -> None:
    missing = [key for key in needed if key not in packed.sample.metainfo]
    if missing:
        raise DatasetError(
            f'{name} data, image {_file(packed, "img_path")}: expected {needed} in what is packed, '
            f'with which a prediction is brought back to the image; {missing} are not there. Leave '
            'out meta_keys of PackSegInputs, or add them; a loader of your own has to set '
            'ori_shape and img_shape'
        )


def _check_labels(packed: Packed, ids: LabelIds, name: str, training: bool) -> None:
    metainfo, labels = packed.sample.metainfo, packed.sample.gt_sem_seg.data
    labels = (labels[0] if len(labels) == 1 else labels).numpy()
    check_label_shape(dict(metainfo, gt_seg_map=labels))
    _check_size(packed, labels.shape, 'label map', name, training)
    facts = LabelFacts(bool(metainfo.get('reduce_zero_label')))
    check_label_ids(labels, ids, metainfo.get('seg_map_path'), facts)


def _check_size(packed: Packed, shape: Sequence[int], what: str, name: str, training: bool) -> None:
    """Refuse a map of another size than its image or, in validation, than the original one."""
    if packed.image is None:
        return
    loader = 'LoadAnnotations' if what == 'label map' else 'LoadSegments'
    size, image, place = tuple(packed.image.shape[1:]), 'its image', 'before'
    if not training:
        size, place = tuple(packed.sample.metainfo['ori_shape'][:2]), 'after'
        image = 'the original image, whose size predictions have,'
    if tuple(shape) != size:
        raise DatasetError(
            f'{name} data, {what} {_file(packed, "seg_map_path")} is {_text(shape)} (height x '
            f'width) as it leaves the pipeline, but {image} {_file(packed, "img_path")} is '
            f'{_text(size)}. Put {loader} {place} what changes sizes, and let each transform of '
            'your own change both'
        )


def _text(size: Sequence[int]) -> str:
    return f'{size[0]} x {size[1]}'


def check_batch_sizes(packed: Sequence[Packed], batch_size: int, key: str) -> None:
    """Refuse batches of images of several sizes in validation and test, which mmseg refuses later.

    Args:
        packed: Some samples.
        batch_size: Of the data loader.
        key: Where the config has it.
    """
    sizes: Dict[Tuple[int, ...], str] = {}
    for each in packed:
        if each.image is not None:
            sizes.setdefault(tuple(each.image.shape[1:]), _file(each, 'img_path'))
    if batch_size > 1 and len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise DatasetError(
            f'{key}.batch_size is {batch_size}, but images leave the pipeline in several sizes: '
            f'{one} as {_text(first)}, {other} as {_text(second)}. Set {key}.batch_size=1, or '
            'pad them to one size'
        )
