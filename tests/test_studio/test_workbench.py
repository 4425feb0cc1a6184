"""All that a page may ask for, and what a stranger may send in its place."""

import shutil
import threading

import numpy as np
import pytest

from mmseg_ssprompt import predict
from mmseg_ssprompt.config_files import find_config
from mmseg_ssprompt.studio import Look
from mmseg_ssprompt.studio.workbench import CLOSER, Asked, Workbench
from studio_models import (
    DEMO_PROMPTS,
    decode_uri,
    demo_studio,
    draw_photograph,
    make_png,
    save_photograph,
)

NAN = float('nan')
HTML = '<img src=x onerror=alert(1)>'


@pytest.fixture
def bench(tmp_path):
    (tmp_path / 'uploads').mkdir()
    return Workbench(demo_studio(), tmp_path / 'uploads')


@pytest.fixture(scope='module')
def opened_bench(tmp_path_factory):
    opened = Workbench(demo_studio(), tmp_path_factory.mktemp('uploads'))
    opened.open_example('a', 0, Asked())
    return opened


def upload(bench, tmp_path, tab='a', name='a.png', asked=None, content=None):
    folder = tmp_path / 'uploads' / 'digest'
    folder.mkdir(exist_ok=True)
    file = folder / 'file.png'
    if content is None:
        save_photograph(file)
    else:
        file.write_bytes(content)
    return bench.open_upload(tab, str(file), name, asked or Asked()), file


def test_an_upload_is_shown_and_its_file_deleted(bench, tmp_path):
    shown, file = upload(bench, tmp_path)
    assert 'st-canvas' in shown.stage
    assert 'st-sheet' in shown.closer
    assert 'a.png, 120 x 80 pixels' in shown.status
    assert 'embedded in' in shown.status
    assert not file.exists()
    assert shown.prompt == bench._tabs['a'].best_mask(Look())


@pytest.mark.parametrize('closer', CLOSER)
def test_each_closer_look_is_drawn(bench, closer):
    assert 'st-canvas' in bench.open_example('a', 1, Asked(closer=closer)).stage
    shown = bench.point('a', 0.4, 0.6, Asked(closer=closer))
    assert 'role="alert"' not in shown.status
    assert ('st-mark' in shown.stage) == (closer == 'point')
    assert {'prompts': 'All masks', 'point': 'SAM, asked', 'compare': 'differ'}[
        closer
    ] in shown.closer


@pytest.mark.parametrize(
    ('wrong', 'text'),
    [
        (dict(spatial=NAN, spatial_as_trained=False), 'trust in spatial prompts'),
        (dict(semantic=2, semantic_as_trained=False), 'trust in semantic prompts'),
        (
            dict(spatial=None, spatial_as_trained='yes', semantic='x', semantic_as_trained=0),
            'trust',
        ),
        (dict(names=''), 'no class name'),
        (dict(names='a\nA'), 'there twice'),
        (dict(names='x' * 5000), 'characters'),
        (dict(names='\n'.join(map(str, range(999)))), '999 class names'),
        (dict(names=HTML + '\n' + HTML), 'there twice'),
        (dict(view='panoptic'), 'no view'),
        (dict(view=['semantic']), 'no view'),
        (dict(view=HTML), 'no view'),
        (dict(closer='../../etc/passwd'), 'nothing called'),
        (dict(prompt=-1), 'number of a mask'),
        (dict(prompt=NAN), 'number of a mask'),
        (dict(prompt=10**400), 'number of a mask'),
        (dict(closer='compare', second='other'), 'no other prompts'),
        (dict(closer='compare', second='/etc/passwd'), 'to compare with'),
        (dict(closer='compare', second=[]), 'to compare with'),
    ],
)
def test_whatever_is_wrong_is_said_and_the_page_goes_on(opened_bench, wrong, text):
    shown = opened_bench.show('a', Asked(**wrong))
    assert (shown.stage, shown.closer) == (None, None), 'what was shown stays'
    if wrong.get('spatial_as_trained') != 'yes':
        assert text in shown.status
    assert shown.status.startswith('<p class="st-error"')
    assert '<img' not in shown.status
    assert 'role="alert"' not in opened_bench.show('a', Asked()).status


def test_names_of_a_stranger_are_escaped(bench, tmp_path):
    names = '\n'.join([HTML, 'sky & <b>sea</b>', '"quoted" onload=x'])
    shown, _ = upload(bench, tmp_path, name=f'../../{HTML}.png', asked=Asked(names=names))
    for closer in CLOSER:
        more = bench.point('a', 0.5, 0.5, Asked(names=names, closer=closer))
        for part in (*shown[:3], *more[:3]):
            assert '<img src=x' not in part
            assert '<b>sea' not in part
    assert '&lt;img src=x onerror=alert(1)&gt;' in shown.stage


