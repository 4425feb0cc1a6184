"""What figures of speed and memory need: clocks, peaks, and a description of the machine."""

import ctypes
import gc
import os
import platform
import re
import time
from pathlib import Path
from typing import Any, Callable, Dict

import torch

__all__ = ['count_cores', 'describe_machine', 'measure_peak', 'measure_seconds']

Run = Callable[[], object]
_STATUS = Path('/proc/self/status')


def measure_seconds(run: Run, device: torch.device) -> float:
    """Seconds that ``run`` takes; on CUDA as its events count them."""
    if device.type != 'cuda':
        before = time.perf_counter()
        run()
        return time.perf_counter() - before
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize(device)
    return float(start.elapsed_time(end)) / 1e3


def measure_peak(run: Run, device: torch.device) -> float:
    """GB at the peak of ``run`` above what was in use before it.

    On CUDA they are the allocator's, elsewhere this process's own: what it had freed before may
    be taken again without a trace, so a process of its own gives the truest figure.

    Raises:
        OSError: On CPUs without Linux's ``/proc``, from which their memory is read.
    """
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e9
    if not _STATUS.is_file():
        raise OSError(f'{_STATUS} does not exist: peak memory on CPUs is measured on Linux only')
    ctypes.CDLL(None).malloc_trim(0)  # or what is freed and kept would hide what is used later
    Path('/proc/self/clear_refs').write_text('5')  # resets VmHWM, see proc(5)
    before = _status_bytes('VmRSS')
    run()
    return (_status_bytes('VmHWM') - before) / 1e9


def _status_bytes(entry: str) -> int:
    (kilobytes,) = re.findall(rf'{entry}:\s+(\d+) kB', _STATUS.read_text())
    return int(kilobytes) * 1024


def count_cores() -> int:
    """Cores that this process may use; all of them where the system does not say."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine(device: str) -> Dict[str, Any]:
    """What time and memory depend on."""
    accelerator = torch.device(device)
    return {
        'CPU': _processor(),
        'instructions': torch.backends.cpu.get_cpu_capability(),
        'cores': count_cores(),
        'GB of memory': round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9, 1),
        'threads': torch.get_num_threads(),
        'device': torch.cuda.get_device_name(accelerator) if accelerator.type == 'cuda' else 'CPU',
        'torch': torch.__version__,
        'Python': platform.python_version(),
    }


def _processor() -> str:
    """The CPU's name, as Linux has it."""
    file = Path('/proc/cpuinfo')
    found = re.search(r'model name\s*:\s*(.+)', file.read_text()) if file.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()
