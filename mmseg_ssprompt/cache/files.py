"""The files of a cache: written as a whole or not at all, read, and their checksums."""

import errno
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from .. import files

__all__ = ['CacheError', 'free_bytes', 'read_json', 'sha256_of', 'write_atomically']

_BLOCK = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CacheError(ValueError):
    """An embedding cache that is missing, damaged, or of something else than is asked for."""


def write_atomically(file: Path, content: bytes) -> None:
    """As :func:`mmseg_ssprompt.files.write_atomically`, with an error for a full disk.

    Args:
        file: Its path, in a folder that exists.
        content: All of it.

    Raises:
        CacheError: If there is no room for it, with what is needed and free.
    """
    try:
        files.write_atomically(file, content)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CacheError(
            f'cannot write {str(file)!r}: expected room for {len(content):,} bytes, found '
            f'{free_bytes(file.parent):,} free ({error.strerror}). Make room and run the same '
            'command again: complete shards are kept'
        ) from error


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open('rb') as stream:
        for block in iter(lambda: stream.read(_BLOCK), b''):
            digest.update(block)
    return digest.hexdigest()


def free_bytes(folder: Path) -> int:
    """Bytes that are free where ``folder`` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def read_json(file: Path) -> Any:
    """Read a JSON file.

    Raises:
        CacheError: If it is none.
    """
    try:
        return json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:  # also of texts that are not UTF-8
        raise CacheError(
            f'cannot read {str(file)!r} ({file.stat().st_size} bytes): expected a JSON file of an '
            f'embedding cache, found {error}. Delete it and run tools/cache_embeddings.py again'
        ) from error
