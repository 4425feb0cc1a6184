"""The slurm scripts of a study on real data."""

import re
import shlex
import sys
from pathlib import Path
from typing import Dict, Iterable, List, Sequence

from mmseg_ssprompt.files import write_atomically

from .cluster_plan import Plan, StudyError
from .processes import ROOT

__all__ = ['ARRAY', 'CACHE', 'join_numbers', 'parse_sbatch', 'submit_commands', 'write_scripts']

ARRAY, CACHE = 'array.sh', 'cache.sh'
#: As the scripts in tools/sbatch ask for it: a process and the four workers of its data loader.
_ASKED: Dict[str, str] = {
    '--ntasks': '1',
    '--gres': 'gpu:1',
    '--cpus-per-task': '5',
    '--time': '08:00:00',
    '--requeue': '',
    '--signal': 'USR1@120',
    '--open-mode': 'append',
}
#: What the scripts set themselves.
_OWN = ('--array', '--output', '--chdir', '--wrap', '-a', '-o', '-D')
_SCRIPT = """\
#!/usr/bin/env bash
# {what}; see docs/real-data.md.
#     sbatch {file}               all of them
#     sbatch --array=3,7 {file}   some of them
#     bash {file} 3 7             without slurm, one after the other; without numbers all
# What is complete is not run again, and what was interrupted goes on where it was.
{directives}
set -euo pipefail

OUT={out}
cd {started_in}
export PYTHONPATH={root}${{PYTHONPATH:+:$PYTHONPATH}}
job=({python} -u -m dev.studies.cluster_job {kind} "$OUT")

if [ -n "${{SLURM_JOB_ID:-}}" ] && [ -n "${{SLURM_ARRAY_TASK_ID:-}}" ]; then
    # srun does not take --cpus-per-task over from sbatch (since slurm 22.05).
    exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "${{job[@]}}" "$SLURM_ARRAY_TASK_ID"
fi
[ "$#" -gt 0 ] || set -- ${{SLURM_ARRAY_TASK_ID:-$(seq 0 {last})}}
failed=0
for number in "$@"; do
    log="$OUT/logs/{prefix}$number.log"
    if ! "${{job[@]}}" "$number" >> "$log" 2>&1; then
        echo "{kind} $number failed: $log" >&2
        failed=1
    fi
done
exit "$failed"
"""


def parse_sbatch(text: str) -> List[str]:
    """The options of sbatch in the value of ``--sbatch``, one directive each.

    Raises:
        StudyError: If something is no option, or one that the scripts set themselves.
    """
    directives: List[str] = []
    for word in shlex.split(text):
        name = word.partition('=')[0]
        if name in _OWN:
            raise StudyError(f'--sbatch: {name} is set by the study: leave it out')
        if word.startswith('-'):
            directives.append(word)
        elif directives and '=' not in directives[-1] and ' ' not in directives[-1]:
            directives[-1] += f' {word}'
        else:
            raise StudyError(
                f'--sbatch: expected options such as "--partition=gpu --time=04:00:00", found '
                f'{word!r}'
            )
    return directives


def write_scripts(plan: Plan, folder: Path, sbatch: Sequence[str]) -> None:
    """Write ``array.sh``, and ``cache.sh`` if something is to be cached.

    Args:
        plan: The study.
        folder: Of the study.
        sbatch: Directives of the user's.
    """
    (folder / 'logs').mkdir(exist_ok=True)
    name = f'{plan.base} on {plan.data}'
    jobs = f'The study of {name}: a job for each arm and seed'
    _write(folder / ARRAY, 'job', '', jobs, len(plan.jobs), plan, sbatch)
    if plan.caches:
        caches = f'The embedded samples of the study of {name}: a job for each cache'
        _write(folder / CACHE, 'cache', 'cache_', caches, len(plan.caches), plan, sbatch)


def _write(
    file: Path, kind: str, prefix: str, what: str, count: int, plan: Plan, sbatch: Sequence[str]
) -> None:
    out = file.parent.absolute()
    given = {re.split('[= ]', word)[0] for word in sbatch}
    asked = [
        f'{option}={value}' if value else option
        for option, value in _ASKED.items()
        if option not in given and _short(option) not in given
    ]
    own = [
        f'--job-name=ssprompt-{plan.key}{"-cache" if prefix else ""}',
        f'--array=0-{count - 1}',
        f'--output="{out}/logs/{prefix}%a.log"',
    ]
    if given & {'--job-name', '-J'}:
        own = own[1:]
    text = _SCRIPT.format(
        what=what,
        file=file.name,
        directives='\n'.join(f'#SBATCH {word}' for word in [*own, *asked, *sbatch]),
        out=shlex.quote(str(out)),
        started_in=shlex.quote(plan.started_in),
        root=shlex.quote(str(ROOT)),
        python='"${PYTHON:-' + sys.executable + '}"',
        kind=kind,
        prefix=prefix,
        last=count - 1,
    )
    write_atomically(file, text.encode())
    file.chmod(0o755)


def _short(option: str) -> str:
    return {'--ntasks': '-n', '--cpus-per-task': '-c', '--time': '-t'}.get(option, option)


def submit_commands(plan: Plan, folder: Path, jobs: Iterable[int], caches: Iterable[int]) -> str:
    """The command that submits jobs, after the caches that they need.

    Args:
        plan: The study.
        folder: Of the study.
        jobs: Their numbers.
        caches: Numbers of the caches that are to be made before.
    """
    jobs, caches = list(jobs), list(caches)
    array, cache = (shlex.quote(str(folder / name)) for name in (ARRAY, CACHE))
    which = _which(jobs, len(plan.jobs))
    if not caches:
        return f'sbatch {which}{array}'
    made = f'$(sbatch --parsable {_which(caches, len(plan.caches))}{cache})'
    return f'sbatch --dependency=afterok:{made} {which}{array}'


def _which(numbers: Sequence[int], count: int) -> str:
    return '' if len(numbers) == count else f'--array={join_numbers(numbers)} '


def join_numbers(numbers: Sequence[int]) -> str:
    """Numbers as ``--array`` takes them: ``0-2,5``."""
    runs: List[List[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ','.join(str(run[0]) if len(run) == 1 else f'{run[0]}-{run[-1]}' for run in runs)
