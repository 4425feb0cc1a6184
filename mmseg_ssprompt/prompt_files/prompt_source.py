"""Trained prompts as they lie on disk, and how they were configured: nothing in a file is run."""

from os import PathLike
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple, Union

from mmengine.config import Config
from torch import Tensor

from ..models.classifiers.token_classifier import classifier_trains
from ..models.prompts.fusion import describe_fusion
from ..models.prompts.semantic import resolve_class_names
from ..weights.checkpoint_loader import load_from_local
from ..weights.state_dicts import CheckpointError
from .config_text import read_setting
from .prompt_file import get_metadata

__all__ = ['PromptSource', 'read_prompt_source']

_REMEDY = 'give the config that it was trained with as --source-config'


class PromptSource(NamedTuple):
    """Trained prompts, and how they were configured.

    Attributes:
        state_dict: Tensors by the names of a ``PromptSegmentor``.
        head: The config of its decode head: the kinds of prompts, their fusion, their classes.
            None if there is only metadata.
        name: Where they come from, for errors.
        metadata: What the state dict says of itself (``describe_prompts``), which counts before
            the config. Empty for prompts from before there was any.
    """

    state_dict: Mapping[str, Tensor]
    head: Optional[Mapping[str, Any]]
    name: str
    metadata: Mapping[str, Any] = {}

    @property
    def class_names(self) -> Tuple[str, ...]:
        """The readable names of the classes, in the order of the rows of the semantic prompts.

        Raises:
            ValueError: If the config names no classes, or a data set that is not registered.
        """
        if self.metadata:
            return tuple(self.metadata['class_names'])
        semantic = self.head['semantic_prompts']
        try:
            return resolve_class_names(
                *(semantic.get(key) for key in ('class_names', 'dataset', 'classes'))
            )
        except ValueError as error:
            raise ValueError(f'class names of {self.name}: {error}; {_REMEDY}') from error

    def kind(self, part: str) -> Tuple[str, Optional[str]]:
        """Type and fusion of the prompts of a part, ``'spatial'`` or ``'semantic'``.

        The fusion is None for prompts that are not mixed with handcrafted ones.
        """
        key = f'{part}_prompts'
        if self.metadata:
            described = self.metadata.get(key, {})
            return str(described.get('type')), described.get('fusion')
        config = self.head[key]
        name = str(config.get('type')).rpartition('.')[-1]  # types may have a scope before them
        return name, describe_fusion(**(config.get('fusion') or {}))

    @property
    def classifier_trains(self) -> bool:
        """Whether the classifier trained with the prompts."""
        if self.metadata:
            return 'classifier' in self.metadata['trained']
        classifier = self.head['classifier']
        return bool(classifier_trains(classifier.get('checkpoint'), classifier.get('trainable')))

    @property
    def decoder_trains(self) -> bool:
        """Whether the mask decoder trained, which is then no longer the base model's."""
        if self.metadata:
            return 'segmenter' in self.metadata['trained']
        return bool(self.head['segmenter'].get('trainable', False))


def read_prompt_source(
    checkpoint: Union[str, 'PathLike[str]'], config: Union[str, 'PathLike[str]', None] = None
) -> PromptSource:
    """Read a checkpoint of prompts, and how they were configured.

    The state dict says so itself. Where it does not, because it is older, the config that it was
    trained with does: mmengine writes it into ``meta['cfg']`` as the text of a Python file. It is
    parsed here and never run, so that a checkpoint from elsewhere can be read safely. The class
    names are taken from the prompts in it; ``meta['dataset_meta']['classes']`` has the same classes
    as the data set spells them, some of which are no words ('pottedplant').

    Args:
        checkpoint: A file of tensors and plain values, as ``PromptCheckpointHook`` saves it, or
            ``.safetensors``.
        config: The config file that it was trained with, which counts before all that the file
            says. Defaults to None.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, holds no state dict, has neither metadata nor a config
            inside where none is given, or that config describes no prompts.
    """
    file = Path(checkpoint).expanduser()
    content = load_from_local(str(file), 'cpu')
    name = f'checkpoint {str(file)!r}'
    state_dict = content.get('state_dict', content)
    if not state_dict or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise CheckpointError(f'{name}: expected a state dict of tensors, found none')
    if config is not None:
        where, model = f'config {str(config)!r}', Config.fromfile(config).get('model')
        return PromptSource(state_dict, _get_head(model, where), name)
    metadata = get_metadata(state_dict, name)
    if metadata:
        return PromptSource(state_dict, None, name, metadata)
    model = _parse_model(_read_config_text(content), name)
    return PromptSource(state_dict, _get_head(model, f'meta.cfg of {name}'), name)


def _get_head(model: Any, where: str) -> Mapping[str, Any]:
    """The config of a decode head with prompts."""
    head = model.get('decode_head') if isinstance(model, Mapping) else None
    needed = ('spatial_prompts', 'semantic_prompts', 'classifier', 'segmenter')
    missing = [key for key in needed if not isinstance((head or {}).get(key), Mapping)]
    if missing:
        raise CheckpointError(
            f'{where}: expected model.decode_head with {list(needed)}, found none of {missing}: '
            f'these are no prompts, or {_REMEDY}'
        )
    return head


def _read_config_text(content: Mapping[str, Any]) -> Optional[str]:
    """``meta['cfg']`` of a checkpoint; None if it has none."""
    meta = content.get('meta')
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    return text if isinstance(text, str) else None


def _parse_model(text: Optional[str], name: str) -> Dict[str, Any]:
    """The value of ``model`` in the text of a config, without running it."""
    if text is None:
        raise CheckpointError(
            f'{name}: expected the text of its config in meta.cfg, as mmengine saves it, found '
            f'none; {_REMEDY}'
        )
    try:
        return read_setting(text, 'model')
    except KeyError:
        raise CheckpointError(f'{name}: meta.cfg has no model; {_REMEDY}') from None
    except ValueError as error:
        raise CheckpointError(
            f'{name}: expected model = dict(...) of plain values in meta.cfg, found something '
            f'else ({error}); {_REMEDY}'
        ) from None
