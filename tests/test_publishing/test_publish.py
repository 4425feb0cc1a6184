"""What is published: nothing private, the same each time, and all of it usable elsewhere."""

import getpass
import json
import os
import re
import shlex
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from mmengine.config import Config
from PIL import Image

from mmseg_ssprompt.cli.parser import main
from mmseg_ssprompt.config_reading import ConfigError
from mmseg_ssprompt.models.segmentors import PromptStateError
from mmseg_ssprompt.outputs import OutputError
from mmseg_ssprompt.prediction import predict
from mmseg_ssprompt.prompt_files.published import read_published
from mmseg_ssprompt.publishing import publish
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from own_photographs import draw_photograph, save
from predicted_pictures import write_model, write_prompts_of
from published_folders import SECRETS, make_fit_folder

FILES = ['README.md', 'config.json', 'prompts.safetensors']
NASTY = ('a"b\n---\nx: y', "it's <b>bold</b>", '| pipe ](http://x) `c`', '- list: [1, 2]')


@pytest.fixture(scope='module')
def fitted(tmp_path_factory) -> Path:
    return make_fit_folder(tmp_path_factory.mktemp('fitted'))


@pytest.fixture(scope='module')
def published(fitted, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('published') / 'new' / 'out'
    return publish(fitted, folder, licence='cc-by-4.0', authors=['A. Author'], pictures=True).out


def front_matter(card: str) -> dict:
    """As model hubs find it."""
    found = re.match(r'^---\n(.*?)\n---\n', card, flags=re.DOTALL)
    return yaml.safe_load(found.group(1))


def header_of(file: Path) -> dict:
    """The free texts of a file of safetensors, read as others do."""
    content = file.read_bytes()
    (size,) = struct.unpack('<Q', content[:8])
    return json.loads(content[8 : 8 + size])['__metadata__']


def test_the_published_model_predicts_the_same(fitted, published):
    image, _ = draw_photograph()
    maps = [next(iter(predict(each, [image]))).label_map for each in (fitted, published)]
    assert len(np.unique(maps[0])) > 1
    assert np.array_equal(*maps)


def test_nothing_private_is_in_any_file(fitted, published):
    assert sorted(os.listdir(published)) == sorted([*FILES, 'preview.jpg'])
    own = (socket.gethostname(), getpass.getuser(), str(Path.home()), '/tmp/', str(fitted))
    checkout = str(Path(__file__).resolve().parents[2])
    # Names of three letters are in any picture.
    private = [*SECRETS, checkout, 'site-packages', *(text for text in own if len(text) > 4)]
    for file in published.iterdir():
        content = file.read_bytes()
        for text in private:
            assert text.encode() not in content, f'{text} is in {file.name}'
        assert b'Exif' not in content
    assert set(json.loads(header_of(published / 'prompts.safetensors')['mmseg_ssprompt'])) == {
        'meta', 'metadata',
    }  # fmt: skip


def test_equal_input_gives_equal_files(fitted, published, tmp_path):
    again = publish(
        fitted, tmp_path / 'x', licence='cc-by-4.0', authors=['A. Author'], pictures=True
    ).out
    for file in published.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_the_card_says_what_is_known(fitted, published):
    card = (published / 'README.md').read_text()
    head = front_matter(card)
    assert head['license'] == 'cc-by-4.0'
    assert (head['library_name'], head['pipeline_tag']) == ('mmseg_ssprompt', 'image-segmentation')
    results = json.loads((fitted / 'results.json').read_text())
    best = results['arms'][0]['test']['mIoU']
    (entry,) = head['model-index'][0]['results'][0]['metrics']
    assert entry == dict(type='mean_iou', name='mIoU (%)', value=round(best, 2))
    assert 'by A. Author' in card
    assert '7 photographs with labels: 3 for training, 1 for validation, 3 for the test' in card
    assert '2 pictures of each class were drawn' in card
    assert f'| **SSPrompt** (published) | {best - 1:.1f} | {best:.1f} | ' in card
    low, high = re.search(r'\(published\).* (\d+\.\d) to (\d+\.\d) \|', card).groups()
    assert float(low) <= best <= float(high) and float(low) < float(high)
    assert 'Figures of so few pictures are uncertain' in card
    digests = json.loads(header_of(published / 'prompts.safetensors')['mmseg_ssprompt'])
    parts = digests['metadata']['']['prompts']['base']['parts']
    assert all(f'`{digest}`' in card for digest in parts.values())


def test_the_commands_and_the_program_of_the_card_run_as_written(published, tmp_path, monkeypatch):
    shutil.copytree(published, tmp_path / 'copy')
    save(draw_photograph()[0], tmp_path / 'copy' / 'new_photos' / 'a.png')
    monkeypatch.chdir(tmp_path / 'copy')
    card = Path('README.md').read_text()
    (commands,) = re.findall(r'```bash\n(.*?)```', card, flags=re.DOTALL)
    (program,) = re.findall(r'```python\n(.*?)```', card, flags=re.DOTALL)
    for command in commands.splitlines():
        name, *arguments = shlex.split(command)
        assert (name, main(arguments)) == ('mmseg-ssprompt', None)
    label_map = np.array(Image.open('predictions/labels/a.png'))
    found = {}
    exec(program, found)
    assert np.array_equal(found['prediction'].label_map, label_map)


def test_the_card_loads_in_the_hub_s_own_library(published):
    hub = pytest.importorskip('huggingface_hub')
    data = hub.ModelCard.load(published / 'README.md').data
    (result,) = data.eval_results
    assert (result.metric_type, result.dataset_type) == ('mean_iou', 'own-photographs')
    assert data.license == 'cc-by-4.0'


def test_names_that_look_like_markup(tmp_path):
    folder = make_fit_folder(tmp_path, NASTY)
    title = 'T\n---\nlicense: "mit" <script>alert(1)</script>'
    out = publish(folder, tmp_path / 'out', name=title, authors=['<i>X</i>\n# Y']).out
    card = (out / 'README.md').read_text()
    head = front_matter(card)
    assert 'license' not in head
    assert head['model-index'][0]['name'] == ' '.join(title.split())
    body = card.partition('\n---\n')[2]
    assert '<script>' not in body and '<b>' not in body and '<i>' not in body
    assert body.count('\n# ') == 1 and '\n---\n' not in body
    rows = [line for line in body.splitlines() if re.match(r'\| \d \| ', line)]
    assert len(rows) == len(NASTY)
    assert all(len(re.findall(r'(?<!\\)\|', row)) == 5 for row in rows)
    assert read_published(out).cfg.test_dataloader.dataset.classes == list(NASTY)
    plain = re.sub(r'&#(\d+);', lambda code: chr(int(code[1])), rows[2]).replace('\\', '')
    assert '| pipe ](http://x) `c`' in plain


@pytest.mark.slow
@pytest.mark.parametrize('task', ['panoptic', 'instance'])
def test_objects(tmp_path, task):
    name = f'ssprompt_sam-tiny_shapes_{task}.py'
    config = Path(__file__).resolve().parents[2] / 'configs' / name
    write_prompts_of(Config.fromfile(config), tmp_path / 'p.safetensors')
    out = publish(config, tmp_path / 'out', prompts=tmp_path / 'p.safetensors').out
    image, _ = draw_photograph()
    found = [
        next(iter(predict(*model, prompts=prompts)))
        for model, prompts in (
            ((config, [image]), tmp_path / 'p.safetensors'),
            ((out, [image]), None),
        )
    ]
    assert np.array_equal(*(each.label_map for each in found))
    assert [o[:3] for o in found[0].objects] == [o[:3] for o in found[1].objects]
    assert f'{task} segmentation' in (out / 'README.md').read_text()


# What is refused


def test_folders_with_other_things_stay_as_they_are(fitted, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'mine.txt').write_text('mine')
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r'expected .*found .*mine\.txt'):
            publish(fitted, out, overwrite=overwrite)
    assert os.listdir(tmp_path) == ['out'] and os.listdir(out) == ['mine.txt']


