"""Metrics."""

from .cityscapes_instance_metric import CityscapesInstanceMetric
from .grouped_iou_metric import GroupedIoUMetric, check_metric
from .instance_metric import InstanceMetric
from .panoptic_files import evaluate_panoptic
from .panoptic_metric import PanopticMetric
from .panoptic_quality import PanopticError
from .segment_metric import SegmentMetric

__all__ = [
    'CityscapesInstanceMetric',
    'GroupedIoUMetric',
    'InstanceMetric',
    'PanopticError',
    'PanopticMetric',
    'SegmentMetric',
    'check_metric',
    'evaluate_panoptic',
]
