"""The page, the JSON and the figure of a study."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from .definitions import Study

__all__ = [
    'PairedDifference',
    'compare',
    'draw',
    'format_report',
    'format_spread',
    'format_table',
    'gives_same_digits',
    'measured',
    'read_origin',
    'write_report',
]


#: One for each seed; None where it was not run.
Scores = Sequence[Optional[float]]


def measured(scores: Scores) -> List[float]:
    """The scores of those seeds that were run."""
    return [score for score in scores if score is not None]


class PairedDifference(NamedTuple):
    """The mean of differences paired by seed, and half of its 95 % interval (Student's t).

    ``half`` is NaN where there is one pair.
    """

    mean: float
    half: float

    def __str__(self) -> str:
        return f'{self.mean:+.1f}' + ('' if np.isnan(self.half) else f' ± {self.half:.1f}')


def compare(ours: Scores, others: Scores) -> Optional[PairedDifference]:
    """How far ``ours`` lie above ``others``, over the seeds that both have; None without any."""
    pairs = [(our, other) for our, other in zip(ours, others) if None not in (our, other)]
    if not pairs:
        return None
    differences = np.subtract(*zip(*pairs))
    count, mean = len(differences), float(np.mean(differences))
    if count < 2:
        return PairedDifference(mean, float('nan'))
    error = np.std(differences, ddof=1) / np.sqrt(count)
    return PairedDifference(mean, float(stats.t.ppf(0.975, count - 1) * error))


def read_origin(results: Mapping[str, Any]) -> Dict[str, Any]:
    """The code and the machine of a study's JSON."""
    return {key: results[key] for key in ('code', 'machine')}


def write_report(
    name: str,
    study: Study,
    origin: Mapping[str, Any],
    seeds: Sequence[int],
    rows: List[Dict[str, Any]],
    folder: Path,
) -> None:
    """Write ``NAME.md``, ``NAME.json`` and ``NAME.png``.

    Args:
        name: Key of the study.
        study: What was compared.
        origin: ``code``, what :func:`dev.provenance.describe_code` says of the code that ran, and
            ``machine``, where it did.
        seeds: The seeds of the figures of each row.
        rows: ``name``, ``config``, the study's metric in small letters (one per seed; None where
            it was not run), ``things`` and ``stuff`` where the metric has them,
            ``learning_rate``, ``trainable_parameters`` and ``train_seconds`` (per seed).
        folder: Where they go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = dict(study=name, **origin, seeds=list(seeds), rows=rows)
    (folder / f'{name}.json').write_text(json.dumps(content, indent=1) + '\n')
    (folder / f'{name}.md').write_text(format_report(name, study, origin, seeds, rows))
    draw(study, rows, folder / f'{name}.png', 'the test scenes')


def format_report(
    name: str,
    study: Study,
    origin: Mapping[str, Any],
    seeds: Sequence[int],
    rows: List[Dict[str, Any]],
) -> str:
    """The page, as Markdown; arguments as of :func:`write_report`."""
    metric = study.metric
    seed_list = ' '.join(map(str, seeds))
    lines = [
        f'# {study.title}',
        '',
        study.note,
        '',
        f'Made by `python -m dev.reproduce {name} --seeds {seed_list}` on the miniature (see',
        f'[sam-tiny](../sam-tiny.md)): {metric} (%) on the 200 test scenes, mean and standard',
        'deviation over seeds, each of which draws another training set. The learning rate of each',
        'row was chosen on validation scenes, with a training set of its own. Differences from the',
        'reference are paired by seed, with their 95 % interval. "Trained" counts parameters;',
        'seconds are of training, several runs at a time on one machine.',
        _describe(origin),
        '',
        *format_table(study, rows),
    ]
    return '\n'.join([*lines, '', f'![{study.title}]({name}.png)', ''])


#: What digits depend on.
_MACHINE = ('CPU', 'instructions', 'torch')


def gives_same_digits(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether runs of two origins are the same to the digit."""
    return one['code'] == other['code'] and all(
        one['machine'].get(key) == other['machine'].get(key) for key in _MACHINE
    )


def _describe(origin: Mapping[str, Any]) -> str:
    """The code and the machine, in a sentence."""
    machine = origin['machine']
    described = ', '.join(str(machine[key]) for key in _MACHINE if key in machine)
    return (
        f'The code has the digest `{origin["code"]}` (`mmseg_ssprompt/` and `configs/`); the '
        f'machine: {described}.'
    )


def format_table(study: Study, rows: List[Dict[str, Any]]) -> List[str]:
    """The lines of the table, and one that names the rows which were not run.

    Args:
        study: What was compared.
        rows: As of :func:`write_report`. Differences are of the seeds that both rows have.
    """
    metric = study.metric
    scores = {row['name']: row[metric.lower()] for row in rows}
    references = {row.name: row.reference or study.reference for row in study.rows}
    groups = [group for group in ('things', 'stuff') if any(group in row for row in rows)]
    titles = [metric, *groups, 'difference', 'lr', 'trained', 'seconds']
    lines = [
        f'| | {" | ".join(titles)} |',
        '|---' * (1 + len(titles)) + '|',
        *(_line(row, [metric.lower(), *groups], scores, references[row['name']]) for row in rows),
    ]
    missing = [row.name for row in study.rows if row.name not in scores]
    return [*lines, '', f'Not run: {"; ".join(missing)}.'] if missing else lines


def _line(
    row: Dict[str, Any], keys: Sequence[str], scores: Dict[str, Scores], reference: str
) -> str:
    all_seeds = row[keys[0]]
    found = measured(all_seeds)
    seeds = '' if len(found) == len(all_seeds) else f' ({len(found)} of {len(all_seeds)} seeds)'
    cells = [f'{row["name"]}{seeds}']
    cells += [format_spread(measured(row.get(name, ()))) for name in keys]
    difference = compare(all_seeds, scores.get(reference, ()))
    cells.append('reference' if row['name'] == reference else str(difference or ''))
    lr = row['learning_rate']
    cells += ['' if lr is None else f'{lr:g}', f'{row["trainable_parameters"]:,}']
    cells.append(f'{np.mean(measured(row["train_seconds"])):.0f}')
    return f'| {" | ".join(cells)} |'


def format_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, as far as there are values."""
    if len(values) < 2:
        return ''.join(f'{value:.1f}' for value in values)
    return f'{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}'


def draw(study: Study, rows: List[Dict[str, Any]], path: Path, measured_on: str) -> None:
    """A bar for the mean of each row, and a line for each seed.

    Args:
        study: What was compared.
        rows: As of :func:`format_table`.
        path: Of the picture.
        measured_on: What the scores are of, for the axis.
    """
    references = {row.reference or study.reference for row in study.rows}
    key = study.metric.lower()
    longest = max(len(row['name']) for row in rows)
    figure = Figure(
        figsize=(max(8, 5 + longest / 13), 0.34 * len(rows) + 1.2), layout='constrained', dpi=110
    )
    axis = figure.subplots()
    for place, row in enumerate(rows):
        is_reference, scores = row['name'] in references, measured(row[key])
        axis.barh(place, np.mean(scores), color='#2166ac' if is_reference else '#92b4d4')
        axis.plot(scores, [place] * len(scores), 'k|', markersize=7)
    axis.set_yticks(range(len(rows)), [row['name'] for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel(f'{study.metric} (%) on {measured_on}; a line for each seed')
    axis.set_title(study.title)
    figure.savefig(path)
