"""Evaluation."""

from .grouped_iou_metric import GroupedIoUMetric, check_metric
from .oracle import measure_oracle

__all__ = ['GroupedIoUMetric', 'check_metric', 'measure_oracle']
