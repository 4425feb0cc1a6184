"""Where a trained model lies: a folder of ``fit`` or ``publish``, a model hub, or a config."""

import os
import statistics
from pathlib import Path
from typing import NamedTuple, Optional, Tuple, Union

from mmengine.config import Config

from ..config_reading import ConfigError, read_config
from ..files import read_json
from ..outputs import Inputs, find_inputs
from ..prompt_files.published import CONFIG, is_published, read_published
from ..weights.prompt_places import PROMPTS, find_prompt_file

__all__ = ['TrainedModel', 'read_model', 'read_training_size']

#: What ``fit`` leaves in its folder, beside the prompts.
_CONFIG, _DATA = 'config.py', 'data.json'
_SIDES = ('height', 'width')

PathLike = Union[str, 'os.PathLike[str]']


class TrainedModel(NamedTuple):
    """Where a trained model lies, before it is built.

    Attributes:
        cfg: The config of the model and of the data that it was trained on.
        config: Its path.
        prompts: The trained prompts; None where the config trains none.
        folder: That of ``fit`` or ``publish``; None if the files were named.
    """

    cfg: Config
    config: Path
    prompts: Optional[Path]
    folder: Optional[Path]

    def find_inputs(self) -> Inputs:
        """The files and folders that it is read from."""
        inputs = find_inputs(self.cfg, files=[self.config, self.prompts])
        if self.folder is not None and self.config.name != CONFIG:  # of fit: all in it is read
            inputs.folders[self.folder] = 'the model'
        return inputs


def read_model(
    model: PathLike,
    prompts: Optional[PathLike] = None,
    weights: Optional[PathLike] = None,
    clip_weights: Optional[PathLike] = None,
) -> TrainedModel:
    """Find a model, and read its config.

    Args:
        model: A folder that ``fit`` or ``publish`` has written, ``hf://USER/NAME[@REVISION]``, or a
            config. What was published is read as plain data (:func:`read_published`).
        prompts: The prompts that belong to a config, as :func:`find_prompt_file` takes them.
            Defaults to None: the config trains none.
        weights: The file of the base model. Defaults to None: the one that the config names.
        clip_weights: That of CLIP, for SAM. Defaults to None: the one that the config names.

    Raises:
        FileNotFoundError: If a file is not there, with what to do.
        ConfigError: If the config cannot be read or has no model, or prompts are given with a
            folder, or weights to a model that needs none.
        CheckpointError: If what was published is damaged or none, or cannot be fetched.
        MissingExtraError: If the hub's library is needed and not installed.
    """
    trained = _find_model(model, prompts)
    for argument, file, entries in (
        ('--weights', weights, ('sam', 'seem')),
        ('--clip-weights', clip_weights, ('clip',)),
    ):
        if file is not None:
            needed = trained.cfg.model.get('weights') or {}
            own = [each for each in entries if each in needed]
            if not own:
                raise ConfigError(
                    f'{argument}: expected no file for this model, whose model.weights names '
                    f'{", ".join(needed) or "none"}, found {str(file)!r}. Leave {argument} out'
                )
            needed[own[0]] = str(Path(file).expanduser().absolute())
    return trained


def _find_model(model: PathLike, prompts: Optional[PathLike]) -> TrainedModel:
    """:func:`read_model`, with the files of weights that the config names."""
    is_folder = is_published(model) or Path(model).expanduser().is_dir()
    if prompts is not None and is_folder:
        raise ConfigError(
            f'model {os.fspath(model)!r}: expected a config where prompts are given, found a '
            'folder. Leave them out, or give the config in it'
        )
    if is_published(model):
        found = read_published(model)
        return TrainedModel(found.cfg, found.config, found.prompts, found.folder)
    path = Path(model).expanduser()
    if not is_folder:
        if not path.exists():
            raise FileNotFoundError(
                f'model {str(path)!r} does not exist: give a folder that `mmseg-ssprompt fit` or '
                '`mmseg-ssprompt publish` has written, a name such as hf://USER/NAME, or a config '
                'with --prompts FILE'
            )
        file = None if prompts is None else find_prompt_file(prompts)
        if file is not None and not file.is_file():
            raise FileNotFoundError(f'prompts {str(file)!r}: expected a file, found none')
        return TrainedModel(read_config(path, needs=['model']), path, file, None)
    files = path / _CONFIG, path / PROMPTS
    missing = [each.name for each in files if not each.is_file()]
    if missing:
        raise FileNotFoundError(
            f'model {str(path)!r}: expected a folder that `mmseg-ssprompt fit` or `mmseg-ssprompt '
            f'publish` has written, with {_CONFIG} or {CONFIG}, and {PROMPTS}, found no '
            f'{" and no ".join(missing)}. If `fit` has not ended, run its command again'
        )
    return TrainedModel(read_config(files[0], needs=['model']), *files, path)


def read_training_size(trained: TrainedModel) -> Optional[Tuple[int, int]]:
    """The median height and width of the pictures that ``fit`` has trained on; None if unknown."""
    if trained.cfg.get('training_size') is not None:  # of what was published
        height, width = trained.cfg.training_size
        return round(height), round(width)
    if trained.folder is None:
        return None
    try:
        pictures = (read_json(trained.folder / _DATA) or {})['pictures']
        used = [each for each in pictures if each['split'] == 'train'] or pictures
        height, width = (round(statistics.median(e[key] for e in used)) for key in _SIDES)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # only where large pictures are cut depends on it
    return height, width
