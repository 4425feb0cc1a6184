"""Run one job of a study on real data: what its array script calls.

    python -m dev.studies.cluster_job job work_dirs/studies/sam-vit-b_cityscapes 7
    python -m dev.studies.cluster_job cache work_dirs/studies/sam-vit-b_cityscapes 0

The tools run in this process, so that the signals of slurm reach them. A job that is complete does
nothing; one that was interrupted goes on from its newest checkpoint.
"""

import argparse
import contextlib
import runpy
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Iterator, List

from mmseg_ssprompt.cli.parser import run_command
from mmseg_ssprompt.files import take_lock, write_json

from ..provenance import describe_code
from .cluster_plan import Job, Plan, StudyError
from .cluster_results import BEGUN, ENDED, LOCK, RESULT, find_problem, read_record, read_run
from .processes import ROOT
from .real_rows import CONFIGS

__all__ = ['run_job']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Run one job of a study')
    parser.add_argument('kind', choices=['job', 'cache'])
    parser.add_argument('folder', type=Path, help='of the study')
    parser.add_argument('number', type=int, help='of the job or the cache, from 0')
    return parser.parse_args()


def run_job(plan: Plan, job: Job, folder: Path) -> None:
    """Run a job, unless it is complete; its folder says how it ended.

    Raises:
        StudyError: If the code is not the study's, the job runs already, its folder has another
            run, or its figures are not what they should be.
    """
    digest = describe_code()
    if digest != plan.code:
        raise StudyError(
            f'mmseg_ssprompt/ and configs/ have changed since the study was written: expected the '
            f'digest {plan.code}, found {digest}. Check out {plan.commit}, or write '
            'the study into another --out'
        )
    place = folder / job.place
    place.mkdir(parents=True, exist_ok=True)
    with _locked(job, place):
        _run_locked(plan, job, place)


@contextlib.contextmanager
def _locked(job: Job, place: Path) -> Iterator[None]:
    """Nobody else runs the job meanwhile, as far as the file system has locks."""
    try:
        lock = take_lock(place / LOCK)
        if lock is None:  # --gather takes it for a moment
            time.sleep(2)
            lock = take_lock(place / LOCK)
    except (OSError, NotImplementedError) as error:
        print(f'{str(place / LOCK)!r} cannot be locked ({error}): nothing prevents two of this job')
        yield
        return
    if lock is None:
        raise StudyError(f'{job.describe()}: another process runs it, in {str(place)!r}')
    try:
        yield
    finally:
        lock.release()


def _run_locked(plan: Plan, job: Job, place: Path) -> None:
    if (place / RESULT).is_file() and find_problem(plan, job, place) is None:
        print(f'{job.describe()}: complete')
        return
    begun, settings = read_record(place / BEGUN), dict(job=vars(job), code=plan.code)
    if begun is not None and {key: begun.get(key) for key in settings} != settings:
        raise StudyError(
            f'{str(place)!r}: expected {job.describe()}, found a run with other settings or of '
            'other code. Remove this folder'
        )
    where = dict(host=socket.gethostname(), started=time.strftime('%Y-%m-%d %H:%M:%S'))
    write_json({**settings, **where}, place / BEGUN)
    (place / ENDED).unlink(missing_ok=True)
    try:
        _run_tool(job, place)
        write_json({**settings, **read_run(job, place)}, place / RESULT)
        problem = find_problem(plan, job, place)
        if problem is not None:
            raise StudyError(problem)
    except SystemExit as left:  # of PreemptionHook, or of argparse
        number = left.code if isinstance(left.code, int) else 1
        if number > 128:
            name = signal.Signals(number - 128).name
            write_json(dict(status='stopped', text=f'stopped by {name}'), place / ENDED)
        else:
            write_json(dict(status='failed', text=f'{left.code}'), place / ENDED)
        raise
    except BaseException as error:
        text = str(error) if isinstance(error, (ValueError, OSError)) else _name(error)
        write_json(dict(status='failed', text=text), place / ENDED)
        raise


def _name(error: BaseException) -> str:
    return ''.join(traceback.format_exception_only(type(error), error)).strip()


def _run_tool(job: Job, place: Path) -> None:
    """``tools/train.py`` or ``tools/test.py``, in this process."""
    arguments = [str(CONFIGS / job.config)]
    if job.trains:
        tool, work_dir = 'train.py', place / 'train'
        arguments += ['--resume']
    else:
        tool, work_dir = 'test.py', place / 'test'
    options = ['--cfg-options', *job.options] if job.options else []
    path = str(ROOT / 'tools' / tool)
    sys.argv[:] = [path, *arguments, '--work-dir', str(work_dir), *options]
    runpy.run_path(path, run_name='__main__')


def _make_cache(plan: Plan, number: int) -> Any:
    cache = plan.caches[number]
    options: List[str] = ['--cfg-options', *cache.options]
    return run_command(['cache', str(CONFIGS / cache.config), '--split', cache.split, *options])


def main() -> int:
    if hasattr(signal, 'SIGUSR1'):
        # Until PreemptionHook takes it over.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    args = parse_args()
    try:
        plan = Plan.read(args.folder)
        works = plan.jobs if args.kind == 'job' else plan.caches
        if not 0 <= args.number < len(works):
            raise StudyError(
                f'{args.kind} {args.number}: expected a number from 0 to {len(works) - 1}'
            )
        if args.kind == 'cache':
            return _make_cache(plan, args.number) or 0
        run_job(plan, plan.jobs[args.number], args.folder.absolute())
    except (ValueError, OSError) as error:  # those of the package are ValueErrors
        print(f'{args.kind} {args.number}: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
