"""The page in a real browser, and its server as strangers ask it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmseg_ssprompt.config_files import find_config
from studio_models import make_png, save_photograph

sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
httpx = pytest.importorskip('httpx', reason='httpx, which gradio brings, is not installed')
pytest.importorskip('gradio', reason='gradio, the extra "studio", is not installed')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='no chromium: apt-get install chromium'),
]
ROOT = Path(__file__).resolve().parents[2]
LONG = 60_000  # milliseconds; machines of tests are busy


@contextlib.contextmanager
def started(*arguments):
    """The command, as a user starts it: its process and the address that it prints."""
    command = [sys.executable, '-m', 'mmseg_ssprompt', 'studio', '--device', 'cpu', *arguments]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED='1')
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert line.startswith('http://127.0.0.1:'), line + process.stderr.read()
        yield process, line.split()[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope='module')
def address():
    with started() as (_, url):
        yield url


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield started
        started.close()


class Tab:
    """A tab with the page."""

    def __init__(self, browser, address, width=1280, height=900, **options):
        size = dict(width=width, height=height)
        self.context = browser.new_context(viewport=size, accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.requests, self.problems = [], []
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.on('pageerror', lambda error: self.problems.append(str(error)))
        self.page.on('console', self._note)
        self.page.set_default_timeout(LONG)
        self.page.goto(address)
        self.page.wait_for_selector('#stage .st-canvas')
        self.page.wait_for_selector('#detail .st-sheet')

    def _note(self, message):
        if message.type == 'error':
            self.problems.append(message.text)

    @property
    def status(self):
        return self.page.locator('#status').inner_text()

    @property
    def overlay(self):
        return self.page.locator('#stage .st-overlay').get_attribute('src')

    @property
    def legend(self):
        return self.page.locator('#stage .st-legend').inner_text()

    def upload(self, file):
        self.page.locator('#drop input[type=file]').set_input_files(str(file))

    def wait_for_status(self, text):
        sync_api.expect(self.page.locator('#status')).to_contain_text(text, timeout=LONG)

    def wait_for_another(self, overlay):
        self.page.wait_for_function(
            '(before) => document.querySelector("#stage .st-overlay")?.src !== before', arg=overlay
        )

    def click_at(self, x, y):
        box = self.page.locator('#stage .st-canvas').bounding_box()
        self.page.mouse.click(box['x'] + x * box['width'], box['y'] + y * box['height'])

    def set_slider(self, name, value):
        """Type a number beside a slider."""
        field = self.page.locator(f'#{name} input[type=number]')
        field.fill(str(value))
        field.press('Enter')


@pytest.fixture
def tab(browser, address):
    opened = Tab(browser, address)
    yield opened
    problems = opened.problems
    opened.context.close()
    assert not problems, problems


def test_the_page_asks_for_nothing_elsewhere(tab, address):
    tab.page.wait_for_timeout(1500)
    outside = [u for u in tab.requests if not u.startswith((address, 'data:', 'blob:'))]
    assert outside == []
    assert len(tab.requests) > 10


def test_a_photograph_is_uploaded_and_segmented(tab, tmp_path):
    before = tab.overlay
    tab.upload(save_photograph(tmp_path / 'holiday.png'))
    tab.wait_for_status('holiday.png, 120 x 80 pixels')
    assert 'embedded in' in tab.status
    assert re.search(r'drawn in \d+\.\d\d s', tab.status)
    assert tab.overlay != before
    box = tab.page.locator('#stage .st-canvas').bounding_box()
    assert box['width'] / box['height'] == pytest.approx(1.5, abs=0.02)


def test_a_dropped_file_is_taken(tab, tmp_path):
    content = list(save_photograph(tmp_path / 'a.png').read_bytes())
    tab.page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], 'dropped.png', {type: 'image/png'}));
          const drop = document.querySelector('.st-drop');
          drop.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
        }""",
        content,
    )
    tab.wait_for_status('dropped.png')


def test_names_are_edited(tab):
    before = tab.overlay
    tab.page.locator('#names textarea').fill('sky\nzebra <b>x</b>')
    tab.page.locator('#apply').click()
    tab.wait_for_another(before)
    assert 'sky' in tab.legend
    text = tab.page.locator('#stage').inner_text()
    assert 'zebra <b>x</b>' in text, 'as text, not as HTML'
    tab.page.locator('#names textarea').fill('')
    tab.page.locator('#apply').click()
    tab.wait_for_status('There is no class name')
    tab.page.locator('#reset').click()
    tab.wait_for_status('drawn in')
    assert tab.overlay == before
    assert 'tiled pavement' in tab.page.locator('#names textarea').input_value()


def test_trust_is_moved_and_set_back(tab):
    before = tab.overlay
    tab.set_slider('semantic', 0)
    tab.wait_for_another(before)
    box = tab.page.locator('#semantic_own input[type=checkbox]')
    sync_api.expect(box).not_to_be_checked(timeout=LONG)
    handcrafted = tab.overlay
    box.check()
    tab.wait_for_another(handcrafted)
    assert tab.overlay == before


