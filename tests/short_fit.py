"""Fit in seconds: with few iterations, and killed at a moment of a stage if that is asked for.

python tests/short_fit.py ROOT OUT [STAGE SECONDS]
"""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterator
from unittest import mock

from fit_trees import CLASSES
from mmseg_ssprompt.fitting import engine
from mmseg_ssprompt.fitting.config_text import Schedule
from mmseg_ssprompt.fitting.fit import FitResult, fit
from mmseg_ssprompt.fitting.progress import Reporter

#: Of the short runs, and of the others.
SCHEDULES = Schedule(2, 2, 2), Schedule(6, 6, 2)


@contextlib.contextmanager
def few_iterations(rates: Any = (0.01, 0.03)) -> Iterator[None]:
    """Let trainings be short."""
    with mock.patch.object(engine, 'make_schedule', return_value=SCHEDULES):
        with mock.patch.object(engine, 'RATES', rates):
            yield


def short_fit(root: Path, out: Path, **options: Any) -> FitResult:
    """Fit the photographs of ``make_photographs``."""
    data: Dict[str, Any] = dict(images=root / 'photos', labels=root / 'labels', classes=CLASSES)
    with few_iterations():
        return fit(**{**data, **options}, out=out)


def kill_in(stage: str, seconds: float) -> None:
    """Let this process be killed some time after a stage has begun."""
    step = Reporter.step

    @contextlib.contextmanager
    def watched(self: Reporter, title: str, total: int) -> Iterator[None]:
        if stage in title:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        with step(self, title, total):
            yield

    Reporter.step = watched


if __name__ == '__main__':
    if len(sys.argv) > 3:
        kill_in(sys.argv[3], float(sys.argv[4]))
    short_fit(Path(sys.argv[1]), Path(sys.argv[2]))
