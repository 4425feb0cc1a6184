"""Whether the parts of a config agree, found before a model is built."""

import copy
import inspect
import traceback
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..config_entries import innermost_model
from ..dataset_wrappers import each_dataset_config, find_configs
from ..datasets.checks import DatasetError, check_classes
from ..datasets.label_settings import check_label_settings
from ..label_ids import LabelIds
from ..models.heads.settings import find_class_names, find_label_ids

__all__ = ['SPLITS', 'ModelFacts', 'check_config', 'read_metainfo', 'read_model_facts']

#: Names of the data sets in errors, by those in configs.
SPLITS = dict(train='training', val='validation', test='test')
_GROUPS = ('thing_classes', 'stuff_classes', 'labelled_classes')


class ModelFacts(NamedTuple):
    """What a config says of the classes that a model tells apart.

    Attributes:
        class_names: The C names.
        ids: The numbers in its label maps.
    """

    class_names: Tuple[str, ...]
    ids: LabelIds


def read_model_facts(cfg: Config) -> Optional[ModelFacts]:
    """The class names and ids of a config's model, which is not built.

    Returns:
        None if the config has no decode head that names classes.

    Raises:
        DatasetError: If names, number and ids contradict each other.
    """
    head: Mapping[str, Any] = innermost_model(cfg).get('decode_head') or {}
    try:
        names = find_class_names(head.get('semantic_prompts', head))
        if names is None:
            return None
        settings = (head.get(key) for key in ('ignore_index', 'rest_id'))
        ids = find_label_ids(head.get('num_classes'), names, *settings)
    except ValueError as error:
        raise DatasetError(f'model: {error}') from error
    return ModelFacts(tuple(names), ids)


def check_config(
    cfg: Config, splits: Sequence[str] = tuple(SPLITS), model: Optional[ModelFacts] = None
) -> None:
    """Compare what a config says in several places.

    Its data sets are built without their lists of files, and its model is not built.

    Args:
        cfg: The config.
        splits: Which of 'train', 'val' and 'test' are meant to run. Defaults to all.
        model: What its model tells apart. Defaults to None: as the config says.

    Raises:
        DatasetError: With each key of the config that does not fit, and with what it does not fit.
    """
    model = model or read_model_facts(cfg)
    datasets = [(split, dataset) for split in splits for dataset in _build_datasets(cfg, split)]
    problems = _find_order_problems(datasets)
    for split, dataset in datasets:
        problems += _find_group_problems(_key_of(split), dataset.metainfo)
        if isinstance(dataset, BaseSegDataset) and 'img_path' not in dataset.data_prefix:
            problems.append(
                f"{_key_of(split)}.data_prefix: expected img_path='...', the folder of the images, "
                f'found {list(dataset.data_prefix)}'
            )
    if model is not None:
        problems += _find_padding_problems(cfg, model.ids)
        for split, dataset in datasets:
            try:
                check_label_settings(dataset, model.ids, SPLITS[split])
            except DatasetError as error:
                problems.append(f'{_key_of(split)}: {error}')
    if problems:
        lines = '\n  '.join(dict.fromkeys(problems))
        raise DatasetError(f'the config contradicts itself:\n  {lines}')
    if model is not None:
        for split, dataset in datasets:
            check_classes(dataset, model.class_names, SPLITS[split], _key_of(split))


def read_metainfo(cfg: Config, split: str) -> Optional[Mapping[str, Any]]:
    """The metainfo of a split's data set; None if it cannot be built without its files."""
    return next((dataset.metainfo for dataset in _build_datasets(cfg, split)), None)


def _key_of(split: str) -> str:
    return f'{split}_dataloader.dataset'


def _build_datasets(cfg: Config, split: str) -> List[BaseDataset]:
    """The data sets of a split that are mmengine's, without their lists of files."""
    datasets = []
    whole = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    for config in each_dataset_config(whole):
        kind = config.get('type')
        found = DATASETS.get(kind) if isinstance(kind, str) else kind
        if inspect.isclass(found) and not issubclass(found, BaseDataset):
            continue
        try:
            datasets.append(DATASETS.build(dict(copy.deepcopy(config), lazy_init=True)))
        except Exception as error:  # of settings of any type
            is_of_files = isinstance(error, (AssertionError, OSError))  # some only assert theirs
            if is_of_files and any(find_configs(whole, 'EmbeddedDataset')):
                continue  # a cache is read in their place
            said = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
            raise DatasetError(
                f'{_key_of(split)}: {kind} with data_root={config.get("data_root")!r} cannot be '
                f'built ({type(error).__name__}: {said})'
            ) from error
    return datasets


def _find_order_problems(datasets: Sequence[Tuple[str, BaseDataset]]) -> List[str]:
    """Find data sets that number the same classes differently."""
    problems = []
    for split, other in datasets[1:]:
        (first_split, first), keys = datasets[0], (_key_of(datasets[0][0]), _key_of(split))
        one, two = (list(each.metainfo.get('classes') or ()) for each in (first, other))
        zero = [getattr(each, 'reduce_zero_label', None) for each in (first, other)]
        if any(name in two and two.index(name) != one.index(name) for name in one):
            problems.append(
                f'{" and ".join(keys)} number the same classes differently:\n    {one}\n    {two}\n'
                '  Give both the same list'
            )
        elif first.data_root == other.data_root and zero[0] != zero[1] and split != first_split:
            problems.append(
                f'{keys[0]}.reduce_zero_label is {zero[0]}, but {keys[1]}.reduce_zero_label is '
                f'{zero[1]}, with the same data_root. Give both the same'
            )
    return problems


def _find_group_problems(key: str, metainfo: Mapping[str, Any]) -> List[str]:
    """Find groups of classes that a base config has left over, and that name other classes."""
    classes, problems = list(metainfo.get('classes') or ()), []
    for group in _GROUPS:
        unknown = [name for name in metainfo.get(group) or () if name not in classes]
        if unknown:
            problems.append(
                f'{key}.metainfo.{group} names {unknown}, which are none of its classes {classes}. '
                f'Leave {group} out, or name some of these; in a config that inherits, '
                'metainfo=dict(_delete_=True, classes=...) leaves out what the base says'
            )
    return problems


def _find_padding_problems(cfg: Config, ids: LabelIds) -> List[str]:
    """Refuse padding that would count as a class."""
    padding = (innermost_model(cfg).get('data_preprocessor') or {}).get('seg_pad_val')
    if padding in (None, ids.ignore_index):
        return []
    return [
        f'model.data_preprocessor.seg_pad_val is {padding}, but model.decode_head.ignore_index, '
        f'the number of pixels that do not count, is {ids.ignore_index}. Give both the same'
    ]
