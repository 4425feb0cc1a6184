"""Running tools and commands in fresh processes that have their imports already."""

import logging
import multiprocessing
import os
import runpy
import sys
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock
from typing import Sequence

from mmseg_ssprompt.cli.parser import main

__all__ = ['ROOT', 'run_tool']

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = ['mmseg_ssprompt', 'mmengine.runner', 'mmseg.apis']
#: Starting a process also asks all earlier ones for their exit status, which can be read once: a
#: thread that joins one of them at that moment would be told 255.
_STATUS_LOCK = Lock()


def run_tool(tool: str, args: Sequence[str], log: Path, threads: int, gpu: int = 0) -> str:
    """Run ``python tools/TOOL ARGS`` or ``mmseg-ssprompt TOOL ARGS``; return what it printed.

    Each run is a process of its own, forked from one that has done nothing but the imports, which
    take longer than many a run's work.

    Args:
        tool: ``'train.py'`` or ``'test.py'``, or the words of a command: ``'prompts transfer'``.
        args: Its command line.
        log: File that keeps the output.
        threads: Of torch, on the CPU.
        gpu: The one GPU that it sees, if there are any: its place among those that are visible.

    Raises:
        RuntimeError: If it failed, with the end of its output.
    """
    # Without it, asking whether there is a GPU makes forked processes unable to use one.
    os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '1'
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    command = [*tool.split(), *args]
    log.write_text('')  # not that of an earlier try, if the process ends before it opens it
    process = context.Process(target=_work, args=(command, log, threads, gpu))
    with _STATUS_LOCK:
        process.start()
    wait([process.sentinel])
    with _STATUS_LOCK:
        process.join()
    output = log.read_text()
    if process.exitcode:
        raise RuntimeError(f'{" ".join(command)} ended with {process.exitcode}:\n{output[-2000:]}')
    return output


def _work(command: Sequence[str], log: Path, threads: int, gpu: int) -> None:
    """What the process does: everything that it prints goes to the log."""
    import torch

    os.environ['CUDA_VISIBLE_DEVICES'] = _name_gpu(gpu)
    torch.set_num_threads(threads)
    with log.open('w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    name, *args = command
    if name.endswith('.py'):
        path = str(ROOT / 'tools' / name)
        sys.argv[:] = [path, *args]
        runpy.run_path(path, run_name='__main__')
    else:
        main(command)
    # Taking down the interpreter of a forked process failed once in a hundred runs, after all of
    # the work was done.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _name_gpu(gpu: int) -> str:
    """The name of the visible GPU at this place, for ``CUDA_VISIBLE_DEVICES``."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    return str(gpu) if visible is None else visible.split(',')[gpu]
