"""``report.html``: what ``fit`` found, in one file that needs no network."""

import functools
import shlex
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

import jinja2

from ..config_files import find_home
from ..files import write_atomically
from .fit_data import SPLITS, FitData
from .report_advice import RULES, find_advice
from .report_charts import draw_charts
from .report_numbers import (
    format_duration,
    format_large,
    format_number,
    format_short,
    format_signed,
)
from .report_pictures import draw_scenes
from .report_tables import (
    MEASURES,
    ArmRow,
    count_classes,
    find_confusions,
    list_arms,
    list_classes,
    name_numbers,
    subtract,
    summary_table,
)
from .results import read_results

__all__ = ['render_report', 'summary_table', 'write_report']

_EXPLAINED = dict(
    mIoU='IoU is the share of pixels that two regions have in common, of all pixels that either '
    'has; mIoU is its mean over classes.',
    PQ='PQ is the panoptic quality: how well segments are found and outlined, from 0 to 100; the '
    'result is its mean over classes.',
    segm_mAP='AP is the average precision of objects at overlaps from 50 to 95 %; mAP is its mean '
    'over classes.',
)
_MOST_LEFT_OUT = 200


def write_report(out: Path) -> Path:
    """Write ``report.html`` from the other files in the folder.

    Args:
        out: The folder that ``fit`` wrote: ``data.json``, ``results.json`` and ``predictions``.

    Returns:
        The path of the report.

    Raises:
        FileNotFoundError: If a file that it needs is not there.
    """
    file = out / 'report.html'
    # A file name may hold bytes that are no text; they are shown as escapes.
    write_atomically(file, render_report(out).encode('utf-8', 'backslashreplace'))
    return file


def render_report(out: Path) -> str:
    """The text of the report; see ``write_report``."""
    return _template().render(_gather(out, FitData.read(out), read_results(out)))


@functools.cache
def _template() -> jinja2.Template:
    """The page, compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=format_duration,
        large=format_large,
        number=format_number,
        short=format_short,
        signed=format_signed,
    )
    return environment.get_template('report.html')


def _gather(out: Path, data: FitData, results: Mapping[str, Any]) -> Dict[str, Any]:
    """What the template names."""
    rows = list_arms(results)
    best = next(row for row in rows if row.is_best)
    shown = 'test' if results['zero_shot']['test'] is not None else 'validation'
    classes = list_classes(data, results, shown)
    confusion = find_confusions(data, results)
    confusions = [] if confusion is None else confusion['pairs']
    mean, measure = MEASURES[results['metric']]
    scenes = draw_scenes(data, results)
    shown_names = name_numbers(data, {n for scene in scenes for n in scene.classes})
    return dict(
        data=data,
        results=results,
        rows=rows,
        best=best,
        zero_shot=rows[0],
        verdict=_verdict(rows, shown),
        shown=shown,
        parts=['validation'] + ['test'] * (results['zero_shot']['test'] is not None),
        counts={split: len(data.part(split)) for split in SPLITS},
        sizes=data.describe_sizes().replace(' x ', ' \N{MULTIPLICATION SIGN} '),
        folds=data.num_folds,
        mean=mean,
        measure=measure,
        explained=_EXPLAINED[results['metric']],
        scenes=scenes,
        legend=[row for row in classes if row.name in shown_names],
        classes=sorted(classes, key=lambda row: -1.0 if row.after is None else row.after)[::-1],
        class_counts=count_classes(data),
        confusion=confusion,
        charts=draw_charts(results, mean),
        advice=find_advice(data, results, classes, confusions),
        rules=RULES,
        most_left_out=_MOST_LEFT_OUT,
        commands=_commands(out),
    )


def _verdict(rows: Sequence[ArmRow], shown: str) -> Dict[str, Any]:
    """What won, by how much, and how sure that is."""
    best = next(row for row in rows if row.is_best)
    others = [row for row in rows[1:] if not row.is_best]
    others.sort(key=lambda row: -(row.scores['validation'] or 0.0))
    above, better_on_test = [], []
    for row in others:
        gaps = {part: subtract(best.scores[part], row.scores[part]) for part in best.scores}
        if gaps['validation'] is not None:
            score = format_number(row.scores['validation'])
            above.append(f'{format_number(gaps["validation"])} above “{row.title}” ({score})')
        if gaps['test'] is not None and gaps['test'] < 0:
            better_on_test.append(row)
    return dict(gain=best.gains[shown], above=above, better_on_test=better_on_test)


def _commands(out: Path) -> Dict[str, str]:
    folder = shlex.quote(str(out))
    return dict(
        predict=f'mmseg-ssprompt predict {folder} new_photos --out predictions',
        train=shlex.join(
            ['python', str(find_home() / 'tools' / 'train.py'), str(out / 'config.py')]
        ),
    )
