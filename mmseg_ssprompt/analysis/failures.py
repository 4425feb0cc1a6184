"""What goes wrong in an image: labels, masks, or both.

All counts are of *labelled* pixels: those whose ground truth is a class, not the ignored id. The
region of a class in an image is all of its labelled pixels ``G_c``, however many objects they
are. ``P_c`` is the labelled pixels that are predicted as ``c``. The candidate masks are those of
all prompts, whatever their labels, at probability above 0.5, as ``B_n``.
A mask *fits* a region if ``IoU(B_n, G_c) >= 0.5``. Each region is of one kind, by the first line
that holds:

``found``
    ``IoU(P_c, G_c) >= 0.5``.
``wrong label``
    Some candidate mask fits. The mask was there, and other labels were given: to this mask, or,
    with the right label on it, to stronger masks that overlay it (``outvoted``).
``wrong mask``
    No candidate mask fits, but the class is predicted somewhere in the image (``P_c`` is not
    empty): the label is present, on masks that are poor.
``missed``
    No candidate mask fits, and the class is not predicted at all.

A wrong pixel is one whose prediction is not its ground truth. It lies in the region of exactly
one class, and counts for that region's kind; the shares of the four kinds therefore add up to
all wrong pixels. Those of found regions are mostly borders.

Two cautions. A mask that fits one of several objects of a class does not fit the class's region,
so for classes of many small objects "wrong mask" and "missed" are upper bounds of what the masks
do wrong. And the threshold of 0.5 makes kinds of what is gradual: a fit of 0.49 counts as no fit.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

import numpy as np
import torch
from mmseg.evaluation import IoUMetric
from torch import Tensor

from .oracle import mask_ious, present_classes
from .segmentation import ImageSegmentation

__all__ = [
    'ERROR_TYPES',
    'FailureTotals',
    'ImageFailures',
    'Region',
    'analyse_image',
    'classify_regions',
    'map_errors',
]

#: What becomes of a region of the ground truth.
ERROR_TYPES = ('found', 'wrong label', 'wrong mask', 'missed')
#: Ids of :func:`map_errors`: a correct pixel, then the error types from 1 on.
CORRECT = 0
FIT = 0.5


class Region(NamedTuple):
    """All pixels of one class in one image.

    Attributes:
        class_id: The class.
        kind: One of :data:`ERROR_TYPES`.
        pixels: Its labelled pixels.
        wrong_pixels: Those that are predicted as another class.
        iou: Of what is predicted as this class with the region.
        best_mask: Number of the candidate mask that fits best.
        best_mask_iou: Its IoU with the region.
        best_mask_label: Its own label, ``C`` for "no object".
    """

    class_id: int
    kind: str
    pixels: int
    wrong_pixels: int
    iou: float
    best_mask: int
    best_mask_iou: float
    best_mask_label: int

    @property
    def outvoted(self) -> bool:
        """Whether the mask that fits best has the right label, which others overlaid."""
        return self.kind == 'wrong label' and self.best_mask_label == self.class_id


class ImageFailures(NamedTuple):
    """What one image says.

    Attributes:
        intersections: (C,) int64, pixels rightly predicted as each class.
        unions: (C,) int64, pixels that are or are predicted as each class.
        regions: Those of the classes of the ground truth.
        errors: (H, W) uint8, see :func:`map_errors`.
    """

    intersections: np.ndarray
    unions: np.ndarray
    regions: List[Region]
    errors: np.ndarray

    @property
    def miou(self) -> float:
        """Mean IoU in percent of the classes that are in the ground truth or predicted."""
        return _mean_iou(self.intersections, self.unions)


def analyse_image(
    image: ImageSegmentation, truth: Tensor, ignore_index: int = 255
) -> ImageFailures:
    """Compare prediction and candidate masks of an image with its ground truth.

    Args:
        image: The segmentation.
        truth: (H, W) int64 class ids at the image's own size.
        ignore_index: The id that does not count. Defaults to 255.

    Raises:
        ValueError: If prediction and truth differ in size, no pixel is labelled, or the model has
            one class.
    """
    truth = truth.to(image.prediction.device)
    if truth.shape != image.prediction.shape:
        raise ValueError(
            f'the ground truth has {tuple(truth.shape)} pixels, the prediction '
            f'{tuple(image.prediction.shape)}: LoadAnnotations must come after Resize in the '
            'pipeline, as in the test pipelines of the configs that come with the package'
        )
    if (truth == ignore_index).all():
        raise ValueError(f'no pixel of the ground truth is labelled: all are {ignore_index}')
    num_classes = image.class_scores.shape[-1] - 1
    if num_classes == 1:
        raise ValueError(
            'failures are regions that get the label of another class, but the model has one '
            'class: look at IoU and at the masks (mmseg-ssprompt masks) instead'
        )
    fits = _fits(image, truth, num_classes, ignore_index)  # (N, C)
    labels = image.class_scores.argmax(dim=-1)
    intersections, unions, _, _ = IoUMetric.intersect_and_union(
        image.prediction, truth, num_classes, ignore_index
    )
    regions = classify_regions(image.prediction, truth, fits, labels, ignore_index)
    errors = map_errors(image.prediction, truth, regions, ignore_index)
    return ImageFailures(
        intersections.numpy().astype(np.int64),
        unions.numpy().astype(np.int64),
        regions,
        errors.cpu().numpy(),
    )


def _fits(image: ImageSegmentation, truth: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """IoU of each candidate mask with the region of each class, 0 of absent ones: (N, C)."""
    ious = torch.cat(
        [mask_ious(masks > 0.5, truth, ignore_index) for masks in image.masks_at_image_size()]
    )
    fits = ious.new_zeros(len(ious), num_classes)
    return fits.index_copy(1, present_classes(truth, ignore_index), ious)


def classify_regions(
    prediction: Tensor, truth: Tensor, fits: Tensor, labels: Tensor, ignore_index: int = 255
) -> List[Region]:
    """Say of each class of the ground truth how its region failed; see the module's text.

    Args:
        prediction: (H, W) int64 class ids.
        truth: (H, W) int64 class ids.
        fits: (N, C) IoU of each candidate mask with each class's region.
        labels: (N,) int64 label of each candidate mask, ``C`` for "no object".
        ignore_index: The id that does not count. Defaults to 255.
    """
    labelled = truth != ignore_index
    prediction, truth = prediction[labelled], truth[labelled]
    regions = []
    for class_id in truth.unique().tolist():
        region, predicted = truth == class_id, prediction == class_id
        iou = float((region & predicted).sum() / (region | predicted).sum())
        best = int(fits[:, class_id].argmax())
        best_iou = float(fits[best, class_id])
        regions.append(
            Region(
                class_id=class_id,
                kind=_kind(iou, best_iou, bool(predicted.any())),
                pixels=int(region.sum()),
                wrong_pixels=int((region & ~predicted).sum()),
                iou=iou,
                best_mask=best,
                best_mask_iou=best_iou,
                best_mask_label=int(labels[best]),
            )
        )
    return regions


def _kind(iou: float, best_mask_iou: float, is_predicted: bool) -> str:
    if iou >= FIT:
        return 'found'
    if best_mask_iou >= FIT:
        return 'wrong label'
    return 'wrong mask' if is_predicted else 'missed'


def map_errors(
    prediction: Tensor, truth: Tensor, regions: Sequence[Region], ignore_index: int = 255
) -> Tensor:
    """Where an image is wrong, and of which kind.

    Returns:
        (H, W) uint8: 0 where the prediction is right, ``1 + ERROR_TYPES.index(kind)`` where it is
        wrong, and 255 where the ground truth is ignored.
    """
    errors = torch.full_like(truth, CORRECT, dtype=torch.uint8)
    wrong = prediction != truth
    for region in regions:
        errors[wrong & (truth == region.class_id)] = 1 + ERROR_TYPES.index(region.kind)
    errors[truth == ignore_index] = 255
    return errors


class FailureTotals:
    """Adds up the images of a data set.

    Args:
        class_names: The C names.
        groups: Class ids by group, such as things and stuff.
    """

    def __init__(self, class_names: Sequence[str], groups: Mapping[str, Sequence[int]]) -> None:
        self.class_names = list(class_names)
        self.groups = groups
        count = len(self.class_names)
        self._intersections = np.zeros(count, np.int64)
        self._unions = np.zeros(count, np.int64)
        self._pixels = np.zeros(count, np.int64)
        self._wrong = np.zeros((count, len(ERROR_TYPES)), np.int64)
        self._regions = np.zeros((count, len(ERROR_TYPES)), np.int64)
        self._outvoted = 0

    def add(self, image: ImageFailures) -> None:
        """Count one image."""
        self._intersections += image.intersections
        self._unions += image.unions
        for region in image.regions:
            place = (region.class_id, ERROR_TYPES.index(region.kind))
            self._pixels[region.class_id] += region.pixels
            self._wrong[place] += region.wrong_pixels
            self._regions[place] += 1
            self._outvoted += region.outvoted

    def report(self) -> Dict[str, Any]:
        """Figures of the data set; IoU in percent, NaN where a class is nowhere.

        Returns:
            ``mIoU`` (mmseg's: of the areas of all images), ``mIoU_by_group``, ``errors`` and
            ``errors_by_group`` (by kind ``wrong_pixels``, ``share_of_wrong``,
            ``share_of_labelled`` and ``regions``), ``outvoted_regions`` among those of wrong
            label, and ``classes``.
        """
        everything = list(range(len(self.class_names)))
        return dict(
            mIoU=_mean_iou(self._intersections, self._unions),
            mIoU_by_group={
                group: _mean_iou(self._intersections[ids], self._unions[ids])
                for group, ids in self.groups.items()
            },
            errors=self._errors(everything),
            errors_by_group={group: self._errors(ids) for group, ids in self.groups.items()},
            outvoted_regions=self._outvoted,
            classes=[self._class(i) for i in everything],
        )

    def _errors(self, ids: Sequence[int]) -> Dict[str, Dict[str, float]]:
        wrong, regions = self._wrong[ids].sum(axis=0), self._regions[ids].sum(axis=0)
        labelled = self._pixels[ids].sum()
        return {
            kind: dict(
                wrong_pixels=int(wrong[k]),
                share_of_wrong=float(wrong[k] / max(wrong.sum(), 1)),
                share_of_labelled=float(wrong[k] / max(labelled, 1)),
                regions=int(regions[k]),
            )
            for k, kind in enumerate(ERROR_TYPES)
        }

    def _class(self, i: int) -> Dict[str, Any]:
        return dict(
            name=self.class_names[i],
            IoU=_mean_iou(self._intersections[[i]], self._unions[[i]]),
            pixels=int(self._pixels[i]),
            errors=self._errors([i]),
        )


def _mean_iou(intersections: np.ndarray, unions: np.ndarray) -> float:
    """In percent, over the classes that are there; NaN if none is."""
    there = unions > 0
    if not there.any():
        return float('nan')
    return float(100 * (intersections[there] / unions[there]).mean())
