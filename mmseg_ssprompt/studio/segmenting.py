"""Label maps, objects and regions of masks that are decoded, for any class names and any size."""

from functools import partial
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from ..label_ids import LabelIds
from ..models.heads.outputs import Resize, instances, panoptic, semantic
from ..models.heads.ssprompt_head import HeadOutput, find_frame
from ..models.segmentors import PromptSegmentor
from ..models.segmentors.resized_masks import resize_masks
from ..prediction.prediction import FoundObject, find_objects, paint_objects

__all__ = [
    'Naming',
    'Segmented',
    'crop_masks',
    'place_in_frame',
    'sample_masks',
    'segment',
    'show_mask',
]

#: Channels of scores that are resized at a time.
_CHANNELS = 4


class Naming(NamedTuple):
    """The classes that masks are told apart by.

    Attributes:
        names: Their C names.
        learned: Of each, whether its semantic prompt was learned.
        label_ids: Which numbers label maps hold.
        classes: Names by the numbers in label maps.
        palette: Colours by the numbers in label maps, RGB from 0 to 255.
        things: The numbers, from 0 on, of the classes of which objects are told apart.
    """

    names: Tuple[str, ...]
    learned: Tuple[bool, ...]
    label_ids: LabelIds
    classes: Tuple[str, ...]
    palette: Sequence[Sequence[int]]
    things: Tuple[int, ...]


class Segmented(NamedTuple):
    """What masks are made into.

    Attributes:
        labels: (H, W) uint8 or uint16, the label map.
        objects: Objects and regions; None where it is a semantic label map.
    """

    labels: np.ndarray
    objects: Optional[List[FoundObject]]


@torch.no_grad()
def segment(
    model: PromptSegmentor,
    output: HeadOutput,
    naming: Naming,
    metainfo: Mapping[str, Any],
    size: Tuple[int, int],
    view: str = 'semantic',
) -> Segmented:
    """Make a label map, or objects, as ``PromptSegmentor.predict`` does, of masks of one image.

    Args:
        model: Whose settings of tests count.
        output: Masks (N, h, w) and their class logits for the C names, (N, C + 1).
        naming: The C names.
        metainfo: Of the data sample.
        size: (H, W) of the result.
        view: One of ``OUTPUTS``. Defaults to 'semantic'.
    """
    settings = model.test_cfg
    frame = find_frame([metainfo])
    sample = SegDataSample(metainfo=dict(metainfo, ori_shape=size))
    as_seem = settings.get('resize') == 'masks'
    resize = partial(resize_masks, frame=frame, metainfo=sample.metainfo, bicubic=as_seem)
    ids = naming.label_ids
    if view == 'semantic':
        scores = semantic(output.mask_logits, output.class_logits, resize if as_seem else None)
        if ids.rest_id is not None:
            scores = torch.cat([1 - scores, scores])
        channels = _find_best(scores, None if as_seem else resize)
        labels: np.ndarray = ids.from_channels(channels).cpu().numpy().astype(ids.dtype)
        return Segmented(labels, None)
    quality = output.quality if settings.predicted_iou else None
    masks = output.mask_logits, output.class_logits
    if view == 'panoptic':
        thresholds = settings.object_mask_threshold, settings.overlap_threshold
        found = panoptic(*masks, naming.things, *thresholds, quality, resize)
        info = dict(segments_info=found.segments_info)
        sample.set_data(dict(pred_panoptic_seg=PixelData(metainfo=info, data=found.data)))
    else:
        best = instances(*masks, naming.things, settings.max_per_image, quality, resize)
        sample.set_data(dict(pred_instances=best))
    objects = find_objects(sample, naming.things)
    return Segmented(paint_objects(objects, size, ids), objects)


def _find_best(scores: Tensor, resize: Optional[Resize]) -> Tensor:
    """The channel with the highest score at each pixel: (K, h, w) -> (H, W) int64.

    As ``argmax``, the first of equal ones. A few are resized at a time, so that memory does not
    grow with their number, and compared one by one, which is several times faster on a CPU.
    """
    best: Any = None
    for start in range(0, len(scores), _CHANNELS):
        chunk = scores[start : start + _CHANNELS]
        for channel, score in enumerate(chunk if resize is None else resize(chunk), start):
            if best is None:
                best, found = score, torch.zeros_like(score, dtype=torch.long)
                continue
            better = score > best
            found.masked_fill_(better, channel)
            best = torch.maximum(best, score)
    return found


@torch.no_grad()
def show_mask(
    model: PromptSegmentor, logits: Tensor, metainfo: Mapping[str, Any], size: Tuple[int, int]
) -> np.ndarray:
    """One mask (h, w) at the size (H, W): its probabilities, float32."""
    meta = dict(metainfo, ori_shape=size)
    as_seem = model.test_cfg.get('resize') == 'masks'
    resized = resize_masks(logits[None], find_frame([metainfo]), meta, as_seem)
    shown: np.ndarray = resized[0].float().sigmoid().cpu().numpy()
    return shown


def place_in_frame(point: Tuple[float, float], metainfo: Mapping[str, Any]) -> Tuple[float, float]:
    """The place in the padded frame of a place (x, y) in the picture, both as fractions."""
    height, width = find_frame([metainfo])
    padding = metainfo.get('img_padding_size', metainfo.get('padding_size', [0] * 4))
    left, right, top, bottom = padding
    x = (left + point[0] * (width - left - right)) / width
    y = (top + point[1] * (height - top - bottom)) / height
    return x, y


def crop_masks(masks: Tensor, metainfo: Mapping[str, Any]) -> Tensor:
    """Masks (N, h, w) without what lies over the padding of the frame."""
    height, width = masks.shape[-2:]
    left, top = place_in_frame((0.0, 0.0), metainfo)
    right, bottom = place_in_frame((1.0, 1.0), metainfo)
    rows = slice(int(top * height), max(round(bottom * height), int(top * height) + 1))
    columns = slice(int(left * width), max(round(right * width), int(left * width) + 1))
    return masks[:, rows, columns]


def sample_masks(masks: Tensor, place: Tuple[float, float]) -> Tensor:
    """The logits of masks (N, h, w) at a place of the frame, (N,), bilinearly."""
    grid = 2 * torch.tensor(place, dtype=masks.dtype, device=masks.device).view(1, 1, 1, 2) - 1
    sampled = torch.nn.functional.grid_sample(
        masks[None], grid, align_corners=False, padding_mode='border'
    )
    return sampled[0, :, 0, 0]
