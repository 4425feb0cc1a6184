"""Run the tests and the benchmark rows that need a GPU, and write down what they say.

    make gpu
    make gpu PYTHON=/path/to/python    # of an environment that is there, without network

The JSON file has the device, the versions, the commit, each test with its outcome and seconds, and
the table of ``dev.benchmark``. The exit status is 0 if all passed, 1 if something failed, and 3 if
there is no GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List
from xml.etree import ElementTree

import torch

from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.files import write_json

from .provenance import ROOT, describe_commit, describe_versions

#: What a GPU changes; the other benchmarks measure files, imports and numbers of prompts.
BENCHMARKS = ('decode', 'encode', 'train', 'classify', 'predict')
NO_GPU = 3


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Tests and benchmarks on a GPU')
    parser.add_argument('--json', type=Path, default=ROOT / 'work_dirs' / 'gpu.json')
    parser.add_argument('--small', action='store_true', help='benchmarks on sam-tiny')
    parser.add_argument('--seconds', type=float, default=450, help='for all of it')
    return parser.parse_args()


def run_tests(seconds: float) -> Dict[str, Any]:
    """The tests marked ``gpu``; pytest is all that they need besides the package."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        # Without the options of pyproject.toml, which ask for plugins.
        options = ['-o', 'addopts=', '-m', 'gpu', '-ra', '--durations=10', f'--junitxml={report}']
        status = run(['pytest', *options, 'tests/test_gpu.py'], seconds, MMSEG_SSPROMPT_GPU='1')
        cases = read_report(report) if report.is_file() else []
    return dict(status=status, passed=status == 'passed' and bool(cases), cases=cases)


def read_report(file: Path) -> List[Dict[str, Any]]:
    """Name, outcome and seconds of each test in a JUnit file."""
    kinds = ('failure', 'error', 'skipped')
    return [
        dict(
            name=case.get('name'),
            outcome=next((kind for kind in kinds if case.find(kind) is not None), 'passed'),
            seconds=float(case.get('time')),
        )
        for case in ElementTree.parse(file).iter('testcase')
    ]


def run_benchmarks(small: bool, deadline: float) -> Dict[str, Any]:
    """A table for each, so that one that fails or takes too long leaves those of the others."""
    tables = {}
    for name in BENCHMARKS:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / 'table.json'
            command = ['dev.benchmark', name, '--device', 'cuda', '--json', str(file)]
            status = run([*command, *(['--small'] if small else [])], deadline - time.monotonic())
            rows = json.loads(file.read_text())['rows'] if file.is_file() else []
        tables[name] = dict(status=status, rows=rows)
    return tables


def run(command: List[str], seconds: float, **environment: str) -> str:
    """Run a module of this Python in the checkout: 'passed', 'failed' or 'out of time'."""
    if seconds <= 0:
        return 'out of time'
    try:
        done = subprocess.run(
            [sys.executable, '-m', *command],
            cwd=ROOT,
            env=dict(os.environ, **environment),
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return 'out of time'
    return 'passed' if done.returncode == 0 else 'failed'


def main() -> int:
    args = parse_args()
    if not torch.cuda.is_available():
        print(f'There is no GPU that torch {torch.__version__} can use: nothing was run.')
        return NO_GPU
    begin = time.monotonic()
    tests = run_tests(args.seconds * 0.6)
    tables = run_benchmarks(args.small, begin + args.seconds)
    passed = tests['passed'] and all(table['status'] == 'passed' for table in tables.values())
    record = dict(
        passed=passed,
        commit=describe_commit(),
        machine=describe_machine('cuda'),
        versions=describe_versions(),
        seconds=round(time.monotonic() - begin),
        tests=tests,
        benchmarks=tables,
    )
    write_json(record, args.json)
    counts = f'{len(tests["cases"])} tests {tests["status"]}'
    rest = ', '.join(f'{name} {table["status"]}' for name, table in tables.items())
    print(f'{counts}; {rest}; {record["seconds"]} s; see {args.json}')
    return 0 if passed else 1


if __name__ == '__main__':
    sys.exit(main())
