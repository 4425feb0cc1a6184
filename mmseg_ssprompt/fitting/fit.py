"""``mmseg_ssprompt.fit``: from a folder of photographs to prompts, a config and a report."""

import contextlib
import os
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Union

from mmengine.registry import DefaultScope

from ..files import read_json, take_lock, write_json
from ..hooks.mmengine_fixes import runners_on
from ..outputs import OutputError
from .bases import check_weights, choose_arms, find_base, model_weights
from .engine import Engine
from .photographs import find_photographs, refuse_other_arguments
from .progress import Reporter, output_to
from .report import summary_table, write_report
from .running import check_device

__all__ = ['FitResult', 'fit']

_PathLike = Union[str, 'os.PathLike[str]']


@dataclass(frozen=True)
class FitResult:
    """What ``fit`` has come to, which a notebook shows as a table.

    Attributes:
        out: The folder.
        report: ``report.html`` there, for a browser.
        config: ``config.py`` there, which ``tools/train.py`` runs with the same result.
        prompts: ``prompts.safetensors`` there, the prompts of the best arm.
        best: The name of that arm.
        metric: What ``table`` counts, in percent: ``'mIoU'``, ``'PQ'`` or ``'segm_mAP'``.
        table: A row for zero-shot and each arm: ``name``, ``validation``, ``test`` (None without a
            test part) and ``trainable_parameters``.
        results: All of ``results.json``.
    """

    out: Path
    report: Path
    config: Path
    prompts: Path
    best: str
    metric: str
    table: List[Dict[str, Any]]
    results: Dict[str, Any] = field(repr=False)

    def __fspath__(self) -> str:
        """The folder, so that ``predict`` takes this in the place of a path."""
        return str(self.out)

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        head = ''.join(f'<th>{escape(name)}</th>' for name in self.table[0])
        rows = ''.join(
            f'<tr>{"".join(f"<td>{_show(value)}</td>" for value in row.values())}</tr>'
            for row in self.table
        )
        return (
            f'<p>{escape(self.metric)} in percent; the best on validation is '
            f'<b>{escape(self.best)}</b>: {escape(str(self.report))}</p>'
            f'<table><tr>{head}</tr>{rows}</table>'
        )


def _show(value: Any) -> str:
    if value is None:
        return '&ndash;'
    return f'{value:.1f}' if isinstance(value, float) else escape(str(value))


