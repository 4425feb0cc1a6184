"""Average precision of objects by COCO's rules, and predictions in COCO's format."""

import contextlib
import importlib
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log
from mmseg.registry import METRICS

from ..extras import lacks
from .run_lengths import box_of_mask, pack_mask
from .segment_metric import SegmentMetric, Truth, image_id_of, write_compact_json

__all__ = ['InstanceMetric']

#: Packages with COCO's evaluation, and where its two classes are; the first that is there is taken.
_PACKAGES = (
    ('faster_coco_eval', 'faster_coco_eval', 'COCO', 'COCOeval_faster'),
    ('pycocotools', 'pycocotools.coco', 'COCO', 'pycocotools.cocoeval.COCOeval'),
)
_KINDS = ('segm', 'bbox')
#: Figures by the place of their IoU (all, 0.5, 0.75) and of their area (all, small, ...).
_FIGURES: Dict[str, Tuple[Any, int]] = dict(
    mAP=(slice(None), 0),
    mAP_50=(0, 0),
    mAP_75=(5, 0),
    mAP_s=(slice(None), 1),
    mAP_m=(slice(None), 2),
    mAP_l=(slice(None), 3),
)


class _Found(NamedTuple):
    """A predicted object."""

    label: int
    score: float
    box: List[float]  # left, top, width, height
    mask: Dict[str, Any]


@dataclass(frozen=True)  # which mmengine leaves as it is, unlike a tuple
class _Result:
    """What is kept of a sample."""

    image_id: Any
    image: str
    size: Tuple[int, int]
    found: List[_Found]
    truth: Optional[List[Dict[str, Any]]]  # annotations in COCO's format; None without any


