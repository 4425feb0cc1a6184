"""Run what ``.ci/run`` leaves out, before a release, and write down how it ended.

    make release-check
    python -m dev.release_check --only kills orders

It takes hours. The result of the last run is ``docs/evidence/release_check.json``, which is
committed with the release. The exit status is 0 if every part passed.
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Dict, List, Tuple

from mmseg_ssprompt.files import write_json

from .provenance import ROOT, describe_commit, describe_versions

RESULT = ROOT / 'docs' / 'evidence' / 'release_check.json'
PYTEST = [sys.executable, '-m', 'pytest', '-n', 'auto', '--dist', 'worksteal', '-q']
_KILLS = [
    'tests/test_faults/test_kills.py',
    'tests/test_faults/test_cache_kills.py',
    'tests/test_hooks/test_embedding_cache_kills.py',
]
_FULL = dict(MMSEG_SSPROMPT_EXAMPLES='full')
#: By name: variables of the environment, and the commands that must all succeed.
PARTS: Dict[str, Tuple[Dict[str, str], List[List[str]]]] = {
    'slow': (_FULL, [[*PYTEST, '-p', 'no:randomly', '-m', 'not gpu']]),
    'kills': (
        dict(MMSEG_SSPROMPT_KILLS='100'),
        [[*PYTEST, '-n', '0', '-p', 'no:randomly', '-m', 'slow', '--timeout=7200', *_KILLS]],
    ),
    'evidence': ({}, [[sys.executable, '-m', 'dev.figures', '--check', '--today']]),
    'orders': ({}, [[*PYTEST, f'--randomly-seed={n}'] for n in range(3)]),
    'fuzz': ({}, [[sys.executable, '-m', 'dev.fuzz_readers']]),
    'onedl': (_FULL, [['make', 'STACK=onedl', 'test-all']]),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='What is checked before a release')
    parser.add_argument('--only', nargs='+', choices=list(PARTS), default=list(PARTS))
    parser.add_argument('--json', type=Path, default=RESULT)
    return parser.parse_args()


def run_part(name: str) -> Dict[str, object]:
    """Run the commands of a part, all of them, and say how they ended."""
    environment, commands = PARTS[name]
    print(f'==> {name}', flush=True)
    begin = time.monotonic()
    statuses = [
        subprocess.run(command, cwd=ROOT, env=dict(os.environ, **environment)).returncode
        for command in commands
    ]
    passed = not any(statuses)
    return dict(passed=passed, statuses=statuses, seconds=round(time.monotonic() - begin))


def main() -> int:
    args = parse_args()
    parts = {name: run_part(name) for name in args.only}
    record = dict(
        date=date.today().isoformat(),
        commit=describe_commit(),
        versions=describe_versions(),
        cores=os.cpu_count(),
        parts=parts,
    )
    write_json(record, args.json)
    for name, part in parts.items():
        print(f'{name:8} {part["seconds"]:6} s  {"passed" if part["passed"] else "FAILED"}')
    return 0 if all(part['passed'] for part in parts.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
