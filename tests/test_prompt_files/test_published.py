"""Published folders are read as plain data; what is damaged, changed or foreign is refused."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS

from mmseg_ssprompt.cli.parser import main, run_command
from mmseg_ssprompt.config_reading import ConfigError
from mmseg_ssprompt.models.segmentors import PromptStateError
from mmseg_ssprompt.prediction import predict
from mmseg_ssprompt.prediction.predictor import Predictor, read_model
from mmseg_ssprompt.prompt_files.prompt_file import read_prompt_source
from mmseg_ssprompt.prompt_files.published import PublishedFolderError, read_published
from mmseg_ssprompt.publishing import publish
from mmseg_ssprompt.weights import safe_checkpoint_loading
from mmseg_ssprompt.weights.prompt_places import find_prompt_file
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from own_photographs import draw_photograph
from predicted_pictures import write_model
from published_folders import edit_config, publish_model


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path:
    """A folder with ``model`` and what was ``published`` of it."""
    root = tmp_path_factory.mktemp('made')
    publish_model(root)
    return root


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of what was published."""
    return shutil.copytree(made / 'published', tmp_path / 'published')


# Where it is taken


def test_it_is_taken_in_the_place_of_a_file_of_prompts(made, folder):
    image, _ = draw_photograph()
    config, file = made / 'model' / 'config.py', folder / 'prompts.safetensors'
    expected = next(iter(predict(config, [image], prompts=file))).label_map
    assert len(np.unique(expected)) > 1
    assert np.array_equal(next(iter(predict(str(folder), [image]))).label_map, expected)
    found = next(iter(predict(config, [image], prompts=folder))).label_map
    assert np.array_equal(found, expected)
    for place in (folder, str(folder), os.path.relpath(folder)):
        assert find_prompt_file(place) == Path(place) / 'prompts.safetensors'
        assert read_prompt_source(place).class_names == ('sky', 'tree', 'road', 'car')
    other = write_model(folder.parent / 'other', seed=2)
    model = MODELS.build(read_model(other).cfg.model)
    with safe_checkpoint_loading():  # as tools/test.py reads load_from
        load_checkpoint(model, str(folder), map_location='cpu', logger='silent')
    state = read_prompt_source(file).state_dict
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())


def test_prompts_inspect_and_convert(folder, tmp_path, capsys):
    assert main(['prompts', 'inspect', str(folder)]) is None
    said = capsys.readouterr().out
    assert 'classes: 4: sky, tree, road, car' in said
    assert 'state of a training: none' in said
    main(['prompts', 'convert', str(folder), str(tmp_path / 'a.pth')])
    assert read_prompt_source(tmp_path / 'a.pth').class_names[0] == 'sky'


def test_a_config_py_in_it_is_not_run(folder):
    (folder / 'config.py').write_text('raise SystemExit("it was run")')
    assert read_model(folder).config.name == 'config.json'


def test_prompts_are_not_given_with_a_folder(folder):
    with pytest.raises(ConfigError, match='expected a config where prompts are given'):
        read_model(folder, folder)


def test_files_of_weights_may_lie_elsewhere(tmp_path):
    config = tmp_path / 'own.py'
    config.write_text("model = dict(weights=dict(sam='weights/a.pth', clip='weights/b.pt'))")
    found = read_model(config, None, tmp_path / 'my_sam.pth', 'my_clip.pt').cfg.model.weights
    expected = dict(sam=str(tmp_path / 'my_sam.pth'), clip=str(Path('my_clip.pt').absolute()))
    assert found == expected
    config.write_text("model = dict(weights=dict(seem='weights/a.pth'))")
    assert read_model(config, None, 'x.pt').cfg.model.weights.seem == str(Path('x.pt').absolute())
    with pytest.raises(ConfigError, match='--clip-weights: expected no file for this model'):
        read_model(config, None, None, 'b.pt')


# What is foreign