@METRICS.register_module()
class InstanceMetric(SegmentMetric):
    """Average precision (AP) of the masks and boxes of objects, by COCO's rules.

    Counted by ``faster-coco-eval``, or else ``pycocotools`` (the extra ``instances``). Predictions
    are ``pred_instances``; the truth is ``gt_segments``, or ``ann_file``. Classes are those of
    ``thing_classes`` in the data set's metainfo, or all. For ``segm`` (masks) and ``bbox`` (boxes)
    it returns in percent ``segm_mAP`` (the mean over IoU from 0.5 to 0.95), ``segm_mAP_50``,
    ``segm_mAP_75``, ``segm_mAP_s``, ``_m`` and ``_l`` (up to 32^2 and 96^2 pixels, and above),
    ``segm_AR@100`` and ``segm_AP.<class>``. What no object is there for is NaN.

    With ``output_dir`` it writes ``instances_segm.json`` and ``instances_bbox.json``, lists that
    ``COCO.loadRes`` reads. They are two because that function takes the areas of objects from their
    boxes, where there are boxes.

    Args:
        ann_file: The data set's own file of objects in COCO's format. A map of segments shows each
            pixel of one object alone; where objects overlap, as in COCO's own data, only the file
            knows them whole. Objects in the images that were tested count. Defaults to None.
        metric: ``segm``, ``bbox`` or both. Defaults to both.
        **kwargs: See :class:`SegmentMetric`.

    Raises:
        MissingExtraError: If neither package is installed, and figures are asked for.
        ValueError: If ``metric`` is another one, or there is no ``ann_file``.
    """

    prediction = ('pred_instances', 'instances')

    def __init__(
        self,
        ann_file: Optional[str] = None,
        metric: Sequence[str] = _KINDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kinds = (metric,) if isinstance(metric, str) else tuple(metric)
        if not self.kinds or any(kind not in _KINDS for kind in self.kinds):
            raise ValueError(
                f"evaluator InstanceMetric: metric is {metric!r}, expected 'segm' (masks), 'bbox' "
                '(boxes) or both'
            )
        if ann_file is not None and not Path(ann_file).is_file():
            raise ValueError(
                f'evaluator InstanceMetric: ann_file is {ann_file!r}, which is no file. Name the '
                "data set's file of objects, or leave it out to take them from its maps"
            )
        self.ann_file = ann_file
        if not self.format_only:
            _import_coco()

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the predicted and the true objects of each sample, masks as run lengths.

        Raises:
            ValueError: If the model predicts no objects, or masks have not the size of the true
                ones.
        """
        for sample in data_samples:
            prediction, masks, truth = self._get_masks(sample)
            size = (int(masks.shape[-2]), int(masks.shape[-1]))
            annotations = None if truth is None else _list_objects(truth, self.thing_ids)
            found = [
                _Found(int(label), float(score), _to_width(box), pack_mask(mask))
                for label, score, box, mask in zip(
                    prediction['labels'].tolist(),
                    prediction['scores'].tolist(),
                    prediction['bboxes'].tolist(),
                    masks,
                )
            ]
            image_id, image = image_id_of(sample), str(sample['img_path'])
            self.results.append(_Result(image_id, image, size, found, annotations))

    def compute_metrics(self, results: List[_Result]) -> Dict[str, float]:
        """Write the JSON files, and compute the figures of all images that have true objects.

        Raises:
            ValueError: If ``ann_file`` lacks an image, or all classes.
        """
        if self.output_dir is not None:
            ids = [category['id'] for category in self.categories]
            for kind in self.kinds:
                written = _list_found(results, [each.image_id for each in results], ids, kind)
                write_compact_json(written, self.output_dir / f'instances_{kind}.json')
        if self.format_only:
            return {}
        if self.ann_file is not None:
            measured, truth, ids = results, *self._read_truth(self.ann_file, results)
            image_ids = [result.image_id for result in results]
        else:
            measured = [result for result in results if result.truth is not None]
            self._log_counts(len(results), len(measured), 'true segments')
            ids = list(range(1, len(self.class_names) + 1))
            image_ids = list(range(1, len(measured) + 1))
            truth = self._make_truth(measured)
        metrics: Dict[str, float] = {}
        for kind in self.kinds if measured else ():
            found = _list_found(measured, image_ids, ids, kind)
            categories = [ids[number] for number in self.thing_ids]
            precision, recall = _evaluate(truth, found, kind, image_ids, categories)
            metrics.update(self._report(kind, precision, recall))
        return metrics

    def _make_truth(self, results: Sequence[_Result]) -> Dict[str, Any]:
        """The true objects of samples as a file in COCO's format has them."""
        images: List[Dict[str, Any]] = []
        annotations: List[Dict[str, Any]] = []
        for number, result in enumerate(results, start=1):
            images.append(dict(id=number, height=result.size[0], width=result.size[1]))
            for each in result.truth or ():
                # COCO's evaluation takes the id 0 for none.
                annotations.append(dict(each, id=len(annotations) + 1, image_id=number))
        categories = [dict(id=n + 1, name=name) for n, name in enumerate(self.class_names)]
        return dict(images=images, annotations=annotations, categories=categories)

    def _read_truth(
        self, file: str, results: Sequence[_Result]
    ) -> Tuple[Dict[str, Any], List[int]]:
        """The content of ``ann_file``, and the id of each class in it."""
        truth: Dict[str, Any] = json.loads(Path(file).read_bytes())
        known = {image['id'] for image in truth['images']}
        unknown = [each for each in results if each.image_id not in known]
        if unknown:
            raise ValueError(
                f'{file!r}: expected all images that were tested, found {len(unknown)} that it '
                f'lacks, such as {unknown[0].image!r} (img_id {unknown[0].image_id!r}). Give the '
                'file of this split'
            )
        by_name = {category['name']: category['id'] for category in truth['categories']}
        names, known = self.class_names, set(by_name.values())
        own_ids = list(self.dataset_meta.get('category_ids') or ())
        if not own_ids or not {own_ids[number] for number in self.thing_ids} & known:
            free = max(known, default=0) + 1  # for classes that the file lacks
            own_ids = [by_name.get(name, free + number) for number, name in enumerate(names)]
        missing = [names[number] for number in self.thing_ids if own_ids[number] not in known]
        if len(missing) == len(self.thing_ids):
            raise ValueError(
                f'{file!r}: expected categories of the names of things, such as {missing[:5]}, '
                f'found {list(by_name)[:10]}. Give the file of this data set'
            )
        if missing:
            text = f'{file!r} has no categories for {len(missing)} classes, which are NaN: '
            print_log(f'{text}{missing[:10]}', 'current', logging.WARNING)
        return truth, own_ids

    def _report(self, kind: str, precision: np.ndarray, recall: np.ndarray) -> Dict[str, float]:
        """Figures in percent of precision (T, R, K, A, M) and recall (T, K, A, M), and a table."""
        columns: Dict[str, List[Any]] = {'Class': [self.class_names[n] for n in self.thing_ids]}
        metrics: Dict[str, float] = {}
        for name, (overlap, area) in _FIGURES.items():
            of_all = precision[overlap, ..., area, -1]  # the last axis is that of classes
            columns[name[1:]] = [_mean(of_all[..., k]) for k in range(of_all.shape[-1])]
            metrics[f'{kind}_{name}'] = _mean(of_all)
        metrics[f'{kind}_AR@100'] = _mean(recall[..., 0, -1])
        self._log_table(f'per class results ({kind})', columns)
        self._log_table(
            f'Summary ({kind})', {key[len(kind) + 1 :]: [value] for key, value in metrics.items()}
        )
        per_class = zip(columns['Class'], columns['AP'])
        metrics.update({f'{kind}_AP.{name}': value for name, value in per_class})
        return metrics


def _import_coco() -> Tuple[Any, Any]:
    """The classes ``COCO`` and ``COCOeval`` of the first package that is installed."""
    for package, module, coco, evaluation in _PACKAGES:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(package)
            place, _, name = evaluation.rpartition('.')
            return (
                getattr(importlib.import_module(module), coco),
                getattr(importlib.import_module(place or module), name),
            )
    raise lacks('faster_coco_eval', 'evaluator InstanceMetric, where pycocotools is missing too')


def _evaluate(
    truth: Mapping[str, Any],
    found: List[Dict[str, Any]],
    kind: str,
    image_ids: Sequence[Any],
    categories: Sequence[int],
) -> Tuple[np.ndarray, np.ndarray]:
    """Precision (T, R, K, A, M) and recall (T, K, A, M) by COCO's rules; -1 without objects.

    The axes are 10 thresholds of IoU, 101 of recall, classes, 4 ranges of areas, 3 of the largest
    number of objects in an image.
    """
    coco, evaluation = _import_coco()
    with contextlib.redirect_stdout(io.StringIO()):  # what they print is no news
        true_objects = coco()
        true_objects.dataset = dict(truth)
        true_objects.createIndex()
        if found:
            found_objects = true_objects.loadRes(found)
        else:  # which loadRes does not take
            found_objects = coco()
            found_objects.dataset = dict(truth, annotations=[])
            found_objects.createIndex()
        run = evaluation(true_objects, found_objects, kind)
        run.params.imgIds = list(image_ids)
        run.params.catIds = list(categories)
        run.evaluate()
        run.accumulate()
    # Sorted by id, where the classes that were asked for may have another order.
    order = np.searchsorted(np.sort(categories), categories)
    precision, recall = np.asarray(run.eval['precision']), np.asarray(run.eval['recall'])
    return precision[:, :, order], recall[:, order]


def _mean(values: np.ndarray) -> float:
    """In percent, of the values that there are; NaN without any."""
    there = values[values > -1]
    return 100 * float(np.mean(there)) if there.size else float('nan')


def _to_width(box: Sequence[float]) -> List[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def _list_objects(truth: Truth, thing_ids: Sequence[int]) -> List[Dict[str, Any]]:
    """The true objects of an image; classes have numbers from 1 on."""
    objects = []
    for number, segment in enumerate(truth.segments):
        mask = truth.numbers == number
        if segment['category_id'] in thing_ids and mask.any():
            objects.append(
                dict(
                    category_id=segment['category_id'] + 1,
                    iscrowd=int(segment['iscrowd']),
                    area=segment['area'],
                    bbox=list(box_of_mask(mask)),
                    segmentation=pack_mask(mask),
                )
            )
    return objects


def _list_found(
    results: Sequence[_Result], image_ids: Sequence[Any], class_ids: Sequence[int], kind: str
) -> List[Dict[str, Any]]:
    """The predicted objects as COCO's files of results have them."""
    return [
        dict(
            image_id=image_id,
            category_id=class_ids[each.label],
            score=each.score,
            **(dict(segmentation=each.mask) if kind == 'segm' else dict(bbox=each.box)),
        )
        for image_id, result in zip(image_ids, results)
        for each in result.found
    ]
