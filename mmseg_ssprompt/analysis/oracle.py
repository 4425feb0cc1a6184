"""Oracles: how good the result were if only the labels, or only the masks, were known.

Both paint a label map from a prediction and the ground truth of one image, which is then evaluated
as any other prediction is:

- *best mask, true label*: each class of the image gets the candidate mask that fits it best;
- *true mask, predicted label*: each class region of the image gets one predicted label.

If the first is far above the ordinary prediction, labels limit the result; if the second is, masks
do. Definitions are ours.
"""

from functools import partial
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from ..datasets.checks import DatasetError, check_label_ids
from ..evaluation.grouped_iou_metric import GroupedIoUMetric
from ..label_ids import LabelIds

__all__ = [
    'OracleMaps',
    'label_true_masks',
    'mask_ious',
    'measure_oracle',
    'paint_best_masks',
    'predict_oracle_maps',
    'present_classes',
    'select_best_masks',
]

_MASKS_PER_CHUNK = 16  # that are enlarged to the image's own size at a time
_GROUPS = ('things', 'stuff')


class OracleMaps(NamedTuple):
    """Label maps of one image, each (H, W) int64 at the image's own size.

    Attributes:
        prediction: The ordinary prediction.
        best_mask: The best candidate masks with the true labels.
        true_mask: The true masks with predicted labels.
        label: The ground truth.
    """

    prediction: Tensor
    best_mask: Tensor
    true_mask: Tensor
    label: Tensor


def present_classes(label: Tensor, ignore_index: int) -> Tensor:
    """The K ids in a label map, ascending, without the ignored one: (K,)."""
    ids: Tensor = label.unique()
    return ids[ids != ignore_index]


def mask_ious(masks: Tensor, label: Tensor, ignore_index: int) -> Tensor:
    """IoU of each mask with each class region of an image, over pixels that are not ignored.

    Args:
        masks: (N, H, W) bool.
        label: (H, W) int.
        ignore_index: Label of pixels that do not count.

    Returns:
        (N, K) in [0, 1], one column for each of :func:`present_classes`.
    """
    counted = label != ignore_index
    classes = present_classes(label, ignore_index)
    regions = (label[counted] == classes[:, None]).float()  # (K, P)
    found = masks[:, counted].float()  # (N, P)
    # float32 counts to 2 ** 24 exactly, which is more pixels than a label map of a data set has.
    intersection = found @ regions.t()
    union = found.sum(dim=1, keepdim=True) + regions.sum(dim=1) - intersection
    return intersection / union


def select_best_masks(ious: Tensor) -> Tensor:
    """The best mask of each class.

    Args:
        ious: (N, K), see :func:`mask_ious`.

    Returns:
        (K,) int64: for each class the mask with the highest IoU, the first of them if several
        have it, and -1 if no mask meets the region at all.
    """
    best = ious.argmax(dim=0)
    return torch.where(ious.amax(dim=0) > 0, best, torch.full_like(best, -1))


def paint_best_masks(soft: Tensor, classes: Tensor, no_label: int) -> Tensor:
    """Paint masks that have a class: each pixel gets the class of the highest mask.

    That holds too where all masks are below 0.5. Of equal masks the class with the lower id wins.

    Args:
        soft: (K, H, W) in [0, 1], the mask of each class.
        classes: (K,) class ids, ascending.
        no_label: What all pixels get if K is 0: no class.

    Returns:
        (H, W) int64.
    """
    if len(classes) == 0:
        return torch.full(soft.shape[1:], no_label, dtype=torch.long, device=soft.device)
    return classes.long()[soft.argmax(dim=0)]


def label_true_masks(scores: Tensor, label: Tensor, ignore_index: int) -> Tensor:
    """Give each class region of an image, as a whole, one predicted label.

    It is the class with the highest mean score inside the region; of equal ones the first.

    Args:
        scores: (C, H, W) float, the predicted score of each class.
        label: (H, W) int; its regions are taken, not its ids.
        ignore_index: Label of pixels that do not count; they keep it.

    Returns:
        (H, W) int64.
    """
    painted = torch.full_like(label, ignore_index, dtype=torch.long)
    for class_id in present_classes(label, ignore_index):
        region = label == class_id
        painted[region] = scores[:, region].mean(dim=1).argmax()
    return painted


@torch.no_grad()
def predict_oracle_maps(model: BaseSegmentor, batch: Dict[str, Any]) -> List[OracleMaps]:
    """Predict a batch of a test data loader, and paint the oracles' label maps.

    Everything is compared where mmseg evaluates: in the frame of the label maps, after
    ``postprocess_result`` has taken off padding and flips and has enlarged scores and masks.

    Args:
        model: A ``PromptSegmentor`` with an ``SSPromptHead``, in eval mode.
        batch: What the loader gives, with ground truth.

    Raises:
        DatasetError: If an image has no label map, or one of another size or with unknown ids; or
            the model has one class.
    """
    if model.decode_head.num_classes == 1:
        raise DatasetError(
            'oracles compare masks with the labels of several classes, but decode_head.num_classes '
            'is 1: there is one label for all masks, and the rest has none. Look at IoU instead'
        )
    data = model.data_preprocessor(batch, False)
    head, samples = model.decode_head, data['data_samples']
    output = head(model.extract_feat(data['inputs']))
    semantic = head.predict_by_feat(output, [sample.metainfo for sample in samples])
    soft = output.mask_logits.float().sigmoid()  # (B, N, 4h, 4w)
    return [
        _paint_image(model, sample, semantic[i : i + 1], soft[i : i + 1])
        for i, sample in enumerate(samples)
    ]


