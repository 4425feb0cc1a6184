"""Processes that start at once: forks of an interpreter that has imported the package.

Importing torch, mmengine, mmseg and the package takes ten seconds of CPU. :func:`prepare` forks the
test process before the first test, when it has imported all of this and done nothing else; each
:class:`WarmProcess` is a fork of that fork. It has its own process id, folder, environment, output
and exit status, and can be killed as any other. The slow tier starts the same commands with
``subprocess``, from the first import on.
"""

import array
import atexit
import contextlib
import gc
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from pathlib import Path
from typing import IO, Any, List, Mapping, Optional, Sequence, Union

import numpy as np
import torch

Command = Sequence[Union[str, Path]]
_server: Optional[socket.socket] = None
_lock = threading.Lock()  # tests start processes from several threads


def prepare() -> None:
    """Fork the server. Call it once, before the first test."""
    global _server
    ours, theirs = socket.socketpair()
    gc.freeze()  # or each collection in a fork walks through, and copies, what imports have made
    if os.fork() == 0:
        ours.close()
        try:
            _serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    _server = ours


def can_start(command: Command) -> bool:
    """Whether a command is a script or module of this Python, and there is a server for it."""
    words = list(map(str, command))
    return (
        _server is not None
        and words[0] == sys.executable
        and (words[1] == '-m' or words[1].endswith('.py'))
    )


class WarmProcess:
    """The part of ``subprocess.Popen`` that tests use.

    Args:
        command: ``(sys.executable, script, *arguments)``, or with ``'-m', module`` for the script.
        cwd: Working directory.
        env: All environment variables; those of this process by default.
        stdout: Open file for the output.
        stderr: Open file for errors; ``stdout`` by default.
    """

    def __init__(
        self,
        command: Command,
        *,
        cwd: Path,
        stdout: IO[Any],
        stderr: Optional[IO[Any]] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> None:
        assert can_start(command), command
        self.args = list(map(str, command))
        self.returncode: Optional[int] = None
        self._keeper, theirs = socket.socketpair()
        request = dict(words=self.args[1:], cwd=str(cwd), env=dict(env or os.environ))
        files = [theirs, stdout, stdout if stderr is None else stderr]
        for file in (stdout, stderr):
            if file is not None:
                file.flush()
        with _lock:
            _send(_server, json.dumps(request).encode(), [file.fileno() for file in files])
        theirs.close()
        self.pid = int(self._read_line())

    def poll(self) -> Optional[int]:
        """The exit status, or None while the process runs; minus the signal that ended it."""
        if self.returncode is None:
            self._keeper.setblocking(False)
            try:
                self.returncode = int(self._read_line())
            except BlockingIOError:
                pass
            finally:
                self._keeper.setblocking(True)
        return self.returncode

    def wait(self, timeout: Optional[float] = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: If it runs longer than ``timeout`` seconds.
        """
        if self.returncode is None:
            self._keeper.settimeout(timeout)
            try:
                self.returncode = int(self._read_line())
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout) from None
            finally:
                self._keeper.settimeout(None)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Do nothing if the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _read_line(self) -> bytes:
        """One message of the keeper is one ``send`` of a few bytes."""
        line = self._keeper.recv(32)
        assert line.endswith(b'\n'), f'the server of processes has ended: {line!r}'
        return line


def run(
    command: Command,
    *,
    cwd: Path,
    env: Optional[Mapping[str, str]] = None,
    timeout: float = 600,
) -> subprocess.CompletedProcess:
    """``subprocess.run`` with captured text."""
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        process = WarmProcess(command, cwd=cwd, env=env, stdout=out, stderr=err)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        out.seek(0), err.seek(0)
        return subprocess.CompletedProcess(process.args, status, out.read(), err.read())


def _send(connection: socket.socket, content: bytes, files: List[int]) -> None:
    """The length and the open files in one message, then the content."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', files))
    connection.sendmsg([len(content).to_bytes(8, 'little')], [rights])
    connection.sendall(content)


def _receive(connection: socket.socket) -> tuple:
    """What :func:`_send` has sent; no content at the end."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    if not head:
        return b'', []
    content, size = b'', int.from_bytes(head, 'little')
    while len(content) < size:  # no byte of the next request
        content += connection.recv(size - len(content))
    return content, files


def _serve(connection: socket.socket) -> None:
    """Fork a keeper for each request, until the test process ends."""
    _let_go_of_files(connection.fileno())
    import matplotlib.pyplot  # noqa: F401  (here alone: the package imports without it)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need nobody who waits for them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        content, files = _receive(connection)
        if not content:
            return
        if os.fork() == 0:
            connection.close()
            _keep(json.loads(content), files)
        for file in files:
            os.close(file)


def _let_go_of_files(kept: int) -> None:
    """Put nothing in the place of files that the test process has open, pipes to pytest-xdist too.

    Their numbers stay taken, because objects of the test process go on holding them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir('/proc/self/fd'):
        if int(name) not in (kept, nothing):
            with contextlib.suppress(OSError):  # the listing's own is closed
                os.dup2(nothing, int(name))


def _keep(request: dict, files: List[int]) -> None:
    """Fork the process, say its number, wait for it and say its status."""
    keeper = socket.socket(fileno=files[0])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        keeper.close()
        _become(request, *files[1:])
    for file in files[1:]:
        os.close(file)
    try:
        keeper.sendall(b'%d\n' % pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        keeper.sendall(b'%d\n' % status)
    except OSError:  # nobody listens any more
        pass
    os._exit(0)


def _become(request: dict, out: int, err: int) -> None:
    """Run the script or module as a new interpreter would, and end."""
    os.setsid()
    for number, file in ((1, out), (2, err)):
        os.dup2(file, number)
    for file in {out, err}:
        os.close(file)
    sys.stdin = sys.__stdin__ = open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, 'w', closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, 'w', buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request['env'])
    os.chdir(request['cwd'])
    _forget_pytest()
    if threads := request['env'].get('OMP_NUM_THREADS'):
        torch.set_num_threads(int(threads))
    random.seed(), np.random.seed()
    status = _run(request['words'])
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _forget_pytest() -> None:
    """Python's own filters of warnings, and the import path that the environment asks for."""
    warnings.showwarning = warnings._showwarning_orig
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter('ignore', kind)
    tests = str(Path(__file__).parent)
    given = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
    sys.path[:] = [*given, *(path for path in sys.path if not path.startswith(tests))]


def _run(words: List[str]) -> int:
    """The exit status of ``python *words``."""
    try:
        if words[0] == '-m':
            sys.argv[:] = words[1:]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(words[1], run_name='__main__', alter_sys=True)
        else:
            sys.argv[:] = words
            sys.path.insert(0, str(Path(words[0]).resolve().parent))
            runpy.run_path(words[0], run_name='__main__')
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
