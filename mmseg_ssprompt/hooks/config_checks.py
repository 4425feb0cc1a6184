"""Whether the parts of a config agree, found before anything is built that takes long."""

import copy
import difflib
import inspect
import os
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, METRICS, TRANSFORMS

from ..class_names import find_palette_problem, read_class_names
from ..config_entries import each_entry, each_evaluator, innermost_model
from ..dataset_wrappers import each_dataset_config
from ..datasets.checks import DatasetError, check_classes
from ..datasets.image_folder import ImageFolderDataset
from ..datasets.label_settings import check_label_settings
from ..datasets.steps import each_step
from ..label_ids import LabelIds
from ..models.heads.settings import find_class_names, find_label_ids
from .missing_files import each_needed_path

__all__ = ['SPLITS', 'ModelFacts', 'check_config', 'read_model_facts']

#: Names of the data sets in errors, by those in configs.
SPLITS = dict(train='training', val='validation', test='test')
#: Arguments that mmseg's tools give to metrics that do not have them.
_FORGIVEN = ('keep_results', 'collect_dir')
_LEFTOVERS = (
    'in a config that inherits, metainfo=dict(_delete_=True, classes=...) leaves out what the '
    'base says'
)
_GROUPS = ('thing_classes', 'stuff_classes', 'labelled_classes')


class ModelFacts(NamedTuple):
    """What a config says of the classes that a model tells apart.

    Attributes:
        class_names: The C names.
        ids: The numbers in its label maps.
    """

    class_names: Tuple[str, ...]
    ids: LabelIds


class Part(NamedTuple):
    """A data set in a config.

    Attributes:
        key: Where the config has it: ``'train_dataloader.dataset'``.
        split: 'train', 'val' or 'test'.
        config: Its config.
        dataset: It, without its list of files; None if it cannot be built so.
    """

    key: str
    split: str
    config: Mapping[str, Any]
    dataset: Any


def _read_head(cfg: Config) -> Mapping[str, Any]:
    """The config of the decode head; empty without one."""
    head = innermost_model(cfg).get('decode_head')
    return head if isinstance(head, Mapping) else {}


def read_model_facts(cfg: Config) -> Optional[ModelFacts]:
    """The class names and ids of a config's model, which is not built.

    Returns:
        None if the config has no decode head that names classes.

    Raises:
        DatasetError: If names, number and ids contradict each other.
    """
    head = _read_head(cfg)
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
) -> List[str]:
    """Compare what a config says in several places, and build its transforms.

    No file of a data set is read, and no model is built.

    Args:
        cfg: The config.
        splits: Which of 'train', 'val' and 'test' are meant to run. Defaults to all.
        model: What its model tells apart. Defaults to None: as the config says.

    Returns:
        Warnings: settings that can be meant, but probably are not.

    Raises:
        DatasetError: With each key of the config that does not fit, and with what it does not fit.
    """
    model = model or read_model_facts(cfg)
    parts = [part for split in splits for part in _build_parts(cfg, split)]
    built = [part for part in parts if part.dataset is not None]
    problems: List[str] = []
    for part in built:
        problems += _find_group_problems(part)
        problems += _find_zero_label_problems(part)
    for split in splits:
        problems += _find_loader_problems(cfg, split)
        problems += _find_evaluator_problems(cfg, split)
    if 'train' in splits:
        problems += _find_epoch_problems(cfg)
    problems += _find_order_problems(built)
    if model is not None:
        problems += _find_loss_problems(cfg, model)
        problems += _find_ignore_index_problems(cfg, parts, model.ids)
        problems += [line for part in built for line in _find_label_problems(part, model.ids)]
    _raise(problems)
    if model is not None:
        for part in built:
            check_classes(part.dataset, model.class_names, SPLITS[part.split], part.key)
    lines = _find_replaced_classes(built, model)
    return lines + (_find_unlikely(cfg) if 'train' in splits else [])


def _raise(problems: Sequence[str]) -> None:
    if problems:
        problems = list(dict.fromkeys(problems))
        text = '\n  '.join(problems)
        raise DatasetError(
            text if len(problems) == 1 else f'the config contradicts itself:\n  {text}'
        )


