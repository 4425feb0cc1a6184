"""The command makes the caches of a config, on one process or two."""

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import run_here
from embedding_caches import contents, fill, recipe_of, shapes
from mmseg_ssprompt.cache import CacheError, Embedder
from mmseg_ssprompt.cli import cache_embeddings as tool

ROOT = Path(__file__).resolve().parents[2]
CACHED = ROOT / 'configs' / 'ssprompt_sam-tiny_shapes_cached.py'
UNCACHED = ROOT / 'configs' / 'ssprompt_sam-tiny_shapes.py'
FLIP = """
flip = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
"""
#: 17 scenes with random augmentation; two views of them are three shards.
CONFIGS = dict(
    cached=f"""
_base_ = [{str(CACHED)!r}]
{FLIP}
source = dict(pipeline=flip, num_images=17)
train_dataloader = dict(dataset=dict(cache_dir='cache/train', dataset=source, views=2))
""",
    uncached=f"""
_base_ = [{str(UNCACHED)!r}]
{FLIP}
train_dataloader = dict(dataset=dict(pipeline=flip, num_images=17))
""",
)


def make_cache(*arguments: Any, cwd: Path) -> str:
    """Run the command in this process, and return what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(cwd)
        run_here('cache', *arguments)
    return printed.getvalue()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def write_config(folder: Path, kind: str) -> str:
    (folder / f'{kind}.py').write_text(CONFIGS[kind])
    return f'{kind}.py'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A folder with a training cache of one process, and what was printed."""
    folder = tmp_path_factory.mktemp('one')
    printed = make_cache(write_config(folder, 'cached'), '--split', 'train', cwd=folder)
    return folder / 'cache' / 'train', printed


def test_disk_use_is_said_before_and_after(made):
    cache, printed = made
    size = sum(file.stat().st_size for file in cache.iterdir())
    lines = printed.splitlines()
    before = next(line for line in lines if 'bytes a sample x' in line)
    # 96 * 12 * 12 * 2 bytes of embedding, 96 * 96 of labels
    assert '36,864 bytes a sample x 17 samples x 2 views = 0.001 GB' in before
    after = f'34 embedded samples in 3 shards, {size:,} bytes; rank 0 computed 34'
    assert any(after in line for line in lines)


@pytest.mark.slow
@pytest.mark.process
def test_two_processes_make_the_same_files(made, tmp_path):
    cache, _ = made
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2']
    command += ['--master_port', str(free_port()), '-m', 'mmseg_ssprompt', 'cache']
    command += [write_config(tmp_path, 'cached'), '--launcher', 'pytorch', '--split', 'train']
    env = dict(os.environ, OMP_NUM_THREADS='1')
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert contents(tmp_path / 'cache' / 'train') == contents(cache)


def test_a_run_that_was_killed_goes_on(made):
    cache, _ = made
    before = contents(cache)
    (cache / 'index.json').unlink()
    shard = cache / '000001.safetensors'
    shard.write_bytes(shard.read_bytes()[:5000])
    printed = make_cache('cached.py', '--split', 'train', cwd=cache.parents[1])
    assert 'rank 0 computed 16 in' in printed
    assert contents(cache) == before


def test_another_pipeline_is_refused(made):
    cache, _ = made
    before = contents(cache)
    option = 'train_dataloader.dataset.dataset.pipeline.2.prob=0.25'
    message = r'key\.dataset\.pipeline\[2\]\.prob: expected 0\.25, found 0\.5\. Delete the folder'
    with pytest.raises(CacheError, match=message):
        make_cache('cached.py', '--split', 'train', '--cfg-options', option, cwd=cache.parents[1])
    assert contents(cache) == before


def test_uncached_configs_take_arguments(made, tmp_path):
    """In place of those of an EmbeddedDataset."""
    cache, _ = made
    make_cache(
        *(write_config(tmp_path, 'uncached'), '--split', 'train'),
        *('--views', 2, '--cache-dir', 'here'),
        cwd=tmp_path,
    )
    assert contents(tmp_path / 'here' / 'train') == contents(cache)


