"""Evaluation."""

from .grouped_iou_metric import GroupedIoUMetric
from .oracle import measure_oracle

__all__ = ['GroupedIoUMetric', 'measure_oracle']
