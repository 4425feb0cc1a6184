"""What metrics of panoptic maps and of objects share: true segments, names of files, tables."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from prettytable import PrettyTable

from ..files import write_atomically
from ..outputs import ResultNames
from ..segments import IGNORED, LAST_ID, TrueSegment, number_things

__all__ = ['SegmentMetric', 'Truth', 'file_ids_of', 'image_id_of', 'write_compact_json']


class Truth(NamedTuple):
    """The true segments of an image.

    Attributes:
        numbers: (H, W) int64, the index of each pixel's segment, or ``IGNORED``.
        segments: What is known of each.
    """

    numbers: np.ndarray
    segments: Sequence[TrueSegment]


class SegmentMetric(BaseMetric):
    """Base of metrics that compare predictions with ``gt_segments``, and write them.

    One result is kept for each sample, in its order: mmengine collects the results of all
    processes, and drops those of the samples that fill up the last batches.

    Args:
        output_dir: Folder for predictions in the format of COCO. Defaults to None: none is written.
        format_only: Whether predictions are only written. Defaults to False.
        **kwargs: See mmengine's ``BaseMetric``.

    Attributes:
        result_names: Names of the files in ``output_dir``, by image; ``OutputCheckHook`` sets them.
            Without them a file has the name of its image alone.

    Raises:
        ValueError: If ``format_only`` is set without ``output_dir``.
    """

    dataset_meta: Dict[str, Any]  # of BaseMetric
    #: What predictions are called in samples, and in ``test_cfg.outputs``.
    prediction: Tuple[str, str]

    def __init__(
        self, output_dir: Optional[str] = None, format_only: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if format_only and output_dir is None:
            raise ValueError(
                f'evaluator {type(self).__name__}: format_only=True writes predictions and '
                'measures nothing, but output_dir is None. Name a folder'
            )
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.format_only = format_only
        self.result_names: Optional[ResultNames] = None

    @property
    def class_names(self) -> List[str]:
        """The classes of the data set, in the order of their numbers."""
        return list(self.dataset_meta['classes'])

    @property
    def thing_ids(self) -> List[int]:
        """The numbers of the classes that are things: all, where the data set does not say."""
        return number_things(self.class_names, self.dataset_meta.get('thing_classes'))

    @property
    def categories(self) -> List[Dict[str, Any]]:
        """The classes as files in the format of COCO list them, by their numbers.

        Their ids are those of the data set's own files, ``category_ids`` of its metainfo; without
        them, from 1 on.
        """
        names, things = self.class_names, self.thing_ids
        ids = self.dataset_meta.get('category_ids') or range(1, len(names) + 1)
        return [
            dict(id=int(each), name=name, isthing=int(number in things))
            for number, (each, name) in enumerate(zip(ids, names))
        ]

    def _get_prediction(self, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        key, output = self.prediction
        if key not in sample:
            raise ValueError(
                f'evaluator {type(self).__name__}: expected predictions {key!r}, found none in a '
                f'sample. Let the model make them: model.test_cfg.outputs=({output!r},)'
            )
        found: Mapping[str, Any] = sample[key]
        return found

    def _get_truth(self, sample: Mapping[str, Any]) -> Optional[Truth]:
        """The true segments of a sample, or None: it has none, or they are not asked for."""
        if self.format_only or 'gt_segments' not in sample:
            return None
        truth = sample['gt_segments']
        numbers = truth['data'].cpu().numpy()
        return Truth(numbers.reshape(numbers.shape[-2:]), truth['segments_info'])

    def _get_masks(
        self, sample: Mapping[str, Any]
    ) -> Tuple[Mapping[str, Any], np.ndarray, Optional[Truth]]:
        """The predicted objects of a sample, their masks (n, H, W), and the truth.

        Raises:
            ValueError: If the model predicts no objects, or masks have not the size of the true
                ones.
        """
        prediction = self._get_prediction(sample)
        masks: np.ndarray = prediction['masks'].cpu().numpy()
        truth = self._get_truth(sample)
        if truth is not None and truth.numbers.shape != masks.shape[-2:]:
            raise ValueError(
                f'{str(sample["img_path"])!r}: expected masks of {truth.numbers.shape} pixels '
                f'(height, width) as the true ones are, found {masks.shape[-2:]}. Predictions are '
                'compared at the size of the annotations'
            )
        return prediction, masks, truth

    def _name_file(self, sample: Mapping[str, Any]) -> str:
        """The name of a sample's files, a relative path without a suffix."""
        image = sample['img_path']
        return self.result_names(image) if self.result_names else Path(image).stem

    def _log_counts(self, count: int, labelled: int, what: str) -> None:
        """Log which images are not in the figures."""
        if labelled == count:
            return
        text = f'{count - labelled} of {count} images have no {what}, and are not in the figures'
        if labelled == 0:
            text = f'None of {count} images is compared with {what}: nothing is measured'
        folder = self.output_dir
        written = '' if folder is None else f'; predictions are in {str(folder)!r}'
        print_log(f'{text}{written}', 'current')

    def _log_table(self, title: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Log a table in the look of mmseg's; numbers have two decimals."""
        table = PrettyTable()
        for name, values in columns.items():
            shown = [f'{value:.2f}' if isinstance(value, float) else value for value in values]
            table.add_column(name, shown)
        print_log(f'{title}:\n{table.get_string()}', 'current')


def image_id_of(sample: Mapping[str, Any]) -> Any:
    """The id of a sample's image in the data set's own file, or else the image's name."""
    image_id = sample.get('img_id')
    if image_id is None:
        return Path(sample['img_path']).stem
    return image_id.item() if hasattr(image_id, 'item') else image_id


def file_ids_of(truth: Truth) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
    """The true segments under the ids of their file, as the evaluation of COCO takes them.

    Pixels that count and belong to no object keep an id that no segment has.

    Returns:
        The id of each pixel (H, W) int64, 0 where it is ignored; and the segments.
    """
    ids = [segment['id'] for segment in truth.segments]
    is_usual = all(isinstance(each, int) and 0 < each <= LAST_ID for each in ids)
    if not is_usual or len(set(ids)) < len(ids):  # such as those of COCO's objects
        ids = list(range(1, len(ids) + 1))
    table = np.array([*ids, 0])  # IGNORED is the last
    assert IGNORED == -1
    segments: List[Dict[str, Any]] = [
        dict(segment, id=each)
        for each, segment in zip(ids, truth.segments)
        if segment['category_id'] >= 0
    ]
    return table[truth.numbers], segments


def write_compact_json(content: Any, file: Path) -> None:
    """Write plain values as JSON without line breaks: files of predictions are large."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(content).encode())
