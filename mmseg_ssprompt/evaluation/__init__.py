"""Metrics."""

from .grouped_iou_metric import GroupedIoUMetric, check_metric
from .panoptic_files import evaluate_panoptic
from .panoptic_quality import PanopticError

__all__ = [
    'GroupedIoUMetric',
    'PanopticError',
    'check_metric',
    'evaluate_panoptic',
]
