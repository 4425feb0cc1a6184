"""Average precision of objects by the rules of Cityscapes, and predictions in its format."""

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from mmseg.registry import METRICS
from PIL import Image

from ..extras import import_extra
from ..files import replacing
from ..outputs import result_file
from ..segments import IGNORED
from .segment_metric import SegmentMetric, Truth

__all__ = ['CityscapesInstanceMetric']

_EVALUATION = 'cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling'
#: From here on, the ids of Cityscapes' annotations are those of single objects, not of groups.
_FIRST_OBJECT = 1000
#: What the official code reads of a true object.
_KNOWN = ('instID', 'pixelCount', 'medDist', 'distConf')

_Entries = Dict[str, List[Dict[str, Any]]]  # of objects, by the name of their class


@dataclass(frozen=True)  # which mmengine leaves as it is, unlike a tuple
class _Matches:
    """What cityscapesscripts' evaluation takes of an image."""

    truth: _Entries
    found: _Entries


@METRICS.register_module()
class CityscapesInstanceMetric(SegmentMetric):
    """Average precision (AP) of masks, by the rules of Cityscapes.

    Counted by ``cityscapesscripts`` (the extra ``cityscapes``). Predictions are ``pred_instances``,
    the truth is ``gt_segments``, with groups as crowds and void pixels ignored; the classes are
    those with instances in Cityscapes. Objects are counted here, because the function that does so
    in cityscapesscripts 2.3 asks numpy for what numpy 2.4 no longer has. It returns in percent
    ``mAP`` (the mean over IoU from 0.5 to 0.95), ``mAP_50``, ``AP.<class>`` and ``AP_50.<class>``.

    With ``output_dir`` it writes the format of Cityscapes' evaluation server: for each image
    ``<name>_pred.txt``, with a line of the file of a mask, the id of the class and the score for
    each object.

    Args:
        **kwargs: See :class:`SegmentMetric`.

    Raises:
        MissingExtraError: If cityscapesscripts is not installed.
    """

    default_prefix = 'cityscapes'
    prediction = ('pred_instances', 'instances')

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._official = import_extra(_EVALUATION, 'evaluator CityscapesInstanceMetric')
        self._settings = copy.copy(self._official.args)  # which the package's own tool changes
        self._official.setInstanceLabels(self._settings)
        self._ids = {
            label.name: label.id
            for label in self._official.labels
            if label.name in self._settings.instLabels
        }

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Compare predictions with true objects, where there are any, and write them.

        Raises:
            ValueError: If the model predicts no objects, masks have not the size of the true ones,
                or Cityscapes has no such class.
        """
        names = self._name_classes()
        for sample in data_samples:
            prediction, masks, truth = self._get_masks(sample)
            labels = [names[label] for label in prediction['labels'].tolist()]
            scores = prediction['scores'].tolist()
            matches = None if truth is None else self._match(truth, masks, labels, scores, names)
            if self.output_dir is not None:
                self._write(self.output_dir, self._name_file(sample), masks, labels, scores)
            self.results.append(matches)

    def _name_classes(self) -> List[Optional[str]]:
        """Cityscapes' name of each class that is a thing."""
        names: List[Optional[str]] = [None] * len(self.class_names)
        for number in self.thing_ids:
            names[number] = self.class_names[number]
        unknown = [name for name in names if name is not None and name not in self._ids]
        if unknown:
            raise ValueError(
                f'evaluator CityscapesInstanceMetric: expected the classes of Cityscapes that have '
                f'instances ({", ".join(self._ids)}), found {unknown[:5]}. For another data set '
                "take type='InstanceMetric'"
            )
        return names

    def _match(
        self,
        truth: Truth,
        masks: np.ndarray,
        labels: Sequence[Optional[str]],
        scores: Sequence[float],
        names: Sequence[Optional[str]],
    ) -> _Matches:
        """Count the pixels that predicted and true objects of an image share."""
        areas = np.bincount((truth.numbers - IGNORED).ravel(), minlength=len(truth.segments) + 1)
        true_entries: _Entries = {name: [] for name in self._ids}
        found_entries: _Entries = {name: [] for name in self._ids}
        by_number: Dict[int, Dict[str, Any]] = {}
        for number, segment in enumerate(truth.segments):
            name = names[segment['category_id']] if segment['category_id'] >= 0 else None
            if name is None or areas[number - IGNORED] == 0:
                continue
            is_group = segment['iscrowd'] == 1
            by_number[number] = dict(
                instID=self._ids[name] if is_group else _FIRST_OBJECT * self._ids[name] + number,
                pixelCount=int(areas[number - IGNORED]),
                medDist=-1,
                distConf=0.0,
                matchedPred=[],
                name=name,
            )
            true_entries[name].append(by_number[number])
        for mask, label, score in zip(masks, labels, scores):
            inside = truth.numbers[mask]
            if label is None or not inside.size:
                continue
            common = np.bincount(inside - IGNORED, minlength=len(areas))
            found = dict(
                pixelCount=int(inside.size), confidence=score, voidIntersection=int(common[0])
            )
            matched = []
            for number, entry in by_number.items():
                shared = int(common[number - IGNORED])
                if entry['name'] == label and shared:
                    known = {key: entry[key] for key in _KNOWN}
                    matched.append(dict(known, intersection=shared))
                    entry['matchedPred'].append(dict(found, intersection=shared))
            found_entries[label].append(dict(found, matchedGt=matched))
        return _Matches(true_entries, found_entries)

    def _write(
        self,
        folder: Path,
        name: str,
        masks: np.ndarray,
        labels: Sequence[Optional[str]],
        scores: Sequence[float],
    ) -> None:
        """Write the list of an image's objects, and their masks."""
        file = result_file(folder, f'{name}_pred', '.txt')
        lines = []
        for number, (mask, label, score) in enumerate(zip(masks, labels, scores)):
            if label is None:
                continue
            mask_file = result_file(folder, f'{name}_pred/{number:03d}', '.png')
            with replacing(mask_file) as temporary:
                Image.fromarray(mask.astype(np.uint8) * 255).save(temporary)
            path = mask_file.relative_to(file.parent).as_posix()
            lines.append(f'{path} {self._ids[label]} {score!r}\n')
        with replacing(file) as temporary:
            temporary.write_text(''.join(lines), encoding='utf-8')

    def compute_metrics(self, results: List[Optional[_Matches]]) -> Dict[str, float]:
        """Compute the figures of all images that have true objects."""
        measured = [each for each in results if each is not None]
        if self.format_only:
            return {}
        self._log_counts(len(results), len(measured), 'true segments')
        if not measured:
            return {}
        matches = {
            number: dict(groundTruth=each.truth, prediction=each.found)
            for number, each in enumerate(measured)
        }
        overlaps, names = self._settings.overlaps, self._settings.instLabels
        ap = np.array([[self._evaluate(matches, name, o) for o in overlaps] for name in names])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)  # means of classes without objects
            means = self._official.computeAverages(ap[None], self._settings)
        percent = {name: 100 * float(means['classes'][name]['ap']) for name in names}
        percent_50 = {name: 100 * float(means['classes'][name]['ap50%']) for name in names}
        metrics = dict(mAP=100 * float(means['allAp']), mAP_50=100 * float(means['allAp50%']))
        self._log_table(
            'per class results (Cityscapes)',
            {'Class': names, 'AP': list(percent.values()), 'AP_50': list(percent_50.values())},
        )
        self._log_table('Summary (Cityscapes)', {key: [metrics[key]] for key in metrics})
        metrics.update({f'AP.{name}': value for name, value in percent.items()})
        metrics.update({f'AP_50.{name}': value for name, value in percent_50.items()})
        return metrics

    def _evaluate(self, matches: Mapping[int, Any], name: str, overlap: float) -> float:
        """AP of a class at one threshold of IoU; NaN where there is no object."""
        settings = copy.copy(self._settings)
        settings.instLabels, settings.overlaps = [name], np.array([overlap])
        try:
            return float(self._official.evaluateMatches(matches, settings).item())
        except IndexError:  # all predictions lie on void: the official code looks for the last one
            return 0.0