# Data sets


def _build_parts(cfg: Config, split: str) -> List[Part]:
    loader = cfg.get(f'{split}_dataloader')
    if not isinstance(loader, Mapping) or not isinstance(loader.get('dataset'), Mapping):
        return []
    plain = loader.to_dict() if hasattr(loader, 'to_dict') else dict(loader)
    return [
        _build_part(key, split, config, is_embedded)
        for key, config, is_embedded in _each_key(plain['dataset'], f'{split}_dataloader.dataset')
    ]


def _each_key(
    config: Any, key: str, is_embedded: bool = False
) -> Iterator[Tuple[str, Mapping[str, Any], bool]]:
    """The data sets that read files, with their keys, and whether their samples are embedded.

    Pipelines of wrappers are built on the way.
    """
    if isinstance(config, (list, tuple)):
        for index, inner in enumerate(config):
            yield from _each_key(inner, f'{key}[{index}]', is_embedded)
    elif any(leaf is config for leaf in each_dataset_config(config)):
        yield key, config, is_embedded
    elif isinstance(config, Mapping):
        _build_pipeline(config.get('pipeline', []), f'{key}.pipeline')
        is_embedded = is_embedded or config.get('type') == 'EmbeddedDataset'
        for name in ('datasets', 'dataset'):
            if name in config:
                yield from _each_key(config[name], f'{key}.{name}', is_embedded)


def _build_part(key: str, split: str, config: Mapping[str, Any], is_embedded: bool) -> Part:
    kind = _find_type(DATASETS, config, key, 'data set')
    _build_pipeline(config.get('pipeline', []), f'{key}.pipeline')
    if not (inspect.isclass(kind) and issubclass(kind, BaseDataset)):
        return Part(key, split, config, None)
    _raise([*_find_class_problems(key, config, kind), *_find_prefix_problems(key, config)])
    try:
        dataset = DATASETS.build(dict(copy.deepcopy(config), lazy_init=True))
    except DatasetError:
        raise
    except Exception as error:  # of settings of any type
        missing = []
        if isinstance(error, (AssertionError, OSError)):  # some data sets only assert their files
            paths = (path for path, _ in each_needed_path(config))
            missing = [repr(path) for path in paths if not os.path.exists(path)]
        if missing and is_embedded:
            return Part(key, split, config, None)
        if missing:
            raise DatasetError(f'{key}: there is no {" and no ".join(missing)}') from error
        raise DatasetError(
            f'{key}: the data set {config["type"]} does not take these settings '
            f'({_innermost(error)}){_guess_argument(kind, config)}'
        ) from error
    return Part(key, split, config, dataset)