def fit(
    images: _PathLike,
    labels: Optional[_PathLike] = None,
    masks: Optional[_PathLike] = None,
    foreground: Optional[str] = None,
    coco: Optional[_PathLike] = None,
    classes: Optional[Union[str, Sequence[str], Mapping[int, str]]] = None,
    ignore: Optional[Union[str, Sequence[Any]]] = None,
    val: Union[float, str] = 0.2,
    test: Union[float, str] = 0.2,
    shots: Optional[int] = None,
    task: str = 'semantic',
    base: str = 'sam-tiny',
    weights: Optional[_PathLike] = None,
    clip_weights: Optional[_PathLike] = None,
    method: str = 'auto',
    device: Optional[str] = None,
    seed: int = 0,
    *,
    out: _PathLike,
) -> FitResult:
    """Learn from a folder of photographs, and write what was learned and a report.

    Each picture is encoded once. On the same encoded pictures it trains prompts alone, prompts with
    the projection to the text space, and the projection alone, as far as the base model has them;
    the learning rate is chosen by short trainings, and the best arm on the pictures for validation
    is the result. The test part is looked at once, at the end. Interrupted, the same call goes on.

    Args:
        images: Folder of the photographs.
        labels: Folder of label maps, with the names of the photographs.
        masks: Folder of masks of one class, of 0 and 255 or 0 and 1, in place of ``labels``.
        foreground: What masks show.
        coco: JSON file in COCO's format, in place of ``labels``; for panoptic segments beside them.
        classes: Names in the order of the ids in label maps, or names by id.
        ignore: Ids in label maps whose pixels do not count, besides 255.
        val: Share of the pictures for validation, or a folder. Defaults to 0.2.
        test: Share of the pictures for the test, or a folder. Defaults to 0.2.
        shots: How many pictures of each class are trained on. Defaults to None: all.
        task: 'semantic', 'instance' or 'panoptic'. Defaults to 'semantic'.
        base: The base model, a key of ``BASES``. Defaults to 'sam-tiny', which comes with the
            package and is for trying.
        weights: File of the base model. Defaults to None: in the folder ``weights``.
        clip_weights: File of CLIP, for SAM. Defaults to None: in the folder ``weights``.
        method: 'auto' or one of the arms. Defaults to 'auto'.
        device: Such as 'cpu' or 'cuda'. Defaults to None: a GPU, if there is one.
        seed: Of all draws. Defaults to 0.
        out: Folder that is written; new, or of an earlier call with the same arguments.

    Returns:
        Paths, and a table of results.

    Raises:
        ValueError: If arguments or data do not fit, with the file and what to do; among them
            ``DatasetError`` and ``OutputError``.
        FileNotFoundError: If files of weights are missing, with all of them.
        OSError: If something cannot be read or written.
    """
    start = time.monotonic()
    chosen = find_base(base)
    choose_arms(chosen, method)
    files = model_weights(chosen, *(None if f is None else str(f) for f in (weights, clip_weights)))
    check_weights(chosen, files)
    check_device(device)
    reporter, folder = Reporter(), Path(os.path.abspath(Path(out).expanduser()))
    data = find_photographs(
        *(images, labels, masks, foreground, coco, classes, ignore, val, test, shots, task, seed),
        out=folder,
        track=_tracker(reporter),
    )
    clip = files.get('clip')
    own = next((file for part, file in files.items() if part != 'clip'), None)
    arguments = dict(base=base, weights=own, clip_weights=clip, method=method)
    refuse_other_arguments(folder, read_json(folder / 'arguments.json') or arguments, arguments)
    for line in data.describe():
        reporter.say(line)
    scope = DefaultScope.overwrite_default_scope('mmseg')
    with _lock(folder), output_to(folder / 'fit.log'), runners_on(device), scope:
        write_json(arguments, folder / 'arguments.json')
        engine = Engine(data, chosen, base, files, method, seed, reporter)
        results = engine.run()
        report = write_report(folder)
    reporter.console.print(summary_table(results))
    for note in results['notes']:
        reporter.say(note)
    reporter.say(f'{time.monotonic() - start:.0f} s; open {report}')
    return _result(folder, results)


def _tracker(reporter: Reporter) -> Any:
    """What shows how far reading the files is."""

    def track(items: Iterable[Any], what: str, count: int) -> Iterator[Any]:
        with reporter.step(what, count):
            for number, item in enumerate(items, start=1):
                yield item
                reporter.advance_to(number)

    return track


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(NotImplementedError):  # of a file system without locks
            lock = take_lock(folder / 'fit.lock')
            if lock is None:
                raise OutputError(
                    f'--out {str(folder)!r}: expected no other process there, found one that fits. '
                    'Wait for it, or give another --out'
                )
            stack.callback(lock.release)
        yield


def _result(folder: Path, results: Dict[str, Any]) -> FitResult:
    metric, zero_shot = results['metric'], results['zero_shot']
    rows = [dict(zero_shot, name='zero-shot', trainable_parameters=0), *results['arms']]
    table = [
        dict(
            name=row['name'],
            validation=row['validation'].get(metric),
            test=None if row['test'] is None else row['test'].get(metric),
            trainable_parameters=row['trainable_parameters'],
        )
        for row in rows
    ]
    return FitResult(
        out=folder,
        report=folder / 'report.html',
        config=folder / 'config.py',
        prompts=folder / 'prompts.safetensors',
        best=results['best'],
        metric=metric,
        table=table,
        results=results,
    )
