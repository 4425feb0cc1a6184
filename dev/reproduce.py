"""Run a named study over seeds, and write its table and its figure.

    python -m dev.reproduce components --seeds 0 1 2 3 4

Each row of a study is trained with the ordinary tools, on scenes that the frozen image encoder has
seen once for all rows. First its learning rate is chosen on validation scenes, by the same small
search for every row; then it is trained and tested with each seed. What is complete is not run
again, so a study that was stopped goes on where it was, and studies share what they have in
common; results of other code (another digest of ``mmseg_ssprompt/`` and ``configs/``) do not count.
Rows that the study's JSON in ``--out-dir`` has of the same code, seeds and kind of machine are not
run again either.
As a slurm array: ``--only "$SLURM_ARRAY_TASK_ID"`` runs one row, and the last call without it
writes the table. ``--table`` runs nothing: it writes the table of what is there, with the number of
seeds where some are missing, and names the rows that were not run.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.cli.parser import output_folder

from .provenance import describe_code
from .studies.definitions import STUDIES, StudyRow
from .studies.processes import ROOT
from .studies.report import gives_same_digits, read_origin, write_report
from .studies.runs import Measurement, Training, run_all
from .studies.search import find_known_rate, find_learning_rates


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
    rows: Sequence[StudyRow], seeds: Sequence[int], root: Path, jobs: int
) -> Dict[str, List[Measurement]]:
    """Tune, train and test; the measurements of each row, one per seed."""
    trained = {row: trained_row(row) for row in rows}
    sources = list({source: None for source in trained.values() if source is not None})
    rates = find_learning_rates(sources, root, jobs)
    trainings = {
        (row, seed): Training(row, rates[row], seed, root) for row in sources for seed in seeds
    }
    run_all(list(trainings.values()), jobs)
    measurements = {
        row.name: [Measurement(row, trainings.get((trained[row], seed)), root) for seed in seeds]
        for row in rows
    }
    run_all([run for runs in measurements.values() for run in runs], jobs)
    return measurements


def find_measured(
    rows: Sequence[StudyRow], seeds: Sequence[int], root: Path
) -> Dict[str, List[Optional[Measurement]]]:
    """What is there of each row: a measurement for each seed, or None; not rows without any."""
    measurements = {}
    for row in rows:
        trained = trained_row(row)
        rate = None if trained is None else find_known_rate(trained, root)
        if trained is not None and rate is None:
            continue
        trainings = [None if trained is None else Training(trained, rate, n, root) for n in seeds]
        runs = [Measurement(row, training, root) for training in trainings]
        there = [run if run.result_file.is_file() else None for run in runs]
        if any(there):
            measurements[row.name] = there
    return measurements


def summarise(row: StudyRow, runs: Sequence[Optional[Measurement]]) -> Dict[str, Any]:
    """The line of a row in the table.

    Args:
        row: What was measured.
        runs: One per seed; None where it was not run, but not for all.
    """
    there = [run for run in runs if run is not None]
    results = [None if run is None else run.result() for run in runs]
    found = there[0].result()
    trainings = [run.training.result() for run in there if run.training and not row.source]
    return dict(
        name=row.name,
        config=f'configs/{row.config}',
        options=list(row.options),
        **{
            key: [None if result is None else result[name] for result in results]
            for key, name in (
                (row.metric.lower(), row.metric),
                ('things', f'{row.metric}.things'),
                ('stuff', f'{row.metric}.stuff'),
            )
            if name in found
        },
        learning_rate=there[0].training.lr if trainings else None,
        trainable_parameters=trainings[0]['trainable_parameters'] if trainings else 0,
        train_seconds=[training['train_seconds'] for training in trainings] or [0.0] * len(there),
    )


def read_known_rows(
    file: Path, rows: Sequence[StudyRow], origin: Mapping[str, Any], seeds: Sequence[int]
) -> Dict[str, Dict[str, Any]]:
    """Lines of an earlier table that a run would give again, by name; seeds may be missing.

    Args:
        file: The JSON of the study, which need not exist.
        rows: Those that are asked for.
        origin: Of this run: ``code`` and ``machine``.
        seeds: Of this run.
    """
    if not file.is_file():
        return {}
    table = json.loads(file.read_text())
    if table['seeds'] != list(seeds) or not gives_same_digits(read_origin(table), origin):
        return {}
    asked = {row.name: (f'configs/{row.config}', list(row.options)) for row in rows}
    return {
        line['name']: line
        for line in table['rows']
        if asked.get(line['name']) == (line['config'], line['options'])
    }


def main() -> None:
    args = parse_args()
    study = STUDIES[args.study]
    rows = study.rows if args.only is None else [study.rows[number] for number in args.only]
    origin = dict(code=describe_code(), machine=describe_machine('cpu'))
    root = args.work_dir.absolute() / origin['code']  # results of other code are not taken
    known = read_known_rows(args.out_dir / f'{args.study}.json', rows, origin, args.seeds)
    key = study.metric.lower()
    rows = [row for row in rows if row.name not in known or None in known[row.name][key]]
    if args.table:
        runs = find_measured(rows, args.seeds, root)
    else:
        runs = measure(rows, args.seeds, root, args.jobs)
    if args.only is None:
        known.update({row.name: summarise(row, runs[row.name]) for row in rows if row.name in runs})
        table = [known[row.name] for row in study.rows if row.name in known]
        write_report(args.study, study, origin, args.seeds, table, args.out_dir)
        print(args.out_dir / f'{args.study}.md')


if __name__ == '__main__':
    main()
