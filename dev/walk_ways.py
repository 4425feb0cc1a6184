"""Walk the ways into the docs in empty folders, as they are written, and keep what they lead to.

    python -m dev.walk_ways                      # all four; docs/evidence/ways.json
    python -m dev.walk_ways from_mmseg           # one of them; entries of the others stay

A page is a script: blocks of ``bash`` run in one shell, one after the other, and a block of
``python`` whose first line names a file, ``# look.py``, is written into it, or added to it with
``# mine.py, below what is there``. A comment, ``<!-- not walked: REASON -->``, leaves out the block
that follows it. Figures are those of one thread.
"""

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List

from mmseg_ssprompt.cli.records import read_last_validation, read_metrics
from mmseg_ssprompt.files import write_json

from .provenance import ROOT, describe_code, describe_versions

__all__ = ['WAYS', 'make_script', 'walk']

PAGES, RESULTS = ROOT / 'docs' / 'start', ROOT / 'docs' / 'evidence' / 'ways.json'
_BLOCK = re.compile(
    r'(?P<left_out><!-- not walked: [^>]+ -->\n+)?^```(?P<kind>bash|python)\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r'# (?P<name>[\w.]+)(?P<added>, below what is there)?\n')


def make_script(text: str) -> str:
    """The shell script that a page describes.

    Raises:
        ValueError: If a block of Python does not say which file it is.
    """
    lines: List[str] = ['set -euo pipefail']
    for block in _BLOCK.finditer(text):
        if block['left_out']:
            continue
        code = block['code']
        if block['kind'] == 'python':
            file = _FILE.match(code)
            if file is None:
                raise ValueError(f'expected "# NAME.py" in the first line, found {code[:40]!r}')
            arrow = '>>' if file['added'] else '>'
            code = f"cat {arrow} {file['name']} <<'END_OF_FILE'\n{code}END_OF_FILE"
        lines.append(code.rstrip('\n'))
    return '\n'.join(lines) + '\n'


def walk(name: str, folder: Path) -> Dict[str, Any]:
    """Walk a way in an empty folder.

    Args:
        name: Of the page, without suffix.
        folder: An empty one.

    Returns:
        Minutes of one CPU core, and what the way led to.

    Raises:
        subprocess.CalledProcessError: If one of its commands fails.
    """
    script = make_script((PAGES / f'{name}.md').read_text(encoding='utf-8'))
    with tempfile.TemporaryDirectory() as binaries:
        for command, arguments in dict(
            python='', **{'mmseg-ssprompt': '-m mmseg_ssprompt'}
        ).items():
            file = Path(binaries, command)
            file.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
            file.chmod(0o755)
        environment = dict(
            os.environ,
            PATH=f'{binaries}:{os.environ["PATH"]}',
            PYTHONPATH=str(ROOT),
            OMP_NUM_THREADS='1',
        )
        start = _used_seconds()
        subprocess.run(['bash', '-c', script], cwd=folder, env=environment, check=True)
    minutes = math.ceil((_used_seconds() - start) / 60)
    return dict(minutes=minutes, **WAYS[name](folder))


def _used_seconds() -> float:
    """Of a CPU core, by the processes that were waited for: others on the machine do not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _of_fit(folder: Path) -> Dict[str, Any]:
    """The table of ``fit``."""
    found = json.loads((folder / 'runs' / 'first' / 'results.json').read_text(encoding='utf-8'))
    assert len(list((folder / 'predictions' / 'overlays').iterdir())) == 6
    rows = dict(zero_shot=found['zero_shot'], **{arm['name']: arm for arm in found['arms']})
    parts = ('validation', 'test')
    return {row: {part: rows[row][part]['mIoU'] for part in parts} for row in rows}


def _of_test(folder: Path) -> Dict[str, Any]:
    """The figures of the test."""
    found = read_metrics(folder / 'work_dirs' / 'mine')
    things, stuff = found['mIoU.things'], found['mIoU.stuff']
    return dict(test_miou=found['mIoU'], test_things=things, test_stuff=stuff)


def _of_two_runs(folder: Path) -> Dict[str, Any]:
    """Both trainings, with the numbers that train on the spatial side."""
    assert (folder / 'oracle.json').is_file()
    found = {}
    for name in ('ssprompt', 'mine'):
        work_dir = folder / 'work_dirs' / name
        logs = [file.read_text(encoding='utf-8') for file in sorted(work_dir.glob('*/*.log'))]
        log = next(text for text in logs if 'Trainable: ' in text)  # commands write some, too
        shapes = re.findall(r'^  decode_head\.spatial_prompts\.\S+: \((.*?)\)', log, re.MULTILINE)
        spatial = sum(math.prod(map(int, re.findall(r'\d+', shape))) for shape in shapes)
        found[name] = dict(miou=read_last_validation(work_dir)['mIoU'], spatial=spatial)
    return found


#: What each way leads to.
WAYS: Dict[str, Callable[[Path], Dict[str, Any]]] = dict(
    from_photographs=_of_fit,
    from_mmseg=_of_test,
    research_prompts=_of_two_runs,
    add_base_model=_of_test,
)


def main() -> None:
    parser = argparse.ArgumentParser(description='Walk the ways into the docs')
    parser.add_argument('ways', nargs='*', metavar='WAY', help=f'of {", ".join(WAYS)}; all')
    args = parser.parse_args()
    if set(args.ways) - set(WAYS):
        parser.error(f'expected some of {sorted(WAYS)}, found {args.ways}')
    results = json.loads(RESULTS.read_text(encoding='utf-8')) if RESULTS.is_file() else {}
    for name in args.ways or WAYS:
        with tempfile.TemporaryDirectory() as folder:
            found = walk(name, Path(folder))
        results[name] = dict(found, versions=describe_versions(), code=describe_code())
        write_json(results, RESULTS)
        print(f'{name}: {results[name]}', flush=True)


if __name__ == '__main__':
    main()
