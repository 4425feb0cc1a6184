"""The server of the page: on this machine alone, without files, and without asking elsewhere."""

import contextlib
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional

from ..config_reading import ConfigError
from .opened import MAX_BYTES
from .studio_model import StudioModel
from .workbench import Workbench

__all__ = ['HOST', 'find_port', 'running']

HOST = '127.0.0.1'
#: The first port that is tried, and how many are.
FIRST_PORT, PORTS = 7860, 100
#: What a browser may call this machine. Another name in the "Host" of a request is that of a
#: page elsewhere whose name was made to lead here.
_HOSTS = ('127.0.0.1', 'localhost')
#: How gradio's routes begin that give or take files other than uploads, or fetch them from
#: elsewhere. The page has its pictures within itself and needs none of them.
_CLOSED = (
    *('component_server', 'custom_component', 'deep_link', 'dev', 'file', 'monitoring', 'openapi'),
    *('process_recording', 'profiling', 'proxy', 'run-history', 'runs', 'stream', 'svelte', 'vibe'),
)
#: Bytes of a request that is no upload, and the mark of gradio's that a value is a file.
_LARGEST_REQUEST, _FILE_MARK = 1_000_000, 'gradio.FileData'
#: Nothing on the page may come from, or go, elsewhere.
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; font-src 'self' data:; "
    "connect-src 'self' data:; frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)
_HEADERS = (
    (b'content-security-policy', _POLICY.encode()),
    (b'referrer-policy', b'no-referrer'),
    (b'x-content-type-options', b'nosniff'),
)
_SETTINGS = dict(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1')


def find_port(port: Optional[int] = None) -> int:
    """The port to listen at.

    Args:
        port: One that was asked for. Defaults to None: the first free one from 7860 on.

    Raises:
        ConfigError: If it is taken, or no port, or none is free.
    """
    tried = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    for each in tried:
        with contextlib.suppress(OSError, OverflowError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, each))
            return int(probe.getsockname()[1])
    if port is None:
        raise ConfigError(
            f'all ports from {tried[0]} to {tried[-1]} are taken: give a free one with --port'
        )
    raise ConfigError(
        f'port {port} of {HOST} cannot be used: it is taken, or you may not listen there. Give '
        'another one with --port, or leave --port out, and the first free one is taken'
    )


class Guard:
    """Lets only requests pass that the page needs (ASGI).

    Others hosts' names, gradio's routes for files, and values that name a file are refused; answers
    forbid the browser to load anything from elsewhere.

    Args:
        app: What is guarded.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        headers = {key.lower(): value for key, value in scope['headers']}
        host = headers.get(b'host', b'').decode('latin-1').rsplit(':', 1)[0]
        path = str(scope['path'])
        if host not in _HOSTS:
            await _refuse(send, 403, f'the studio answers at {HOST} alone')
            return
        parts = [part for part in path.split('/') if part not in ('', 'gradio_api')]
        if parts and parts[0].startswith(_CLOSED):
            await _refuse(send, 404, 'the studio serves no files')
            return
        if scope['method'] == 'POST' and parts[:1] != ['upload']:
            body = await _read(receive)
            if body is None or _names_a_file(body):
                await _refuse(send, 400, 'the studio takes no files but uploads')
                return
            receive = _again(body, receive)

        async def send_strictly(message: Any) -> None:
            if message['type'] == 'http.response.start':
                message = dict(message, headers=[*message['headers'], *_HEADERS])
            await send(message)

        await self._app(scope, receive, send_strictly)


async def _refuse(send: Any, status: int, text: str) -> None:
    headers = [(b'content-type', b'text/plain; charset=utf-8')]
    await send(dict(type='http.response.start', status=status, headers=headers))
    await send(dict(type='http.response.body', body=text.encode()))


async def _read(receive: Any) -> Optional[bytes]:
    """The body of a request; None if it is too large."""
    body: bytes = b''
    while True:
        message = await receive()
        body += message.get('body', b'')
        if len(body) > _LARGEST_REQUEST:
            return None
        if not message.get('more_body'):
            return body


def _names_a_file(body: bytes) -> bool:
    """Whether gradio would take a value in it for a file, or it is no JSON."""
    try:
        return _FILE_MARK in json.dumps(json.loads(body or b'null'), ensure_ascii=False)
    except (ValueError, RecursionError):
        return True


def _again(body: bytes, receive: Any) -> Any:
    """Give a body that was read once more, and then what else comes."""
    given = False

    async def give() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return dict(type='http.request', body=body, more_body=False)

    return give


@contextlib.contextmanager
def running(model: StudioModel, port: Optional[int] = None, note: str = '') -> Iterator[str]:
    """Serve the page while the context lasts.

    Args:
        model: What is looked at.
        port: As for :func:`find_port`.
        note: A sentence about the model. Defaults to ''.

    Yields:
        The address of the page.

    Raises:
        ConfigError: As :func:`find_port`.
        ImportError: If gradio is not there.
    """
    port = find_port(port)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='ssprompt-studio-')))
        # gradio reads them when it is imported and when it starts.
        stack.enter_context(_environment(GRADIO_TEMP_DIR=str(folder), **_SETTINGS))
        from starlette.middleware import Middleware

        from .page import build_page, page_style

        page = build_page(Workbench(model, folder), note)
        page.queue(max_size=100, default_concurrency_limit=4)
        page.launch(
            server_name=HOST,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            show_error=False,
            allowed_paths=[],
            blocked_paths=['/'],
            max_file_size=MAX_BYTES,
            state_session_capacity=64,
            footer_links=[],
            app_kwargs=dict(middleware=[Middleware(Guard)], docs_url=None, redoc_url=None),
            **page_style(),
        )
        stack.callback(page.close, verbose=False)
        yield f'http://{HOST}:{port}/'


@contextlib.contextmanager
def _environment(**settings: str) -> Iterator[None]:
    """Set variables of the environment for a while."""
    no_proxy = ','.join(filter(None, [os.environ.get('NO_PROXY'), *_HOSTS]))
    settings = dict(settings, NO_PROXY=no_proxy, no_proxy=no_proxy)
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
