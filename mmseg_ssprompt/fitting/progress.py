"""What ``fit`` says while it works: bars with the time left on a terminal, else plain lines."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Optional

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..hooks.mmengine_fixes import remove_log_stream

__all__ = ['Reporter', 'output_to']

_INTERVAL = 10.0  # seconds between plain lines


class Reporter:
    """Says which step is under way, and how far it is.

    Args:
        stream: Where to. Defaults to None: what stdout is now.
        quiet: Whether to say nothing. Defaults to False.
    """

    def __init__(self, stream: Any = None, quiet: bool = False) -> None:
        self.console = Console(file=stream or sys.stdout, quiet=quiet, highlight=False)
        self._progress: Optional[Progress] = None
        self._task: Any = None
        self._title, self._total = '', 0
        self._start = self._last = 0.0

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(escape(line), soft_wrap=True)

    @contextlib.contextmanager
    def step(self, title: str, total: int) -> Iterator[None]:
        """One step, such as a training.

        Args:
            title: Its name.
            total: How many pictures or iterations it has.
        """
        self._title, self._total = title, total
        self._start = self._last = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn('{task.description}'),
                BarColumn(),
                TextColumn('{task.completed:.0f}/{task.total:.0f}'),
                TimeElapsedColumn(),
                TextColumn('left'),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console) as self._progress:
                self._task = self._progress.add_task(escape(title), total=total)
                try:
                    yield
                finally:
                    self._progress = None
            return
        yield
        if total:
            self.say(f'{title}: {time.monotonic() - self._start:.0f} s')

    def advance_to(self, done: float, note: str = '') -> None:
        """Note how much of the step is done.

        Args:
            done: Pictures or iterations.
            note: What else is to be said. Defaults to ''.
        """
        text = f'{self._title} {note}'.rstrip()
        if self._progress is not None:
            self._progress.update(self._task, completed=done, description=escape(text))
            return
        now = time.monotonic()
        if now - self._last >= _INTERVAL and 0 < done < self._total:
            self._last = now
            left = (now - self._start) / done * (self._total - done)
            self.say(f'  {text}: {done:g} of {self._total}, {left:.0f} s left')


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Let what models and loggers print go into a file, which is added to."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'a', encoding='utf-8') as file:
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            remove_log_stream(file)  # which is closed now
