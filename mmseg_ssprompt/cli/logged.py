"""Run a command whose output goes into a file, and show how far it is.

    python mmseg_ssprompt/cli/logged.py LOG COMMAND ...

It needs nothing but Python, so that ``make`` also runs with it what sets the environment up.
"""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional, Sequence

__all__ = ['run_logged']

#: Lines that are printed at most, of which a screen has 24: of progress, and after a failure.
_LINES, _LAST = 10, 10
_WIDTH = 78
_ITERATION = re.compile(r'(?:Iter|Epoch)\((\w+)\).*?\[ *(\d+)/ *(\d+)\]')
_OF_PIP = re.compile(r' *(?:Collecting|Downloading|Using cached|Building|Installing) \S+')


class _Progress:
    """One line that is overwritten; where output is no terminal, ten lines at most."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._printed = 0
        self._due = time.monotonic()
        self._last: Optional[str] = None

    def __call__(self, line: str) -> None:
        text = _summarise(line)
        if text is None:
            return
        self._last = text
        if self._is_terminal:
            print(f'\r  {text:{_WIDTH - 2}}', end='', flush=True)
        elif self._printed < _LINES - 1 and time.monotonic() >= self._due:
            print(f'  {text}', flush=True)
            self._printed += 1
            self._last = None
            self._due = time.monotonic() + 5 * 2**self._printed / 2

    def close(self) -> None:
        """End with the last line."""
        if self._is_terminal and self._last is not None:
            print(flush=True)
        elif self._last is not None:
            print(f'  {self._last}', flush=True)


def _summarise(line: str) -> Optional[str]:
    """What a line says of progress; None if it says nothing."""
    found = _ITERATION.search(line)
    if found:
        return '{}: {} of {}'.format(*found.groups())
    found = _OF_PIP.match(line)
    return found.group().strip()[: _WIDTH - 2] if found else None


def run_logged(command: Sequence[str], log: Path, cwd: Optional[Path] = None) -> float:
    """Run a command whose output goes into a file.

    Args:
        command: The program and its arguments.
        log: The file; folders are made. What was in it is replaced.
        cwd: Where it runs. Defaults to None: here.

    Returns:
        How long it took, in seconds.

    Raises:
        SystemExit: If the command fails, with its status, after the last lines of the log and
            where it is were printed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f'  (all output goes to {log})', flush=True)
    start, progress = time.perf_counter(), _Progress()
    with open(log, 'w', encoding='utf-8', errors='replace') as file:
        process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding='utf-8', errors='replace',
        )  # fmt: skip
        for line in process.stdout or ():
            file.write(line)
            file.flush()
            progress(line)
    status = process.wait()
    progress.close()
    if status != 0:
        lines = log.read_text(encoding='utf-8', errors='replace').splitlines()[-_LAST:]
        print('\n'.join(f'  | {line[: 2 * _WIDTH - 4]}' for line in lines))
        shown = ' '.join(shlex.join(command).split())
        print(f'failed with status {status}: {shown[: 2 * _WIDTH]}\nsee {log}')
        raise SystemExit(status if status > 0 else 1)
    return time.perf_counter() - start


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    run_logged(sys.argv[2:], Path(sys.argv[1]))
