"""What the tools are given: configs that can be read, and places that can be written into."""

import argparse
import errno
import os
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, Union

from mmengine.config import Config

from ..files import check_no_folder, check_writable
from ..outputs import Inputs, check_different, check_outputs

__all__ = [
    'ConfigError',
    'output_file',
    'output_folder',
    'prepare_outputs',
    'read_config',
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


def output_file(*suffixes: str) -> Callable[[str], Path]:
    """The type of an argument that names a file to be written; nothing is touched yet.

    Args:
        *suffixes: One of those that its name ends with. Defaults to any.
    """

    def to_path(text: str) -> Path:
        path = Path(text)
        if suffixes and path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(
                f'{text!r}: expected a name that ends with {" or ".join(suffixes)}'
            )
        try:
            check_no_folder(path)
            _check_folder(path.parent)
        except OSError as error:
            raise argparse.ArgumentTypeError(error.strerror) from error
        return path

    return to_path


def output_folder(text: str) -> Path:
    """The type of an argument that names a folder to be written into; nothing is touched yet.

    Args:
        text: The argument.

    Raises:
        argparse.ArgumentTypeError: If a file has that name.
    """
    try:
        _check_folder(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(error.strerror) from error
    return Path(text)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made because a file is in the way."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR,
            f'cannot write into {str(folder)!r}: expected a folder, found the file '
            f'{str(existing)!r}. Give another one',
        )


def prepare_outputs(
    outputs: Mapping[str, Optional[Path]],
    inputs: Inputs,
    new_folders: Iterable[str] = (),
    overwrite: bool = False,
) -> None:
    """Refuse outputs as :func:`check_outputs` does, then make their folders.

    Args:
        outputs: Paths by the names of the arguments; those that are None are passed over.
        inputs: What is read.
        new_folders: Names of outputs that are folders, and have to be new or empty.
        overwrite: Whether these may hold files. Defaults to False.

    Raises:
        OutputError: As :func:`check_outputs`.
        OSError: If a folder cannot be made or written into, with its path and the reason.
    """
    new_folders = tuple(new_folders)
    check_outputs(outputs, inputs, new_folders, overwrite)
    check_different(outputs)
    for name, path in outputs.items():
        if path is not None:
            check_writable(path if name in new_folders else path.parent)