class Touched:
    """Is unpickled as a call that leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def set_at(path: str, value: Any):
    """A change that sets what a dotted path leads to."""

    def change(content: Any) -> None:
        *holders, last = path.split('.')
        for key in holders:
            content = content[int(key) if isinstance(content, list) else key]
        content[last] = value

    return change


DATASET = 'test_dataloader.dataset'
STEP = f'{DATASET}.pipeline.0'


@pytest.mark.parametrize(
    ('path', 'value', 'text'),
    [
        ('model.type', 'os.mkdir', r"model.type: expected 'PromptSegmentor', found 'os.mkdir'"),
        ('model.type', 'EncoderDecoder', r"model.type: expected 'PromptSegmentor'"),
        ('model.backbone.type', 'os.mkdir', r'model.backbone: type: expected a component of mmseg'),
        ('model.backbone.type', ['os.mkdir'], r'model.backbone: type: expected a component'),
        ('model.backbone', dict(type='ResNet', depth=18), 'model.backbone: type: expected a comp'),
        ('model.decode_head.loss_decode', [dict(type='builtins.exec')], r'loss_decode\[0\]: type'),
        ('model.init_cfg', dict(type='Pretrained', checkpoint='http://x'), "no setting 'init_cfg'"),
        ('model._scope_', 'mmdet', "model: expected no setting '_scope_'"),
        ('model.weights.sam', '/etc/passwd', r"sam: expected a file named 'weights/NAME'"),
        ('model.weights.sam', '../weights/x.pth', r'sam: expected a file named'),
        ('model.weights.sam', 'mmseg_ssprompt://../x', r'sam: expected a file named'),
        ('model.weights.sam', 'http://x/y.pth', r'sam: expected a file named'),
        ('model.weights', ['x'], r'model.weights: expected a dict or None'),
        ('model.decode_head.classifier.checkpoint', '/x.pth', r'checkpoint: expected a file named'),
        ('model.decode_head.semantic_prompts.class_names', '/etc/passwd', 'expected a list of nam'),
        ('model.decode_head.semantic_prompts.dataset', 'os.path', "no setting 'dataset'"),
        ('_base_', ['/x.py'], r"the config: expected .*found \['_base_'\] too"),
        ('custom_imports', dict(imports=['os']), r"found \['custom_imports'\] too"),
        (f'{DATASET}.type', 'os.mkdir', "dataset.type: expected 'ImageFolderDataset'"),
        (f'{DATASET}.data_root', '/', r"dataset: expected .*found \['data_root'\] too"),
        (f'{DATASET}.classes', '/etc/passwd', 'classes: expected a list of names'),
        (f'{STEP}.type', 'os.mkdir', r'pipeline\[0\]: type: expected a component'),
        (f'{STEP}.backend_args', dict(backend='http'), "no setting 'backend_args'"),
        (f'{DATASET}.pipeline', 'os.mkdir', 'pipeline: expected a list of dicts'),
        ('format', 99, 'format: expected at most 1, found 99, written by version'),
        ('format', 'x', 'format: expected a number'),
        ('model', None, 'model: expected a dict, found None'),
        ('training_size', 'x', 'training_size: expected two numbers'),
        ('model.backbone', {'__items__': [[1, 2]]}, 'expected names of settings'),
    ],
)
def test_configs_of_strangers_are_refused_and_nothing_is_run(folder, path, value, text):
    edit_config(folder, set_at(path, value))
    with pytest.raises(PublishedFolderError, match=text) as info:
        read_model(folder)
    assert 'Nothing of it was run' in str(info.value)
    assert len(str(info.value).splitlines()) == 1


@pytest.mark.parametrize(
    'content',
    [
        *(b'', b'no json', b'[]', b'null', b'\xff\xfe', b'{"format": NaN}', b'[' * 100000),
        b'{"__tuple__": 3}',
        b'x' * (5 << 20),
        b'{"model":' * 400 + b'{}' + b'}' * 400,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_files_that_are_no_config(folder, content):
    (folder / 'config.json').write_bytes(content)
    with pytest.raises(PublishedFolderError, match=r"config\.json'") as info:
        read_model(folder)
    assert len(str(info.value)) < 1000


def test_prompts_of_another_kind_are_refused(folder, tmp_path):
    file = folder / 'prompts.safetensors'
    with open(file, 'wb') as stream:
        pickle.dump(Touched(tmp_path / 'touched'), stream)
    with pytest.raises(CheckpointError, match=r'prompts\.safetensors'):
        read_model(folder)
    torch.save(dict(state_dict=Touched(tmp_path / 'touched')), file)
    with pytest.raises(CheckpointError, match=r'prompts\.safetensors'):
        read_model(folder)
    assert not (tmp_path / 'touched').exists()


def test_links_that_lead_out_are_refused(folder, tmp_path):
    for name in ('config.json', 'prompts.safetensors'):
        there = shutil.move(folder / name, tmp_path / name)
        (folder / name).symlink_to(there)
        with pytest.raises(CheckpointError, match=f"{name}': .*link that leads out of the folder"):
            read_model(folder)
        (folder / name).unlink()
        shutil.move(there, folder / name)
    assert read_model(folder).prompts is not None


# What is damaged


@pytest.mark.parametrize('name', ['config.json', 'prompts.safetensors'])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace('.', r'\.')):
        read_model(folder)


def test_a_flipped_bit_anywhere_in_the_prompts_is_found(folder):
    file = folder / 'prompts.safetensors'
    content = bytearray(file.read_bytes())
    for place in (len(content) - 5, len(content) // 2, 200, 9):
        damaged = bytearray(content)
        damaged[place] ^= 4
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r'prompts\.safetensors.*damaged'):
            read_model(folder)
    file.write_bytes(content[:-7])
    with pytest.raises(CheckpointError, match=r'prompts\.safetensors'):
        read_model(folder)


def test_a_config_that_was_changed_is_refused(folder):
    content = (folder / 'config.json').read_text()
    edit_config(folder, lambda each: each['test_dataloader']['dataset']['classes'].reverse())
    with pytest.raises(PublishedFolderError, match='one of both was changed or damaged'):
        read_model(folder)
    (folder / 'config.json').write_text(content.replace('\n', '\r\n'))  # as git may do
    Predictor(read_model(folder), 'cpu')


def test_files_of_two_folders_do_not_fit(made, folder, tmp_path):
    config = write_model(tmp_path / 'model', **{'model.decode_head.spatial_prompts.num_prompts': 4})
    other = publish(config, tmp_path / 'b', prompts=config.parent / 'prompts.safetensors').out
    shutil.copy(other / 'prompts.safetensors', folder)
    with pytest.raises(PublishedFolderError, match='one of both was changed or damaged'):
        read_model(folder)
    image, _ = draw_photograph()
    with pytest.raises(PromptStateError, match='num_prompts: expected 9, found 4'):
        predict(made / 'model' / 'config.py', [image], prompts=other)


def test_prompts_of_elsewhere_are_refused(made, folder):
    """As ``fit`` or ``convert`` write them, with a config that was published."""
    shutil.copy(made / 'model' / 'prompts.safetensors', folder)
    with pytest.raises(PublishedFolderError, match='has in its metadata, found another one'):
        read_published(folder)


def test_errors_end_in_one_line_and_status_1(folder, tmp_path, capsys):
    (folder / 'prompts.safetensors').write_bytes(b'damaged')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.png').touch()
    for command in (
        ['prompts', 'inspect', str(folder)],
        ['prompts', 'inspect', str(tmp_path / 'empty')],
        ['prompts', 'inspect', 'hf://x'],
        ['predict', str(folder), str(tmp_path / 'a.png'), '--out', str(tmp_path / 'out')],
        ['publish', str(tmp_path / 'empty'), '--out', str(tmp_path / 'out')],
        ['publish', str(folder), '--out', str(tmp_path / 'out')],
    ):
        assert run_command(command) == 1
        said = capsys.readouterr()
        assert said.out == ''
        assert said.err.startswith('mmseg-ssprompt') and len(said.err.splitlines()) == 1
    assert not (tmp_path / 'out').exists()
    assert json.loads((folder / 'config.json').read_text())['format'] == 1
