"""Other class names at test time: nothing is trained for them."""

import copy
import logging
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple, Union

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS

from ..class_names import check_class_names
from ..config_entries import each_evaluator
from ..dataset_wrappers import each_dataset_config, find_configs
from ..label_ids import LabelIds, resolve_label_ids
from ..plain import shorten, to_plain
from ..readable_names import readable_class_names
from .prompt_file import read_prompt_source, write_prompts
from .transfer import match_classes, transfer_prompts

__all__ = ['rename_prompts', 'split_class_names', 'with_class_names']

_TRAINING_SETTINGS = (
    *('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'),
    *('val_dataloader', 'val_cfg', 'val_evaluator'),
)


def split_class_names(text: str) -> List[str]:
    """The names in a list with commas between them, as a command line has it.

    Raises:
        ValueError: If there is no name, or one is empty or there twice.
    """
    return check_class_names([name.strip() for name in text.split(',')])


def with_class_names(config: Union[Config, str], class_names: Sequence[str]) -> Config:
    """A config that tells other classes apart, by handcrafted semantic prompts.

    All but the semantic prompts and the labels of the test data stays as it is. Test images are
    measured for the names that the data set has, too; all other pixels are ignored there.

    A single name is told from the rest: predictions have 1 for the class and 0 for the rest
    (``rest_id=0``), and pixels that the data set labels otherwise are the rest. Handcrafted prompts
    know little of "no object", which alone tells it apart; names of what else there is do better.

    Predictions are label maps alone (``test_cfg.outputs``): which of the names are things, whose
    objects would be told apart, is not known.

    Args:
        config: A config whose semantic prompts are made of class names, or its path.
        class_names: The new names.

    Returns:
        A copy of the config, which is for tests and predictions: nothing in it trains or validates.

    Raises:
        ValueError: If the names are not valid (:func:`check_class_names`), or the config has no
            semantic prompts made of class names.
    """
    cfg = Config.fromfile(config) if isinstance(config, (str, Path)) else copy.deepcopy(config)
    names = check_class_names(class_names)
    head: ConfigDict = cfg.model.get('decode_head') or {}
    prompts = head.get('semantic_prompts') or {}
    if 'text_encoder' not in prompts:
        raise ValueError(
            'other class names need semantic prompts made of names: expected '
            'model.decode_head.semantic_prompts with a text_encoder, found '
            f'{shorten(dict(prompts))} in a {head.get("type")}'
        )
    source_ids = LabelIds(1, rest_id=head.get('rest_id'))  # whose first class is what counts
    head.num_classes = len(names)
    head.rest_id = 0 if len(names) == 1 else None
    for key in ('ignore_index', 'thing_classes'):
        head.pop(key, None)
    if cfg.model.get('test_cfg') is not None:
        cfg.model.test_cfg.pop('outputs', None)
    head.loss_decode.pop('class_weight', None)
    for key in ('dataset', 'classes'):
        prompts.pop(key, None)
    prompts['class_names'] = names
    _relabel(cfg, names, source_ids, resolve_label_ids(len(names), rest_id=head.rest_id))
    # `Runner.iter` builds the training set on first access, and the visualiser would then use its
    # class names.
    for setting in _TRAINING_SETTINGS:
        cfg[setting] = None
    return cfg


def _relabel(cfg: Config, names: Sequence[str], source: LabelIds, target: LabelIds) -> None:
    """Let the test data have other class names, and the numbers of ``target`` for ``source``'s."""
    if cfg.get('test_dataloader') is None:
        return
    if any(find_configs(cfg.test_dataloader.dataset, 'EmbeddedDataset')):
        raise _without_names('EmbeddedDataset')
    for dataset in each_dataset_config(cfg.test_dataloader.dataset):
        _relabel_dataset(dataset, names, source, target)
    for _, evaluator in each_evaluator(cfg, 'test_evaluator'):
        if evaluator['type'] == 'IoUMetric':
            evaluator['type'] = 'GroupedIoUMetric'  # which tells labelled classes from others
        evaluator.pop('ignore_index', None)  # of the model's own classes


