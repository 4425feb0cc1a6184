"""What the guard before gradio lets pass, and which port is taken."""

import asyncio
import socket

import pytest

from mmseg_ssprompt.config_reading import ConfigError
from mmseg_ssprompt.studio.server import HOST, Guard, find_port


def ask(path, method='GET', host='127.0.0.1:7860', body=b'', parts=1):
    """Ask the guard, before an app that answers what it was sent."""
    sent, size = [], -(-len(body) // parts) or 1
    chunks = [body[i : i + size] for i in range(0, len(body), size)] or [b'']
    messages = [
        dict(type='http.request', body=chunk, more_body=number < len(chunks) - 1)
        for number, chunk in enumerate(chunks)
    ]

    async def receive():
        return messages.pop(0) if messages else dict(type='http.disconnect')

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        given = b''
        while True:
            message = await receive()
            given += message.get('body', b'')
            if not message.get('more_body'):
                break
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=given))

    headers = [] if host is None else [(b'Host', host.encode())]
    scope = dict(type='http', method=method, path=path, headers=headers)
    asyncio.run(Guard(app)(scope, receive, send))
    return sent[0]['status'], dict(sent[0]['headers']), sent[1]['body']


@pytest.mark.parametrize(
    'path', ['/', '/config', '/assets/a.js', '/gradio_api/queue/data', '/theme.css']
)
def test_what_the_page_needs_passes(path):
    status, headers, _ = ask(path)
    assert status == 200
    assert b"default-src 'self'" in headers[b'content-security-policy']
    assert b'http' not in headers[b'content-security-policy'], 'nothing from elsewhere'


@pytest.mark.parametrize(
    'path',
    [
        '/gradio_api/file=/etc/passwd',
        '/gradio_api/file=/tmp/a.png',
        '/file=/etc/passwd',
        '//file=/etc/passwd',
        '/gradio_api//file=/etc/passwd',
        '/gradio_api/file/etc/passwd',
        '/gradio_api/proxy=http://127.0.0.1/',
        '/gradio_api/stream/a/b/1/playlist-file',
        '/gradio_api/component_server',
        '/gradio_api/custom_component/1/client/component/index.js',
        '/monitoring',
        '/gradio_api/vibe-edit',
        '/gradio_api/gradio_api/file=/etc/passwd',
    ],
)
def test_no_route_gives_a_file(path):
    assert ask(path)[0] == 404
    assert ask(path, method='HEAD')[0] == 404


@pytest.mark.parametrize(
    'host', ['evil.example', 'evil.example:7860', '', None, '127.0.0.1.evil.example']
)
def test_other_names_of_this_machine_are_refused(host):
    """A page elsewhere may let its own name lead here (DNS rebinding)."""
    assert ask('/', host=host)[0] == 403


def test_localhost_is_this_machine():
    assert ask('/', host='localhost:1234')[0] == 200
    assert ask('/', host='127.0.0.1')[0] == 200


def test_bodies_arrive_as_they_were_sent():
    assert (
        ask('/gradio_api/queue/join', 'POST', body=b'{"data": [1]}', parts=3)[2] == b'{"data": [1]}'
    )
    large = b'x' * 2_000_000
    assert ask('/gradio_api/upload', 'POST', body=large)[::2] == (200, large), 'gradio limits these'


@pytest.mark.parametrize(
    'body',
    [
        b'"' + b'x' * 1_000_000 + b'"',
        b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}',
        b'{"data": [{"path": "http://a/b", "meta": {"_type": "gradio\\u002eFileData"}}]}',
        b'[' * 200_000,
        b'no JSON',
    ],
    ids=['large', 'file', 'escaped', 'deep', 'text'],
)
@pytest.mark.parametrize('parts', [1, 2])
def test_no_event_names_a_file(body, parts):
    assert ask('/gradio_api/queue/join', 'POST', body=body, parts=parts)[0] == 400
    assert ask('/gradio_api/run/predict', 'POST', body=body, parts=parts)[0] == 400


def test_the_port_is_the_first_free_one():
    first = find_port()
    with socket.socket() as taken:
        taken.bind((HOST, first))
        taken.listen()
        assert find_port() > first
        with pytest.raises(ConfigError, match=f'port {first} of 127.0.0.1 cannot be used'):
            find_port(first)


@pytest.mark.parametrize('port', [70_000, 10**12])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ConfigError, match='--port'):
        find_port(port)
