"""Running the command-line tools as a user does."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Dict, Mapping, Sequence, Union

import pytest

import warm_processes

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'


def run(*command: Any, cwd: Path, **environment: str) -> str:
    """Run a command and return what it printed; fail with the end of it if it failed."""
    env = {'OMP_NUM_THREADS': '2', **os.environ, 'PYTHON': sys.executable, **environment}
    command = list(map(str, command))
    if warm_processes.can_start(command):
        done = warm_processes.run(command, cwd=cwd, env=env, timeout=1500)
    else:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1500
        )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    return output


def start_process(
    command: Sequence[Any], *, cwd: Path, env: Mapping[str, str], stdout: IO[str]
) -> Union[subprocess.Popen, warm_processes.WarmProcess]:
    """Start a command in a session of its own; its errors go where its output goes."""
    command = list(map(str, command))
    if warm_processes.can_start(command):
        return warm_processes.WarmProcess(command, cwd=cwd, env=env, stdout=stdout)
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdout=stdout,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def free_port() -> str:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


def run_tool(name: str, *args: Any, cwd: Path, **environment: str) -> str:
    """Run ``tools/NAME.py``, or a sub-command of ``mmseg-ssprompt``, with this Python."""
    program = [ROOT / 'tools' / name] if name.endswith('.py') else ['-m', 'mmseg_ssprompt', name]
    return run(sys.executable, *program, *args, cwd=cwd, **environment)


def mmseg_tool(name: str) -> Path:
    """One of mmseg's own tools, as they come with the installed package."""
    path = Path(importlib.util.find_spec('mmseg').origin).parent / '.mim' / 'tools' / name
    if not path.is_file():
        pytest.skip(f'mmseg was installed without its tools ({path})')
    return path


def read_metrics(work_dir: Path) -> Dict[str, float]:
    """What a run of the test tool has left in its work_dir."""
    (path,) = work_dir.glob('*/*.json')
    return json.loads(path.read_text())
