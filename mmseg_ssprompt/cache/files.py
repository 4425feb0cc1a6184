"""The files of a cache: each is written as a whole or not at all."""

import shutil
from pathlib import Path

from .. import files
from ..datasets.checks import DatasetError

__all__ = ['CacheError', 'free_bytes', 'write_atomically']


class CacheError(DatasetError):
    """An embedding cache that is missing, damaged, or built from other inputs."""


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