def test_training_without_a_cache_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='`mmseg-ssprompt cache CONFIG`') as caught:
        run_here('train.py', CACHED)
    said = str(caught.value)
    assert re.search(r"train/index.json' does not exist .*val/index.json' does not", said, re.S)


@pytest.fixture
def embedded(monkeypatch):
    """How often the command's image encoder has run."""
    calls, embed = [], Embedder.__call__

    def count(self, packed):
        calls.append(packed)
        return embed(self, packed)

    monkeypatch.setattr(Embedder, '__call__', count)
    return calls


def make(folder: Path, recipe: Any) -> None:
    tool.make_caches([tool.CacheMaker(folder, recipe)])


def test_each_sample_is_embedded_once(embedded, tmp_path):
    recipe = recipe_of(shapes(3))
    make(tmp_path, recipe)
    assert len(embedded) == 3
    make(tmp_path, recipe)  # all are there
    assert len(embedded) == 3


class Disk:
    """A disk as ``shutil.disk_usage`` describes it."""

    total, used = 2**40, 0

    def __init__(self, free: int) -> None:
        self.free = free


def test_room_is_looked_for_before_the_first_shard(embedded, tmp_path, monkeypatch):
    recipe, free = recipe_of(shapes(5), views=2), 10 * 36_864 - 1
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: Disk(free))
    message = rf"no room in '{tmp_path}': expected 368,640 bytes, found {free:,} free\. What"
    with pytest.raises(CacheError, match=message) as caught:
        make(tmp_path, recipe)
    said = str(caught.value)
    assert 'What takes less: fewer views (--views), a config with fewer images' in said
    assert 'Or name another place, by --cache-dir' in said
    assert 'float16' not in said and '--split' not in said  # they would not help
    assert list(tmp_path.iterdir()) == []
    assert len(embedded) == 1  # to know the size of a sample


def test_room_is_looked_for_for_all_splits(embedded, tmp_path, monkeypatch, capsys):
    """Each alone would have room."""
    monkeypatch.chdir(tmp_path)
    train, val = recipe_of(shapes(5)), recipe_of(shapes(5), test_mode=True, dtype='float32')
    needed = 5 * 36_864 + 5 * (36_864 + 27_648)
    makers = [tool.CacheMaker(Path('a') / name, r) for name, r in (('t', train), ('v', val))]
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: Disk(needed - 1))
    message = (
        rf"no room in 'a/t' and 'a/v': expected {needed:,} bytes, found {needed - 1:,} free\. "
        r"What takes less: dtype='float16' in the EmbeddedDataset, one split alone \(--split\), a"
    )
    with pytest.raises(CacheError, match=message):
        tool.make_caches(makers)
    assert [*Path('a/t').iterdir(), *Path('a/v').iterdir()] == []
    assert len(embedded) == 2
    assert '0.001 GB to write in all' in capsys.readouterr().out
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: Disk(needed))
    tool.make_caches(makers)
    assert all((Path('a') / name / 'index.json').is_file() for name in 'tv')


def test_splits_share_an_image_encoder(tmp_path, monkeypatch):
    """And memory is needed for one."""
    used = []
    monkeypatch.setattr(tool.CacheMaker, 'make', lambda self, embed: used.append(embed.encoder))
    recipes = [recipe_of(shapes(1)), recipe_of(shapes(1), test_mode=True)]
    tool.make_caches([tool.CacheMaker(tmp_path / str(i), r) for i, r in enumerate(recipes)])
    assert len(used) == 2 and used[0] is used[1]


def test_what_is_there_needs_no_more_room(tmp_path, monkeypatch, capsys):
    recipe = recipe_of(shapes(17))
    fill(tmp_path, recipe)
    for file in tmp_path.glob('000001.*'):
        file.unlink()
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: Disk(36_864))  # for one sample
    make(tmp_path, recipe)
    assert 'rank 0 computed 1 in' in capsys.readouterr().out


def test_a_place_that_cannot_be_written_into(embedded, tmp_path):
    (tmp_path / 'file').write_text('something else')
    folder = tmp_path / 'file' / 'train'
    with pytest.raises(OSError, match=rf"cannot write into '{folder}': expected a folder with"):
        make(folder, recipe_of(shapes(1)))
    assert (tmp_path / 'file').read_text() == 'something else'
    assert not embedded
