"""Time of one image, and peak memory above the model, in this process."""

import ctypes
import gc
import re
import statistics
import time
from pathlib import Path
from typing import Callable, Dict, List

import torch
from mmengine.optim import build_optim_wrapper

from .flops import count_flops, count_parameters
from .subject import Subject, make_batch

__all__ = ['MEASURES', 'measure_testing', 'measure_training']

Run = Callable[[], object]
_STATUS = Path('/proc/self/status')


def measure_testing(subject: Subject, images: int) -> Dict[str, object]:
    """Prediction of one image at a time, and what it counts.

    Args:
        subject: The model, just built: the process has had no greater peak since.
        images: How many images are timed, after one that is not.

    Returns:
        ``parameters`` and ``flops``, see there, ``test_seconds`` (median) and ``test_gb``.
    """
    batch = make_batch(subject)
    subject.model.eval()

    def predict() -> None:
        with torch.no_grad():
            subject.model.test_step(batch)

    cost = _measure(predict, images, _device(subject))
    return dict(
        parameters=count_parameters(subject.model),
        flops=count_flops(subject.model, batch),
        input_size=subject.input_size,
        random_weights=subject.random_weights,
        test_seconds=cost['seconds'],
        test_gb=cost['gb'],
    )


def measure_training(subject: Subject, images: int) -> Dict[str, object]:
    """Steps of one image: forward, backward and the optimiser of the config.

    Args and Returns: see :func:`measure_testing`; ``train_seconds`` and ``train_gb``.
    """
    batch = make_batch(subject)
    subject.model.train()
    optimiser = build_optim_wrapper(subject.model, subject.cfg.optim_wrapper)
    cost = _measure(lambda: subject.model.train_step(batch, optimiser), images, _device(subject))
    return dict(train_seconds=cost['seconds'], train_gb=cost['gb'])


#: What is measured in a process of its own.
MEASURES = dict(test=measure_testing, train=measure_training)


def _device(subject: Subject) -> torch.device:
    return next(subject.model.parameters()).device


def _measure(run: Run, images: int, device: torch.device) -> Dict[str, float]:
    """Median of the seconds of ``run``, and GB at its peak above those before it."""
    before = _start_peak(device)
    _seconds(run, device)  # threads, buffers, and the optimiser's state
    seconds: List[float] = [_seconds(run, device) for _ in range(images)]
    return dict(seconds=statistics.median(seconds), gb=(_peak(device) - before) / 1e9)


def _seconds(run: Run, device: torch.device) -> float:
    _wait_for(device)
    start = time.perf_counter()
    run()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _start_peak(device: torch.device) -> int:
    """Forget the peak until now, such as a text encoder's; the bytes that are in use.

    Raises:
        OSError: Without Linux's ``/proc``, from which memory of CPU processes is read.
    """
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if not _STATUS.is_file():
        raise OSError(f'{_STATUS} does not exist: peak memory on CPUs is measured on Linux only')
    ctypes.CDLL(None).malloc_trim(0)  # or what is freed and kept would hide what is used later
    Path('/proc/self/clear_refs').write_text('5')  # resets VmHWM, see proc(5)
    return _status_bytes('VmRSS')


def _peak(device: torch.device) -> int:
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    return _status_bytes('VmHWM')


def _status_bytes(entry: str) -> int:
    return int(re.search(rf'{entry}:\s+(\d+) kB', _STATUS.read_text())[1]) * 1024