def measure_oracle(
    model: BaseSegmentor, batches: Iterable[Dict[str, Any]], metainfo: Mapping[str, Any]
) -> Dict[str, float]:
    """Measure the ordinary prediction and both oracles over a data set.

    Args:
        model: A ``PromptSegmentor`` with an ``SSPromptHead``, in eval mode.
        batches: Batches of the test data loader, with ground truth.
        metainfo: Of the data set; see :class:`GroupedIoUMetric` for the groups.

    Returns:
        ``mIoU``, ``mIoU.best_mask`` and ``mIoU.true_mask`` in percent, as ``GroupedIoUMetric``
        computes them, and each with ``.things`` and ``.stuff`` where the data set has groups.

    Raises:
        DatasetError: As :func:`predict_oracle_maps`.
    """
    names = dict(prediction='mIoU', best_mask='mIoU.best_mask', true_mask='mIoU.true_mask')
    metrics = {field: _make_metric(model, metainfo) for field in names}
    count = 0
    for batch in batches:
        for maps in predict_oracle_maps(model, batch):
            count += 1
            for field, metric in metrics.items():
                metric.process({}, [_as_sample(getattr(maps, field), maps.label)])
    measured = {}
    for field, name in names.items():
        print_log(f'{name}:', logger='current')  # before mmseg's table of the classes
        figures = metrics[field].evaluate(count)
        measured[name] = round(float(figures['mIoU']), 2)  # as mmseg rounds it, in float32
        for group in _GROUPS:
            if f'mIoU.{group}' in figures:
                measured[f'{name}.{group}'] = figures[f'mIoU.{group}']
    return measured


def _make_metric(model: BaseSegmentor, metainfo: Mapping[str, Any]) -> GroupedIoUMetric:
    metric = GroupedIoUMetric(ignore_index=model.decode_head.ignore_index)
    metric.dataset_meta = dict(metainfo)
    return metric


def _as_sample(prediction: Tensor, label: Tensor) -> Dict[str, Any]:
    """What ``IoUMetric.process`` reads of a data sample."""
    return dict(pred_sem_seg=dict(data=prediction[None]), gt_sem_seg=dict(data=label[None]))


def _paint_image(
    model: BaseSegmentor, sample: SegDataSample, semantic: Tensor, soft: Tensor
) -> OracleMaps:
    """The label maps of one image, of scores (1, C, H, W) and soft masks (1, N, 4h, 4w)."""
    ignore_index = model.decode_head.ignore_index
    predicted = _postprocess(model, semantic, sample)
    label = _read_label(sample, model.decode_head.num_classes, ignore_index)
    label = label.to(semantic.device)
    enlarge = partial(_enlarge, model, sample, semantic.shape[-2:])
    ious = [
        mask_ious(enlarge(chunk) > 0.5, label, ignore_index)
        for chunk in soft.split(_MASKS_PER_CHUNK, dim=1)
    ]
    best = select_best_masks(torch.cat(ious))  # (K,)
    classes = present_classes(label, ignore_index)[best >= 0]
    chosen = enlarge(soft[:, best[best >= 0]])
    return OracleMaps(
        prediction=predicted.pred_sem_seg.data[0].long(),
        best_mask=paint_best_masks(chosen, classes, ignore_index),
        true_mask=label_true_masks(predicted.seg_logits.data, label, ignore_index),
        label=label,
    )


def _enlarge(
    model: BaseSegmentor, sample: SegDataSample, frame: Sequence[int], soft: Tensor
) -> Tensor:
    """Soft masks (1, K, 4h, 4w) in the frame of the label map: (K, H, W).

    Enlarged in the two steps in which ``SSPromptHead`` and mmseg enlarge the scores.
    """
    if soft.shape[1] == 0:
        return soft.new_zeros(0, *sample.metainfo['ori_shape'])
    # mmseg takes a single channel for a binary model's and treats it otherwise: never just one.
    doubled = soft.repeat(1, 2, 1, 1) if soft.shape[1] == 1 else soft
    maps = F.interpolate(doubled, size=tuple(frame), mode='bilinear', align_corners=False)
    enlarged: Tensor = _postprocess(model, maps, sample).seg_logits.data
    return enlarged[: soft.shape[1]]


def _postprocess(model: BaseSegmentor, maps: Tensor, sample: SegDataSample) -> SegDataSample:
    """What mmseg makes of maps (1, C, H, W) of the input frame; ``sample`` stays as it is."""
    return model.postprocess_result(maps, [SegDataSample(metainfo=sample.metainfo)])[0]


def _read_label(sample: SegDataSample, num_classes: int, ignore_index: int) -> Tensor:
    """The label map (H, W), int64, of the image's own size."""
    file = sample.metainfo.get('seg_map_path')
    if 'gt_sem_seg' not in sample:
        raise DatasetError(
            f'image {str(sample.metainfo.get("img_path"))!r}: expected a label map to measure '
            'oracles with, found none; put LoadAnnotations into the pipeline of the test data'
        )
    label: Tensor = sample.gt_sem_seg.data[0].long()
    expected = tuple(sample.metainfo['ori_shape'][:2])
    if tuple(label.shape) != expected:
        raise DatasetError(
            f'label map {str(file)!r}: expected the size {expected} of its image, found '
            f'{tuple(label.shape)}; put LoadAnnotations behind Resize in the pipeline'
        )
    check_label_ids(label.cpu().numpy(), LabelIds(num_classes, ignore_index), file)
    return label