def test_of_fifty_quick_moves_the_last_one_counts(tab, browser, address):
    other = Tab(browser, address)
    before = other.overlay
    other.set_slider('spatial', 0.9)
    other.wait_for_another(before)
    expected = other.overlay
    other.context.close()
    slider = tab.page.locator('#spatial input[type=range]')
    asked = []
    tab.page.on('request', lambda r: asked.append(r.url) if 'queue/join' in r.url else None)
    start = time.monotonic()
    for move in range(50):
        value = 0.9 if move == 49 else move % 10 / 10
        slider.evaluate(
            """(slider, value) => {
              slider.value = value;
              slider.dispatchEvent(new Event('input', {bubbles: true}));
            }""",
            value,
        )
    tab.page.wait_for_function(
        '(overlay) => document.querySelector("#stage .st-overlay").src === overlay', arg=expected
    )
    tab.page.wait_for_timeout(1500)
    assert tab.overlay == expected, 'and nothing comes after it'
    assert len(asked) < 25, 'moves did not pile up'
    assert time.monotonic() - start < 60


def test_a_point_is_asked(tab):
    tab.click_at(0.5, 0.1)
    tab.page.wait_for_selector('#detail .st-marked')
    text = tab.page.locator('#detail').inner_text()
    assert 'SAM, asked at this point' in text
    assert 'SSPrompt: sky' in text
    assert re.search(r'decided by\s*prompt \d+', text)
    assert 'Here: sky' in tab.status
    assert tab.page.locator('#stage .st-mark').count() == 1
    assert tab.page.locator('#closer input:checked').get_attribute('value') == 'point'


def test_a_mask_is_chosen_in_the_sheet(tab):
    sheet = tab.page.locator('#detail .st-sheet')
    box = sheet.bounding_box()
    sheet.click(position=dict(x=0.99 * box['width'], y=0.99 * box['height']))
    sync_api.expect(tab.page.locator('#detail')).to_contain_text('Prompt 63', timeout=LONG)
    tab.set_slider('prompt', 5)
    sync_api.expect(tab.page.locator('#detail')).to_contain_text('Prompt 5', timeout=LONG)


def test_prompts_are_compared(tab):
    tab.page.get_by_text('Comparison').click()
    tab.page.wait_for_selector('#detail .st-three')
    text = tab.page.locator('#detail').inner_text()
    assert re.search(r'\d+ % of the pixels differ', text)
    assert 'handcrafted prompts' in text


def test_the_label_map_is_downloaded(tab, tmp_path):
    tab.upload(save_photograph(tmp_path / 'holiday.png'))
    tab.wait_for_status('holiday.png')
    with tab.page.expect_download(timeout=LONG) as download:
        tab.page.locator('#save').click()
    assert download.value.suggested_filename == 'holiday_labels.png'
    download.value.save_as(tmp_path / 'labels.png')
    from PIL import Image

    assert Image.open(tmp_path / 'labels.png').size == (120, 80)


@pytest.mark.parametrize(
    ('name', 'content', 'text'),
    [
        ('broken.png', b'no picture', 'broken.png cannot be read'),
        ('large.png', make_png(20_000, 10_000), 'megapixels or more: pictures may have at most 40'),
        ('heavy.png', b'\0' * 64_000_001, 'heavy.png was not taken: pictures may have at most 64'),
    ],
    ids=['broken', '200 megapixels', 'bytes'],
)
def test_what_cannot_be_shown_is_said_and_the_picture_stays(tab, tmp_path, name, content, text):
    before = tab.overlay
    (tmp_path / name).write_bytes(content)
    tab.upload(tmp_path / name)
    tab.wait_for_status(text)
    assert tab.overlay == before
    tab.problems.clear()
    tab.set_slider('semantic', 0)
    tab.wait_for_another(before)


def test_two_tabs_at_a_time(tab, browser, address, tmp_path):
    other = Tab(browser, address)
    tab.upload(save_photograph(tmp_path / 'mine.png'))
    other.page.locator('.st-examples button').nth(2).click()
    tab.wait_for_status('mine.png')
    other.wait_for_status('drawn scene 3')
    tab.set_slider('semantic', 0.2)
    other.set_slider('semantic', 0.8)
    tab.wait_for_status('mine.png')
    other.wait_for_status('drawn scene 3')
    other.context.close()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [390, 1280])
def test_nothing_is_wider_than_the_screen(browser, address, width, scheme):
    opened = Tab(browser, address, width, color_scheme=scheme)
    opened.page.locator('#names textarea').fill(
        'a very long class name ' * 4 + '\nsky\n' + 'x' * 100
    )
    opened.page.locator('#apply').click()
    opened.wait_for_status('drawn in')
    for closer in ('Masks of prompts', 'A point', 'Comparison'):
        opened.page.get_by_text(closer, exact=True).click()
        opened.page.wait_for_timeout(1000)
        assert opened.page.evaluate('document.documentElement.scrollWidth') <= width
    opened.context.close()


# ---- without a browser


