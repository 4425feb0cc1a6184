"""Panoptic quality of a data set, and predictions in COCO's format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from mmseg.registry import METRICS

from ..files import replacing
from ..outputs import result_file
from .panoptic_files import write_id_map
from .panoptic_quality import (
    ClassCounts,
    ImageComparison,
    average_classes,
    compare_panoptic,
    measure_class,
    sum_classes,
)
from .segment_metric import SegmentMetric, file_ids_of, image_id_of, write_compact_json

__all__ = ['PanopticMetric']

_FIGURES = ('pq', 'sq', 'rq')


@dataclass(frozen=True)  # which mmengine leaves as it is, unlike a tuple
class _Result:
    """What is kept of a sample."""

    comparison: Optional[ImageComparison]  # None without true segments
    image: Optional[Dict[str, Any]] = None  # for the JSON file
    annotation: Optional[Dict[str, Any]] = None


@METRICS.register_module()
class PanopticMetric(SegmentMetric):
    """Panoptic quality, as the official evaluation of COCO counts it.

    Predictions are ``pred_panoptic_seg``, the truth is ``gt_segments``; both at the size of the
    annotations. It returns in percent ``PQ``, ``SQ`` (segmentation quality) and ``RQ`` (recognition
    quality), the same for ``things`` and ``stuff`` where the data set's metainfo has
    ``thing_classes``, and ``PQ.<class>``. A class of which no segment counts, true or predicted, is
    NaN and left out of the means.

    With ``output_dir`` it writes ``panoptic.json`` and the PNG files in ``panoptic/``, which
    panopticapi and :func:`evaluate_panoptic` read. Ids of images and categories are those of the
    data set's own files, where it has some.

    Images without ``gt_segments`` are predicted and written; figures are those of the others.

    Args:
        **kwargs: See :class:`SegmentMetric`.
    """

    prediction = ('pred_panoptic_seg', 'panoptic')

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Compare predictions with true segments, where there are any, and write them.

        Raises:
            ValueError: If the model makes no panoptic maps.
            PanopticError: If a predicted map and its list of segments contradict each other, or a
                map has not the size of the true one.
        """
        for sample in data_samples:
            prediction = self._get_prediction(sample)
            found = prediction['data'].cpu().numpy()
            found, segments = found.reshape(found.shape[-2:]), prediction['segments_info']
            truth, comparison = self._get_truth(sample), None
            if truth is not None:
                known, name = range(len(self.class_names)), repr(str(sample['img_path']))
                comparison = compare_panoptic(*file_ids_of(truth), found, segments, known, name)
            result = _Result(comparison)
            if self.output_dir is not None:
                result = self._write(self.output_dir, found, segments, sample, comparison)
            self.results.append(result)

    def _write(
        self,
        folder: Path,
        found: np.ndarray,
        segments: Sequence[Mapping[str, Any]],
        sample: Mapping[str, Any],
        comparison: Optional[ImageComparison],
    ) -> _Result:
        """Write the PNG file of a prediction; the result has its entry of the JSON file."""
        file = result_file(folder / 'panoptic', self._name_file(sample), '.png')
        with replacing(file) as temporary:
            write_id_map(found, temporary)
        categories, image_id = self.categories, image_id_of(sample)
        height, width = found.shape
        entries = [
            dict(
                id=int(segment['id']),
                category_id=categories[segment['category_id']]['id'],
                isthing=categories[segment['category_id']]['isthing'],
                area=int(segment['area']),
                score=float(segment['score']),
            )
            for segment in segments
        ]
        file_name = file.relative_to(folder / 'panoptic').as_posix()
        image_name = Path(sample['img_path']).name
        return _Result(
            comparison,
            dict(id=image_id, file_name=image_name, height=height, width=width),
            dict(image_id=image_id, file_name=file_name, segments_info=entries),
        )

    def compute_metrics(self, results: List[_Result]) -> Dict[str, float]:
        """Write the JSON file, and compute the figures of all images that have true segments."""
        if self.output_dir is not None:
            content = dict(
                images=[result.image for result in results],
                annotations=[result.annotation for result in results],
                categories=self.categories,
            )
            write_compact_json(content, self.output_dir / 'panoptic.json')
        compared = [each.comparison for each in results if each.comparison is not None]
        if not self.format_only:
            self._log_counts(len(results), len(compared), 'true segments')
        if not compared:
            return {}
        return self._measure(sum_classes(compared))

    def _measure(self, sums: Mapping[int, ClassCounts]) -> Dict[str, float]:
        names, things = self.class_names, self.thing_ids
        stuff = [number for number in range(len(names)) if number not in things]
        groups = {'': list(range(len(names)))}
        if self.dataset_meta.get('thing_classes') is not None:
            groups.update({'.things': things, '.stuff': stuff})
        means = {group: average_classes(sums, members) for group, members in groups.items()}
        metrics = {
            f'{key.upper()}{group}': 100 * mean[key]
            for group, mean in means.items()
            for key in _FIGURES
        }
        unseen = dict.fromkeys(_FIGURES, float('nan'))
        figures = [measure_class(sums[n]) if n in sums else unseen for n in range(len(names))]
        counts = [sums.get(number, ClassCounts()) for number in range(len(names))]
        self._log_table(
            'per class results',
            {
                'Class': names,
                **{key.upper(): [100 * each[key] for each in figures] for key in _FIGURES},
                'TP': [each.tp for each in counts],
                'FP': [each.fp for each in counts],
                'FN': [each.fn for each in counts],
            },
        )
        self._log_table(
            'Summary',
            {
                'Classes': [group[1:] or 'all' for group in groups],
                **{key.upper(): [100 * mean[key] for mean in means.values()] for key in _FIGURES},
                'averaged': [int(mean['n']) for mean in means.values()],
            },
        )
        metrics.update({f'PQ.{name}': 100 * each['pq'] for name, each in zip(names, figures)})
        return metrics
