"""Run a named study over seeds, and write its table and its figure.

    python tools/reproduce.py components --seeds 0 1 2 3 4

Each row of a study is trained with the ordinary tools. First its learning rate is chosen on
validation scenes, by the same small search for every row; then it is trained and tested with each
seed. What is complete is not run again, so a study that was stopped goes on where it was. As a
slurm array: ``--only "$SLURM_ARRAY_TASK_ID"`` runs one row, and the last call without it writes
the table.
"""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Sequence

from studies.definitions import STUDIES, StudyRow
from studies.report import write_report
from studies.runs import ROOT, Run, run_all

LEARNING_RATES = (3e-3, 1e-2, 3e-2)
TUNING_SEED = 1000  # a training set that no seed of a study draws


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Run a study')
    parser.add_argument('study', choices=sorted(STUDIES))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'))
    parser.add_argument('--out-dir', type=Path, default=ROOT / 'docs' / 'evidence')
    parser.add_argument('--only', type=int, help='number of the one row to run, from 0')
    return parser.parse_args()


def tune(rows: Sequence[StudyRow], folders: Dict[str, Path], jobs: int) -> Dict[str, Any]:
    """The learning rate with the best validation mIoU of each row that trains."""
    runs = [
        Run(row, TUNING_SEED, lr, folders[row.name] / f'lr_{lr:g}', test=False)
        for row in rows
        if row.trains
        for lr in LEARNING_RATES
    ]
    run_all(runs, jobs)
    best: Dict[str, Any] = {row.name: None for row in rows}
    for row in rows:
        results = [run.result() for run in runs if run.row == row]
        if results:
            best[row.name] = max(results, key=lambda r: r['validation_miou'])['learning_rate']
    return best


def summarise(row: StudyRow, runs: List[Run]) -> Dict[str, Any]:
    """The line of a row in the table."""
    results = [run.result() for run in runs]
    return dict(
        name=row.name,
        config=f'configs/{row.config}',
        options=list(row.options),
        miou=[result['mIoU'] for result in results],
        things=[result['mIoU.things'] for result in results],
        stuff=[result['mIoU.stuff'] for result in results],
        learning_rate=results[0]['learning_rate'],
        trainable_parameters=results[0]['trainable_parameters'],
        train_seconds=[result['train_seconds'] for result in results],
    )


def main() -> None:
    args = parse_args()
    study = STUDIES[args.study]
    rows = study.rows if args.only is None else study.rows[args.only : args.only + 1]
    folders = {
        row.name: args.work_dir.absolute() / args.study / f'{number:02d}'
        for number, row in enumerate(study.rows)
    }
    rates = tune(rows, folders, args.jobs)
    runs = [
        Run(row, seed, rates[row.name], folders[row.name] / f'lr_{rates[row.name]}_seed_{seed}')
        for row in rows
        for seed in args.seeds
    ]
    run_all(runs, args.jobs)
    if args.only is None:
        table = [summarise(row, [run for run in runs if run.row == row]) for row in rows]
        write_report(args.study, study, args.seeds, table, args.out_dir)
        print(args.out_dir / f'{args.study}.md')


if __name__ == '__main__':
    main()
