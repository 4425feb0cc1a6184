"""Metrics."""

from .grouped_iou_metric import GroupedIoUMetric, check_metric

__all__ = [
    'GroupedIoUMetric',
    'check_metric',
]
