"""What leaves a pipeline: whether a model can be trained or tested on it."""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..dataset_wrappers import each_dataset
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
from .steps import SIZES_KEY, Sizes, Trace, find_failed_step, follow

__all__ = ['SAMPLES', 'Frame', 'check_batch_sizes', 'check_packed']

#: How many samples of each data set are looked at.
SAMPLES = 3
# In training others are taken for samples of which a pipeline makes nothing.
_REFETCHES = 20
# What a prediction is brought back to the original image with.
_NEEDED = ('ori_shape', 'img_shape')


class Frame(NamedTuple):
    """What the data preprocessor makes of images.

    Attributes:
        size: Height and width to which they are padded; None if they may have any.
        normalises: Whether a mean is subtracted, so that values must count from 0 to 255.
    """

    size: Optional[Tuple[int, int]] = None
    normalises: bool = False


class Packed(NamedTuple):
    """A sample as it leaves a pipeline, one view of it.

    Attributes:
        image: (3, H, W); None of embedded samples.
        sample: A ``SegDataSample``.
        seen: What was seen of it on its way.
    """

    image: Optional[Tensor]
    sample: Any
    seen: Sizes


def check_packed(
    dataset: Any, ids: LabelIds, name: str, training: bool, frame: Optional[Frame] = None
) -> List[Packed]:
    """Let the first samples of each data set pass the whole pipeline, and look at what leaves it.

    The data set, its transforms and the generators of random numbers stay as they are.

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
        DatasetError: With the sample, and the transform after which sizes part or that fails.
    """
    found: List[Packed] = []
    with draws_of_their_own():
        for part in _each_part(dataset):
            trace = Trace(training)
            followed = follow(part, trace)
            if hasattr(followed, 'max_refetch'):
                followed.max_refetch = _REFETCHES
            for index in range(min(SAMPLES, len(part))):
                seed_draws(index)
                found += _pack(followed, index, trace, name)
    for packed in found:
        _Check(packed, ids, name, training, frame or Frame()).run()
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


def _pack(dataset: Any, index: int, trace: Trace, name: str) -> Iterator[Packed]:
    trace.begin()
    where = f'{name} data, sample {index} of {type(dataset).__name__}'
    try:
        result = dataset[index]
    except UnreadableFileError:
        return  # which is said, or counted, where files are looked at
    except DatasetError:
        raise
    except Exception as error:  # transforms raise almost any type
        raise _explain(dataset, where, trace, error) from error
    if trace.mistake is not None:
        raise DatasetError(f'{name} data: {trace.mistake}')
    if result is None:
        raise _explain(dataset, where, trace, None)
    for image, sample, seen in _unpack(result, where, trace):
        yield Packed(None if is_embedded(dataset) else image, sample, seen)


def _explain(dataset: Any, where: str, trace: Trace, error: Optional[Exception]) -> DatasetError:
    if trace.ended_by is not None:
        return DatasetError(
            f'{where}: expected a sample from each transform, but {trace.ended_by} returned None '
            f'({"of each of some samples" if error else "of this one"}). Let it return the sample, '
            'or change what it refuses'
        )
    step = None if error is None else find_failed_step(getattr(dataset, 'pipeline', []), error)
    return DatasetError(
        f'{where} does not pass its pipeline: {"it" if step is None else step} fails '
        f'({type(error).__name__}: {error})'
    )


def _unpack(result: Any, where: str, trace: Trace) -> Iterator[Tuple[Any, Any, Sizes]]:
    """The views of a sample, one without test-time augmentation."""
    if not isinstance(result, Mapping) or not {'inputs', 'data_samples'} <= set(result):
        found: Any = f'a {type(result).__name__}'
        if isinstance(result, Mapping):
            found = [key for key in result if key != SIZES_KEY]
        raise DatasetError(
            f"{where}: expected 'inputs' and 'data_samples' from the pipeline, found {found}. End "
            "it with dict(type='PackSegInputs')"
        )
    images, samples = result['inputs'], result['data_samples']
    if not isinstance(samples, (list, tuple)):
        images, samples = [images], [samples]
    yield from zip(images, samples, [*trace.packed, *[Sizes()] * len(samples)])


