"""A model hub of folders, on this machine: the routes that ``huggingface_hub`` fetches files by."""

import contextlib
import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import pytest

_RESOLVE = re.compile(r'/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>.+?)/(?P<file>[^/]+)')
COMMIT = 'c0ffee' + '0' * 34


class Hub(ThreadingHTTPServer):
    """Repositories by name, each a folder of files; what is asked for is written down.

    Attributes:
        repositories: Folders by ``USER/NAME``.
        statuses: What is answered in the place of a repository: 401 private, 403 gated, 500.
        asked: Methods and paths of all requests.
        commit: Of all revisions, which are ``main``, ``v1`` and itself.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.repositories: Dict[str, Path] = {}
        self.statuses: Dict[str, int] = {}
        self.asked: List[Tuple[str, str]] = []
        self.commit = COMMIT

    @property
    def endpoint(self) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}'


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        self.server.asked.append((self.command, self.path))
        parts = _RESOLVE.fullmatch(self.path.partition('?')[0])
        if parts is None:
            return self._refuse(404, None)
        folder = self.server.repositories.get(parts['repository'])
        status = self.server.statuses.get(parts['repository'])
        if status is not None:
            return self._refuse(status, {401: 'RepoNotFound', 403: 'GatedRepo'}.get(status))
        if folder is None:
            return self._refuse(404, 'RepoNotFound')
        if parts['revision'] not in ('main', 'v1', self.server.commit):
            return self._refuse(404, 'RevisionNotFound')
        file = folder / parts['file']
        if not file.is_file():
            return self._refuse(404, 'EntryNotFound')
        content = file.read_bytes()
        self.send_response(200)
        self.send_header('X-Repo-Commit', self.server.commit)
        self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _refuse(self, status: int, code: Optional[str]) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header('X-Error-Code', code)
            self.send_header('X-Error-Message', f'{code} of the stand-in')
        self.send_header('Content-Length', '0')
        self.end_headers()


@contextlib.contextmanager
def open_hub() -> Iterator[Hub]:
    """A hub that answers while the context lasts."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs=dict(poll_interval=0.02))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def use_hub(patch: pytest.MonkeyPatch, endpoint: str, cache: Path, offline: bool = False) -> None:
    """Let ``huggingface_hub`` of this process, which reads its variables once, use a hub.

    Args:
        patch: What takes it back.
        endpoint: As ``HF_ENDPOINT``.
        cache: As ``HF_HUB_CACHE``.
        offline: As ``HF_HUB_OFFLINE``.
    """
    constants = pytest.importorskip('huggingface_hub').constants
    patch.setattr(constants, 'ENDPOINT', endpoint)
    template = f'{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
    patch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    patch.setattr(constants, 'HF_HUB_CACHE', str(cache))
    patch.setattr(constants, 'HF_HUB_OFFLINE', offline)
    patch.setattr(constants, 'HF_TOKEN_PATH', str(cache / 'no_token'))
