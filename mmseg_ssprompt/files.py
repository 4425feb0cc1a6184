"""Files that are there as a whole or not at all."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional, Union

from filelock import BaseFileLock, FileLock, Timeout

__all__ = [
    'check_no_folder',
    'check_writable',
    'completing',
    'read_json',
    'remove_leftovers',
    'replacing',
    'sha256_of',
    'take_lock',
    'write_atomically',
    'write_json',
]

_A_DAY = 24 * 3600


def check_writable(folder: Path) -> None:
    """Make a folder, and try to write into it.

    Args:
        folder: Its path.

    Raises:
        OSError: If it cannot be made or written into, with its path and the reason.
    """
    probe = _temporary(folder / 'probe')
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


def check_no_folder(file: Path) -> None:
    """Refuse a folder that has the name of a file which is to be written.

    Args:
        file: The file's path; there may be none yet.

    Raises:
        IsADirectoryError: If it is a folder, with its path.
    """
    if file.is_dir():
        raise IsADirectoryError(
            errno.EISDIR,
            f'cannot write {str(file)!r}: expected a file or nothing there, found a folder. '
            f'Rename or remove it, or write elsewhere than in {str(file.parent)!r}',
        )


def write_atomically(file: Path, content: Union[bytes, memoryview]) -> None:
    """Write a file; whatever happens meanwhile, a half-written one never has its name.

    Args:
        file: Its path, in a folder that exists.
        content: All of it.
    """
    with replacing(file, suffix='') as temporary, temporary.open('wb') as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    if os.name == 'posix':  # the new name survives a power cut, where folders can be opened
        handle = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def replacing(file: Path, suffix: Optional[str] = None) -> Iterator[Path]:
    """Let others write a file: it takes its name when it is complete, whatever had it before.

    A link that has the name is replaced, and what it points at stays as it is.

    Args:
        file: Its path, in a folder that exists.
        suffix: Of the file that is to be written. Defaults to None: that of ``file``.

    Yields:
        The path of the file that is to be written.
    """
    temporary = _temporary(file)
    temporary = temporary.with_name(temporary.name + (file.suffix if suffix is None else suffix))
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def completing(folder: Path, replaces: Iterable[str] = ()) -> Iterator[Path]:
    """Let others write a folder: it appears when it is complete, and of what fails nothing stays.

    A folder that is there already, which may be a mount point or where a shell stands, stays; it
    gets its files one by one when all are written.

    Args:
        folder: Its path, in a folder that exists.
        replaces: Names of what it may hold of an earlier call; what has not been written again is
            removed. Defaults to ().

    Yields:
        The path of the folder that is to be filled.
    """
    folder = Path(os.path.realpath(folder))
    temporary = _temporary(folder)
    try:
        temporary.mkdir()
        yield temporary
        if not folder.is_dir():
            os.replace(temporary, folder)
            return
        for name in replaces:
            if not (temporary / name).exists():
                (folder / name).unlink(missing_ok=True)
        for each in sorted(temporary.iterdir()):
            shutil.move(each, folder / each.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(file: Path) -> Path:
    """Another name beside a file's own, which says what process writes it."""
    owner = f'{socket.gethostname()}.{os.getpid()}'
    return file.with_name(f'{file.name}.{owner}.{uuid.uuid4().hex}.tmp')


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left of files and folders that they wrote.

    Those of processes that still run stay. Of a process on another machine that cannot be known,
    so those stay for a day.

    Args:
        folder: Where to look.
    """
    for file in folder.glob('*.tmp'):
        with contextlib.suppress(FileNotFoundError):  # another process removes it too
            if _is_left(file):
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def _is_left(file: Path) -> bool:
    match = re.search(r'\.(\d+)\.[0-9a-f]{32}\.tmp$', file.name)
    if match is None:  # not one of ours
        return False
    if f'.{socket.gethostname()}{match.group()}' not in file.name:
        return time.time() - file.stat().st_mtime > _A_DAY
    try:
        os.kill(int(match.group(1)), 0)  # asks whether it runs
    except (OSError, OverflowError) as error:
        return isinstance(error, ProcessLookupError)
    return False


def write_json(content: Any, file: Path) -> None:
    """Write plain values as JSON, with null for what is not a number.

    Args:
        content: Dicts, lists and tuples of numbers, strings, booleans and None.
        file: Its path; folders are made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_without_nan(content), indent=2) + '\n'
    write_atomically(file, text.encode())


def read_json(file: Path) -> Optional[Dict[str, Any]]:
    """The object in a JSON file, such as :func:`write_json` wrote; None if there is no file.

    Raises:
        ValueError: If it is no JSON, with its path.
    """
    if not file.is_file():
        return None
    try:
        content: Dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:  # also of texts that are not UTF-8
        raise ValueError(f'{str(file)!r}: expected JSON, found none ({error})') from error
    return content


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def take_lock(file: Path, again: bool = False) -> Optional[BaseFileLock]:
    """Take the lock on a file at once; None if another process has it.

    The kernel gives it back when the process ends, whatever ended it.

    Args:
        file: Its path; the file is made.
        again: Whether this process may take it several times. Defaults to False.

    Raises:
        OSError: If the file cannot be made.
        NotImplementedError: If the file system has no locks.
    """
    lock = FileLock(str(file), timeout=0, is_singleton=again)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open('rb') as stream:
        for block in iter(lambda: stream.read(2**20), b''):
            digest.update(block)
    return digest.hexdigest()