def _relabel_dataset(
    dataset: ConfigDict, names: Sequence[str], source: LabelIds, target: LabelIds
) -> None:
    """Let one data set have the new classes; see :func:`_relabel`."""
    names_of = ('classes', 'palette', 'label_map')
    beside = {key: dataset.pop(key) for key in names_of if key in dataset}
    if beside:  # which counts before the metainfo
        dataset['metainfo'] = beside
    own, palette = _read_classes(dataset)
    matches = match_classes(_readable(dataset['type'], own), names)
    others = [name for new, name in enumerate(names) if new not in matches]
    if others:
        print_log(
            f'{len(others)} of {len(names)} class names are none of the test data set '
            f'{dataset["type"]}, whose labels cannot tell whether they are right: {others}',
            'current',
            logging.WARNING,
        )
    colours = np.random.RandomState(42).randint(256, size=(len(names), 3)).tolist()
    for new, old in matches.items():
        colours[new] = list(palette.get(own[old], colours[new]))
    dataset.update(
        type='RelabelledDataset',
        source=dataset['type'],
        classes=names,
        label_map=_number_labels(len(own), matches, source, target),
        rest_id=target.rest_id,
        palette=colours,
    )


def _number_labels(
    count: int, matches: Mapping[int, int], source: LabelIds, target: LabelIds
) -> Dict[int, int]:
    """New numbers by the old: of classes that have a name and, where one does, of the rest."""
    first, label_map = source.classes.start, {}
    if matches and target.rest_id is not None:
        others = [*range(first, first + count), source.rest_id]
        label_map = {old: target.rest_id for old in others if old is not None}
    return {**label_map, **{first + old: target.classes[new] for new, old in matches.items()}}


def _without_names(kind: str) -> ValueError:
    return ValueError(
        'test_dataloader.dataset: expected a data set that names its classes, found a '
        f'{kind}. Give the config without "_cached"'
    )


def _read_classes(dataset: ConfigDict) -> Tuple[Sequence[str], Dict[str, Sequence[int]]]:
    """The classes of a data set's config, and colours by class, without looking for its files."""
    given = dataset.get('metainfo', {})
    registered = getattr(DATASETS.get(dataset.type), 'METAINFO', {})
    classes = given.get('classes') or registered.get('classes')
    if not classes:
        raise _without_names(dataset.type)
    palette = dict(zip(registered.get('classes', ()), registered.get('palette', ())))
    palette.update(zip(given.get('classes', ()), given.get('palette', ())))
    return classes, palette


def _readable(dataset: str, classes: Sequence[str]) -> Tuple[str, ...]:
    """A data set's names as prompts have them."""
    try:
        return readable_class_names(dataset, classes)
    except ValueError:  # a data set whose names are in its config
        return tuple(classes)


def rename_prompts(checkpoint: Union[str, Path], cfg: Config, file: Path) -> None:
    """Write the prompts of a checkpoint for the classes of a config.

    Classes that the checkpoint knows by name keep their learned prompts, others get handcrafted
    ones; spatial prompts and the classifier are taken as they are.

    Args:
        checkpoint: Trained prompts.
        cfg: What :func:`with_class_names` returns.
        file: Where to.

    Raises:
        CheckpointError: If it cannot be read.
        FileNotFoundError: If there is no such file.
        PromptTransferError: If the prompts are of another kind, number or base model.
    """
    source = read_prompt_source(checkpoint)
    with DefaultScope.overwrite_default_scope('mmseg'):
        target = MODELS.build(cfg.model)
    known = match_classes(source.class_names, target.decode_head.class_names)
    parts = ('spatial', 'semantic') if known else ('spatial',)
    state_dict, report = transfer_prompts(source, target, parts)
    print_log(f'Prompts of {str(checkpoint)!r} for other class names:\n{report}', 'current')
    dataset = next(each_dataset_config(cfg.test_dataloader.dataset))
    dataset_meta = {key: to_plain(list(dataset[key]), key) for key in ('classes', 'palette')}
    write_prompts(state_dict, dict(cfg=cfg.pretty_text, dataset_meta=dataset_meta), file)
