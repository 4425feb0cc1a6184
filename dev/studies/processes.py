"""Running the command-line tools in fresh processes that have their imports already."""

import logging
import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from typing import Sequence

__all__ = ['TOOLS', 'run_tool']

TOOLS = Path(__file__).resolve().parents[1]
PRELOADED = ['mmseg_ssprompt', 'mmengine.runner', 'mmseg.apis']


def run_tool(tool: str, args: Sequence[str], log: Path, threads: int, gpu: int = 0) -> str:
    """Run a tool as ``python tools/TOOL ARGS`` would, and return what it printed.

    Each run is a process of its own, forked from one that has done nothing but the imports, which
    take longer than many a run's work.

    Args:
        tool: Path of the script, below ``tools/``.
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
    command = [str(TOOLS / tool), *args]
    process = context.Process(target=_work, args=(command, log, threads, gpu))
    process.start()
    process.join()
    output = log.read_text()
    if process.exitcode:
        raise RuntimeError(
            f'python {" ".join(command)} ended with {process.exitcode}:\n{output[-2000:]}'
        )
    return output


def _work(command: Sequence[str], log: Path, threads: int, gpu: int) -> None:
    """What the process does: everything that it prints goes to the log."""
    import torch

    os.environ['CUDA_VISIBLE_DEVICES'] = _name_gpu(gpu)
    torch.set_num_threads(threads)
    with log.open('w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv[:] = command
    sys.path.insert(0, str(Path(command[0]).parent))
    runpy.run_path(command[0], run_name='__main__')
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
