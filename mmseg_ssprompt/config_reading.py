"""Reading configs, and refusing those that cannot be read or lack what is needed of them."""

import argparse
import os
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Union

from mmengine.config import Config, DictAction

__all__ = ['ConfigError', 'read_config', 'require']


class ConfigError(ValueError):
    """A config that cannot be read, or lacks what is needed of it."""


def read_config(
    path: Union[str, 'os.PathLike[str]'],
    options: Optional[Sequence[str]] = None,
    needs: Sequence[str] = (),
) -> Config:
    """Read a config, and refuse one that lacks what a command needs.

    Args:
        path: Of the file.
        options: Settings that override its own: ``'model.neck.depth=3'``.
        needs: Dotted names of settings that have to be dicts: ``'test_dataloader.dataset'``.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If it cannot be read, or lacks a setting; with the file and the reason.
    """
    file = Path(path)
    if not file.is_file():
        state = 'is a folder' if file.is_dir() else 'does not exist'
        raise FileNotFoundError(f'config {str(path)!r} {state}: give the path of a config file')
    try:
        cfg = Config.fromfile(file)
    except Exception as error:  # a config is a program
        raise ConfigError(
            f'config {str(path)!r}: expected a config of mmengine (.py, .json or .yaml), found '
            f'what cannot be read ({type(error).__name__}: {error})'
        ) from error
    try:
        cfg.merge_from_dict(_parse_options(options or ()))
    except Exception as error:  # KeyError, TypeError and others
        raise ConfigError(
            f'config {str(path)!r}: expected options that fit it (--cfg-options), found '
            f'{" ".join(options or ())} ({type(error).__name__}: {error})'
        ) from error
    for name in needs:
        require(cfg, name, path)
    return cfg


def _parse_options(options: Sequence[str]) -> Dict[str, Any]:
    """The values of ``--cfg-options`` by name, as mmengine reads them."""
    namespace = argparse.Namespace(options={})
    DictAction([], 'options')(argparse.ArgumentParser(), namespace, list(options))
    return dict(namespace.options)


def require(cfg: Config, name: str, path: Any) -> None:
    """Refuse a config that lacks a setting.

    Args:
        cfg: The config.
        name: Dotted name of a setting that has to be a dict.
        path: Of its file, for the error.

    Raises:
        ConfigError: With the file and the setting.
    """
    value: Any = cfg
    for key in name.split('.'):
        value = value.get(key) if isinstance(value, (Config, Mapping)) else None
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(
            f'config {str(path)!r}: expected the settings {name}=dict(...), found {value!r}. Add '
            'them, or give a config that has them'
        )
