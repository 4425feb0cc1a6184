"""Tables of true and predicted classes, from which the mean IoU follows."""

import numpy as np
import torch

from ..label_ids import LabelIds

__all__ = ['count_confusion', 'mean_iou']


def count_confusion(truth: np.ndarray, found: np.ndarray, label_ids: LabelIds) -> np.ndarray:
    """Count pixels by true and predicted class.

    Args:
        truth: A label map (H, W).
        found: A predicted one of the same size.
        label_ids: The numbers in both. Pixels whose true number does not count are left out.

    Returns:
        (C, C + 1) int64, in the order of ``label_ids.channels``; the last column has the pixels
        of which nothing that counts was predicted.
    """
    count = len(label_ids.channels)
    true, predicted = (
        label_ids.to_channels(torch.from_numpy(labels.astype(np.int64))).numpy()
        for labels in (truth, found)
    )
    known = true < count
    pairs = true[known] * (count + 1) + np.minimum(predicted[known], count)
    return np.bincount(pairs, minlength=count * (count + 1)).reshape(count, count + 1)


def mean_iou(tables: np.ndarray) -> np.ndarray:
    """The mean IoU over the classes that there are.

    Args:
        tables: (..., C, C + 1), as :func:`count_confusion` returns them, or sums of these.

    Returns:
        (...) float64, in percent.
    """
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    either = tables.sum(axis=-1) + tables[..., :-1].sum(axis=-2) - right
    shares = np.where(either > 0, right / np.maximum(either, 1), np.nan)
    return np.asarray(100 * np.nanmean(shares, axis=-1))
