"""Reading what runs of ``tools/train.py`` and ``tools/test.py`` have left in their work_dirs."""

import json
from pathlib import Path
from typing import Any, Dict, List

__all__ = ['read_last_validation', 'read_losses', 'read_metrics', 'read_train_seconds']


def read_metrics(work_dir: Path) -> Dict[str, float]:
    """The figures of the newest run of ``tools/test.py``."""
    figures: Dict[str, float] = json.loads(_newest(work_dir, '*/*.json').read_text())
    return figures


def read_last_validation(work_dir: Path, metric: str = 'mIoU') -> Dict[str, float]:
    """The figures, with ``metric``, of the last validation of the newest training."""
    return [entry for entry in _read_scalars(work_dir) if metric in entry][-1]


def read_losses(work_dir: Path) -> List[float]:
    """The losses that the newest run of ``tools/train.py`` has logged: means of its steps."""
    return [entry['loss'] for entry in _read_scalars(work_dir) if 'loss' in entry]


def read_train_seconds(work_dir: Path) -> float:
    """Seconds that the newest run of ``tools/train.py`` has spent in its iterations."""
    seconds, last = 0.0, 0
    for entry in _read_scalars(work_dir):
        if 'loss' in entry:  # "time" is the mean since the entry before
            seconds += entry['time'] * (entry['step'] - last)
            last = entry['step']
    return seconds


def _read_scalars(work_dir: Path) -> List[Dict[str, Any]]:
    lines = _newest(work_dir, '*/vis_data/scalars.json').read_text().splitlines()
    return [json.loads(line) for line in lines]


def _newest(work_dir: Path, pattern: str) -> Path:
    return max(work_dir.glob(pattern), key=lambda path: path.stat().st_mtime)
