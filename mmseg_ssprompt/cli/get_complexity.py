"""Say what configurations cost: parameters, operations by part, memory and time of one image.

    mmseg-ssprompt complexity CONFIG [CONFIG ...] --random-weights \
        --out complexity.md --json complexity.json

No weight files and no data are needed. Training and testing are each measured in a process of its
own, on pictures in memory; what the columns are is said in the page. Set ``OMP_NUM_THREADS``.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from ..analysis.complexity.cost import MEASURES
from ..analysis.complexity.measuring import describe_machine
from ..analysis.complexity.report import format_figure, format_page
from ..analysis.complexity.subject import build_subject
from ..files import read_json, write_json
from ..outputs import find_inputs
from .inputs import prepare_outputs, read_config

_OUT_OF_MEMORY = ('out of memory', "can't allocate memory")
_KILLED = -9  # by Linux, when there is no memory left


def measure_here(args: argparse.Namespace) -> None:
    """Measure one phase of one config, and write it."""
    subject = build_subject(args.configs[0], args.random_weights, args.device)
    write_json(MEASURES[args.phase](subject, args.images), args.json)


def measure_config(args: argparse.Namespace, config: Path) -> Dict[str, Any]:
    """The row of a config.

    Raises:
        ValueError: If it cannot be built or run; the message names it.
    """
    row = dict(config=config.as_posix(), images=args.images, problems={})
    row.update(measure_phase(args, config, 'test', row['problems']))
    if row['parameters']['trainable'] > 0:
        row.update(measure_phase(args, config, 'train', row['problems']))
    return row


def measure_phase(
    args: argparse.Namespace, config: Path, phase: str, problems: Dict[str, str]
) -> Dict[str, Any]:
    """What a fresh process measures; if it has not enough memory to train, say so and go on."""
    print(f'{config}: {phase}', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'figures.json'
        command = [
            sys.executable,
            '-m',
            'mmseg_ssprompt',
            'complexity',
            str(config),
            '--phase',
            phase,
            '--json',
            str(file),
        ]
        command += ['--device', args.device, '--images', str(args.images)]
        command += ['--random-weights'] if args.random_weights else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            figures = read_json(file)
            assert figures is not None  # which that process wrote
            return figures
    lacks_memory = any(text in done.stderr.lower() for text in _OUT_OF_MEMORY)
    if phase == 'train' and (lacks_memory or done.returncode == _KILLED):
        problems[phase] = 'out of memory'
        return {}
    sys.stderr.write(done.stderr)
    raise ValueError(f'config {str(config)!r}: {phase} ended with status {done.returncode}')


def print_row(row: Dict[str, Any]) -> None:
    """The main figures of a row."""
    figures = [f'{row["parameters"]["trainable"]:,} trained']
    figures += [f'{row["parameters"]["frozen"]:,} frozen']
    figures += [f'{format_figure(row["flops"]["total"] / 1e9)} GFLOPs']
    for phase, name in (('train', 'training'), ('test', 'testing')):
        seconds, gb = (format_figure(row.get(f'{phase}_{unit}')) for unit in ('seconds', 'gb'))
        figures += [f'{name} {seconds} s, {gb} GB' if seconds else f'{name} not measured']
    print('    ' + '; '.join(figures), flush=True)


def written_command(arguments: List[str]) -> str:
    """The command line, in lines that fit a page."""
    threads = os.environ.get('OMP_NUM_THREADS')
    start = f'OMP_NUM_THREADS={threads} ' if threads else ''
    command = start + 'mmseg-ssprompt complexity'
    for previous, argument in zip(['', *arguments], arguments):
        has_value = previous in ('--out', '--json', '--device', '--images')
        command += (' ' if has_value else ' \\\n        ') + shlex.quote(argument)
    return command


def write_results(args: argparse.Namespace, rows: List[Dict[str, Any]]) -> None:
    """Write the page and the JSON file of the rows so far."""
    machine = describe_machine(args.device)
    if args.json:
        write_json(dict(machine=machine, rows=rows), args.json)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        command = written_command(args.command_line[1:])
        args.out.write_text(format_page(rows, machine, command, args.json, args.out))


def run(args: argparse.Namespace) -> None:
    """Measure each config, and write the page and the figures after each."""
    if args.phase:
        measure_here(args)
        return
    inputs = find_inputs(*map(read_config, args.configs), files=args.configs)
    prepare_outputs({'--out': args.out, '--json': args.json}, inputs)
    rows = []
    for config in args.configs:
        rows.append(measure_config(args, config))
        print_row(rows[-1])
        write_results(args, rows)  # after each, as the next may take long
