"""Files that are there as a whole or not at all."""

import contextlib
import json
import math
import os
import uuid
from pathlib import Path
from typing import Any

__all__ = ['TEMPORARY', 'check_writable', 'write_atomically', 'write_json']

#: Files that are being written match this; others are complete.
TEMPORARY = '*.tmp'


def check_writable(folder: Path) -> None:
    """Make a folder, and try to write into it.

    Args:
        folder: Its path.

    Raises:
        OSError: If it cannot be made or written into, with its path and the reason.
    """
    probe = folder / f'{uuid.uuid4().hex}.tmp'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b'.')
        probe.unlink()
    except OSError as error:
        raise type(error)(
            error.errno,
            f'cannot write into {str(folder)!r}: expected a folder with room that may be written '
            f'into, found: {error.strerror}. Give another one',
        ) from error


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file; whatever happens meanwhile, a half-written one never has its name.

    Args:
        file: Its path, in a folder that exists.
        content: All of it.
    """
    temporary = file.with_name(f'{file.name}.{uuid.uuid4().hex}.tmp')
    try:
        with temporary.open('wb') as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut, where folders can be opened."""
    if os.name == 'posix':
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(content: Any, file: Path) -> None:
    """Write plain values as JSON, with null for what is not a number.

    Args:
        content: Dicts, lists and tuples of numbers, strings, booleans and None.
        file: Its path; folders are made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_without_nan(content), indent=2) + '\n'
    write_atomically(file, text.encode())


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
