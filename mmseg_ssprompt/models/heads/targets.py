"""What the loss is shown of a batch: segments, of annotated ones or of label maps."""

from typing import Any, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmseg.utils import SampleList
from torch import Tensor

from ...label_ids import LabelIds
from ...segments import IGNORED, NO_CLASS, UNKNOWN, Segments, segments_of_label_maps

__all__ = ['count_targets', 'stack_segments']


def stack_segments(samples: SampleList, label_ids: LabelIds) -> Segments:
    """The segments of a batch: of each sample's ``gt_segments``, or else of its label map.

    Crowds become ignored pixels. Maps are padded with ``IGNORED`` as their images were
    (``padding_size``), and classes with ``NO_CLASS`` to the largest number of segments.

    Args:
        samples: Of training; label maps are padded already.
        label_ids: Which numbers label maps hold; their ``num_classes`` holds for all.

    Raises:
        ValueError: If a sample has neither, a map is of another size than its image, or a segment
            has a class that is none.
    """
    if not any('gt_segments' in sample for sample in samples):
        label_maps = torch.stack([_label_map(sample) for sample in samples])
        return segments_of_label_maps(label_maps, label_ids)
    parts = [_segments_of_sample(sample, label_ids) for sample in samples]
    most = max(len(classes) for _, classes in parts)
    classes = torch.tensor([own + [NO_CLASS] * (most - len(own)) for _, own in parts])
    device = parts[0][0].device
    if device.type == 'cuda':
        classes = classes.pin_memory()  # so that the copy does not wait for the device
    return Segments(torch.stack([maps for maps, _ in parts]), classes.to(device, non_blocking=True))


def count_targets(sample: Any) -> int:
    """How many segments of a sample are to be found, of its ``gt_segments``; 0 without any."""
    if 'gt_segments' not in sample:
        return 0
    infos = sample.gt_segments.metainfo['segments_info']
    return sum(info['category_id'] != NO_CLASS and not info['iscrowd'] for info in infos)


def _segments_of_sample(sample: Any, label_ids: LabelIds) -> Tuple[Tensor, List[int]]:
    """The map (H, W) of a sample and the class of each segment, without crowds."""
    if 'gt_segments' not in sample:
        (label_map,), present = segments_of_label_maps(_label_map(sample)[None], label_ids)
        count = label_ids.num_classes
        return label_map, [*range(count), *([NO_CLASS] * (present.shape[1] - count))]
    infos: Sequence[Any] = sample.gt_segments.metainfo['segments_info']
    wrong = {
        info['id']: info['category_id']
        for info in infos
        if info['category_id'] not in range(NO_CLASS, label_ids.num_classes)
    }
    if wrong:
        raise ValueError(
            f'gt_segments of {_name(sample)}: expected category_id from 0 to '
            f'{label_ids.num_classes - 1}, the {label_ids.num_classes} classes, or {NO_CLASS}, '
            f'found, by id, {wrong}'
        )
    numbers = sample.gt_segments.data.squeeze(0).long()
    _check_size(sample, tuple(numbers.shape))
    crowds = [number for number, info in enumerate(infos) if info['iscrowd']]
    classes = [NO_CLASS if info['iscrowd'] else int(info['category_id']) for info in infos]
    # A batch has other numbers of segments: those of this sample that it lacks must not become one.
    known = (numbers >= IGNORED) & (numbers < len(infos))
    numbers = torch.where(known, numbers, numbers - UNKNOWN)
    for crowd in crowds:
        numbers = numbers.masked_fill(numbers == crowd, IGNORED)
    padding = sample.metainfo.get('padding_size') or (0, 0, 0, 0)
    padded: Tensor = F.pad(numbers, tuple(padding), value=IGNORED)
    return padded, classes


def _check_size(sample: Any, found: Tuple[int, ...]) -> None:
    """Refuse a map of another size than its image, before both are padded."""
    expected = tuple(sample.metainfo['img_shape'])[:2]
    if found != expected:
        raise ValueError(
            f'gt_segments of {_name(sample)}: expected the size of the image, {expected}, found '
            f'{found}. Let LoadSegments stand before Resize and RandomCrop in the pipeline of '
            'training'
        )


def _label_map(sample: Any) -> Tensor:
    if 'gt_sem_seg' not in sample:
        raise ValueError(
            f'the sample of {_name(sample)} has no labels: expected gt_sem_seg, of '
            'LoadAnnotations, or gt_segments, of LoadSegments, in the pipeline of training'
        )
    label_map: Tensor = sample.gt_sem_seg.data.squeeze(0)
    return label_map


def _name(sample: Any) -> str:
    return repr(str(sample.metainfo.get('img_path')))
