"""Run a named study over seeds, and write its table and its figure.

    python -m dev.reproduce components --seeds 0 1 2 3 4

Each row of a study is trained with the ordinary tools, on scenes that the frozen image encoder has
seen once for all rows. First its learning rate is chosen on validation scenes, by the same small
search for every row; then it is trained and tested with each seed. What is complete is not run
again, so a study that was stopped goes on where it was, and studies share what they have in
common; results of other code (another digest of ``mmseg_ssprompt/`` and ``configs/``) do not count.
What the study's JSON in ``--out-dir`` has of the same code and kind of machine is not run again
either, seed by seed.
As a slurm array: ``--only "$SLURM_ARRAY_TASK_ID"`` runs one row, and the last call without it
writes the table. ``--table`` runs nothing: it writes the table of what is there, with the number of
seeds where some are missing, and names the rows that were not run.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.cli.parser import output_folder

from .provenance import describe_code
from .studies.definitions import STUDIES, StudyRow
from .studies.processes import ROOT
from .studies.report import gives_same_digits, measured, read_origin, write_report
from .studies.runs import Measurement, Training, run_all
from .studies.search import Scores, best_rate, find_known_scores, has_found, search

#: By row and seed.
Measurements = Dict[StudyRow, Dict[int, Measurement]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Run a study')
    parser.add_argument('study', choices=sorted(STUDIES))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time')
    parser.add_argument('--work-dir', type=output_folder, default=Path('work_dirs/reproduce'))
    parser.add_argument('--out-dir', type=output_folder, default=ROOT / 'docs' / 'evidence')
    parser.add_argument('--only', type=int, nargs='+', help='numbers of rows to run, from 0')
    parser.add_argument('--table', action='store_true', help='run nothing, write what is there')
    return parser.parse_args()


def trained_row(row: StudyRow) -> Optional[StudyRow]:
    """The row whose training gives the prompts of ``row``."""
    return row.source or (row if row.trains else None)


def measure(
    seeds: Mapping[StudyRow, Sequence[int]],
    known: Mapping[StudyRow, Scores],
    root: Path,
    jobs: int,
) -> Tuple[Measurements, Dict[StudyRow, Scores]]:
    """Tune, train and test.

    Args:
        seeds: Of each row.
        known: What searches have tried, by the row whose training it is; others are searched.
        root: Folder of all runs.
        jobs: Runs at a time.

    Returns:
        The measurements, and what all searches have tried.
    """
    sources = {row: trained_row(row) for row in seeds}
    left = [row for row in dict.fromkeys(sources.values()) if row and row not in known]
    tried = {**known, **search(left, root, jobs)}
    trainings = {
        (source, seed): Training(source, best_rate(tried[source]), seed, root)
        for row, source in sources.items()
        if source is not None
        for seed in seeds[row]
    }
    run_all(list(trainings.values()), jobs)
    measurements = {
        row: {seed: Measurement(row, trainings.get((sources[row], seed)), root) for seed in own}
        for row, own in seeds.items()
    }
    run_all([run for runs in measurements.values() for run in runs.values()], jobs)
    return measurements, tried


def find_measured(
    rows: Sequence[StudyRow], seeds: Sequence[int], root: Path
) -> Tuple[Measurements, Dict[StudyRow, Scores]]:
    """What :func:`measure` would return of the runs that are there, without rows that have none."""
    measurements, tried = {}, {}
    for row in rows:
        source = trained_row(row)
        scores = None if source is None else find_known_scores(source, root)
        if scores is not None:
            tried[source] = scores
        elif source is not None:
            continue
        rate = None if scores is None else best_rate(scores)
        trainings = [None if rate is None else Training(source, rate, n, root) for n in seeds]
        runs = {n: Measurement(row, each, root) for n, each in zip(seeds, trainings)}
        there = {seed: run for seed, run in runs.items() if run.result_file.is_file()}
        if there:
            measurements[row] = there
    return measurements, tried


def summarise(
    row: StudyRow, runs: Mapping[int, Measurement], seeds: Sequence[int], tried: Optional[Scores]
) -> Dict[str, Any]:
    """The line of a row in the table.

    Args:
        row: What was measured.
        runs: By seed, at least one.
        seeds: Of the table. Figures are None for those that were not run.
        tried: By the search for the rate of the training that made the prompts; None without one.
    """
    figures = {seed: _read_figures(row, run) for seed, run in runs.items()}
    run = next(iter(runs.values()))
    training = run.training if row.source is None else None
    return dict(
        name=row.name,
        config=f'configs/{row.config}',
        options=list(row.options),
        **{
            key: [figures[seed][key] if seed in figures else None for seed in seeds]
            for key in _read_figures(row, run)
        },
        rates={f'{rate:g}': score for rate, score in sorted((tried or {}).items())},
        learning_rate=training.lr if training else None,
        trainable_parameters=training.result()['trainable_parameters'] if training else 0,
    )


def _read_figures(row: StudyRow, run: Measurement) -> Dict[str, float]:
    """What a line has of one seed."""
    result, training = run.result(), run.training if row.source is None else None
    figures = {key: result[name] for key, name in _metrics(row).items() if name in result}
    return dict(figures, train_seconds=training.result()['train_seconds'] if training else 0.0)


def _metrics(row: StudyRow) -> Dict[str, str]:
    """The keys of a line that are metrics, and their names in the result of a run."""
    names = (row.metric, f'{row.metric}.things', f'{row.metric}.stuff')
    return dict(zip((row.metric.lower(), 'things', 'stuff'), names))


def _keys_by_seed(row: StudyRow, line: Mapping[str, Any]) -> List[str]:
    """The keys of a line with a figure for each seed."""
    return [key for key in (*_metrics(row), 'train_seconds') if key in line]


def read_known_rows(
    file: Path, rows: Sequence[StudyRow], origin: Mapping[str, Any], seeds: Sequence[int]
) -> Dict[StudyRow, Dict[str, Any]]:
    """Lines of an earlier table, as far as a run would give the same figures again.

    Args:
        file: The JSON of the study, which need not exist.
        rows: Those that are asked for.
        origin: Of this run: ``code`` and ``machine``.
        seeds: Of this run. Figures are None for those that the earlier table does not have.
    """
    if not file.is_file():
        return {}
    table = json.loads(file.read_text())
    if not gives_same_digits(read_origin(table), origin):
        return {}
    lines = {line['name']: line for line in table['rows']}
    known = {}
    for row in rows:
        line = lines.get(row.name)
        if line is None or not _is_of(line, row):
            continue
        for key in _keys_by_seed(row, line):
            figures = dict(zip(table['seeds'], line[key]))
            line[key] = [figures.get(seed) for seed in seeds]
        if measured(line[row.metric.lower()]):
            known[row] = line
    return known


def _is_of(line: Mapping[str, Any], row: StudyRow) -> bool:
    """Whether a line is of this config with these options, and of the search that is made today."""
    if (line['config'], line['options']) != (f'configs/{row.config}', list(row.options)):
        return False
    return trained_row(row) is None or has_found(read_rates(line))


def read_rates(line: Mapping[str, Any]) -> Scores:
    """What the search for the rate of a line has tried."""
    return {float(rate): score for rate, score in line['rates'].items()}


def merge(
    row: StudyRow, known: Optional[Mapping[str, Any]], found: Optional[Mapping[str, Any]]
) -> Dict[str, Any]:
    """One line of two, of which one may be missing; where both have a figure, the second's.

    Raises:
        ValueError: If their searches gave other scores.
    """
    if known is None or found is None:
        return dict(known or found or {})
    if known['rates'] != found['rates']:
        raise ValueError(
            f'{row.name}: expected equal validation scores of the same code, processor and torch, '
            f'found {known["rates"]} in the table and {found["rates"]} in --work-dir'
        )
    return {
        **found,
        **{
            key: [old if new is None else new for old, new in zip(known[key], found[key])]
            for key in _keys_by_seed(row, found)
        },
    }


def main() -> None:
    args = parse_args()
    study = STUDIES[args.study]
    rows = study.rows if args.only is None else [study.rows[number] for number in args.only]
    origin = dict(code=describe_code(), machine=describe_machine('cpu'))
    root = args.work_dir.absolute() / origin['code']  # results of other code are not taken
    known = read_known_rows(args.out_dir / f'{args.study}.json', rows, origin, args.seeds)
    if args.table:
        runs, tried = find_measured(rows, args.seeds, root)
    else:
        scores = {row: line[study.metric.lower()] for row, line in known.items()}
        nothing = [None] * len(args.seeds)
        left = {
            row: [n for n, score in zip(args.seeds, scores.get(row, nothing)) if score is None]
            for row in rows
        }
        rates = {source: read_rates(known[row]) for row in known if (source := trained_row(row))}
        runs, tried = measure({row: n for row, n in left.items() if n}, rates, root, args.jobs)
    if args.only is None:
        lines = {
            row: summarise(row, own, args.seeds, tried.get(trained_row(row)))
            for row, own in runs.items()
        }
        table = [
            merge(row, known.get(row), lines.get(row)) for row in rows if row in {**known, **lines}
        ]
        write_report(args.study, study, origin, args.seeds, table, args.out_dir)
        print(args.out_dir / f'{args.study}.md')


if __name__ == '__main__':
    main()
