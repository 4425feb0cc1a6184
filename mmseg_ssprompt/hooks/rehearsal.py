"""Evaluators and visualisers are tried on a made-up prediction, before hours depend on them."""

import contextlib
import copy
import logging
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS, VISUALIZERS
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample
from PIL import Image

from ..config_entries import each_evaluator, innermost_model
from ..datasets.checks import DatasetError
from ..draws import draws_of_their_own
from ..evaluation.grouped_iou_metric import check_metric
from ..label_ids import LABEL_IDS_KEY, LabelIds
from .config_checks import metric_keys_wanted

__all__ = ['Rehearsal', 'rehearse']

_SIZE = (48, 64)
# Settings that name what is written, not what is read.
_WRITTEN = ('out', 'save', 'dump', 'result', 'work', 'tmp', 'temp')


class Rehearsal(NamedTuple):
    """What the evaluators of a split returned for a made-up prediction.

    Attributes:
        results: By their full names; None if not all could be tried.
        warnings: Of evaluators that could not be tried, or that return nothing or NaN.
    """

    results: Optional[Dict[str, Any]]
    warnings: List[str]


def rehearse(
    cfg: Config, split: str, metainfo: Mapping[str, Any], ids: LabelIds, labelled: bool = True
) -> Rehearsal:
    """Build the evaluators and the visualiser of a split afresh, and try them.

    They get one made-up sample with a prediction as the model makes it: label map, scores if the
    config asks for them, and what pipelines pack. What they write goes to a temporary folder. The
    runner's own evaluators, visualiser and folders are not touched.

    Args:
        cfg: The config.
        split: 'val' or 'test'.
        metainfo: Metainfo of the data set.
        ids: The numbers in label maps.
        labelled: Whether the samples have label maps. Defaults to True.

    Raises:
        DatasetError: With the key of the evaluator, of the visualiser, or of what asks for a
            result that no evaluator returns; with what was tried and what was raised.
    """
    results: Dict[str, Any] = {}
    all_tried = True
    warnings: List[str] = []
    with draws_of_their_own(), _silence(), tempfile.TemporaryDirectory() as folder:
        with_scores = bool((innermost_model(cfg).get('test_cfg') or {}).get('logits', True))
        stage = _Stage(Path(folder), dict(metainfo), ids, labelled, with_scores)
        for key, config in each_evaluator(cfg, f'{split}_evaluator'):
            try:
                returned = _try_evaluator(stage, key, config, warnings)
            except _CannotTry as reason:
                warnings.append(f'{key} ({config.get("type")}) was not tried before: {reason}')
                all_tried = False
                continue
            double = sorted(set(results) & set(returned))
            if double:
                raise DatasetError(
                    f'{key} returns {double[:5]}, which another evaluator returns too: set '
                    f"{key}.prefix to a name of its own, such as prefix='second'"
                )
            results.update(returned)
        if cfg.get('visualizer') and labelled:
            _try_visualizer(stage, cfg.visualizer)
    odd = [k for k, v in results.items() if isinstance(v, (float, np.floating)) and v != v]
    if odd:
        warnings.append(f'{split}_evaluator returns NaN for {odd[:5]} of a made-up prediction')
    if split == 'val' and all_tried:
        _check_wanted(cfg, results)
    return Rehearsal(results if all_tried else None, warnings)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep figures of made-up predictions out of the log."""
    logger = MMLogger.get_current_instance()

    # Not logging.disable: a logger remembers which levels are enabled, and that of mmengine, which
    # logging does not know, would never hear that they are enabled again.
    def refuse(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


class _Stage(NamedTuple):
    """What is tried, and where it may write."""

    folder: Path
    metainfo: Dict[str, Any]
    ids: LabelIds
    labelled: bool
    with_scores: bool

    def make_sample(self) -> Tuple[np.ndarray, SegDataSample]:
        """An image (H, W, 3) uint8, and its sample, which shows each class and ignored pixels."""
        size = _SIZE
        while size[0] * size[1] < 2 * len(self.ids.counted):
            size = (2 * size[0], 2 * size[1])
        found = torch.from_numpy(np.resize(np.array(self.ids.counted, np.int64), size))[None]
        truth = found.clone()
        truth[:, 0, 0] = self.ids.ignore_index
        image = np.resize(np.arange(256, dtype=np.uint8), (*size, 3))
        sample = SegDataSample(metainfo=self._write_files(image, truth[0].numpy()))
        if self.labelled:
            sample.gt_sem_seg = PixelData(data=truth)
        sample.pred_sem_seg = PixelData(data=found)
        if self.with_scores:
            sample.seg_logits = PixelData(data=torch.rand(len(self.ids.channels), *size))
        return image, sample

    def _write_files(self, image: np.ndarray, labels: np.ndarray) -> Dict[str, Any]:
        paths = [self.folder / 'img' / 'made_up.png', self.folder / 'ann' / 'made_up.png']
        for path, content in zip(paths, (image, labels.astype(np.uint16))):
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(content).save(path)
        size = tuple(labels.shape)
        return dict(
            img_path=str(paths[0]),
            seg_map_path=str(paths[1]),
            ori_shape=size,
            img_shape=size,
            pad_shape=size,
            scale_factor=(1.0, 1.0),
            flip=False,
            flip_direction=None,
            reduce_zero_label=bool(self.metainfo.get('reduce_zero_label')),
            **{LABEL_IDS_KEY: self.ids},
        )


def _try_evaluator(
    stage: _Stage, key: str, config: Mapping[str, Any], warnings: List[str]
) -> Dict[str, Any]:
    """What an evaluator returns for a made-up prediction."""
    plain = config.to_dict() if hasattr(config, 'to_dict') else dict(config)
    metric = _attempt(stage, key, plain, 'be built', lambda: METRICS.build(_redirect(plain, stage)))
    image, sample = stage.make_sample()
    if isinstance(metric, BaseMetric):
        metric.dataset_meta = copy.deepcopy(stage.metainfo)
    try:
        check_metric(metric, stage.ids)
    except ValueError as error:
        raise DatasetError(f'{key}: {error}') from error
    inputs = [torch.from_numpy(image).permute(2, 0, 1)]
    batch = dict(inputs=inputs, data_samples=[copy.deepcopy(sample)])
    _attempt(
        *(stage, key, plain, 'process a prediction'),
        lambda: metric.process(batch, [sample.to_dict()]),
    )
    returned = _attempt(
        *(stage, key, plain, 'compute its results'),
        lambda: metric.compute_metrics(metric.results),
    )
    _check_written(metric, key, sample, stage)
    if not returned:
        warnings.append(f'{key} ({plain.get("type")}) {_describe_nothing(metric)}')
    names = ('/'.join(filter(None, (metric.prefix, str(name)))) for name in returned or {})
    return dict(zip(names, (returned or {}).values()))


def _describe_nothing(metric: Any) -> str:
    """Why an evaluator returns nothing, as far as it says it."""
    if not getattr(metric, 'format_only', False):
        return 'returns no result for a made-up prediction'
    if getattr(metric, 'output_dir', None) is None:
        return (
            'has format_only=True and no output_dir, so that it neither measures nor writes '
            'anything: set output_dir, or leave format_only out'
        )
    return 'has format_only=True: it writes predictions and measures nothing'


class _CannotTry(Exception):
    """Something needs files that only the true data set has."""


def _attempt(stage: _Stage, key: str, config: Mapping[str, Any], what: str, call: Any) -> Any:
    try:
        return call()
    except (Exception, SystemExit) as error:  # evaluators of anybody raise almost any type
        is_of_files = isinstance(error, (FileNotFoundError, SystemExit))
        if is_of_files or str(stage.folder) in str(error):
            raise _CannotTry(f'{type(error).__name__}: {error}') from error
        raise DatasetError(
            f'{key}: {config.get("type")} fails to {what}, tried with a made-up one of '
            f'{stage.ids.num_classes} classes{"" if stage.labelled else " without a label map"} '
            f'({type(error).__name__}: {error}){_advise(error, stage)}'
        ) from error


def _advise(error: BaseException, stage: _Stage) -> str:
    missing = str(error.args[0]) if isinstance(error, KeyError) and error.args else ''
    if missing == 'seg_logits' and not stage.with_scores:
        return '. It needs scores of each class: set model.test_cfg.logits=True'
    if missing == 'gt_sem_seg' and not stage.labelled:
        return (
            '. It needs label maps: give seg_map_path in data_prefix and '
            "dict(type='LoadAnnotations') in the pipeline, or set format_only=True and output_dir "
            'to write predictions only'
        )
    if missing.isidentifier():
        given = [key for key in stage.make_sample()[1].to_dict() if not key.startswith('_')]
        return (
            f'. A prediction has no {missing!r}, only {given}; metainfo has {list(stage.metainfo)}'
        )
    return '. Look at its settings, or leave it out'


def _redirect(config: Mapping[str, Any], stage: _Stage) -> Dict[str, Any]:
    """A config that writes into the temporary folder."""
    changed = copy.deepcopy(dict(config))
    for name, value in config.items():
        words = name.lower().split('_')
        if isinstance(value, (str, os.PathLike)) and any(
            word.startswith(start) for word in words for start in _WRITTEN
        ):
            changed[name] = str(stage.folder / f'{name}{Path(value).suffix}')
    return changed


def _check_written(metric: Any, key: str, sample: SegDataSample, stage: _Stage) -> None:
    """Refuse a writer whose files hold other numbers than the prediction."""
    folder = getattr(metric, 'output_dir', None)
    if not isinstance(metric, IoUMetric) or folder is None:
        return
    expected = sample.pred_sem_seg.data[0].numpy()
    shift = int(bool(stage.metainfo.get('reduce_zero_label')))
    if shift and stage.ids.rest_id is not None:
        expected = np.where(expected == stage.ids.rest_id, -1, expected)  # which is 0 in files
    for file in Path(folder).rglob('*.png'):
        written = np.asarray(Image.open(file)).astype(np.int64)
        wrong = written.shape == expected.shape and ~np.isin(written - expected, (0, shift))
        if np.any(wrong):
            raise DatasetError(
                f'{key}: {type(metric).__name__} writes other ids than were predicted, such as '
                f'{written[wrong][0]} for {expected[wrong][0]}: files of 8 bits hold 256 ids. '
                'Leave output_dir out'
            )


def _check_wanted(cfg: Config, results: Mapping[str, Any]) -> None:
    """Refuse names of results that no evaluator returns."""
    for key, names in metric_keys_wanted(cfg).items():
        missing = [name for name in names if name not in results]
        if missing and (results or key.endswith('save_best')):
            raise DatasetError(
                f'{key} is {missing[0]!r}, which val_evaluator does not return: expected one of '
                f'{list(results)[:20]}'
            )


def _try_visualizer(stage: _Stage, config: Mapping[str, Any]) -> None:
    """Draw the made-up prediction with the config's visualiser into the temporary folder."""
    plain = config.to_dict() if hasattr(config, 'to_dict') else dict(config)
    kind = plain.pop('type', None)
    found = VISUALIZERS.get(kind) if isinstance(kind, str) else kind
    if found is None or not hasattr(found, 'add_datasample'):
        return  # the runner has built it, or refused it
    # Not by the registry, which would make it the one that all others get.
    plain.update(
        name='rehearsal', vis_backends=[dict(type='LocalVisBackend')], save_dir=str(stage.folder)
    )
    image, sample = stage.make_sample()

    def draw() -> None:
        visualizer = found(**plain)
        visualizer.dataset_meta = stage.metainfo
        visualizer.add_datasample('made_up', image, data_sample=sample, step=0)

    with contextlib.suppress(_CannotTry):
        _attempt(stage, 'visualizer', dict(type=kind), 'draw a prediction', draw)
