"""Make every table and figure of README and docs again from the committed results.

    python -m dev.figures            # or: make figures
    python -m dev.figures --check    # change nothing; fail where a page says something else
    python -m dev.figures --check --today    # and where results are of other code than today's

Results are the JSON files in ``docs/evidence``: the studies of ``python -m dev.reproduce``, the
runs of ``python -m dev.benchmark``, ``runs.json`` of ``python -m dev.measured_runs``, and
``ways.json`` of ``python -m dev.walk_ways``. How a
page marks its tables and figures is said in ``marked_page.py``. What a key stands for:

    components / SSPrompt / miou                           the mean over the seeds of a study
    components / SSPrompt / miou ±                         and its standard deviation
    components / SSPrompt / trained                        its trained parameters
    components / SSPrompt / rates / 0.01                   a score of its search (validation)
    components / SSPrompt / below / projection alone       the paired difference and its interval
    components / SSPrompt / below / projection alone | mean    without the interval
    runs / camvid / after / mIoU | .2f                     an entry of another file, and its format

``above`` and ``below`` fail where the difference has the other sign, ``over`` has a sign.
"""

import argparse
import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np

from mmseg_ssprompt.files import write_atomically

from .bases_page import format_claims
from .marked_page import PageError, render
from .performance_page import make_tables
from .provenance import describe_code
from .recipes_page import format_recipes
from .studies.definitions import STUDIES
from .studies.processes import ROOT
from .studies.real_page import format_costs, format_results
from .studies.report import compare, measured, read_origin, write_report
from .walk_ways import WAYS

__all__ = ['PAGES', 'STUDY_PAGES', 'figure', 'make_page', 'write_studies']

EVIDENCE = ROOT / 'docs' / 'evidence'
Tables = Mapping[str, Callable[[], str]]


@functools.cache
def read_results(name: str) -> Dict[str, Any]:
    """What a file in ``docs/evidence`` holds.

    Raises:
        PageError: If there is none.
    """
    file = EVIDENCE / f'{name}.json'
    if not file.is_file():
        raise PageError(f'{file}: expected results, found no file')
    content: Dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    return content


