"""What came back of a study on real data: its table, what is missing, and how to get it."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from mmseg_ssprompt.files import read_json, write_atomically, write_json

from .cluster_plan import Job, Plan
from .cluster_results import METRIC, RESULT, State, find_missing_caches, find_state
from .cluster_scripts import submit_commands
from .real_rows import DATA, make_study
from .report import draw, format_table

__all__ = ['Gathered', 'gather', 'write_pages']


class Gathered(NamedTuple):
    """The results of a study.

    Attributes:
        plan: The study.
        folder: Its folder.
        states: How far each job is, by its number.
        rows: Of the table, as :func:`report.format_table` takes them: those with a result.
    """

    plan: Plan
    folder: Path
    states: Dict[int, State]
    rows: List[Dict[str, Any]]

    @property
    def missing(self) -> List[Job]:
        """Jobs without a result that can be used."""
        return [job for job in self.plan.jobs if self.states[job.index].kind != 'complete']

    def describe(self) -> List[str]:
        """Lines that say what is there, what is missing and why, and what to do."""
        count = len(self.plan.jobs)
        lines = [f'{self.plan.key}: {count - len(self.missing)} of {count} results']
        if not self.missing:
            return lines
        lines.append(f'missing: {len(self.missing)}')
        for job in self.missing:
            kind, text = self.states[job.index]
            lines.append(f'  {job.describe()}: {"runs, " if kind == "running" else ""}{text}')
        again = [job.index for job in self.missing if self.states[job.index].kind != 'running']
        if again:
            caches = find_missing_caches(self.plan)
            lines += [
                'to submit them (again; not those that squeue lists):',
                f'  {submit_commands(self.plan, self.folder, again, caches)}',
            ]
        return lines


def gather(plan: Plan, folder: Path) -> Gathered:
    """Read and check what all jobs have left; nothing is changed.

    Args:
        plan: The study.
        folder: Its folder.
    """
    states = {job.index: find_state(plan, job, folder) for job in plan.jobs}
    _, arms = make_study(plan.base, plan.data, plan.few_shot)
    rows = []
    for arm, row in arms.items():
        jobs = [job for job in plan.jobs if job.arm == arm]
        results = {
            job.seed: read_json(folder / job.place / RESULT) or {}
            for job in jobs
            if states[job.index].kind == 'complete'
        }
        if results:
            rows.append(_summarise(row.name, jobs[0], results, plan.seeds))
    return Gathered(plan, folder, states, rows)


def _summarise(
    name: str, job: Job, results: Dict[Optional[int], Dict[str, Any]], seeds: List[int]
) -> Dict[str, Any]:
    """The line of a row; what nothing trains is the same for each seed."""
    found = [results.get(seed if job.trains else None) for seed in seeds]
    there = list(results.values())
    return dict(
        name=name,
        config=f'configs/{job.config}',
        options=job.options,
        miou=[None if result is None else result['metrics'][METRIC] for result in found],
        learning_rate=job.lr,
        trainable_parameters=there[0]['trainable_parameters'],
        train_seconds=[result['train_seconds'] for result in there],
    )


def write_pages(gathered: Gathered, folder: Path) -> Path:
    """Write ``NAME.json``, ``NAME.md`` and, if there is a result, ``NAME.png``.

    Args:
        gathered: The results.
        folder: Where they go.

    Returns:
        The page.
    """
    plan = gathered.plan
    study, _ = make_study(plan.base, plan.data, plan.few_shot)
    missing = {job.describe(): gathered.states[job.index].text for job in gathered.missing}
    content = dict(
        study=plan.key,
        base=plan.base,
        data=plan.data,
        few_shot=plan.few_shot,
        seeds=plan.seeds,
        iterations=sorted({job.iterations for job in plan.jobs if job.trains}),
        code=plan.code,
        commit=plan.commit,
        rows=gathered.rows,
        missing=list(missing),
    )
    write_json(content, folder / f'{plan.key}.json')
    title, _, _ = DATA[plan.data]
    iterations = ' or '.join(f'{count:,}' for count in content['iterations'])
    lines = [
        f'# {study.title}',
        '',
        study.note,
        '',
        f'Made by `python -m dev.studies --base {plan.base} --data {plan.data}'
        f'{" --shots 16" if plan.few_shot else ""} --gather`: {study.metric} (%) on the validation',
        f'split of {title}, mean and standard deviation over seeds, after {iterations} iterations,',
        'of the last checkpoint. The learning rate was not searched. Differences from the',
        'reference are paired by seed, with their 95 % interval. "Trained" counts parameters;',
        f'seconds are of training. Code: `{plan.commit}`, digest `{plan.code}`.',
        '',
        *format_table(study, gathered.rows),
    ]
    if missing:
        lines += ['', f'Missing: {len(missing)} of {len(plan.jobs)} results.', '']
        lines += [f'- {name}: {text}' for name, text in missing.items()]
    if gathered.rows:
        picture = folder / f'{plan.key}.png'
        draw(study, gathered.rows, picture, f'the validation split of {title}')
        lines += ['', f'![{study.title}]({picture.name})']
    page = folder / f'{plan.key}.md'
    write_atomically(page, ('\n'.join(lines) + '\n').encode())
    return page