@pytest.mark.parametrize('place', ['.', '../photos', '../photos/x', 'predictions/best'])
def test_what_is_read_is_not_written(fitted, place):
    with pytest.raises(OutputError):
        publish(fitted, fitted / place, overwrite=True)


def test_an_earlier_one_is_replaced_if_asked(fitted, published, tmp_path):
    out = shutil.copytree(published, tmp_path / 'out')
    with pytest.raises(OutputError, match='--overwrite'):
        publish(fitted, out)
    publish(fitted, out, overwrite=True, licence='mit')
    assert sorted(os.listdir(out)) == FILES
    assert 'license: mit' in (out / 'README.md').read_text()
    assert os.listdir(tmp_path) == ['out']


def test_a_failure_leaves_nothing(fitted, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError('no space left')

    monkeypatch.setattr('mmseg_ssprompt.publishing.publishing.write_card', fail)
    with pytest.raises(OSError, match='no space left'):
        publish(fitted, tmp_path / 'out')
    assert os.listdir(tmp_path) == []


def test_models_that_cannot_be_published(fitted, published, tmp_path):
    one, other = (write_model(tmp_path / name) for name in ('one', 'other'))
    out = tmp_path / 'out'
    with pytest.raises(ConfigError, match='what was published already'):
        publish(published, out)
    with pytest.raises(ConfigError, match=r'\(--prompts FILE\), found none'):
        publish(one, out)
    with pytest.raises(ConfigError, match='Leave --pictures out'):
        publish(one, out, prompts=one.parent / 'prompts.safetensors', pictures=True)
    write_model(other.parent, **{'model.decode_head.spatial_prompts.num_prompts': 4})
    with pytest.raises(PromptStateError, match='num_prompts: expected 9, found 4'):
        publish(one, out, prompts=other.parent / 'prompts.safetensors')
    (tmp_path / 'bad.safetensors').write_bytes(b'no prompts')
    with pytest.raises(CheckpointError, match=r'bad\.safetensors'):
        publish(one, out, prompts=tmp_path / 'bad.safetensors')
    unfinished = shutil.copytree(fitted, tmp_path / 'unfinished')
    (unfinished / 'results.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'expected results\.json'):
        publish(unfinished, out)
    for options in (dict(licence='no licence'), dict(repository='x'), dict(repository='../..')):
        with pytest.raises(ValueError, match='expected'):
            publish(fitted, out, **options)
    assert not out.exists()


def test_components_of_others_are_not_published(tmp_path):
    config = write_model(tmp_path / 'model')
    text = config.read_text().replace("type='MaskClassificationLoss'", "type='CrossEntropyLoss'")
    config.write_text(text)
    with pytest.raises(ConfigError, match=r'loss_decode: type: expected a component of mmseg_ssp'):
        publish(config, tmp_path / 'out', prompts=config.parent / 'prompts.safetensors')