class Client:
    """What a stranger may send to the server."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, trust_env=False, timeout=60)
        self.events = {}
        for dependency in self.http.get('/config').json()['dependencies']:
            for _, event in dependency['targets']:
                self.events.setdefault(event, []).append(dependency['id'])

    def ask(self, event, data, sent=None, session='stranger'):
        """The outputs of an event; what was wrong, if it failed."""
        body = dict(
            data=data, fn_index=self.events[event][0], session_hash=session, event_data=sent
        )
        answer = self.http.post(
            '/gradio_api/queue/join',
            content=json.dumps(body),
            headers={'content-type': 'application/json'},
        )
        if answer.status_code != 200:
            return str(answer.status_code)
        where = dict(session_hash=session)
        with self.http.stream('GET', '/gradio_api/queue/data', params=where) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith('data:') else {}
                if message.get('msg') == 'process_completed':
                    output = message['output']
                    return output['data'] if message['success'] else str(output)
        raise AssertionError('no answer')


@pytest.fixture(scope='module')
def client(address):
    return Client(address)


CONTROLS = [0.6, True, 0.6, True, 'sky\nlake', 'semantic', 'prompts', 0, 'handcrafted']


def test_nan_and_other_values_get_a_sentence(client):
    assert 'st-canvas' in client.ask('load', CONTROLS)[0]
    for value in (float('nan'), float('inf'), -1, 2, 'x', [0.5], {'path': '/etc/passwd'}):
        data = [value, False, *CONTROLS[2:]]
        assert 'trust in spatial prompts is a number from 0 to 1' in client.ask('input', data)[2]
    assert 'st-canvas' in client.ask('input', [0.5, False, *CONTROLS[2:]])[0]


def test_no_file_of_this_machine_is_given(client, address):
    prompts = ROOT / 'mmseg_ssprompt' / 'assets' / 'prompts-tiny_shapes.safetensors'
    uploaded = client.http.post(
        '/gradio_api/upload', files={'files': ('../../../../tmp/a.png', b'abc', 'image/png')}
    ).json()[0]
    folder = Path(uploaded).parents[1]
    assert folder.name.startswith('ssprompt-studio-')
    assert Path(uploaded).name == 'a.png'
    for path in ('/etc/passwd', prompts, ROOT / 'README.md', uploaded, '../../etc/passwd'):
        for route in ('/gradio_api/file=', '/file=', '/gradio_api/file/', '/gradio_api//file='):
            answer = client.http.get(f'{route}{path}')
            assert answer.status_code in (403, 404), (route, path)
            assert len(answer.content) < 100
    for path in ('/static/../../../etc/passwd', '/assets/..%2f..%2f..%2fetc%2fpasswd', '/docs'):
        assert client.http.get(path).status_code in (403, 404)


def test_no_path_that_is_named_is_opened(client):
    for path in ('/etc/passwd', str(ROOT / 'docs' / 'images' / 'comparison.png'), '../a', None):
        found = client.ask('uploaded', CONTROLS, dict(upload=path, name='a.png'))
        assert 'no picture that was uploaded' in found[2], path
    file = dict(path='/etc/passwd', meta=dict(_type='gradio.FileData'))
    assert client.ask('input', [file, *CONTROLS[1:]]) == '400'
    assert client.ask('uploaded', CONTROLS, dict(upload=file)) == '400'


def test_other_hosts_are_refused(client):
    assert client.http.get('/', headers={'host': 'evil.example'}).status_code == 403


def test_too_large_an_upload_is_refused(client):
    files = {'files': ('a.png', b'\0' * 64_100_000, 'image/png')}
    assert client.http.post('/gradio_api/upload', files=files).status_code == 413


def test_it_listens_on_this_machine_alone(address):
    port = int(address.rstrip('/').rpartition(':')[2])
    states = Path('/proc/net/tcp').read_text().splitlines() + (
        Path('/proc/net/tcp6').read_text().splitlines() if Path('/proc/net/tcp6').exists() else []
    )
    listening = [line.split()[1] for line in states if f':{port:04X} ' in line and ' 0A ' in line]
    assert listening == [f'0100007F:{port:04X}']


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly_and_leaves_nothing(ending, browser, tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    with started() as (process, address):
        opened = Tab(browser, address)
        assert [path.name[:16] for path in tmp_path.iterdir()] == ['ssprompt-studio-']
        process.send_signal(ending)
        assert process.wait(timeout=60) in (0, 130)
        assert process.stderr.read().strip() == ''
        assert list(tmp_path.iterdir()) == []
        opened.context.close()


def test_panoptic_views_of_seem(browser):
    with started(str(find_config('ssprompt_seem-tiny_shapes_panoptic_zero-shot'))) as (_, address):
        opened = Tab(browser, address)
        before = opened.overlay
        opened.page.get_by_text('Label map', exact=True).click()
        opened.wait_for_another(before)
        opened.click_at(0.5, 0.5)
        opened.page.wait_for_selector('#detail .st-marked')
        assert 'SEEM, asked at this point' in opened.page.locator('#detail').inner_text()
        opened.context.close()
