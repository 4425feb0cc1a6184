"""Data and config are looked at before a training step is spent on them."""

import functools
import logging
from typing import Any, Dict, Iterator, Optional, Sequence

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..config_entries import innermost_model
from ..dataset_wrappers import each_dataset
from ..datasets.checks import (
    DatasetError,
    LabelFacts,
    check_classes,
    check_label_ids,
    find_loaders,
)
from ..datasets.left_out import find_left_out
from ..datasets.packed_checks import Frame, check_batch_sizes, check_packed
from ..datasets.survey import Survey, survey_samples
from ..label_ids import LabelIds, resolve_label_ids
from ..main_process import on_main_process, unwrap_model
from .config_checks import SPLITS, ModelFacts, check_config
from .rehearsal import rehearse

__all__ = ['DatasetCheckHook', 'read_frame']

#: What is true of a sample, in words, and what loads it.
_TRUTHS = dict(
    gt_sem_seg=('label map', 'LoadAnnotations'), gt_segments=('segment map', 'LoadSegments')
)


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Checks config, images, label maps and evaluators before training and testing.

    Before the first step:

    - what the config says in several places is compared (:func:`check_config`);
    - the classes of every data set are compared with the prompts;
    - images and label maps are read: all of them, or ``max_samples`` evenly spread ones;
    - the first samples pass the whole pipeline, and what leaves it is looked at
      (:func:`check_packed`);
    - evaluators are tried on a made-up prediction (:func:`rehearse`).

    What can be used, but perhaps not as one thinks, is logged once with its count. During training
    the labels of each batch are checked before it goes to the model, and in validation and test
    what the model returns beside it. ``mmseg-ssprompt check-data`` reads all samples and lists all
    that is wrong.

    Args:
        max_samples: How many samples of a data set are read. Defaults to 1000.

    Raises:
        DatasetError: With the file or the key of the config, what was expected and what was found.
    """

    def __init__(self, max_samples: int = 1000) -> None:
        self.max_samples = max_samples

    def before_train(self, runner: Runner) -> None:
        """Check training and validation data, and what validation needs."""
        loaders = dict(train=runner.train_dataloader)
        if runner.val_loop is not None:
            loaders['val'] = runner.val_dataloader
        self._check(runner, loaders)

    def before_test(self, runner: Runner) -> None:
        """Check test data, and what testing needs."""
        self._check(runner, dict(test=runner.test_dataloader))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the labels of a batch, which are still on the CPU."""
        _check_batch(data_batch, read_label_ids(_decode_head(runner)), training=True)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check label maps with which predictions are compared."""
        _check_batch(data_batch, read_label_ids(_decode_head(runner)), training=False)

    before_test_iter = before_val_iter

    def _check(self, runner: Runner, loaders: Dict[str, Any]) -> None:
        head, cfg = _decode_head(runner), runner.cfg
        ids = read_label_ids(head)
        facts = ModelFacts(tuple(head.class_names), ids)
        on_main_process(lambda: check_config(cfg, list(loaders), facts))
        for split, loader in loaders.items():
            dataset = loader.dataset
            for leaf in each_dataset(dataset):
                check_classes(leaf, head.class_names, SPLITS[split])
            on_main_process(functools.partial(self._survey, runner, dataset, split, ids))
            on_main_process(functools.partial(_try, cfg, dataset, split, ids))

    def _survey(self, runner: Runner, dataset: BaseDataset, split: str, ids: LabelIds) -> None:
        """Read images and label maps."""
        leaves, name = list(each_dataset(dataset)), SPLITS[split]
        max_damaged = getattr(dataset, 'max_damaged', 0)  # of training data
        survey = Survey(leaves[0].metainfo['classes'], ids, read_facts(leaves))
        for leaf in leaves:
            count = survey_samples(survey, leaf, ids, self.max_samples, max_damaged)
            runner.logger.info(f'Checked {count} of {len(leaf)} {name} samples')
        if survey.ignored:
            runner.logger.info(f'{name} data: {survey.describe_ignored()}')
        if 'labelled_classes' not in leaves[0].metainfo:  # else names may be none of the data set's
            survey.check_whole(training=split == 'train')
        survey.notes += [line for leaf in leaves for line in find_left_out(leaf)]
        for line in survey.warnings():
            print_log(f'{name} data: {line}', 'current', logging.WARNING)


def _try(cfg: Config, dataset: BaseDataset, split: str, ids: LabelIds) -> None:
    """Let some samples pass the pipeline, and a made-up one the evaluators."""
    training = split == 'train'
    packed = check_packed(dataset, ids, SPLITS[split], training, read_frame(cfg, training))
    if not training:
        size = (cfg.get(f'{split}_dataloader') or {}).get('batch_size', 1)
        check_batch_sizes(packed, size, f'{split}_dataloader')
        truths = [key for key in _TRUTHS if all(key in each.sample for each in packed)]
        rehearse(cfg, split, next(each_dataset(dataset)).metainfo, ids, truths)


def _check_batch(data_batch: Any, ids: LabelIds, training: bool) -> None:
    """Refuse label maps with ids of no class, or that do not have the size of predictions."""
    for sample in _flatten(data_batch['data_samples']):
        metainfo = sample.metainfo
        file, size = metainfo.get('seg_map_path'), metainfo.get('ori_shape')
        truths = [key for key in ('gt_sem_seg', 'gt_segments') if key in sample]
        if training and not truths:
            raise DatasetError(
                f'image {str(metainfo.get("img_path"))!r}: expected a label map to train with, '
                "found none. Put dict(type='LoadAnnotations') into the pipeline"
            )
        for key in truths:
            height, width = sample.get(key).data.shape[-2:]
            if not training and size is not None and (height, width) != tuple(size[:2]):
                what, loader = _TRUTHS[key]
                raise DatasetError(
                    f'{what} {str(file)!r} is {height} x {width} (height x width), but its image, '
                    f'whose size predictions have, is {size[0]} x {size[1]}. Put {loader} after '
                    'what changes sizes, or mend the file'
                )
        if 'gt_sem_seg' not in sample:
            continue
        labels = sample.gt_sem_seg.data.cpu().numpy()
        check_label_ids(labels, ids, file, LabelFacts(bool(metainfo.get('reduce_zero_label'))))


def _flatten(samples: Any) -> Iterator[Any]:
    """Samples; test-time augmentation makes a list of views of each."""
    for each in samples:
        yield from each if isinstance(each, (list, tuple)) else [each]


def read_label_ids(head: Any) -> LabelIds:
    """The numbers in the label maps of a decode head."""
    ids: Optional[LabelIds] = getattr(head, 'label_ids', None)
    return ids or resolve_label_ids(head.num_classes, head.ignore_index)


def read_facts(leaves: Sequence[BaseDataset]) -> LabelFacts:
    """What data sets do to the ids in files, if all do the same."""
    facts = []
    for leaf in leaves:
        holders = [leaf, *find_loaders(leaf)]  # the data set or the transform that loads labels
        label_map = next(filter(None, (getattr(each, 'label_map', None) for each in holders)), None)
        facts.append(LabelFacts(bool(getattr(leaf, 'reduce_zero_label', False)), label_map))
    return facts[0] if all(each == facts[0] for each in facts) else LabelFacts()


def read_frame(cfg: Config, training: bool) -> Frame:
    """What a config's data preprocessor makes of images."""
    model = innermost_model(cfg)
    preprocessor = model.get('data_preprocessor') or {}
    size = preprocessor.get('size')
    if not training:
        size = (preprocessor.get('test_cfg') or {}).get('size')
        if (model.get('test_cfg') or {}).get('mode', 'whole') != 'whole':
            size = None  # windows have that size, not images
    normalises = preprocessor.get('mean') is not None
    return Frame(None if size is None else tuple(size), normalises)


def _decode_head(runner: Runner) -> Any:
    model = unwrap_model(runner.model)
    return getattr(model, 'module', model).decode_head  # SegTTAModel keeps it in .module
