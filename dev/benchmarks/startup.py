"""Importing the package, against mmseg's models alone."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Iterator

from mmseg_ssprompt import compat

from .rows import Row, make_row

__all__ = ['compare']

OURS = 'import mmseg_ssprompt'
#: With mmcv-lite they need the package's fix to be imported at all.
REFERENCE = (
    f'import runpy; runpy.run_path({str(Path(compat.__file__))!r})["allow_mmcv_without_ops"](); '
    'import mmseg.models'
)


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Seconds in new processes, after one of each that fills the disk's cache.

    They vary by a tenth, so that more turns are taken than elsewhere.
    """
    turns = [(_seconds(OURS), _seconds(REFERENCE)) for _ in range(2 * args.repeats + 1)]
    yield make_row(args, 'import of the package, over mmseg.models', 's', turns[1:])


def _seconds(statements: str) -> float:
    code = f'import time; start = time.perf_counter(); {statements}; '
    code += 'print(time.perf_counter() - start)'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])
