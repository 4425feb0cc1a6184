"""A config that works on any machine: plain data, components of the package, published weights."""

import copy
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, TRANSFORMS

from ..config_reading import ConfigError
from ..datasets.steps import loaded_kind
from ..models.heads.settings import find_class_names, find_things
from ..plain import to_json
from ..prediction.predictor import TrainedModel, find_dataset, read_training_size, use_image_encoder
from ..prompt_files.published import FORMAT, find_config_problem
from ..version import __version__
from ..weights.model_weights import walk_parts
from ..weights.state_dicts import ASSETS_SCHEME, resolve_checkpoint_path

__all__ = ['PortableConfig', 'WeightsFile', 'make_portable']

#: A name of a file in what a component says of the weights that it needs.
_OFFICIAL = re.compile(r'[\w.-]+\.(?:pth|pt|safetensors)\b')
#: What trains and tests need, and a published model does not.
_LEFT_OUT = ('train_cfg',)


class WeightsFile(NamedTuple):
    """A file of frozen weights that a model needs.

    Attributes:
        name: In the config.
        file: Where it lies on this machine.
        where: A sentence on where it is published; may be empty.
    """

    name: str
    file: Path
    where: str

    @property
    def is_asset(self) -> bool:
        """Whether it comes with the package."""
        return self.name.startswith(ASSETS_SCHEME)


class PortableConfig(NamedTuple):
    """A config for others.

    Attributes:
        content: What ``config.json`` holds, with tuples, which JSON has not (``plain.to_json``).
        weights: The files that it names.
    """

    content: Dict[str, Any]
    weights: List[WeightsFile]

    def with_local_files(self) -> Config:
        """The same config with the files of this machine, from which the model can be built."""
        local = {each.name: str(each.file) for each in self.weights if not each.is_asset}
        return Config(_replace(self.content, local))


def make_portable(trained: TrainedModel) -> PortableConfig:
    """Make a config for others of the one of a trained model.

    What only training needs is left out, and so is all that says where something lies on this
    machine. Data sets become one of pictures, with their classes and colours; files of weights
    have the names under which they were published.

    Args:
        trained: The model, which is not built; its config is not changed.

    Raises:
        ConfigError: If the config is of a model without prompts, or has components that are not of
            this package, which another machine does not have.
    """
    cfg = copy.deepcopy(trained.cfg)
    name = f'config {str(trained.config)!r}'
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset_cfg = find_dataset(cfg)
        use_image_encoder(cfg)
        model = cfg.model.to_dict()
        weights = _name_weights(model)
        _name_classes(model, name)
        meta = _read_metainfo(dataset_cfg, name)
        pipeline = [step for step in dataset_cfg.get('pipeline') or [] if _is_kept(step)]
    for key in _LEFT_OUT:
        model.pop(key, None)
    size = read_training_size(trained)
    dataset = dict(
        type='ImageFolderDataset',
        classes=[str(each) for each in meta['classes']],
        palette=[[int(number) for number in colour] for colour in meta['palette']],
        pipeline=[ConfigDict(step).to_dict() for step in pipeline],
    )
    content = dict(
        format=FORMAT,
        package=__version__,
        training_size=None if size is None else list(size),
        model=model,
        test_dataloader=dict(dataset=dataset),
    )
    try:
        to_json(content, 'config')
        problem = find_config_problem(content)
    except ValueError as error:  # something that is no plain value
        problem = str(error)
    if problem is not None:
        raise ConfigError(
            f'{name} cannot be published: {problem}. Another machine has the components of this '
            'package alone, and nobody runs what strangers bring along'
        )
    return PortableConfig(content, weights)


def _read_metainfo(dataset: ConfigDict, name: str) -> Dict[str, Any]:
    """Classes and colours of a data set, whose pictures are not looked at."""
    try:
        return dict(DATASETS.build(dict(dataset, lazy_init=True)).metainfo)
    except AssertionError as error:  # some of mmseg's look for their list of pictures
        raise ConfigError(
            f'{name}: expected the files of the data set {dataset.get("type")}, which looks for '
            'them before it says its classes, found none'
        ) from error


def _name_classes(model: Dict[str, Any], name: str) -> None:
    """Let the head of a model say its classes, whatever data set it had them from."""
    head = model.get('decode_head') or {}
    prompts = head.get('semantic_prompts') or {}
    names = find_class_names(prompts)
    if names is None:
        raise ConfigError(
            f'{name}: expected semantic prompts with class names (model.decode_head.'
            'semantic_prompts), found none'
        )
    things = find_things(head.get('thing_classes'), names, prompts)
    for key in ('dataset', 'classes'):
        prompts.pop(key, None)
    prompts['class_names'] = list(names)
    head['num_classes'] = len(names)
    head['thing_classes'] = None if things is None else [names[number] for number in things]
    (head.get('segmenter') or {}).pop('remember_bytes', None)


def _name_weights(model: Dict[str, Any]) -> List[WeightsFile]:
    """Give files of weights the names under which they were published, in place."""
    found: Dict[str, WeightsFile] = {}
    entries = model.get('weights') or {}
    parts = list(walk_parts({key: value for key, value in model.items() if key != 'weights'}, ''))
    for entry, value in entries.items():
        if value is None or entry == 'clip_activation':
            continue
        takers = [
            (part, cls)
            for part, cls, _ in parts
            if entry in getattr(cls, 'weights_from', {}).values() and 'checkpoint' not in part
        ]
        part, cls = takers[0] if takers else ({}, None)
        entries[entry] = _name(entry, str(value), part, cls, found)
    for part, cls, _ in parts:
        value, taken = part.get('checkpoint'), getattr(cls, 'weights_from', {})
        if value is None:
            continue
        if taken or str(value).startswith(ASSETS_SCHEME):
            part['checkpoint'] = _name(taken.get('checkpoint', ''), str(value), part, cls, found)
        else:  # what it begins with, which is among the prompts
            part['checkpoint'] = None
    return list(found.values())


def _name(
    entry: str, value: str, part: Dict[str, Any], cls: Any, found: Dict[str, WeightsFile]
) -> str:
    """The name of a file in the config, which is added to those that were found."""
    file, where = resolve_checkpoint_path(value), ''
    if value.startswith(ASSETS_SCHEME):
        name = value
    else:
        where = _where_to_get(cls, part)
        official = _OFFICIAL.search(where)
        own = re.sub(r'\W+', '-', f'{entry}_{part.get("variant", "")}').strip('-_') + file.suffix
        name = f'weights/{official.group() if official else own}'
    found.setdefault(name, WeightsFile(name, file, where))
    return name


def _where_to_get(cls: Any, part: Dict[str, Any]) -> str:
    """What a component says of the weights that it needs; may be empty."""
    say = getattr(cls, 'where_to_get', None)
    if say is None:
        return ''
    return str(say(part['variant']) if 'variant' in part else say())


def _is_kept(step: Any) -> bool:
    """Whether a step of a pipeline is no loader of labels, which predictions have none of."""
    return loaded_kind(TRANSFORMS.build(dict(step))) in (None, 'image')


def _replace(value: Any, names: Dict[str, str]) -> Any:
    """A copy in which some texts are others."""
    if isinstance(value, dict):
        return {key: _replace(entry, names) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replace(entry, names) for entry in value)
    return names.get(value, value) if isinstance(value, str) else value
