"""The tables of docs/performance.md: runs of ``dev/benchmark.py``, as Markdown."""

import json
import statistics
from pathlib import Path
from typing import Any, Dict, List

__all__ = ['format_runs', 'read_run']

HEADER = '| what | ours | reference | ratio in each run | must | aim | | difference |'


def read_run(file: Path) -> Dict[str, Any]:
    """What the benchmark has written.

    Raises:
        SystemExit: If the file holds something else.
    """
    try:
        run = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise SystemExit(f'{str(file)!r}: expected JSON of dev/benchmark.py ({error})') from error
    if not isinstance(run, dict) or not {'machine', 'rows'} <= set(run):
        raise SystemExit(
            f'{str(file)!r}: expected "machine" and "rows", as dev/benchmark.py writes'
        )
    return run


def format_runs(runs: List[Dict[str, Any]]) -> str:
    """The machine and the table, as Markdown.

    Args:
        runs: What the files hold, of one machine and the same sizes.

    Raises:
        ValueError: If the runs differ in machine, sizes or rows.
    """
    for entry in ('machine', 'names'):
        values = [_names(run) if entry == 'names' else run['machine'] for run in runs]
        different = [value for value in values if value != values[0]]
        if different:
            raise ValueError(f'runs differ in {entry}: {values[0]} and {different[0]}')
    machine = ', '.join(f'{name} {value}' for name, value in runs[0]['machine'].items())
    count = '1 run' if len(runs) == 1 else f'{len(runs)} runs in a row'
    lines = [f'{count} on: {machine}.', '', HEADER, '|---' * 8 + '|']
    return '\n'.join(lines + [_format_row(rows) for rows in zip(*(run['rows'] for run in runs))])


def _names(run: Dict[str, Any]) -> List[str]:
    return [row['name'] for row in run['rows']]


def _format_row(rows: List[Dict[str, Any]]) -> str:
    """One line: medians of the runs, every ratio, and whether all of them reach what is wanted."""
    first = rows[0]
    ours, reference = (
        statistics.median(row[side] for row in rows) for side in ('ours', 'reference')
    )
    wanted = ['', '', '']
    if first['must'] is not None:
        missed = any(row['ratio'] > first['must'] for row in rows)
        reached = all(row['ratio'] <= first['aim'] for row in rows)
        verdict = 'MISSED' if missed else 'aim' if reached else 'met'
        wanted = [f'{first["must"]:.3g}', f'{first["aim"]:.3g}', verdict]
    differences = [row['difference'] for row in rows if row['difference'] is not None]
    cells = [
        first['name'],
        f'{ours:.3g} {first["unit"]}',
        f'{reference:.3g} {first["unit"]}',
        ', '.join(f'{row["ratio"]:.3g}' for row in rows),
        *wanted,
        f'{max(differences):.0e}' if differences else '',
    ]
    return f'| {" | ".join(cells)} |'
