"""The tables of docs/performance.md: runs of ``dev/benchmark.py``, as Markdown."""

import json
import statistics
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

__all__ = ['make_tables', 'read_runs']

Run = Mapping[str, Any]
#: What runs that stand beside each other share; ``code`` is the digest of the code.
_SHARED = ('machine', 'versions', 'sizes', 'code')
_EXPECTED = {'machine', 'versions', 'commit', 'sizes', 'seconds', 'rows', 'scaling', 'profile'}
_ROWS_HEADER = '| what | ours | reference | ratio in each run | must | aim | | difference |'
#: The parts of the benchmark in each table of rows.
TABLES: Dict[str, Sequence[str]] = {
    'decoding': ('decode',),
    'encoder': ('encode',),
    'training': ('train', 'classify', 'text', 'checkpoint', 'import'),
    'label-maps': ('predict', 'label-maps'),
    'seem': ('seem',),
    'tasks': ('tasks',),
    'prompts': ('scaling',),
}


def read_runs(folder: Path, pattern: str) -> List[Run]:
    """What the benchmark has written into files, in the order of their names.

    Raises:
        SystemExit: If a file holds something else.
        ValueError: If the runs differ in what they have to share: machine, versions, sizes, code or
            rows.
    """
    runs = [_read_run(file) for file in sorted(folder.glob(pattern))]
    for entry in (*_SHARED, 'names'):
        values = [_names(run) if entry == 'names' else run.get(entry) for run in runs]
        different = [value for value in values if value != values[0]]
        if different:
            raise ValueError(f'runs differ in {entry}: {values[0]} and {different[0]}')
    return runs


def _read_run(file: Path) -> Run:
    try:
        run = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise SystemExit(f'{str(file)!r}: expected JSON of dev/benchmark.py ({error})') from error
    missing = _EXPECTED - set(run) if isinstance(run, dict) else _EXPECTED
    if missing:
        raise SystemExit(f'{str(file)!r}: expected {sorted(missing)}, as dev/benchmark.py writes')
    return run


def _names(run: Run) -> List[str]:
    return [line['name'] for line in (*run['rows'], *run['scaling'])]


def make_tables(folder: Path) -> Dict[str, Callable[[], str]]:
    """What makes each table of the page, by its name.

    Args:
        folder: With ``performance_cpu_*.json`` and ``performance_gpu*.json``; where they, or rows
            of them, are missing, the page says which command makes them.
    """

    def make(
        write: Callable[..., List[str]], kind: str = 'cpu', *arguments: Any
    ) -> Callable[[], str]:
        return lambda: _make_table(folder, kind, write, *arguments)

    return {
        'runs': make(_write_runs),
        **{name: make(_write_rows, 'cpu', parts) for name, parts in TABLES.items()},
        'scaling': make(_write_scaling),
        'profile': make(_write_profile),
        'missed': make(_write_missed),
        'gpu': make(_write_rows, 'gpu'),
    }


def _make_table(folder: Path, kind: str, write: Callable[..., List[str]], *arguments: Any) -> str:
    runs = read_runs(folder, f'performance_{kind}*.json')
    lines = write(runs, *arguments) if runs else []
    if not lines:
        device, number = ('', '_1') if kind == 'cpu' else (' --device cuda', '')
        command = f'all{device} --json docs/evidence/performance_{kind}{number}.json'
        return f'Not measured yet: `python -m dev.benchmark {command}` does.'
    return '\n'.join([_describe(runs), '', *lines])


def _describe(runs: List[Run]) -> str:
    """Machine, versions and commit, in a line above each table."""
    machine, versions = runs[0]['machine'], runs[0]['versions']
    count = '1 run' if len(runs) == 1 else f'{len(runs)} runs'
    device = machine['device'] if machine['device'] != 'CPU' else machine['CPU']
    what = [
        f'{count} on {device} ({machine["cores"]} cores, {machine["threads"]} threads)',
        f'torch {versions["torch"]}, Python {versions["python"]}',
        f'commit {_name_commits(runs)}',
    ]
    if runs[0].get('code'):
        what.append(f'code `{runs[0]["code"]}`')
    notes = dict.fromkeys(run['note'] for run in runs if run.get('note'))
    return '; '.join([*what, *notes]) + '.'