@pytest.mark.parametrize(
    'name', ['../../../etc/passwd', 'C:\\a\\b.png', '\0\n', None, 5, 'x' * 900]
)
def test_a_name_of_a_file_is_for_people_alone(bench, tmp_path, name):
    shown, _ = upload(bench, tmp_path, name=name)
    assert 'st-canvas' in shown.stage
    assert '..' not in shown.status
    assert len(shown.status) < 300


def test_no_path_that_a_browser_names_is_opened(bench, tmp_path):
    secret = save_photograph(tmp_path / 'secret.png')
    link = tmp_path / 'uploads' / 'link.png'
    link.symlink_to(secret)
    beside = tmp_path / 'uploads2'
    beside.mkdir()
    shutil.copy(secret, beside / 'a.png')
    for path in (
        *('/etc/passwd', str(secret), str(link), str(beside / 'a.png'), str(tmp_path / 'uploads')),
        *(str(tmp_path / 'uploads' / '..' / 'secret.png'), '', '\0', None, 5, ['/etc/passwd']),
        *({'path': str(secret)}, 'file://' + str(secret), 'http://127.0.0.1:1/', 'x' * 100_000),
    ):
        shown = bench.open_upload('a', path, 'a.png', Asked())
        assert shown.stage is None
        assert 'no picture that was uploaded' in shown.status, path
    assert secret.exists(), 'nor deleted'


@pytest.mark.parametrize('content', [b'', b'text', make_png(20_000, 10_000)])
def test_after_a_broken_file_the_picture_before_stays(bench, tmp_path, content):
    upload(bench, tmp_path)
    shown, file = upload(bench, tmp_path, content=content, name='broken.png')
    assert shown.stage is None
    assert 'broken.png' in shown.status
    assert not file.exists()
    assert 'a.png, 120 x 80' in bench.show('a', Asked()).status


def test_two_tabs_have_pictures_of_their_own(bench, tmp_path):
    upload(bench, tmp_path, tab='a')
    bench.open_example('b', 2, Asked())
    bench.point('b', 0.1, 0.1, Asked(closer='point'))
    assert 'a.png' in bench.show('a', Asked(closer='point')).status
    assert 'Click a point' in bench.show('a', Asked(closer='point')).closer
    assert 'drawn scene 3' in bench.show('b', Asked()).status


def test_the_memory_of_a_closed_tab_is_free(bench, tmp_path):
    upload(bench, tmp_path, tab='a')
    bench.open_example('b', 0, Asked())
    bench.open_example('c', 0, Asked())
    assert len(bench.store) == 2
    bench.close('a')
    assert len(bench.store) == 1
    bench.close('b')
    assert len(bench.store) == 1, 'another tab has the same picture'
    bench.close('c')
    bench.close('no such tab')
    assert (len(bench.store), bench.tabs) == (0, [])
    assert 'No picture is open' in bench.show('a', Asked()).status


def test_the_number_of_tabs_is_bounded(bench):
    for number in range(80):
        bench.show(f'tab {number}', Asked())
    assert len(bench.tabs) == 64
    assert 'tab 79' in bench.tabs


def test_tabs_that_ask_at_once_get_their_own(bench, tmp_path):
    bench.open_example('0', 0, Asked())
    bench.open_example('1', 1, Asked())
    found = {}

    def ask(number):
        found[number] = [
            bench.show(number, Asked(semantic_as_trained=False, semantic=w / 2)) for w in range(2)
        ]

    threads = [threading.Thread(target=ask, args=(number,)) for number in '01']
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in '01':
        assert all(f'drawn scene {int(number) + 1}' in each.status for each in found[number])


def test_download_is_the_label_map_of_predict(bench, tmp_path):
    upload(bench, tmp_path, name='../holiday.photo.png')
    uri, name, status = bench.download('a', Asked())
    assert name == 'holiday.photo_labels.png'
    assert '120 x 80' in status
    (expected,) = predict(
        find_config('ssprompt_sam-tiny_shapes'),
        draw_photograph(),
        prompts=DEMO_PROMPTS,
        device='cpu',
    )
    np.testing.assert_array_equal(decode_uri(uri), expected.label_map)
    assert bench.download('b', Asked())[0] is None


def test_a_refused_file_is_named(bench):
    assert '&lt;b&gt;.png was not taken' in bench.refuse('../<b>.png').status


def test_an_unforeseen_error_does_not_end_the_page(bench, monkeypatch, capsys):
    bench.open_example('a', 0, Asked())
    monkeypatch.setattr(bench.model, 'output', lambda *_: 1 / 0)
    shown = bench.show('a', Asked())
    assert 'This did not work (ZeroDivisionError)' in shown.status
    assert 'division by zero' in capsys.readouterr().err
