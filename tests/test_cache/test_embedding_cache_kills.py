"""Processes that write a cache are killed, stopped by a full disk, or write it at once.

Forty kills; ``MMSEG_SSPROMPT_KILLS=100`` for four hundred, ``MMSEG_SSPROMPT_KILLS_SEED`` for other
moments. ``test_faults/test_cache_kills.py`` does a few with the tool and the image encoder.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

from cache_writers import KEY, SAMPLES, make_cache, sample_of, start
from embedding_caches import contents
from mmseg_ssprompt.cache import CacheError, EmbeddingCache
from mmseg_ssprompt.cache.embedding_cache import INDEX

KILLS = 4 * int(os.environ.get('MMSEG_SSPROMPT_KILLS', '10'))
SEED = int(os.environ.get('MMSEG_SSPROMPT_KILLS_SEED', '0'))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """What an undisturbed process writes."""
    folder = tmp_path_factory.mktemp('whole')
    make_cache(folder)
    found = contents(folder)
    assert len(found) == 6 + 1
    return found


@pytest.fixture(scope='module')
def duration(tmp_path_factory, whole):
    """Seconds that an undisturbed process takes to write it."""
    folder = tmp_path_factory.mktemp('duration')
    start(folder).join()  # the first child waits for the server
    begin = time.monotonic()
    process = start(folder / 'again')
    process.join()
    assert process.exitcode == 0
    assert contents(folder / 'again') == whole
    return time.monotonic() - begin


def without_leftovers(folder: Path) -> dict:
    return {name: content for name, content in contents(folder).items() if name[-4:] != '.tmp'}


@pytest.mark.timeout(120 + 3 * KILLS)
@pytest.mark.slow
@pytest.mark.process
def test_killed_at_any_moment(tmp_path, whole, duration):
    expected, moments, kills, caches = whole, random.Random(SEED), 0, 0
    while kills < KILLS:
        folder = tmp_path / str(caches)
        while kills < KILLS:
            process = start(folder)
            time.sleep(moments.uniform(0, duration))
            process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            if folder.exists():  # what has its name is complete
                assert without_leftovers(folder).items() <= expected.items()
        make_cache(folder)
        assert contents(folder) == expected
        caches += 1


@pytest.mark.slow
@pytest.mark.process
def test_eight_that_write_the_same_cache(tmp_path, whole):
    """One of them is killed, and all the while another process reads."""
    expected = whole
    processes = [start(tmp_path / 'cache') for _ in range(8)]
    reads = 0
    try:
        while not (tmp_path / 'cache').exists() or len(shards_of(tmp_path)) < 3:
            time.sleep(0.001)
        processes[3].kill()
        while any(process.is_alive() for process in processes) or reads == 0:
            if (tmp_path / 'cache' / INDEX).exists():
                read_all(tmp_path / 'cache')
                reads += 1
    finally:
        for process in processes:
            process.join(60)
    assert sorted(process.exitcode for process in processes)[1:] == [0] * 7
    assert without_leftovers(tmp_path / 'cache') == expected
    make_cache(tmp_path / 'cache')
    assert contents(tmp_path / 'cache') == expected


def shards_of(folder: Path) -> list:
    return list((folder / 'cache').glob('*.safetensors'))


def read_all(folder: Path) -> None:
    cache = EmbeddingCache(folder, KEY)
    for number in range(SAMPLES):
        assert cache[number].metainfo == dict(number=number)
        assert cache[number].labels.equal(sample_of(number).labels)


@contextlib.contextmanager
def small_disk(folder: Path, size: str, *options: str) -> Iterator[None]:
    """A file system in memory, where one may be mounted."""
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', ','.join([f'size={size}', *options]), 'tmpfs', folder]
    with contextlib.ExitStack() as stack:
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f'no file system can be mounted here: {error}')
        stack.callback(subprocess.run, ['umount', '-l', folder], check=True)
        yield


def test_a_disk_that_is_full(tmp_path, whole):
    expected = whole
    room = sum(len(content) for content in expected.values()) // 2
    folder = tmp_path / 'disk'
    with small_disk(folder, f'{room // 4096 * 4}k'):
        with pytest.raises(CacheError) as caught:
            make_cache(folder)
        (name,) = re.findall(r'\d{6}\.safetensors', str(caught.value))
        size = len(expected[name])
        assert f'expected room for {size:,} bytes' in str(caught.value)
        assert '"No space left on device"' in str(caught.value)
        assert 'run the same command again: complete shards are kept' in str(caught.value)
        kept = contents(folder)
        assert '000000.safetensors' in kept
        assert kept.items() <= expected.items()
        subprocess.run(['mount', '-o', 'remount,size=8m', folder], check=True)
        make_cache(folder)
        assert contents(folder) == expected


def test_a_folder_that_may_not_be_written_into(tmp_path):
    with small_disk(tmp_path / 'disk', '1m', 'ro'):
        for folder in (tmp_path / 'disk', tmp_path / 'disk' / 'new'):
            with pytest.raises(OSError, match=rf"cannot write into '{folder}': expected a folder"):
                make_cache(folder)


def test_a_disk_that_becomes_read_only(tmp_path, monkeypatch):
    """After the folder was tried."""

    def fail(file, content):
        raise OSError(30, 'Read-only file system', str(file))

    monkeypatch.setattr('mmseg_ssprompt.cache.embedding_cache.write_atomically', fail)
    message = r"cannot write '.*000000\.safetensors': expected room for [\d,]+ bytes in a folder "
    with pytest.raises(CacheError, match=rf'{message}.*"Read-only file system"'):
        make_cache(tmp_path)
