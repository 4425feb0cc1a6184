"""Draws objects and panoptic maps where a sample has them, and label maps as mmseg does."""

from typing import Any, Collection, List, Optional, Sequence, Tuple

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ..label_ids import LABEL_IDS_KEY
from ..segment_drawing import DrawnSegment, draw_segments, enlarge_picture
from ..segments import number_things

__all__ = ['SegmentVisualizer', 'list_instances', 'list_panoptic', 'list_truth']


@VISUALIZERS.register_module()
class SegmentVisualizer(SegLocalVisualizer):
    """mmseg's visualiser, which also draws panoptic maps and objects.

    Side by side there are the truth, if it is drawn, and each of ``pred_panoptic_seg`` and
    ``pred_instances`` that the sample has. A sample with neither is drawn as mmseg does, of label
    maps. Small images are enlarged by a whole factor, so that names leave room for objects.
    ``--show-dir`` and ``MMSegInferencer`` draw by this too.

    Args:
        name: See ``SegLocalVisualizer``.
        min_score: Objects with a lower score are not drawn. Defaults to 0.3.
        **kwargs: See ``SegLocalVisualizer``.
    """

    def __init__(self, name: str = 'visualizer', min_score: float = 0.3, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.min_score = min_score

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Optional[SegDataSample] = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: Optional[str] = None,
        step: int = 0,
        with_labels: Optional[bool] = True,
    ) -> None:
        """Draw a sample; see ``SegLocalVisualizer``."""
        drawn: List[np.ndarray] = []
        if data_sample is not None:
            drawn = self._draw(image, data_sample, draw_gt, draw_pred, bool(with_labels))
        if not drawn:
            super().add_datasample(
                *(name, image, data_sample, draw_gt, draw_pred, show, wait_time, out_file, step),
                with_labels=with_labels,
            )
            return
        picture = np.concatenate(drawn, axis=1)
        self.set_image(picture)  # which MMSegInferencer returns
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(picture), out_file)
        else:
            self.add_image(name, picture, step)

    def _draw(
        self,
        image: np.ndarray,
        sample: SegDataSample,
        draw_gt: bool,
        draw_pred: bool,
        with_labels: bool,
    ) -> List[np.ndarray]:
        """The truth and the predictions of segments; empty where a sample has label maps alone."""
        found = []
        classes, palette = self._find_classes(sample)
        if draw_pred and 'pred_panoptic_seg' in sample:
            found.append(list_panoptic(sample))
        if draw_pred and 'pred_instances' in sample:
            found.append(list_instances(sample, self.min_score))
        has_labels = 'gt_sem_seg' in sample
        if draw_gt and 'gt_segments' in sample and (found or not has_labels):
            things = number_things(classes, self.dataset_meta.get('thing_classes'))
            found.insert(0, list_truth(sample, things))
        drawn = [
            draw_segments(
                enlarge_picture(image),
                [each._replace(mask=enlarge_picture(each.mask)) for each in segments],
                *(classes, palette, self.alpha, with_labels),
            )
            for segments in found
        ]
        if drawn and draw_gt and has_labels and 'gt_segments' not in sample:
            truth, meta = sample.gt_sem_seg, self.dataset_meta
            labels = self._draw_sem_seg(image, truth, meta['classes'], meta['palette'], with_labels)
            drawn.insert(0, enlarge_picture(labels))
        return drawn

    def _find_classes(self, sample: SegDataSample) -> Tuple[List[str], List[Sequence[int]]]:
        """Names and colours by the numbers of classes.

        With one class those of label maps are others (``with_rest``).
        """
        classes, palette = (self.dataset_meta.get(key) for key in ('classes', 'palette'))
        label_ids = sample.metainfo.get(LABEL_IDS_KEY)
        first = 0
        if label_ids is not None and label_ids.rest_id is not None and len(classes) > 1:
            first = label_ids.classes.start
        return list(classes)[first:], list(palette)[first:]


def list_truth(sample: SegDataSample, things: Collection[int]) -> List[DrawnSegment]:
    """The segments of ``gt_segments``; ``things`` are numbers of classes."""
    truth = sample.gt_segments
    numbers = truth.data.cpu().numpy().reshape(truth.data.shape[-2:])
    return [
        DrawnSegment(numbers == index, segment['category_id'], segment['category_id'] in things)
        for index, segment in enumerate(truth.segments_info)
        if segment['category_id'] >= 0
    ]


def list_panoptic(sample: SegDataSample) -> List[DrawnSegment]:
    """The segments of ``pred_panoptic_seg``."""
    found = sample.pred_panoptic_seg
    ids = found.data.cpu().numpy().reshape(found.data.shape[-2:])
    return [
        DrawnSegment(ids == segment['id'], segment['category_id'], segment['isthing'])
        for segment in found.segments_info
    ]


def list_instances(sample: SegDataSample, min_score: float) -> List[DrawnSegment]:
    """The objects of ``pred_instances`` from a score on, the best on top."""
    found = sample.pred_instances
    kept = (found.scores >= min_score).nonzero().flatten()
    order = kept[found.scores[kept].argsort(stable=True)]
    masks, labels = found.masks[order].cpu().numpy(), found.labels[order].tolist()
    return [DrawnSegment(mask, label, True) for mask, label in zip(masks, labels)]
