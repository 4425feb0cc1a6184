"""Evaluators are tried on a made-up prediction, before hours depend on them."""

import contextlib
import copy
import logging
import tempfile
from pathlib import Path
from typing import Any, Collection, Dict, Iterator, List, Mapping, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmengine.registry import METRICS
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from ..config_entries import each_entry, each_evaluator, innermost_model
from ..datasets.checks import DatasetError
from ..draws import draws_of_their_own
from ..evaluation import InstanceMetric, check_metric
from ..label_ids import LABEL_IDS_KEY, LabelIds
from ..outputs import is_output
from ..segments import PredictedSegment, TrueSegment, make_gt_segments, number_things

__all__ = ['rehearse']

_LABELLED = (
    "dict(type='LoadAnnotations') in the pipeline, or set format_only=True and output_dir to write "
    'predictions only'
)
#: What a prediction lacks, and what lets it be there.
_REMEDIES = dict(
    seg_logits='. It needs scores of each class: set model.test_cfg.logits=True',
    pred_sem_seg=". It needs predicted label maps: add 'semantic' to model.test_cfg.outputs",
    gt_sem_seg=f'. It needs label maps: give seg_map_path in data_prefix and {_LABELLED}',
)


def rehearse(
    cfg: Config,
    split: str,
    metainfo: Mapping[str, Any],
    ids: LabelIds,
    truths: Collection[str] = ('gt_sem_seg', 'gt_segments'),
) -> Dict[str, Any]:
    """Build the evaluators of a split afresh, and try them.

    They get one made-up sample with a prediction as the model makes it: what ``test_cfg`` asks for
    of label map, scores, panoptic map and objects; and what pipelines pack. What they write goes to
    a temporary folder. The runner's own evaluators and folders are not touched.

    Args:
        cfg: The config.
        split: 'val' or 'test'.
        metainfo: Metainfo of the data set.
        ids: The numbers in label maps.
        truths: What samples have, of ``gt_sem_seg`` (label maps) and ``gt_segments``. Defaults to
            both.

    Returns:
        The results, by their full names. The log says which evaluators need files that only the
        true data set has, and could not be tried.

    Raises:
        DatasetError: With the key of the evaluator and what it raised, or of what asks for a result
            that no evaluator returns.
    """
    results: Dict[str, Any] = {}
    untried: List[str] = []
    test_cfg = innermost_model(cfg).get('test_cfg') or {}
    outputs = [*test_cfg.get('outputs', ('semantic',))]
    if 'semantic' in outputs and test_cfg.get('logits', True):
        outputs.append('scores')
    with draws_of_their_own(), _silence(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image, sample = _make_sample(folder, metainfo, ids, truths, outputs)
        for key, config in each_evaluator(cfg, f'{split}_evaluator'):
            plain = config.to_dict() if hasattr(config, 'to_dict') else dict(config)
            try:
                returned = _evaluate(plain, image, sample, metainfo, folder)
            except (Exception, SystemExit) as error:  # evaluators of anybody raise almost any type
                said = f'{type(error).__name__}: {error}'
                if isinstance(error, (FileNotFoundError, SystemExit)) or name in str(error):
                    untried.append(f'{key} ({plain.get("type")}) was not tried before: {said}')
                    continue
                missing = error.args[0] if isinstance(error, KeyError) and error.args else None
                raise DatasetError(
                    f'{key}: {plain.get("type")} fails, tried with a made-up prediction of '
                    f'{ids.num_classes} classes{"" if truths else " without a label map"} '
                    f'({said}){_REMEDIES.get(str(missing), "")}'
                ) from error
            double = sorted(set(results) & set(returned))
            if double:
                raise DatasetError(
                    f'{key} returns {double[:5]}, which another evaluator returns too: set '
                    f"{key}.prefix to a name of its own, such as prefix='second'"
                )
            results.update(returned)
    for line in untried:
        print_log(line, 'current', logging.WARNING)
    if split == 'val' and not untried:
        _check_wanted(cfg, results)
    return results


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


def _make_sample(
    folder: Path,
    metainfo: Mapping[str, Any],
    ids: LabelIds,
    truths: Collection[str],
    outputs: Collection[str],
) -> Tuple[np.ndarray, SegDataSample]:
    """An image (H, W, 3) uint8, and its sample, which shows each class and ignored pixels."""
    size = (48, max(64, len(ids.counted) // 24 + 1))
    found = torch.from_numpy(np.resize(np.array(ids.counted, np.int64), size))[None]
    truth = found.clone()
    truth[:, 0, 0] = ids.ignore_index
    image = np.resize(np.arange(256, dtype=np.uint8), (*size, 3))
    sample = SegDataSample(
        metainfo=dict(
            dict.fromkeys(('img_path', 'seg_map_path'), str(folder / 'made_up.png')),
            **dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), size),
            scale_factor=(1.0, 1.0),
            flip=False,
            flip_direction=None,
            reduce_zero_label=bool(metainfo.get('reduce_zero_label')),
            **{LABEL_IDS_KEY: ids},
        )
    )
    if 'semantic' in outputs:
        sample.pred_sem_seg = PixelData(data=found)
    if 'gt_sem_seg' in truths:
        sample.gt_sem_seg = PixelData(data=truth)
    if 'scores' in outputs:
        sample.seg_logits = PixelData(data=torch.rand(len(ids.channels), *size))
    _add_segments(sample, metainfo, ids.num_classes, truths, outputs)
    return image, sample


def _add_segments(
    sample: SegDataSample,
    metainfo: Mapping[str, Any],
    num_classes: int,
    truths: Collection[str],
    outputs: Collection[str],
) -> None:
    """Give a sample one segment of each class, true and predicted."""
    size = sample.metainfo['ori_shape']
    numbers = torch.from_numpy(np.resize(np.arange(num_classes), size))
    areas = numbers.flatten().bincount(minlength=num_classes).tolist()
    things = number_things(metainfo['classes'], metainfo.get('thing_classes'))
    if 'gt_segments' in truths:
        sample.gt_segments = make_gt_segments(
            numbers,
            [TrueSegment(id=n + 1, category_id=n, iscrowd=0, area=a) for n, a in enumerate(areas)],
        )
    if 'panoptic' in outputs:
        found = [
            PredictedSegment(id=n + 1, category_id=n, isthing=n in things, area=area, score=1.0)
            for n, area in enumerate(areas)
        ]
        data = (numbers + 1).int()[None]
        sample.pred_panoptic_seg = PixelData(metainfo=dict(segments_info=found), data=data)
    if 'instances' in outputs:
        labels = torch.tensor(things)
        sample.pred_instances = InstanceData(
            labels=labels,
            scores=torch.ones(len(things)),
            masks=numbers == labels[:, None, None],
            bboxes=torch.tensor([[0.0, 0, size[1], size[0]]] * len(things)),
        )


def _evaluate(
    config: Dict[str, Any],
    image: np.ndarray,
    sample: SegDataSample,
    metainfo: Mapping[str, Any],
    folder: Path,
) -> Dict[str, Any]:
    """What an evaluator returns for a made-up prediction."""
    for name, value in config.items():
        if is_output(name) and isinstance(value, (str, Path)):
            config[name] = str(folder / f'{name}{Path(value).suffix}')
    metric = METRICS.build(config)
    if isinstance(metric, BaseMetric):
        metric.dataset_meta = copy.deepcopy(dict(metainfo))
    if isinstance(metric, InstanceMetric):
        metric.ann_file = None  # which does not know the made-up image
    check_metric(metric, sample.metainfo[LABEL_IDS_KEY])
    inputs = [torch.from_numpy(image).permute(2, 0, 1)]
    batch = dict(inputs=inputs, data_samples=[copy.deepcopy(sample)])
    metric.process(batch, [sample.to_dict()])
    returned = metric.compute_metrics(metric.results) or {}
    return {'/'.join(filter(None, (metric.prefix, str(k)))): v for k, v in returned.items()}


def _check_wanted(cfg: Config, results: Mapping[str, Any]) -> None:
    """Refuse names of results that hooks and schedules ask for, and that no evaluator returns."""
    best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best') or []
    wanted = {'default_hooks.checkpoint.save_best': [best] if isinstance(best, str) else list(best)}
    for setting in ('custom_hooks', 'param_scheduler'):
        for key, each in each_entry(cfg.get(setting) or [], setting):
            if isinstance(each, Mapping) and isinstance(each.get('monitor'), str):
                wanted[f'{key}.monitor'] = [each['monitor']]
    for key, names in wanted.items():
        missing = [name for name in names if name not in (*results, 'auto')]
        if missing:
            raise DatasetError(
                f'{key} is {missing[0]!r}, which val_evaluator does not return: expected one of '
                f'{list(results)[:20]}'
            )
