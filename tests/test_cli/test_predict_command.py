"""``mmseg-ssprompt predict`` says what it has written, and what is wrong in one message."""

import errno
import os
from functools import lru_cache

import numpy as np
import pytest

from mmseg_ssprompt.cli.parser import run_command
from mmseg_ssprompt.prediction import predicting, prediction_folder
from mmseg_ssprompt.prediction.predictor import Predictor, read_model
from own_photographs import make_photographs, save
from predicted_pictures import write_model


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'))


@pytest.fixture
def run(model, tmp_path, monkeypatch, capsys):
    """Run the command in a folder with two photographs; its status, output and errors."""
    make_photographs(tmp_path, 2, labels=None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predicting, 'Predictor', build_once)

    def run(*arguments, config=model, prompts=('--prompts', model.parent / 'prompts.safetensors')):
        try:
            status = run_command(['predict', *map(str, (config, *arguments, *prompts))])
        except SystemExit as left:
            status = left.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def build_once(trained, device=None):
    return _build(trained.config, trained.prompts)


@lru_cache(maxsize=2)
def _build(config, prompts):
    return Predictor(read_model(config, prompts))


def test_it_says_what_it_has_written(run):
    status, said, wrong = run('img', '--out', 'out', '--overlay', '--coco')
    assert (status, wrong) == (None, '')
    lines = said.splitlines()
    assert lines[-3:-1] == ['out/labels: 2 label maps', 'out/overlays: overlays']
    assert lines[-1].startswith('out/coco.json: ')
    assert sorted(os.listdir('out')) == ['coco.json', 'labels', 'overlays', 'predictions.jsonl']
    status, said, _ = run('img/*.png', '--out', 'out')
    assert status is None
    assert 'out/labels: 2 label maps, 2 of them written before' in said


def test_a_damaged_picture_is_the_status(run, tmp_path):
    (tmp_path / 'img' / 'bad.jpg').write_text('no picture')
    (tmp_path / 'img' / 'notes.txt').touch()
    status, said, wrong = run('img', '--out', 'out')
    assert status == 1
    assert 'out/labels: 2 label maps' in said
    assert 'left out: 1 .txt' in said
    assert '1 could not be predicted, or not as a whole:' in said
    assert wrong.startswith('ERROR: ') and "img/bad.jpg'" in wrong and len(wrong.splitlines()) == 1
    assert run('img', '--out', 'out')[0] == 1


@pytest.mark.parametrize(
    ('arguments', 'options', 'text'),
    [
        (['empty'], {}, 'no pictures to predict'),
        (['none'], {}, "input 'none' does not exist"),
        (['img'], dict(config='none'), "model 'none' does not exist: give a folder"),
        (['img'], dict(config='img', prompts=()), 'expected a folder that `mmseg-ssprompt fit`'),
        (['img'], dict(config='img'), 'expected a config where prompts are given, found a folder'),
        (['img'], dict(config='img/0.png'), 'expected a config of mmengine'),
        (['img'], dict(prompts=()), 'expected the file of trained prompts too (--prompts'),
        (['img'], dict(prompts=('--prompts', 'none.pth')), "prompts 'none.pth': expected a file"),
        (['img'], dict(prompts=('--prompts', 'img/0.png')), "checkpoint 'img/0.png'"),
        (['img', '--device', 'cuda:9'], {}, "device 'cuda:9': expected one of this machine"),
        (['img', '--tile', '9', '--overlap', '9'], {}, 'overlap: expected a number of pixels'),
    ],
)
def test_bad_input_ends_in_one_message(run, tmp_path, monkeypatch, arguments, options, text):
    monkeypatch.setattr(predicting, 'Predictor', Predictor if options else build_once)
    if '--device' in arguments:
        monkeypatch.setattr(predicting, 'Predictor', Predictor)
    (tmp_path / 'empty').mkdir()
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob('*') if file.is_file()}
    status, said, wrong = run(*arguments, '--out', 'out', **options)
    assert status == 1
    assert text in wrong
    assert wrong.startswith('mmseg-ssprompt predict: ') and 'Traceback' not in said + wrong
    after = {file: file.stat().st_mtime_ns for file in tmp_path.rglob('*') if file.is_file()}
    assert after == before


@pytest.mark.parametrize('place', ['img', 'img/out', '/proc/out', 'file'])
def test_places_that_must_not_be_written(run, tmp_path, place):
    (tmp_path / 'file').write_text('mine')
    status, _, wrong = run('img', '--out', place)
    assert status in (1, 2)
    assert "'--out'" in wrong or '--out=' in wrong or 'cannot write into' in wrong
    assert sorted(os.listdir('img')) == ['0.png', '1.png']
    assert (tmp_path / 'file').read_text() == 'mine'


def test_a_full_disk_ends_it_and_it_goes_on(run, monkeypatch):
    written = prediction_folder.write_atomically

    def write(file, content):
        if file.name == '1.png':
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        written(file, content)

    monkeypatch.setattr(prediction_folder, 'write_atomically', write)
    status, _, wrong = run('img', '--out', 'out')
    assert status == 1
    assert "No space left on device: '" in wrong and '1.png' in wrong and '[Errno' not in wrong
    assert 'Make room, and give the same command again, which goes on where it was' in wrong
    monkeypatch.setattr(prediction_folder, 'write_atomically', written)
    status, said, _ = run('img', '--out', 'out')
    assert status is None
    assert 'out/labels: 2 label maps, 1 of them written before' in said


def test_an_interrupted_command_says_how_to_go_on(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction_folder.PredictionFolder, 'write', interrupt)
    status, _, wrong = run('img', '--out', 'out')
    assert (status, wrong) == (130, 'interrupted: the same command goes on where it was\n')


def test_a_large_picture_shows_its_tiles(run, tmp_path, monkeypatch):
    from mmseg_ssprompt.fitting import progress

    monkeypatch.setattr(progress, '_INTERVAL', 0.0)
    save(np.zeros((60, 200, 3), np.uint8), tmp_path / 'wide' / 'a.png')
    status, said, _ = run('wide', '--out', 'out', '--tile', '60', '--overlap', '20')
    assert status is None
    assert 'predicting a.png: tile 2 of 5: 0.2 of 1' in said