def figure(key: str) -> str:
    """What a key stands for, as pages write it.

    Raises:
        PageError: If the results have no such entry, or a difference has another sign.
    """
    path, _, style = key.partition(' | ')
    name, *parts = path.split(' / ')
    try:
        if 'study' in read_results(name):
            return _of_study(name, parts, style)
        value: Any = read_results(name)
        for part in parts:
            value = _look_up(value, part)
        return _write_number(value, style)
    except (KeyError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise PageError(f'{key!r}: {error!r}, in docs/evidence/{name}.json') from error


def _look_up(value: Any, part: str) -> Any:
    """An entry of a dict, or of a list by its number, or by its "name"."""
    if not isinstance(value, list):
        return value[part]
    if part.isdigit():
        return value[int(part)]
    return next(entry for entry in value if entry['name'] == part)


def _write_number(value: Any, style: str) -> str:
    if style.endswith('%'):  # the sign stays in the text
        return format(100 * value, f'{style[:-1] or ".0"}f')
    if isinstance(value, str):
        return format(value, style)
    return format(value, style or (',' if isinstance(value, int) else '.1f'))


def _of_study(name: str, parts: Sequence[str], style: str) -> str:
    rows = {row['name']: row for row in read_results(name)['rows']}
    row, column = rows[parts[0]], parts[1]
    if column in ('above', 'below', 'over'):
        metric = 'miou' if 'miou' in row else STUDIES[name].metric.lower()
        difference = compare(row[metric], rows[parts[2]][metric])
        if difference is None:
            raise ValueError('no seed of both was run')
        mean = difference.mean
        if (column == 'above' and mean < 0) or (column == 'below' and mean > 0):
            raise ValueError(f'the difference is {mean:+.1f}')
        shown = str(difference) if column == 'over' else str(difference)[1:]  # its sign is said
        return shown.partition(' ')[0] if style == 'mean' else shown
    if column == 'trained':
        return f'{row["trainable_parameters"]:,}'
    name, _, spread = column.partition(' ')
    found = functools.reduce(_look_up, parts[2:], row[name])
    values = measured(found) if isinstance(found, list) else found
    mean = format(float(np.mean(values)), style or '.1f')
    return f'{mean} ± {np.std(values, ddof=1):.1f}' if spread else mean


#: What else one could train, by the rows of the study of components, and what to know of each.
RIVALS = {
    'handcrafted prompts (zero-shot)': ('nothing', 'any class names'),
    'SemPrompt': ('SSPrompt, semantic prompts alone', 'as SSPrompt'),
    'SSPrompt': (
        '**SSPrompt**',
        'SAM stays as published; with other data, prompts of equal class names gain in part',
    ),
    'linear classifier on the image embedding': (
        'a linear classifier of image features',
        'classes are fixed; no masks of SAM',
    ),
    'projection alone': (
        'the projection from SAM to text alone',
        'handcrafted prompts; transfer was not measured',
    ),
    'mask decoder fine-tuned': (
        "SAM's mask decoder",
        'another SAM for each data set; transfer was not measured',
    ),
}
RUN_GROUPS = ('all', 'things', 'stuff')


def format_rivals() -> str:
    """SSPrompt and its rivals on the miniature: mIoU, parameters, and what else differs."""
    lines = ['| what trains | mIoU (%) | parameters | to know |', '|---|---|---|---|']
    for row, (text, note) in RIVALS.items():
        miou, trained = (figure(f'components / {row} / {column}') for column in ('miou', 'trained'))
        lines.append(f'| {text} | {miou} | {trained} | {note} |')
    return '\n'.join(lines)


#: What is done in the studio, by the names of what was measured.
STUDIO_CHANGES = {
    'spatial trust': 'trust in spatial prompts',
    'semantic trust': 'trust in semantic prompts',
    'a new name': 'a new class name',
    'a mask': 'another mask',
    'a point': 'a point',
    'comparison': 'comparison, after a move',
}


def format_studio() -> str:
    """Seconds of each change in the studio, by base model."""
    bases = read_results('studio_cpu')['bases']
    titles = [f'{key}, {b["prompts"]} prompts, {b["classes"]} classes' for key, b in bases.items()]
    rows = {'opening a picture': [b['opening'] for b in bases.values()]}
    for key, title in STUDIO_CHANGES.items():
        rows[title] = [b['changes'][key] for b in bases.values()]
    rows['the slowest change of all'] = [b['slowest'] for b in bases.values()]
    lines = [f'| | {" | ".join(titles)} |', '|---' * (len(titles) + 1) + '|']
    for title, values in rows.items():
        lines.append(f'| {title} | {" | ".join(f"{value:.2f}" for value in values)} |')
    return '\n'.join(lines)


def format_classifiers() -> str:
    """The mIoU of each kind of classifier with each kind of prompts; the best of a row is bold."""
    kinds = ('token', 'region', 'ensemble')
    lines = [f'| | {" | ".join(kinds)} |', '|---|---|---|---|']
    for prompts in ('handcrafted prompts (zero-shot)', 'SpaPrompt', 'SemPrompt', 'SSPrompt'):
        keys = [f'classifiers / {kind}: {prompts} / miou' for kind in kinds]
        best = max(range(3), key=lambda i: float(figure(keys[i])))
        spread = '' if 'zero-shot' in prompts else ' ±'
        cells = [figure(key + spread) for key in keys]
        cells[best] = f'**{cells[best]}**'
        lines.append(f'| {" | ".join([prompts, *cells])} |')
    return '\n'.join(lines)


def format_demo() -> str:
    """The figures that the demo prints, as a table."""
    run = read_results('runs')['demo']['sam']['semantic']['0']
    lines = ['| IoU (%) | zero-shot | SSPrompt | weight |', '|---|---|---|---|']
    for name, row in run['per_class'].items():
        before, after = row['zero_shot_iou'], row['ssprompt_iou']
        lines.append(f'| {name} | {before:.1f} | {after:.1f} | {row["semantic_weight"]:.2f} |')
    for group in RUN_GROUPS:
        before, after = (run[_key(kind, group, 'miou')] for kind in ('zero_shot', 'ssprompt'))
        lines.append(f'| mIoU, {group} | {before:.1f} | {after:.1f} | |')
    return '\n'.join(lines)


def _key(kind: str, group: str, measure: str) -> str:
    """The name of a figure in the demo's summary."""
    return '_'.join([kind, *([] if group == 'all' else [group]), measure])


def format_seeds(task: str, bases: Sequence[str], measure: str) -> str:
    """The demo with each seed that was run: all classes, things and stuff."""
    demos = read_results('runs')['demo']
    seeds = sorted(demos[bases[0]][task], key=int)
    lines = [f'| | zero-shot | {" | ".join(f"seed {seed}" for seed in seeds)} |']
    lines.append('|---' * (2 + len(seeds)) + '|')
    for base in bases:
        runs = [demos[base][task][seed] for seed in seeds]
        for group in RUN_GROUPS:
            values = [runs[0][_key('zero_shot', group, measure)]]
            values += [run[_key('ssprompt', group, measure)] for run in runs]
            name = group if len(bases) == 1 else f'{base}-tiny, {group}'
            lines.append(f'| {" | ".join([name, *(f"{value:.1f}" for value in values)])} |')
    return '\n'.join(lines)


def format_camvid() -> str:
    """CamVid's subset before and after training."""
    runs = read_results('runs')['camvid']
    titles = dict(before='before: the initial prompts', after='after 300 steps')
    lines = ['| validation mIoU (%) | all | things | stuff |', '|---|---|---|---|']
    for when, title in titles.items():
        values = (runs[when][key] for key in ('mIoU', 'mIoU.things', 'mIoU.stuff'))
        lines.append(f'| {" | ".join([title, *(f"{value:.1f}" for value in values)])} |')
    return '\n'.join(lines)


def format_exports() -> str:
    """What exported models weigh, take and differ by."""
    lines = [
        '| model, output | precision | encoder, decoder (MB) | PyTorch, onnxruntime (s a picture) '
        '| equal pixels (%) | largest difference | export (s) |',
        '|---|---|---|---|---|---|---|',
    ]
    for name, case in read_results('export')['cases'].items():
        for precision in ('float32', 'float16'):
            row = case[precision]
            cells = [
                f'{row["encoder_megabytes"]:.1f}, {row["decoder_megabytes"]:.1f}',
                f'{case["pytorch_seconds"]:.2f}, {row["onnxruntime_seconds"]:.2f}',
                f'{100 * row["equal_pixels"]:.2f}',
                f'{row["largest_difference"]:.0e}',
                f'{row["export_seconds"]:.0f}',
            ]
            lines.append(f'| {" | ".join([name, precision, *cells])} |')
    return '\n'.join(lines)


def _describe_seeds(name: str) -> str:
    """How many seeds a study has, and in how many of its rows there are fewer."""
    results, key = read_results(name), STUDIES[name].metric.lower()
    counts = Counter(len(measured(row[key])) for row in results['rows'])
    seeds = len(results['seeds'])
    fewer = (f'{count} in {rows} rows' for count, rows in sorted(counts.items()) if count < seeds)
    return ', '.join([str(seeds), *fewer])


def format_studies() -> str:
    """Each study: its page, its command, how many of its rows were run, and with what code."""
    lines = [
        '| study | command: `python -m dev.reproduce ...` | rows | seeds | digest of the code |',
        '|---|---|---|---|---|',
    ]
    for name, study in STUDIES.items():
        cells = [study.title, f'`{name}`', f'0 of {len(study.rows)}', '', 'not run']
        if name in STUDY_PAGES:
            results = read_results(name)
            asked = {row.name for row in study.rows}
            count = sum(row['name'] in asked for row in results['rows'])
            cells[0] = f'[{study.title}]({name}.md)'
            cells[2:] = [f'{count} of {len(study.rows)}', _describe_seeds(name)]
            cells.append(f'`{results["code"]}`')
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


#: The tables of each page that has tables or figures of results.
PAGES: Dict[str, Tables] = {
    'README.md': dict(rivals=format_rivals),
    'docs/README.md': {},
    'docs/datasets.md': dict(camvid=format_camvid),
    'docs/export.md': dict(export=format_exports),
    'docs/interpretation.md': {},
    'docs/performance.md': make_tables(EVIDENCE),
    'docs/real-data.md': {
        'costs': format_costs,
        'sam': functools.partial(format_results, 'sam-vit-b', EVIDENCE),
        'seem': functools.partial(format_results, 'seem-focal-t', EVIDENCE),
    },
    'docs/region-classifier.md': dict(classifiers=format_classifiers),
    'docs/sam-tiny.md': {
        'demo': format_demo,
        'sam-seeds': functools.partial(format_seeds, 'semantic', ['sam'], 'miou'),
        'seem-seeds': functools.partial(format_seeds, 'semantic', ['seem'], 'miou'),
    },
    'docs/studio.md': dict(studio=format_studio),
    'docs/tasks.md': dict(
        panoptic=functools.partial(format_seeds, 'panoptic', ['sam', 'seem'], 'pq')
    ),
    **{f'docs/start/{name}.md': {} for name in WAYS},
    'docs/evidence/README.md': dict(
        studies=format_studies,
        recipes=functools.partial(format_recipes, EVIDENCE),
        bases=functools.partial(format_claims, EVIDENCE),
    ),
}
#: Studies that have results, whose pages and figures are made as a whole.
STUDY_PAGES = sorted(name for name in STUDIES if (EVIDENCE / f'{name}.json').is_file())


def make_page(name: str) -> str:
    """A page with what the results say.

    Raises:
        PageError: If its marks are wrong, or results lack what it speaks of.
    """
    text = (ROOT / name).read_text(encoding='utf-8')
    try:
        return render(text, PAGES[name], figure)
    except PageError as error:
        raise PageError(f'{name}: {error}') from error


def write_studies(folder: Path) -> None:
    """The page and the figure of each study."""
    for name in STUDY_PAGES:
        results = read_results(name)
        study, origin = STUDIES[name], read_origin(results)
        write_report(name, study, origin, results['seeds'], results['rows'], folder)


def find_codes() -> Dict[str, Any]:
    """The digest of the code that made each result; None where it is not said."""
    benchmarks = [file.stem for file in sorted(EVIDENCE.glob('performance_cpu_*.json'))]
    runs = read_results('runs')
    entries = {
        **{name: read_results(name) for name in STUDY_PAGES + benchmarks},
        **{
            f'runs / demo / {base} / {task} / {seed}': entry
            for base, tasks in runs['demo'].items()
            for task, seeds in tasks.items()
            for seed, entry in seeds.items()
        },
        'runs / camvid': runs['camvid'],
        **{
            f'runs / interpretation / {data}': each for data, each in runs['interpretation'].items()
        },
        **{f'ways / {name}': way for name, way in read_results('ways').items()},
    }
    return {name: entry.get('code') for name, entry in entries.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description='Make tables and figures from committed results')
    parser.add_argument('--check', action='store_true', help='change nothing')
    parser.add_argument('--today', action='store_true', help='refuse results of other code')
    args = parser.parse_args()
    is_check = args.check
    stale: List[str] = []
    for name in PAGES:
        made = make_page(name)
        if made != (ROOT / name).read_text(encoding='utf-8'):
            stale.append(name)
            if not is_check:
                write_atomically(ROOT / name, made.encode())
    if not is_check:
        write_studies(EVIDENCE)
    print('\n'.join(stale) or 'every page says what the results say')
    if is_check and stale:
        raise SystemExit('`make figures` writes these pages')
    code = describe_code()
    if others := [name for name, made_by in find_codes().items() if made_by != code]:
        print(f'results of other code than {code}: {", ".join(others)}')
        if args.today:
            raise SystemExit(
                '`python -m dev.reproduce STUDY`, `python -m dev.benchmark all`, `python -m '
                'dev.measured_runs` and `python -m dev.walk_ways` make them with that of today'
            )


if __name__ == '__main__':
    main()
