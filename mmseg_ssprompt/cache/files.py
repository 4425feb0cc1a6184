"""The files of a cache: written as a whole or not at all, read, and their checksums."""

import json
import shutil
from pathlib import Path
from typing import Any

from .. import files
from ..datasets.checks import DatasetError

__all__ = ['CacheError', 'free_bytes', 'read_json', 'write_atomically']

_MAX_LEVELS = 200  # of JSON; a reader must not come to the end of Python's stack


class CacheError(DatasetError):
    """An embedding cache that is missing, damaged, or of something else than is asked for."""


def write_atomically(file: Path, content: bytes) -> None:
    """As :func:`mmseg_ssprompt.files.write_atomically`, with an error that says what to do.

    Args:
        file: Its path, in a folder that exists.
        content: All of it.

    Raises:
        CacheError: If there is no room for it, or it may not be written, with the bytes that are
            needed and free.
    """
    try:
        files.write_atomically(file, content)
    except OSError as error:
        raise CacheError(
            f'cannot write {str(file)!r}: expected room for {len(content):,} bytes in a folder '
            f'that may be written into, found {free_bytes(file.parent):,} bytes free and '
            f'"{error.strerror}". Mend that and run the same command again: complete shards are '
            'kept'
        ) from error


def free_bytes(folder: Path) -> int:
    """Bytes that are free where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def read_json(file: Path) -> Any:
    """Read a JSON file.

    Raises:
        CacheError: If it is none, or nested deeper than any that a cache writes.
    """
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        if _is_deeper(content, _MAX_LEVELS):
            raise ValueError(f'more than {_MAX_LEVELS} levels')
        return content
    except (ValueError, RecursionError) as error:  # also of texts that are not UTF-8
        raise CacheError(
            f'cannot read {str(file)!r} ({file.stat().st_size} bytes): expected a JSON file of an '
            f'embedding cache, found {error}. Delete it and run mmseg-ssprompt cache again'
        ) from error


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and dicts are nested deeper, without recursion."""
    nodes = [[value]]
    for _ in range(levels + 1):
        entries = (node.values() if isinstance(node, dict) else node for node in nodes)
        nodes = [entry for own in entries for entry in own if isinstance(entry, (dict, list))]
        if not nodes:
            return False
    return True
