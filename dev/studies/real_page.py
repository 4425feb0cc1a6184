"""The tables of docs/real-data.md: what studies on real data cost, and what came out so far."""

import functools
import json
from pathlib import Path
from typing import Dict, List

from mmengine.config import Config

from .cluster_cost import gpu_name, hours_of, seconds_of_steps
from .real_rows import BASES, CONFIGS, DATA, make_study
from .report import format_spread, measured

__all__ = ['format_costs', 'format_results']

SEEDS = 5


def format_costs() -> str:
    """GPU hours of a study with all arms and five seeds, by base model and data set."""
    titles = [title for title, _, _ in DATA.values()]
    lines = [
        f'| hours of one {gpu_name()} | jobs | ms a step, on a cache | {" | ".join(titles)} |',
        '|---' * (3 + len(titles)) + '|',
    ]
    for base, (title, _) in BASES.items():
        rows = make_study(base, 'cityscapes')[0].rows
        count = sum(SEEDS if row.trains else 1 for row in rows)
        seconds = seconds_of_steps(base)
        cells = ['not measured'] + [''] * len(DATA)
        if seconds is not None:
            cells = [f'{1000 * seconds["step"]:.0f}, {1000 * seconds["cached"]:.0f}']
            cells += [f'{_hours_of_study(base, data):.0f}' for data in DATA]
        lines.append(f'| {" | ".join([title, str(count), *cells])} |')
    return '\n'.join(lines)


def _hours_of_study(base: str, data: str) -> float:
    hours = 0.0
    for row in make_study(base, data)[0].rows:
        each = hours_of(base, data, _iterations(row.config) if row.trains else 0)
        hours += (each or 0.0) * (SEEDS if row.trains else 1)
    return hours


@functools.cache
def _iterations(config: str) -> int:
    iterations: int = Config.fromfile(CONFIGS / config).train_cfg.max_iters
    return iterations


def format_results(base: str, folder: Path) -> str:
    """The mIoU of each arm on each data set; empty where no result is there.

    Args:
        base: A key of ``BASES``.
        folder: With the JSON files that ``--gather`` writes, as far as there are any.
    """
    results = {data: _read_rows(folder / f'{base}_{data}.json') for data in DATA}
    titles = [title for title, _, _ in DATA.values()]
    lines = [f'| mIoU (%) | {" | ".join(titles)} |', '|---' * (1 + len(titles)) + '|']
    for row in make_study(base, 'cityscapes')[0].rows:
        cells = [format_spread(results[data].get(row.name, [])) for data in DATA]
        lines.append(f'| {" | ".join([row.name, *cells])} |')
    return '\n'.join(lines)


def _read_rows(file: Path) -> Dict[str, List[float]]:
    if not file.is_file():
        return {}
    rows = json.loads(file.read_text(encoding='utf-8'))['rows']
    return {row['name']: measured(row['miou']) for row in rows}
