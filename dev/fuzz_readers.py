"""Feed damaged files to the readers of checkpoints and caches: only documented errors may come.

    python -m dev.fuzz_readers --seconds 60
    python -m dev.fuzz_readers --engine atheris --target checkpoint --seconds 600
    python -m dev.fuzz_readers --target checkpoint --replay finding_checkpoint

Valid files are damaged: at random by cuts, flips, insertions and repetitions, or with
``--engine atheris`` (``pip install atheris``) by what leads to new branches of the readers.
Checksums find most damage at once, so some targets damage what lies behind, and write checksums
that fit, as a stranger can. Another error than the reader's own ends with a traceback, and what was
damaged is kept in the folder that ``--keep`` names. A damaged file that is read without an error is
none: not all damage is one.
"""

import argparse
import contextlib
import inspect
import random
import sys
import tempfile
import time
from pathlib import Path
from types import FunctionType
from typing import Iterator

from mmengine.logging import MMLogger

from .fuzz_targets import TARGETS, Target

__all__ = ['damage', 'fuzz', 'try_one']

#: Modules that read files.
READERS = (
    *(
        'mmseg_ssprompt.cache',
        'mmseg_ssprompt.weights.checkpoint_loader',
        'zipfile',
        'json.decoder',
    ),
    *('mmseg_ssprompt.weights.state_dicts', 'mmseg_ssprompt.weights.safetensors_file'),
    *('mmseg_ssprompt.prompt_files.prompt_metadata', 'torch._weights_only_unpickler'),
)


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


def try_one(target: Target, folder: Path, content: bytes, kept: Path) -> None:
    """Let what was damaged be read.

    Args:
        target: Its reader.
        folder: With the valid files.
        content: What is put in the place of what ``target.take`` returns.
        kept: Where it is written if that ends as it must not.

    Raises:
        Exception: Any that the reader does not document.
    """
    target.put(folder, content)
    try:
        with contextlib.suppress(*target.errors):
            target.read(folder)
    except BaseException:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
        print(f'another error than {target.errors}; --replay {kept}', flush=True)
        raise


def fuzz(target: Target, folder: Path, kept: Path, seed: int, seconds: float, runs: int) -> int:
    """Try random damage, for so long or so often; return how often."""
    target.make(folder)
    target.read(folder)
    valid = target.take(folder)
    draws, end, count = random.Random(seed), time.monotonic() + seconds, 0
    while count < runs and time.monotonic() < end:
        try_one(target, folder, damage(valid, draws), kept)
        count += 1
    return count


def functions_of_readers() -> Iterator[FunctionType]:
    """Those whose branches are to be found: all of torch would take minutes to prepare."""
    for name in [name for name in sys.modules if name.startswith(READERS)]:
        values = list(vars(sys.modules[name]).values())
        for kind in [value for value in values if isinstance(value, type)]:
            values += vars(kind).values()
        for value in values:
            function = inspect.unwrap(value) if callable(value) else None
            if isinstance(function, FunctionType) and function.__module__ == name:
                yield function


def fuzz_with_atheris(
    target: Target, folder: Path, kept: Path, seed: int, seconds: float, runs: int
) -> None:
    """Let atheris look for new branches; it ends the process itself."""
    try:
        import atheris
    except ImportError:
        sys.exit('--engine atheris needs it: pip install atheris (Python 3.11 to 3.13)')
    target.make(folder)
    corpus = folder / 'corpus'
    corpus.mkdir()
    (corpus / 'valid').write_bytes(target.take(folder))
    for function in functions_of_readers():
        atheris.instrument_func(function)
    arguments = [f'-seed={seed + 1}', f'-max_total_time={int(seconds)}', f'-runs={runs}']
    atheris.Setup(
        [sys.argv[0], '-max_len=65536', f'-artifact_prefix={folder}/', *arguments, str(corpus)],
        lambda content: try_one(target, folder, content, kept),
    )
    atheris.Fuzz()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Feed damaged files to the readers')
    parser.add_argument('--target', choices=TARGETS, help='by default all, one after the other')
    parser.add_argument('--engine', choices=['random', 'atheris'], default='random')
    parser.add_argument('--seconds', type=float, default=60, help='for all targets together')
    parser.add_argument('--runs', type=int, default=10**9, help='at most so many for each target')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', type=Path, default=Path('.'), help='where a finding is kept')
    parser.add_argument('--replay', type=Path, help='a finding that is tried alone')
    args = parser.parse_args()
    if args.target is None and (args.engine == 'atheris' or args.replay is not None):
        parser.error('--engine atheris and --replay need one --target')
    return args


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    names = TARGETS if args.target is None else [args.target]
    for name in names:
        target, kept = TARGETS[name], args.keep / f'finding_{name}'
        limits = (args.seed, args.seconds / len(names), args.runs)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if args.replay is not None:
                target.make(folder)
                try_one(target, folder, args.replay.read_bytes(), kept)
                count = 1
            elif args.engine == 'atheris':
                fuzz_with_atheris(target, folder, kept, *limits)
            else:
                count = fuzz(target, folder, kept, *limits)
        print(f'{name}: {count} damaged files, no other error', flush=True)


if __name__ == '__main__':
    main()