class _Check(NamedTuple):
    """The checks of one packed sample."""

    packed: Packed
    ids: LabelIds
    name: str
    training: bool
    frame: Frame

    def _file(self, key: str) -> str:
        return repr(str(self.packed.sample.metainfo.get(key)))

    def run(self) -> None:
        """Raise a :class:`DatasetError` of the first thing that is wrong."""
        if self.packed.image is not None:
            self._check_image(self.packed.image)
        if not self.training:
            self._check_metainfo()
        if 'gt_sem_seg' in self.packed.sample:
            self._check_labels(self.packed.sample.gt_sem_seg.data)
        elif self.training:
            raise DatasetError(
                f'{self.name} data, image {self._file("img_path")}: expected a label map to train '
                "with, found none. Put dict(type='LoadAnnotations') into the pipeline, before it "
                'is packed'
            )

    def _check_image(self, image: Tensor) -> None:
        where = f'{self.name} data, image {self._file("img_path")}, as it leaves the pipeline'
        if image.ndim != 3 or image.shape[0] != 3:
            raise DatasetError(f'{where}: expected (3, H, W), found {tuple(image.shape)}')
        if image.dtype == torch.bool or image.is_complex():
            raise DatasetError(f'{where}: expected numbers, found {image.dtype}')
        self._check_values(where, image.float())
        size = self.frame.size
        if size is not None and (image.shape[1] > size[0] or image.shape[2] > size[1]):
            raise DatasetError(
                f'{where}: expected at most {size[0]} x {size[1]} (height x width), the size of '
                f'model.data_preprocessor, found {image.shape[1]} x {image.shape[2]}. Put '
                f"dict(type='Resize', scale={size[::-1]}, keep_ratio=True) into the pipeline"
            )

    def _check_values(self, where: str, image: Tensor) -> None:
        if not image.isfinite().all():
            bad = int((~image.isfinite()).sum())
            raise DatasetError(f'{where}: {bad} of {image.numel()} values are NaN or infinite')
        low, high = image.min().item(), image.max().item()
        is_scaled = low < 0 or high > 255 or (high <= 1 and high > low)
        if self.frame.normalises and is_scaled:
            raise DatasetError(
                f'{where}: expected values from 0 to 255, as model.data_preprocessor.mean and std '
                f'say, found {low:.3g} to {high:.3g}. Leave out of the pipeline the transform that '
                'scales or normalises them, because model.data_preprocessor does that'
            )

    def _check_metainfo(self) -> None:
        metainfo = self.packed.sample.metainfo
        needed = [*_NEEDED, *(['flip', 'flip_direction'] if self.packed.seen.flipped else [])]
        missing = [key for key in needed if key not in metainfo]
        if missing and self.packed.image is not None:
            raise DatasetError(
                f'{self.name} data, image {self._file("img_path")}: expected {needed} in what is '
                'packed, with which a prediction is brought back to the image; '
                f'{missing} are not there. Leave out meta_keys of PackSegInputs, or add them; a '
                'loader of your own has to set ori_shape and img_shape'
            )

    def _check_labels(self, labels: Tensor) -> None:
        where = f'{self.name} data, label map {self._file("seg_map_path")}'
        metainfo, ids = self.packed.sample.metainfo, (labels[0] if len(labels) == 1 else labels)
        check_label_shape(dict(metainfo, gt_seg_map=ids.numpy()))
        if self.packed.image is not None:
            self._check_sizes(where, tuple(ids.shape), tuple(self.packed.image.shape[1:]))
        facts = LabelFacts(bool(metainfo.get('reduce_zero_label')))
        check_label_ids(ids.numpy(), self.ids, metainfo.get('seg_map_path'), facts)

    def _check_sizes(self, where: str, labels: Tuple[int, ...], image: Tuple[int, ...]) -> None:
        seen = self.packed.seen
        expected, what = image, 'its image'
        if not self.training:
            original = self.packed.sample.metainfo.get('ori_shape') or seen.original or image
            expected, what = tuple(original[:2]), 'the original image, whose size predictions have,'
        if labels != expected:
            raise DatasetError(
                f'{where} is {_text(labels)} (height x width), but {what} '
                f'{self._file("img_path")} is {_text(expected)}{self._explain()}'
            )
        if seen.moved_by:
            raise DatasetError(f'{where} does not lie on its image{self._explain()}')

    def _explain(self) -> str:
        """After which transform they part, and where to put what."""
        seen = self.packed.seen
        if self.training and seen.moved_by:
            first = seen.moved_by[0]
            return f' after {", ".join(seen.moved_by)}. Put {seen.loaded_by} before {first}'
        if not self.training and seen.moved_by:
            names = ', '.join(seen.moved_by)
            return f', because {names} changes it. Put {seen.loaded_by} after {names}'
        if seen.parted_by is None or seen.parted_by == seen.loaded_by:
            return ', as they lie in the files: give each image a label map of its size'
        return f': {seen.parted_by}. Let it change both, or leave it out'


def _text(size: Sequence[int]) -> str:
    return f'{size[0]} x {size[1]}'


def check_batch_sizes(packed: Sequence[Packed], batch_size: int, key: str) -> None:
    """Refuse batches of images of several sizes in validation and test, which mmseg refuses later.

    Args:
        packed: Some samples.
        batch_size: The data loader's.
        key: Where the config has the data loader.

    Raises:
        DatasetError: With two images.
    """
    sizes: Dict[Tuple[int, ...], str] = {}
    for each in packed:
        if each.image is not None:
            file = str(each.sample.metainfo.get('img_path'))
            sizes.setdefault(tuple(each.image.shape[1:]), file)
    if batch_size > 1 and len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise DatasetError(
            f'{key}.batch_size is {batch_size}, but images leave the pipeline in several sizes: '
            f'{one!r} as {_text(first)}, {other!r} as {_text(second)}. Set {key}.batch_size=1, or '
            'pad them to one size'
        )


def is_embedded(dataset: Any) -> bool:
    """Whether a data set gives embeddings in place of images."""
    return any(hasattr(leaf, 'recipe') for leaf in each_dataset(dataset))
