"""Feed damaged files to the readers of checkpoints and caches: only documented errors may come.

    python tools/fuzz_readers.py --seconds 60
    python tools/fuzz_readers.py --engine atheris --target checkpoint --seconds 600

Valid files are damaged: at random by cuts, flips, insertions and repetitions, or with
``--engine atheris`` (``pip install atheris``) by what leads to new branches of the readers. Another
error than the reader's own ends with a traceback, and the damaged file is kept in the folder that
``--keep`` names. A damaged file that is read without an error is none: not all damage is one.
"""

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Type

import torch
from mmengine.logging import MMLogger

from mmseg_ssprompt.cache import (
    CacheError,
    EmbeddedSample,
    EmbeddingCache,
    finish_cache,
    shards,
)
from mmseg_ssprompt.cache.shards import describe_shard, read_sample, write_shard
from mmseg_ssprompt.cache.writer import INDEX
from mmseg_ssprompt.engine import load_from_local
from mmseg_ssprompt.engine.prompt_file import write_prompts
from mmseg_ssprompt.models.checkpoint import CheckpointError, read_checkpoint

KEY = dict(format=1, views=1)


class Target(NamedTuple):
    """A reader, and a file for it.

    Attributes:
        file: Name of the file that is damaged.
        make: Writes the valid file, and what belongs to it, into a folder.
        read: Reads the file in a folder.
        errors: What it may raise.
    """

    file: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    errors: Tuple[Type[Exception], ...]


def make_prompts(folder: Path, name: str) -> None:
    """Prompts as they are saved, with tensors of several types."""
    state_dict = dict(
        learned=torch.randn(3, 2, 4), count=torch.arange(3), half=torch.ones(2).half()
    )
    write_prompts(state_dict, dict(iter=3, cfg='model = dict()'), folder / name)


def make_cache(folder: Path) -> None:
    """A cache of two samples."""
    samples = [
        EmbeddedSample(torch.randn(4, 2, 2), torch.ones(1, 4, 4, dtype=torch.uint8), dict(a=(i, 2)))
        for i in range(2)
    ]
    write_shard(folder, 0, samples, KEY)
    finish_cache(folder, KEY, dict(classes=('a',)), 2)


def read_shard(folder: Path) -> None:
    """Read both samples of the shard, which the index has described before it was damaged."""
    shards._open.cache_clear()  # a file that was damaged while it is mapped kills the process
    entry = json.loads((folder / 'entry').read_text())
    for number in range(2):
        read_sample(folder, entry, number)


def make_shard(folder: Path) -> None:
    """A shard, and what the index says of it."""
    make_cache(folder)
    (folder / 'entry').write_text(json.dumps(describe_shard(folder, 0)))


def read_whole_cache(folder: Path) -> List[EmbeddedSample]:
    """Open a cache, and read what the index says that is there."""
    shards._open.cache_clear()
    cache = EmbeddingCache(folder, KEY)
    return [cache[number] for number in range(len(cache))]


TARGETS: Dict[str, Target] = {
    'checkpoint': Target(
        'a.pth',
        lambda folder: make_prompts(folder, 'a.pth'),
        lambda folder: load_from_local(str(folder / 'a.pth'), 'cpu'),
        (CheckpointError,),
    ),
    'weights': Target(
        'a.pth',
        lambda folder: torch.save(dict(a=torch.randn(3, 4)), folder / 'a.pth'),
        lambda folder: read_checkpoint(folder / 'a.pth'),
        (CheckpointError,),
    ),
    'safetensors': Target(
        'a.safetensors',
        lambda folder: make_prompts(folder, 'a.safetensors'),
        lambda folder: load_from_local(str(folder / 'a.safetensors'), 'cpu'),
        (CheckpointError,),
    ),
    'shard': Target('000000.safetensors', make_shard, read_shard, (CacheError,)),
    'records': Target('000000.json', make_shard, read_shard, (CacheError,)),
    'index': Target(INDEX, make_cache, read_whole_cache, (CacheError,)),
}


def damage(content: bytes, draws: random.Random) -> bytes:
    """Cut, flip, insert, repeat or overwrite, up to three times."""
    data = bytearray(content)
    for _ in range(draws.randint(1, 3)):
        place = draws.randrange(len(data) + 1)
        end = min(len(data), place + draws.choice([1, 2, 8, 64, 1024]))
        kind = draws.randrange(5)
        if kind == 0:
            del data[place:end]
        elif kind == 1 and place < len(data):
            data[place] ^= 1 << draws.randrange(8)
        elif kind == 2:
            data[place:place] = draws.choice([b'\0', b'\xff' * 8, b'{}', b'9' * 20, b'null', b'['])
        elif kind == 3:
            data[place:place] = data[place:end]
        else:
            data[place:end] = bytes(draws.randrange(256) for _ in range(end - place))
    return bytes(data)


def try_one(target: Target, folder: Path, content: bytes) -> None:
    """Let a damaged file be read.

    Raises:
        Exception: Any that the reader does not document.
    """
    (folder / target.file).write_bytes(content)
    with contextlib.suppress(*target.errors):
        target.read(folder)


def fuzz(target: Target, folder: Path, seed: int, seconds: float, runs: int) -> int:
    """Try files with random damage, for so long or so many; return how many there were."""
    target.make(folder)
    valid = (folder / target.file).read_bytes()
    target.read(folder)
    draws, end, count = random.Random(seed), time.monotonic() + seconds, 0
    while count < runs and time.monotonic() < end:
        try_one(target, folder, damage(valid, draws))
        count += 1
    return count


def fuzz_with_atheris(target: Target, folder: Path, seed: int, seconds: float, runs: int) -> None:
    """Let atheris look for new branches; it ends the process itself."""
    try:
        import atheris
    except ImportError:
        sys.exit('--engine atheris needs it: pip install atheris (Python 3.11 or older)')
    target.make(folder)
    corpus = folder / 'corpus'
    corpus.mkdir()
    shutil.copy(folder / target.file, corpus)
    atheris.instrument_all()
    arguments = [f'-seed={seed + 1}', f'-max_total_time={int(seconds)}', f'-runs={runs}']
    atheris.Setup(
        [sys.argv[0], '-max_len=65536', *arguments, str(corpus)],
        lambda content: try_one(target, folder, content),
    )
    atheris.Fuzz()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Feed damaged files to the readers')
    parser.add_argument('--target', choices=TARGETS, help='by default all, one after the other')
    parser.add_argument('--engine', choices=['random', 'atheris'], default='random')
    parser.add_argument('--seconds', type=float, default=60, help='for all targets together')
    parser.add_argument('--runs', type=int, default=10**9, help='at most so many files a target')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', type=Path, default=Path('.'), help='where a finding is kept')
    args = parser.parse_args()
    if args.engine == 'atheris' and args.target is None:
        parser.error('--engine atheris ends the process: give one --target')
    return args


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    names = TARGETS if args.target is None else [args.target]
    for name in names:
        target = TARGETS[name]
        with tempfile.TemporaryDirectory() as folder:
            try:
                limits = (args.seed, args.seconds / len(names), args.runs)
                if args.engine == 'atheris':
                    fuzz_with_atheris(target, Path(folder), *limits)
                count = fuzz(target, Path(folder), *limits)
            except Exception:
                args.keep.mkdir(parents=True, exist_ok=True)
                kept = args.keep / f'finding_{target.file}'
                shutil.copy(Path(folder) / target.file, kept)
                print(f'{name}: another error than {target.errors}; the file is {str(kept)!r}')
                raise
        print(f'{name}: {count} damaged files, no other error', flush=True)


if __name__ == '__main__':
    main()
