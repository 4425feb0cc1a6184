"""Running commands and tools in this process, whose imports are there already."""

import runpy
import sys
from pathlib import Path
from typing import Any, Optional
from unittest import mock

from mmseg_ssprompt.cli.parser import main

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def run_here(name: str, *arguments: Any) -> Optional[int]:
    """Run ``python tools/NAME``, ``python -m NAME`` or ``mmseg-ssprompt NAME``.

    Args:
        name: ``'train.py'``, ``'dev.reproduce'``, or the words of a sub-command, such as
            ``'prompts merge'``.
        *arguments: Those that follow it.

    Returns:
        The status of a sub-command; None is 0.
    """
    words = [str(argument) for argument in arguments]
    if not name.startswith('dev.') and not name.endswith('.py'):
        return main([*name.split(), *words])
    path = str(TOOLS / name)
    with mock.patch.object(sys, 'argv', [path, *words]):
        if name.endswith('.py'):
            runpy.run_path(path, run_name='__main__')
        else:
            runpy.run_module(name, run_name='__main__')
    return None