def _name_commits(runs: List[Run]) -> str:
    """Where the digest of the code is not known, with whether files had changed since."""
    names = []
    for run in runs:
        changed = run['commit'].endswith('-dirty') and not run.get('code')
        names.append(f'`{run["commit"][:12]}`{" with changes" if changed else ""}')
    return ', '.join(dict.fromkeys(names))


def _write_runs(runs: List[Run]) -> List[str]:
    """All that is known of the machine and of the runs."""
    first = runs[0]
    rows = {name: _list(first[name]) for name in ('machine', 'versions', 'sizes')}
    if first['seconds']:
        minutes = [sum(run['seconds'].values()) / 60 for run in runs]
        rows['minutes of each run'] = ', '.join(f'{value:.1f}' for value in minutes)
        parts = {
            name: statistics.median(run['seconds'][name] for run in runs)
            for name in first['seconds']
        }
        rows['seconds of its parts'] = _list({name: f'{x:.0f}' for name, x in parts.items()})
    return ['| | |', '|---|---|', *(f'| {name} | {value} |' for name, value in rows.items())]


def _list(entries: Mapping[str, Any]) -> str:
    return ', '.join(f'{name} {value}' for name, value in entries.items())


def _write_rows(runs: List[Run], parts: Sequence[str] = ()) -> List[str]:
    """The rows of some parts, or of all."""
    columns = zip(*(run['rows'] for run in runs))
    lines = [_format_row(rows) for rows in columns if not parts or rows[0]['part'] in parts]
    return [_ROWS_HEADER, '|---' * 8 + '|', *lines] if lines else []


def _write_missed(runs: List[Run]) -> List[str]:
    """The rows that miss what they must reach."""
    lines = [_format_row(rows) for rows in zip(*(run['rows'] for run in runs)) if _misses(rows)]
    if not lines:
        return ['Each row reaches what it must in each run.']
    return [_ROWS_HEADER, '|---' * 8 + '|', *lines]


def _misses(rows: Sequence[Run]) -> bool:
    must = rows[0]['must']
    return must is not None and any(row['ratio'] > must for row in rows)


def _format_row(rows: Sequence[Run]) -> str:
    """One line: medians of the runs, every ratio, and whether all of them reach what is wanted."""
    first = rows[0]
    ours, reference = (
        statistics.median(row[side] for row in rows) for side in ('ours', 'reference')
    )
    wanted = ['', '', '']
    if first['must'] is not None:
        reached = all(row['ratio'] <= first['aim'] for row in rows)
        verdict = 'MISSED' if _misses(rows) else 'aim' if reached else 'met'
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


def _write_scaling(runs: List[Run]) -> List[str]:
    """The medians for each size, and the exponent in each run."""
    lines = []
    for columns in zip(*(run['scaling'] for run in runs)):
        first = columns[0]
        values = [statistics.median(each) for each in zip(*(line['values'] for line in columns))]
        cells = [
            first['name'],
            first['size'],
            ', '.join(str(size) for size in first['sizes']),
            f'{", ".join(f"{value:.3g}" for value in values)} {first["unit"]}',
            ', '.join(f'{line["exponent"]:.2f}' for line in columns),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    header = '| what | size | sizes | figure at each | exponent in each run |'
    return [header, '|---' * 5 + '|', *lines] if lines else []


def _write_profile(runs: List[Run]) -> List[str]:
    """Milliseconds of joint decoding by kind of work, medians of the runs."""
    counts = list(runs[0]['profile'])
    if not counts:
        return []
    titles = ' | '.join(f'N = {count}' for count in counts)
    lines = [f'| | {titles} |', '|---' * (len(counts) + 1) + '|']
    profiles = [run['profile'] for run in runs]
    for group in profiles[0][counts[0]]:
        values = (statistics.median(p[count].get(group, 0) for p in profiles) for count in counts)
        lines.append(f'| {group} | {" | ".join(f"{value:.0f} ms" for value in values)} |')
    return lines
