"""What the jobs of a study on real data have left in their folders."""

import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from mmseg_ssprompt.cache.embedding_cache import INDEX
from mmseg_ssprompt.cli.records import read_metrics
from mmseg_ssprompt.files import read_json, take_lock
from mmseg_ssprompt.hooks import list_checkpoints

from .cluster_plan import Job, Plan

__all__ = [
    'BEGUN',
    'ENDED',
    'LOCK',
    'METRIC',
    'RESULT',
    'State',
    'find_missing_caches',
    'find_problem',
    'find_state',
    'read_record',
    'read_run',
]

#: In the folder of a job: what it runs, how it ended if it could say so, and its figures.
BEGUN, ENDED, RESULT, LOCK = 'job.json', 'ended.json', 'result.json', 'job.lock'
METRIC = 'mIoU'
_COSTS = ('trainable_parameters', 'train_seconds')
_MAX_TEXT, _MAX_LINE = 600, 160  # letters of an error, and of the last line of a log


class State(NamedTuple):
    """How far a job is.

    Attributes:
        kind: ``'complete'``, ``'running'``, or why there is no result: ``'missing'``,
            ``'failed'``, ``'stopped'``, ``'killed'`` or ``'invalid'``.
        text: What there is to say about it.
    """

    kind: str
    text: str = ''


def read_run(job: Job, place: Path) -> Dict[str, Any]:
    """The figures of a job whose tool is done.

    Args:
        job: What ran.
        place: Its folder.
    """
    if not job.trains:
        metrics = read_metrics(place / 'test')
        return dict(iterations=0, metrics=metrics, trainable_parameters=0, train_seconds=0.0)
    entries = _read_entries(place / 'train')
    losses = {entry['step']: entry for entry in entries if 'loss' in entry}
    metrics = [entry for entry in entries if METRIC in entry and entry['step'] == job.iterations]
    checkpoint = next(list_checkpoints(place / 'train'), None)
    steps = sorted(losses)
    seconds = sum(losses[end]['time'] * (end - begin) for begin, end in zip([0, *steps], steps))
    return dict(
        iterations=0 if checkpoint is None else int(checkpoint.stem[len('iter_') :]),
        metrics={k: v for k, v in metrics[-1].items() if k.startswith(METRIC)} if metrics else {},
        losses_are_finite=all(math.isfinite(entry['loss']) for entry in losses.values()),
        trainable_parameters=_read_trainable(place / 'train'),
        train_seconds=round(seconds, 1),  # of the iterations that count, however often it began
    )


def _read_entries(work_dir: Path) -> List[Dict[str, Any]]:
    """What all runs in a work_dir have logged, those that were resumed later."""
    entries = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text(encoding='utf-8').splitlines():
            with contextlib.suppress(ValueError):  # the last one of a process that was killed
                entries.append(json.loads(line))
    return entries


def _read_trainable(work_dir: Path) -> int:
    for file in sorted(work_dir.glob('*/*.log'), reverse=True):
        found = re.search(r'Trainable: ([\d,]+) parameters', file.read_text(encoding='utf-8'))
        if found:
            return int(found[1].replace(',', ''))
    return 0


def find_problem(plan: Plan, job: Job, place: Path) -> Optional[str]:
    """Say why the result of a job cannot be used; None if it can."""
    result = read_record(place / RESULT) or {}
    settings = _as_dict(result.get('job'))
    different = [key for key, value in vars(job).items() if settings.get(key) != value]
    if different:
        return f'made with other settings ({", ".join(different)})'
    if result.get('code') != plan.code:
        found = result.get('code')
        return f'made by other code: expected the digest {plan.code}, found {found}'
    if result.get('iterations') != job.iterations:
        return f'expected {job.iterations} iterations, found {result.get("iterations")}'
    if job.trains and not result.get('losses_are_finite'):
        return 'a loss in its log is not finite'
    score = _as_dict(result.get('metrics')).get(METRIC)
    if not _is_number(score) or not 0 <= score <= 100:
        return f'expected a {METRIC} from 0 to 100, found {score}'
    lacking = [key for key in _COSTS if not _is_number(result.get(key))]
    return f'expected numbers as {" and ".join(lacking)}, found none' if lacking else None


def read_record(file: Path) -> Optional[Dict[str, Any]]:
    """The object in a JSON file, empty if it holds something else; None if there is no file."""
    try:
        content = read_json(file)
    except ValueError:
        return {}
    return None if content is None else _as_dict(content)


def _as_dict(value: Any) -> Dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def find_state(plan: Plan, job: Job, folder: Path) -> State:
    """How far a job is.

    Args:
        plan: The study.
        job: One of its jobs.
        folder: Of the study.
    """
    place, log = folder / job.place, folder / 'logs' / f'{job.index}.log'
    if not place.is_dir():
        if not log.is_file() or not _last_line(log):
            return State('missing', f'never started: {str(place)!r} does not exist')
        return State('missing', f'{str(place)!r} does not exist; {_end_of(log)}')
    if _is_running(place):
        return State('running', _progress(job, place))
    if (place / RESULT).is_file():
        problem = find_problem(plan, job, place)
        if problem is None:
            return State('complete')
        return State('invalid', f'its result cannot be used: {problem}; see {str(place)!r}')
    ended = read_record(place / ENDED)
    if ended is not None and ended.get('status') == 'failed':
        text = ' '.join(str(ended.get('text')).split())
        text = text if len(text) <= _MAX_TEXT else f'{text[:_MAX_TEXT]}...'
        return State('failed', f'failed: {text}; log: {log}')
    if ended is not None:
        return State('stopped', f'{ended.get("text")} {_progress(job, place)}; log: {log}')
    return State('killed', f'was killed {_progress(job, place)}; {_end_of(log)}')


def _is_running(place: Path) -> bool:
    file = place / LOCK
    if not file.is_file():
        return False
    try:
        lock = take_lock(file)
    except (OSError, NotImplementedError):  # a file system without locks, or a folder of others
        return False
    if lock is not None:
        lock.release()
    return lock is None


def _progress(job: Job, place: Path) -> str:
    if not job.trains:
        return 'while it was tested'
    steps = [entry['step'] for entry in _read_entries(place / 'train') if 'loss' in entry]
    checkpoint = next(list_checkpoints(place / 'train'), None)
    rest = 'it begins again' if checkpoint is None else f'it goes on from {checkpoint.name}'
    return f'at about iteration {max(steps, default=0)} of {job.iterations}: {rest}'


def _end_of(log: Path) -> str:
    line = _last_line(log)
    return f'{log} ends with: {line[:_MAX_LINE]}' if line else f'there is no log at {log}'


def _last_line(log: Path) -> str:
    if not log.is_file():
        return ''
    lines = log.read_text(encoding='utf-8', errors='replace').split('\n')
    return next((line.strip() for line in reversed(lines) if line.strip()), '')


def find_missing_caches(plan: Plan) -> List[int]:
    """Numbers of the caches that are not complete."""
    places = [Path(plan.started_in) / cache.folder / INDEX for cache in plan.caches]
    return [number for number, place in enumerate(places) if not place.is_file()]
