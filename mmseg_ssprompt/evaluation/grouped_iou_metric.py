"""mmseg's IoU, reported also for groups of classes and for each class."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from PIL import Image
from torch import Tensor

from ..files import replacing
from ..label_ids import IGNORED_8_BITS, IGNORED_16_BITS, LABEL_IDS_KEY, LabelIds, name_rest
from ..outputs import ResultNames, result_file

__all__ = ['GroupedIoUMetric', 'check_metric']

#: Keys of the data set's metainfo, by group.
_GROUPS = dict(things='thing_classes', stuff='stuff_classes', labelled='labelled_classes')


def check_metric(metric: BaseMetric, label_ids: LabelIds) -> None:
    """Refuse mmseg's ``IoUMetric`` where it would take other numbers than the model, ``label_ids``.

    It drops class 255, writes bytes, and knows no rest. A ValueError says what to use instead.
    """
    if isinstance(metric, GroupedIoUMetric):
        metric.check_label_ids(label_ids)
    if isinstance(metric, GroupedIoUMetric) or not isinstance(metric, IoUMetric):
        return
    found = getattr(metric, 'ignore_index', IGNORED_8_BITS)
    if label_ids.rest_id is not None:
        problem = f'knows no rest, which has the number {label_ids.rest_id} (decode_head.rest_id)'
    elif label_ids.dtype is not np.uint8:
        problem = f'writes bytes, which do not hold {label_ids.num_classes} classes'
    elif found != label_ids.ignore_index:
        problem = (
            f'ignores pixels of the number {found}, but decode_head.ignore_index is '
            f'{label_ids.ignore_index}'
        )
    else:
        return
    raise ValueError(
        f"evaluator {type(metric).__name__}: {problem}. Use dict(type='GroupedIoUMetric'), which "
        'takes the numbers from the model and reports the same figures'
    )


@METRICS.register_module()
class GroupedIoUMetric(IoUMetric):
    """``IoUMetric`` that also says how groups of classes and each class do.

    The groups are read from the data set's metainfo: ``thing_classes`` and ``stuff_classes``,
    lists of class names; and ``labelled_classes``, where classes were named that label maps do not
    show. Beside mmseg's figures it returns ``mIoU.things``, ``mIoU.stuff``, ``mIoU.labelled`` and
    ``IoU.<class>``, in percent; a class that is neither in a label map nor predicted is NaN and
    left out of the means, as in mmseg. With one class the rest is reported too, as ``IoU.rest``,
    and counts in the means of mmseg's figures.

    Which numbers label maps hold is said by the model, in the metainfo of each predicted sample.

    Images without label maps are predicted and, with ``output_dir``, written; figures are those of
    the others.

    Args:
        ignore_index: The number of pixels that do not count. Defaults to None: as the model.
        **kwargs: See ``IoUMetric``.

    Attributes:
        result_names: Names of the files in ``output_dir``, by image; ``OutputCheckHook`` sets them.
            Without them a file has the name of its image alone.
    """

    dataset_meta: Dict[str, Any]  # of BaseMetric

    def __init__(self, ignore_index: Optional[int] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index
        self.result_names: Optional[ResultNames] = None

    def check_label_ids(self, label_ids: LabelIds) -> None:
        """Refuse another ``ignore_index`` than the model's, with a ValueError."""
        if self.ignore_index not in (None, label_ids.ignore_index):
            raise ValueError(
                f'evaluator {type(self).__name__}: ignore_index is {self.ignore_index}, but '
                f'decode_head.ignore_index is {label_ids.ignore_index}. Leave it out of the '
                'evaluator, which takes the number from the model'
            )

    def process(self, data_batch: Any, data_samples: Sequence[Dict[str, Any]]) -> None:
        """Compare predictions with label maps, where there are any, and write them.

        Raises:
            ValueError: If ``ignore_index`` is not the model's.
        """
        for sample in data_samples:
            ids = self._find_label_ids(sample)
            labels = sample['pred_sem_seg']['data']
            labels = labels.reshape(labels.shape[-2:])
            areas: Optional[Tuple[Tensor, ...]] = None
            if not self.format_only and 'gt_sem_seg' in sample:
                truth = sample['gt_sem_seg']['data'].to(labels)
                areas = self.intersect_and_union(
                    ids.to_channels(labels),
                    ids.to_channels(truth.reshape(truth.shape[-2:])),
                    len(ids.channels),
                    ids.ignore_index,
                )
            self.results.append(areas)
            if self.output_dir is not None:
                self._write(labels.cpu().numpy(), sample)

    def _find_label_ids(self, sample: Mapping[str, Any]) -> LabelIds:
        """The model's numbers; without them those that the number of classes leaves."""
        label_ids = sample.get(LABEL_IDS_KEY)
        if label_ids is None:
            count = len(self.dataset_meta['classes'])
            usual = IGNORED_8_BITS if count <= IGNORED_8_BITS else IGNORED_16_BITS
            label_ids = LabelIds(count, usual if self.ignore_index is None else self.ignore_index)
        self.check_label_ids(label_ids)
        return label_ids

    def _write(self, labels: np.ndarray, sample: Mapping[str, Any]) -> None:
        """Write a prediction (H, W) as PNG of 8 or 16 bits, with the numbers of the files.

        Where the data set leaves out the id 0 (``reduce_zero_label``), its files have numbers that
        are higher by 1. A data set under other class names gets its numbers as they are.
        """
        ids, image = self._find_label_ids(sample), sample['img_path']
        name = self.result_names(image) if self.result_names else Path(image).stem
        if sample.get('reduce_zero_label') and 'labelled_classes' not in self.dataset_meta:
            labels = np.where(labels == ids.rest_id, 0, labels + 1)
        with replacing(result_file(Path(self.output_dir), name, '.png')) as temporary:
            Image.fromarray(labels.astype(ids.dtype)).save(temporary)

    def compute_metrics(self, results: List[Any]) -> Dict[str, float]:
        """Compute mmseg's figures and ours from the areas of all images that have label maps."""
        measured = [areas for areas in results if areas is not None]
        self._report_unlabelled(len(results), len(measured))
        if not measured:
            return {}
        meta = self.dataset_meta
        classes = meta['classes']
        rest = [name_rest(classes)] * (len(measured[0][0]) - len(classes))
        names = [*rest, *classes]  # in the order of the channels
        self.dataset_meta = dict(meta, classes=names)
        try:
            metrics: Dict[str, float] = super().compute_metrics(measured)
        finally:
            self.dataset_meta = meta
        intersection, union = (sum(image[i] for image in measured).numpy() for i in (0, 1))
        with np.errstate(invalid='ignore'):
            values = intersection / union
        if self.nan_to_num is not None:
            values = np.nan_to_num(values, nan=self.nan_to_num)
        iou = dict(zip(names, 100 * values))
        for group, key in _GROUPS.items():
            if meta.get(key):
                members = [iou[name] for name in meta[key] if not np.isnan(iou[name])]
                metrics[f'mIoU.{group}'] = float(np.mean(members)) if members else float('nan')
        metrics.update({f'IoU.{name}': float(value) for name, value in iou.items()})
        return metrics

    def _report_unlabelled(self, count: int, labelled: int) -> None:
        """Log which images are not in the figures."""
        if labelled == count:
            return
        text = f'{count - labelled} of {count} images have no label map, and are not in the figures'
        if labelled == 0:
            text = f'None of {count} images is compared with a label map: nothing is measured'
        written = '' if self.output_dir is None else f'; predictions are in {self.output_dir!r}'
        print_log(f'{text}{written}', 'current')