def _innermost(error: BaseException) -> str:
    """What was raised first; registries raise it again, with the name of what they built."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f'{type(error).__name__}: {error}'


def _find_type(registry: Any, config: Any, key: str, what: str) -> Any:
    """The class or function that a config names."""
    name = config.get('type') if isinstance(config, Mapping) else None
    if name is None:
        raise DatasetError(
            f"{key}: expected the config of a {what}, dict(type='...'), found {config!r}"
        )
    found = registry.get(name) if isinstance(name, str) else name
    if found is None:
        known = sorted({*registry.module_dict, *(registry.parent or registry).module_dict})
        close = difflib.get_close_matches(name, known, 3, 0.7)
        advice = (
            f'is it {" or ".join(map(repr, close))}?'
            if close
            else ('Register it, and let custom_imports import the file that does')
        )
        raise DatasetError(f'{key}.type: there is no {what} {name!r}: {advice}')
    return found


def _guess_argument(kind: Any, config: Mapping[str, Any]) -> str:
    """The names of arguments that are close to those that a class does not have."""
    known = {
        name
        for base in inspect.getmro(kind)
        if '__init__' in vars(base)
        for name in inspect.signature(vars(base)['__init__']).parameters
    } - {'self', 'args', 'kwargs'}
    known |= {'type', *_FORGIVEN}
    wrong = [name for name in config if name not in known]
    close = {name: difflib.get_close_matches(name, known, 1, 0.6) for name in wrong}
    pairs = [f'{name!r}, is it {match[0]!r}?' for name, match in close.items() if match]
    if pairs:
        return f'. It has no argument {"; ".join(pairs)}'
    return f'. It has no argument {wrong}' if wrong else ''


def _build_pipeline(pipeline: Any, key: str) -> List[Any]:
    """The transforms of a pipeline, so that a wrong one is named with its place."""
    if not isinstance(pipeline, (list, tuple)):
        raise DatasetError(f'{key}: expected a list of transforms, found {pipeline!r}')
    return [_build_transform(config, f'{key}[{i}]') for i, config in enumerate(pipeline)]


def _build_transform(config: Any, key: str) -> Any:
    if not isinstance(config, Mapping) and callable(config):
        return config
    kind = _find_type(TRANSFORMS, config, key, 'transform')
    inner = config.get('transforms')
    if isinstance(inner, (list, tuple)) and config['type'] != 'Albu':
        for index, each in enumerate(inner):
            place = f'{key}.transforms[{index}]'
            build = _build_pipeline if isinstance(each, (list, tuple)) else _build_transform
            build(each, place)
    try:
        return TRANSFORMS.build(copy.deepcopy(dict(config)))
    except Exception as error:  # of settings of any type
        guess = _guess_argument(kind, config) if inspect.isclass(kind) else ''
        raise DatasetError(
            f'{key}: the transform {config["type"]} does not take these settings '
            f'({_innermost(error)}){guess}'
        ) from error


def _classes(dataset: BaseDataset) -> Sequence[str]:
    classes: Sequence[str] = dataset.metainfo.get('classes') or ()
    return classes


def _find_class_problems(key: str, config: Mapping[str, Any], kind: Any) -> List[str]:
    """Compare class names and colours of a data set, before mmseg builds it."""
    where, settings = f'{key}.metainfo', config.get('metainfo') or {}
    if issubclass(kind, ImageFolderDataset) and config.get('classes') is not None:
        where, settings = key, config
    if not isinstance(settings, Mapping):
        return [f'{where}: expected dict(classes=[...]), found {settings!r}']
    given = settings.get('classes')
    own: Sequence[str] = (kind.METAINFO or {}).get('classes') or ()
    palette_key, where = f'{where}.palette', f'{where}.classes'
    if given is None:
        return []
    classes = read_class_names(given)
    if classes is None:
        is_path = isinstance(given, str) and os.path.splitext(given)[1]
        remark = ', which is no text file that can be read' if is_path else ''
        return [f'{where}: expected a list of names, found {given!r}{remark}']
    if '' in classes:
        return [f'{where}: expected names, found an empty one at place {classes.index("") + 1}']
    double = sorted({name for name in classes if classes.count(name) > 1})
    if double:
        return [f'{where}: expected each name once, found {double} more than once']
    unknown = [name for name in classes if own and name not in own]
    if unknown:
        return [
            f'{where}: {unknown} are none of the {len(own)} classes of {config["type"]}: '
            f'{list(own)}. Choose some of these; or for classes of your own take '
            "type='BaseSegDataset', which has none"
        ]
    palette: Any = settings.get('palette')
    is_list = isinstance(palette, (list, tuple))
    if is_list and not own and len(palette) != len(classes):
        return [
            f'{palette_key} has {len(palette)} colours, but {where} has {len(classes)} '
            'names. Give one colour for each, or leave palette out'
            + (f'; {_LEFTOVERS}' if 'metainfo' in palette_key else '')
        ]
    # A registered data set may have the colours of all of its classes.
    names = own if own and is_list and len(palette) == len(own) else classes
    problem = None if palette is None else find_palette_problem(palette, names)
    return [] if problem is None else [f'{palette_key}: {problem}']


def _find_prefix_problems(key: str, config: Mapping[str, Any]) -> List[str]:
    """Look for misspelt names in ``data_prefix``, of which mmseg reads two."""
    prefix, where = config.get('data_prefix'), f'{key}.data_prefix'
    known = ('img_path', 'seg_map_path')
    if prefix is None:
        return []
    if not isinstance(prefix, Mapping):
        return [f'{where}: expected dict(img_path=..., seg_map_path=...), found {prefix!r}']
    if 'img_path' in prefix:
        return [
            f'{where}: there is no entry {name!r}; is it {close[0]!r}?'
            for name in prefix
            if name not in known
            for close in [difflib.get_close_matches(name, known, 1, 0.5)]
            if close and close[0] not in prefix
        ]
    return [f"{where}: expected img_path='...', the folder of the images, found {list(prefix)}"]


def _find_group_problems(part: Part) -> List[str]:
    """Find groups of classes that a base config has left over, and that name other classes."""
    metainfo, classes = part.dataset.metainfo, list(_classes(part.dataset))
    problems = []
    for group in _GROUPS:
        unknown = [name for name in metainfo.get(group) or () if name not in classes]
        if unknown:
            problems.append(
                f'{part.key}.metainfo.{group} names {unknown}, which are none of its classes '
                f'{classes}. Leave {group} out, or name some of these; {_LEFTOVERS}'
            )
    return problems


def _find_replaced_classes(parts: Sequence[Part], model: Optional[ModelFacts]) -> List[str]:
    """Warnings of class names in ``metainfo`` that ``classes`` beside it replaces.

    They may be what a base config left, unless the model has them.

    Raises:
        DatasetError: If the model has them.
    """
    places: Dict[Tuple[Tuple[str, ...], Tuple[str, ...]], List[str]] = {}
    for part in parts:
        if isinstance(part.dataset, ImageFolderDataset):
            metainfo = part.config.get('metainfo') or {}
            one, other = (read_class_names(each.get('classes')) for each in (part.config, metainfo))
            if one is not None and other is not None and one != other:
                places.setdefault((tuple(one), tuple(other)), []).append(part.key)
    lines = []
    for (counting, replaced), keys in places.items():
        line = (
            f'{", ".join(keys)}: classes={list(counting)} counts, and metainfo.classes='
            f'{list(replaced)} is left out'
        )
        if model is not None and tuple(model.class_names) == replaced:
            _raise([f'{line}, which are the class names of the model. Set classes={replaced}'])
        lines.append(f'{line}. If the latter is meant, set classes={replaced}')
    return lines


def _find_zero_label_problems(part: Part) -> List[str]:
    """Compare ``reduce_zero_label`` of a data set and of its LoadAnnotations."""
    if not hasattr(part.dataset, 'reduce_zero_label'):
        return []
    own, problems = part.dataset.reduce_zero_label, []
    for step in each_step(part.dataset.pipeline):
        other = getattr(step.transform, 'reduce_zero_label', None)
        if other is not None and bool(other) != bool(own):
            problems.append(
                f'{part.key}.reduce_zero_label is {own}, but {part.key}.{step.place} '
                f'({step.name}) has reduce_zero_label={other}. Say it once: '
                f'{part.key}.reduce_zero_label={other} if that is meant, and nothing in {step.name}'
            )
    return problems


def _find_order_problems(parts: Sequence[Part]) -> List[str]:
    """Find data sets that number the same classes differently."""
    problems = []
    for part in parts[1:]:
        first = parts[0]
        one, other = list(_classes(first.dataset)), list(_classes(part.dataset))
        moved = [name for name in one if name in other and one.index(name) != other.index(name)]
        zero = [getattr(each.dataset, 'reduce_zero_label', None) for each in (first, part)]
        same = all(first.config.get(key) == part.config.get(key) for key in ('type', 'data_root'))
        if moved:
            problems.append(
                f'{first.key} and {part.key} number the same classes differently, such as '
                f'{moved[0]!r}:\n    {one}\n    {other}\n  Give both the same list'
            )
        elif first.split != part.split and same and zero[0] != zero[1]:
            problems.append(
                f'{first.key}.reduce_zero_label is {zero[0]}, but {part.key}.reduce_zero_label is '
                f'{zero[1]}, with the same data_root. Give both the same'
            )
    return problems


# Numbers


def _find_loss_problems(cfg: Config, model: ModelFacts) -> List[str]:
    """Compare the number of classes of the losses with that of the head."""
    losses = _read_head(cfg).get('loss_decode') or {}
    problems = []
    for place, loss in each_entry(losses, 'model.decode_head.loss_decode'):
        for name, expected in (
            ('num_classes', model.ids.num_classes),
            ('ignore_index', model.ids.ignore_index),
        ):
            if isinstance(loss, Mapping) and loss.get(name, expected) not in (expected, None):
                problems.append(
                    f'{place}.{name} is {loss[name]}, but model.decode_head has '
                    f'{name}={expected}. Leave it out of the loss, which is told by the head'
                )
    return problems


def _find_ignore_index_problems(cfg: Config, parts: Sequence[Part], ids: LabelIds) -> List[str]:
    """Compare all settings that say which number is ignored."""
    expected, head = ids.ignore_index, _read_head(cfg)
    others = {k: value for k, value in _each_ignored(cfg, parts) if value not in (None, expected)}
    if not others:
        return []
    own = '' if head.get('ignore_index') is not None else ', its default'
    listed = '\n    '.join(f'{key} = {value}' for key, value in others.items())
    return [
        f'pixels that are ignored have more than one number:\n    '
        f'model.decode_head.ignore_index = {expected}{own}\n    {listed}\n  Say it at one place, '
        'model.decode_head.ignore_index, and leave it out of the others'
    ]


def _each_ignored(cfg: Config, parts: Sequence[Part]) -> Iterator[Tuple[str, Any]]:
    """The places besides the head that say which number is ignored, with what they say."""
    preprocessor = innermost_model(cfg).get('data_preprocessor') or {}
    yield 'model.data_preprocessor.seg_pad_val', preprocessor.get('seg_pad_val')
    for split in {part.split: None for part in parts}:
        for key, metric in each_entry(cfg.get(f'{split}_evaluator'), f'{split}_evaluator'):
            if isinstance(metric, Mapping):
                yield f'{key}.ignore_index', metric.get('ignore_index')
    for part in parts:
        yield f'{part.key}.ignore_index', part.config.get('ignore_index')


def _find_label_problems(part: Part, ids: LabelIds) -> List[str]:
    """Find transforms that change or mistake the numbers in label maps."""
    try:
        check_label_settings(part.dataset, ids, SPLITS[part.split])
    except DatasetError as error:
        return [f'{part.key}: {error}']
    return []


# Loaders, schedule and hooks


def _find_loader_problems(cfg: Config, split: str) -> List[str]:
    """Name the settings of a data loader that torch would refuse without their key."""
    key, loader = f'{split}_dataloader', cfg.get(f'{split}_dataloader')
    if not isinstance(loader, Mapping):
        return []
    problems = []
    for name, least, default in (('batch_size', 1, 1), ('num_workers', 0, 0)):
        value = loader.get(name, default)
        if type(value) is not int or value < least:
            problems.append(f'{key}.{name}: expected a number from {least} on, found {value!r}')
    if loader.get('num_workers', 0) == 0:
        for name, unset in (('persistent_workers', False), ('prefetch_factor', None)):
            value = loader.get(name, unset)
            if value != unset:
                problems.append(
                    f'{key}.{name} is {value}, but {key}.num_workers is 0: set {name}={unset}, or '
                    'num_workers to at least 1'
                )
    return problems


def _find_evaluator_problems(cfg: Config, split: str) -> List[str]:
    """Find unknown types, and arguments that mmseg's metric takes and forgets."""
    problems = []
    for key, config in each_evaluator(cfg, f'{split}_evaluator'):
        kind = _find_type(METRICS, config, key, 'evaluator')
        if inspect.isclass(kind) and issubclass(kind, IoUMetric):
            guess = _guess_argument(kind, config)
            problems += [f'{key} ({config["type"]}){guess}'] if guess else []
    return problems


