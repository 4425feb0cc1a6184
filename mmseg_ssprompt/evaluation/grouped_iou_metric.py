"""mmseg's IoU, reported also for groups of classes and for each class."""

from typing import Dict, List, Sequence

import numpy as np
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

__all__ = ['GroupedIoUMetric']

#: Of the data set's metainfo.
_GROUPS = dict(things='thing_classes', stuff='stuff_classes', labelled='labelled_classes')


@METRICS.register_module()
class GroupedIoUMetric(IoUMetric):
    """``IoUMetric`` that also says how groups of classes and each class do.

    The groups are read from the data set's metainfo: ``thing_classes`` and ``stuff_classes``,
    lists of class names; and ``labelled_classes``, where classes were named that label maps do not
    show. Beside mmseg's figures it returns ``mIoU.things``, ``mIoU.stuff``, ``mIoU.labelled`` and
    ``IoU.<class>``, in percent; a class that is neither in a label map nor predicted is NaN and
    left out of the means, as in mmseg.

    Args:
        **kwargs: See ``IoUMetric``.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """As mmseg, but ids of other class names are written as they are.

        mmseg adds 1 to predictions where the data set leaves out the id 0 (``reduce_zero_label``),
        so that they have the data set's own ids.
        """
        if 'labelled_classes' in self.dataset_meta:
            data_samples = [dict(sample, reduce_zero_label=False) for sample in data_samples]
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Compute mmseg's figures and ours from the areas of all images."""
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        intersection, union = (sum(image[i] for image in results).numpy() for i in (0, 1))
        with np.errstate(invalid='ignore'):
            values = intersection / union
        if self.nan_to_num is not None:
            values = np.nan_to_num(values, nan=self.nan_to_num)
        iou = dict(zip(self.dataset_meta['classes'], 100 * values))
        for group, key in _GROUPS.items():
            names = self.dataset_meta.get(key, ())
            if names:
                metrics[f'mIoU.{group}'] = _mean_of_present([iou[name] for name in names])
        metrics.update({f'IoU.{name}': float(value) for name, value in iou.items()})
        return metrics


def _mean_of_present(values: List[float]) -> float:
    """The mean without NaN, which is what absent classes have."""
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float('nan')
