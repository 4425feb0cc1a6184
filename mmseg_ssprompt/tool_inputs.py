"""What the tools are given: configs that can be read, and places that can be written into."""

import argparse
import os
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from mmengine.config import Config

from .files import check_no_folder, check_writable

__all__ = [
    'ConfigError',
    'output_file',
    'output_folder',
    'read_config',
    'refuse_overwriting',
    'require',
]


class ConfigError(ValueError):
    """A config that cannot be read, or lacks what is needed of it."""


def read_config(
    path: Union[str, 'os.PathLike[str]'],
    options: Optional[Mapping[str, Any]] = None,
    needs: Sequence[str] = (),
) -> Config:
    """Read a config, and refuse one that lacks what a tool needs.

    Args:
        path: Of the file.
        options: Settings that override its own, by dotted names.
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
        cfg.merge_from_dict(dict(options or {}))
    except Exception as error:  # KeyError, TypeError and others
        raise ConfigError(
            f'config {str(path)!r}: expected options that fit it (--cfg-options), found '
            f'{options} ({type(error).__name__}: {error})'
        ) from error
    for name in needs:
        require(cfg, name, path)
    return cfg


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


def output_file(text: str) -> Path:
    """The type of an argument that names a file to be written; its folder is made.

    Args:
        text: The argument.

    Raises:
        argparse.ArgumentTypeError: If no file can be written there.
    """
    try:
        check_no_folder(Path(text))
        check_writable(Path(text).parent)
    except OSError as error:
        raise argparse.ArgumentTypeError(error.strerror) from error
    return Path(text)


def output_folder(text: str) -> Path:
    """The type of an argument that names a folder to be written into; it is made.

    Args:
        text: The argument.

    Raises:
        argparse.ArgumentTypeError: If it cannot be written into.
    """
    try:
        check_writable(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(error.strerror) from error
    return Path(text)


def refuse_overwriting(
    parser: argparse.ArgumentParser, name: str, out: Optional[Path], read: Iterable[Any]
) -> None:
    """End a tool that would write over what it reads.

    Args:
        parser: Of the tool.
        name: Of the argument that says where to write.
        out: What it says, if anything.
        read: Paths of what is read; those that are None are passed over.
    """
    if out is None:
        return
    inputs = [Path(path).expanduser().resolve() for path in read if path is not None]
    if out.expanduser().resolve() in inputs:
        parser.error(f'{name} {str(out)!r} would overwrite what is read: give another path')