def read_metainfo(cfg: Config, split: str) -> Optional[Mapping[str, Any]]:
    """The metainfo of a split's data set, if it is known without reading files."""
    parts = _build_parts(cfg, split)
    known = parts and parts[0].dataset is not None
    metainfo: Optional[Mapping[str, Any]] = parts[0].dataset.metainfo if known else None
    return metainfo


def _find_epoch_problems(cfg: Config) -> List[str]:
    """Refuse to count epochs of a sampler that never ends."""
    loop, loader = cfg.get('train_cfg') or {}, cfg.get('train_dataloader') or {}
    sampler = (loader.get('sampler') or {}).get('type')
    counts = loop.get('by_epoch') or loop.get('type') == 'EpochBasedTrainLoop'
    if not counts or sampler != 'InfiniteSampler':
        return []
    return [
        "train_cfg counts epochs, but train_dataloader.sampler.type is 'InfiniteSampler', of which "
        "no epoch ends. Set train_dataloader.sampler=dict(type='DefaultSampler', shuffle=True) and "
        'the by_epoch of hooks and schedules, or count iterations: '
        "train_cfg=dict(type='ResumableTrainLoop', max_iters=...)"
    ]


def _find_unlikely(cfg: Config) -> List[str]:
    """Warnings of a schedule that leaves out what it seems to ask for."""
    loop = cfg.get('train_cfg') or {}
    iterations = loop.get('max_iters')
    if iterations is None or loop.get('by_epoch'):
        return []
    lines = []
    if cfg.get('val_dataloader') and loop.get('val_begin', 1) > iterations:
        lines.append(
            f'train_cfg.val_begin is {loop["val_begin"]}, but training ends after {iterations} '
            'iterations (train_cfg.max_iters): nothing is ever validated'
        )
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if hook.get('by_epoch', True) and 'type' in hook:
        lines.append(
            'default_hooks.checkpoint.by_epoch is True, but training counts iterations, all of '
            'which are one epoch: nothing is saved before the end. Set by_epoch=False'
        )
    elif hook.get('interval', 1) > iterations and hook.get('save_last') is False:
        lines.append(
            f'default_hooks.checkpoint.interval is {hook["interval"]} and save_last is False, but '
            f'training ends after {iterations} iterations: nothing is saved'
        )
    for key, scheduler in each_entry(cfg.get('param_scheduler') or [], 'param_scheduler'):
        if not isinstance(scheduler, Mapping):
            continue
        if scheduler.get('by_epoch', True) and not scheduler.get('convert_to_iter_based'):
            lines.append(
                f'{key}.by_epoch is True, but training counts iterations, all of which are one '
                'epoch: the learning rate stays as it is. Set by_epoch=False'
            )
        elif scheduler.get('begin', 0) >= iterations:
            lines.append(
                f'{key}.begin is {scheduler["begin"]}, but training ends after {iterations} '
                'iterations (train_cfg.max_iters): it never begins'
            )
    return lines


def metric_keys_wanted(cfg: Config) -> Dict[str, Sequence[str]]:
    """The results of a validation that hooks and schedules ask for, by the keys that name them."""
    hooks = cfg.get('default_hooks') or {}
    best = (hooks.get('checkpoint') or {}).get('save_best')
    wanted: Dict[str, Sequence[str]] = {}
    if best:
        names = [best] if isinstance(best, str) else list(best)
        wanted['default_hooks.checkpoint.save_best'] = [name for name in names if name != 'auto']
    places = [(f'default_hooks.{key}', hook) for key, hook in hooks.items()]
    for key in ('custom_hooks', 'param_scheduler'):
        places += each_entry(cfg.get(key) or [], key)
    for key, each in places:
        if isinstance(each, Mapping):
            usual = 'loss' if str(each.get('type')).startswith('ReduceOnPlateau') else None
            if isinstance(each.get('monitor', usual), str):
                wanted[f'{key}.monitor'] = [each.get('monitor', usual)]
    return wanted
