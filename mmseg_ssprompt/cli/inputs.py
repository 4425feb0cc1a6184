"""What commands are given: configs that can be read, and places that can be written into."""

import itertools
from pathlib import Path
from typing import Iterable, Mapping, Optional

from ..config_reading import ConfigError, read_config, require
from ..files import check_writable
from ..outputs import Inputs, OutputError, check_outputs, contains

__all__ = ['ConfigError', 'prepare_outputs', 'read_config', 'require']


def prepare_outputs(
    outputs: Mapping[str, Optional[Path]],
    inputs: Inputs,
    new_folders: Iterable[str] = (),
    overwrite: bool = False,
) -> None:
    """Refuse outputs as :func:`check_outputs` does, and two in one place; then make their folders.

    Args:
        outputs: Paths by the names of the arguments; those that are None are passed over.
        inputs: What is read.
        new_folders: Names of outputs that are folders, and have to be new or empty.
        overwrite: Whether these may hold files. Defaults to False.

    Raises:
        OutputError: As :func:`check_outputs`; and with the names of two outputs in one place.
        OSError: If a folder cannot be made or written into, with its path and the reason.
    """
    new_folders = tuple(new_folders)
    check_outputs(outputs, inputs, new_folders, overwrite)
    given = [(name, path) for name, path in outputs.items() if path is not None]
    for (other, taken), (name, path) in itertools.combinations(given, 2):
        if contains(path, taken) or contains(taken, path):
            raise OutputError(
                f'{name}={str(path)!r}: expected a place of its own, found that {other} writes '
                f'there too, into {str(taken)!r}. Give another path'
            )
    for name, path in given:
        check_writable(path if name in new_folders else path.parent)
