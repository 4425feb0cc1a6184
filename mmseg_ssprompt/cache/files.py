"""Files that are there as a whole or not at all, and their checksums."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

__all__ = ['TEMPORARY', 'CacheError', 'free_bytes', 'read_json', 'sha256_of', 'write_atomically']

#: Files that are being written match this; others are complete.
TEMPORARY = '*.tmp'
_BLOCK = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CacheError(ValueError):
    """An embedding cache that is missing, damaged, or of something else than is asked for."""


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file; whatever happens meanwhile, a half-written one never has its name.

    Args:
        file: Its path, in a folder that exists.
        content: All of it.

    Raises:
        CacheError: If there is no room for it, with what is needed and free.
    """
    temporary = file.with_name(f'{file.name}.{uuid.uuid4().hex}.tmp')
    try:
        with temporary.open('wb') as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CacheError(
            f'cannot write {str(file)!r}: expected room for {len(content):,} bytes, found '
            f'{free_bytes(file.parent):,} free ({error.strerror}). Make room and run the same '
            'command again: complete shards are kept'
        ) from error
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
