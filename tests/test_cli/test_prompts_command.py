"""Looking into files of prompts, converting them, and merging them with the frozen weights."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmseg.registry import MODELS

from commands import run_here
from mmseg_ssprompt import __version__
from mmseg_ssprompt.models.segmentors import PromptStateError
from mmseg_ssprompt.outputs import OutputError
from mmseg_ssprompt.weights.checkpoint_loader import load_from_local
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from tiny_model import CONFIG, build_tiny, tiny_config

ROOT = CONFIG.parents[1]
META = dict(
    cfg=tiny_config().pretty_text,
    iter=300,
    seed=0,
    experiment_name='shapes',
    dataset_meta=dict(classes=('ball', 'kite'), palette=[[1, 2, 3]], label_map={1: 0}),
)

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


@pytest.fixture
def saved(tmp_path) -> Path:
    model = build_tiny(seed=1)
    state_dict = model.without_frozen(model.state_dict())
    content = dict(meta=META, state_dict=state_dict, optimizer=dict(state={}))
    torch.save(content, tmp_path / 'iter_300.pth')
    return tmp_path / 'iter_300.pth'


@pytest.fixture
def prompts(saved, monkeypatch, capsys):
    """Run the command in this process, in the folder of the files; return what it prints."""

    def run(*arguments: Any) -> str:
        run_here('prompts', *arguments)
        return capsys.readouterr().out

    monkeypatch.chdir(saved.parent)
    return run


def load(name: str) -> dict:
    return load_from_local(name, 'cpu')


def strip(state_dict: Any) -> dict:
    """The metadata without the name of the file."""
    metadata = {name: dict(entry) for name, entry in state_dict._metadata.items()}
    metadata[''].pop('file')
    return metadata


def test_inspect(prompts, saved):
    lines = prompts('inspect', 'iter_300.pth').splitlines()
    assert lines[0] == f'iter_300.pth: {saved.stat().st_size:,} bytes'
    for line in (
        'tensors: 10, 32,203 numbers, 128,812 bytes',
        '  decode_head.classifier: 4, 6,273 numbers, 25,092 bytes',
        'state of a training: optimizer',
        'iterations: 300',
        'seed: 0',
        'experiment: shapes',
        'config: in the file',
        f'format: 2, of version {__version__} of the package',
        'classes: 10: ball, heart balloon, kite, tent, house, first aid post, sky, forest, lake, '
        'tiled pavement',
        'spatial_prompts: type SpatialPromptLearner, fusion learned_weight, num_prompts 64',
        'trained: spatial_prompts, semantic_prompts',
        f'  image_encoder: {build_tiny().backbone.fingerprints()["image_encoder"]}',
    ):
        assert line in lines


def test_inspect_prompts_that_say_nothing(prompts):
    torch.save(dict(state_dict=dict(a=torch.ones(3))), 'old.pth')
    lines = prompts('inspect', 'old.pth').splitlines()
    assert 'prompts: the file does not say what they were trained with' in lines
    assert '  a: 1, 3 numbers, 12 bytes' in lines


def test_inspect_lets_no_text_command_the_terminal(prompts, saved):
    content = torch.load(saved, weights_only=True)
    content['meta']['experiment_name'] = 'red \x1b[31m'
    torch.save(content, 'red.pth')
    printed = prompts('inspect', 'red.pth')
    assert '\x1b' not in printed
    assert 'experiment: red \\x1b[31m' in printed


def test_convert_there_and_back(prompts, saved):
    before = load('iter_300.pth')
    prompts('convert', 'iter_300.pth', 'new/prompts.safetensors')
    assert [path.name for path in Path('new').iterdir()] == ['prompts.safetensors']
    prompts('convert', 'new/prompts.safetensors', 'back.pth')
    for name in ('new/prompts.safetensors', 'back.pth'):
        found = load(name)
        assert found.keys() == {'meta', 'state_dict'}
        assert found['meta'] == META
        assert found['state_dict'].keys() == before['state_dict'].keys()
        for key, value in before['state_dict'].items():
            assert torch.equal(found['state_dict'][key], value)
        assert strip(found['state_dict']) == strip(before['state_dict'])


def test_what_is_no_text_is_left_out_of_safetensors(prompts, saved):
    content = torch.load(saved, weights_only=True)
    content['meta']['statistics'] = dict(mean=torch.ones(3))
    torch.save(content, 'more.pth')
    prompts('convert', 'more.pth', 'less.safetensors')
    assert load('less.safetensors')['meta'] == META


def test_merge_is_loadable_by_the_same_config(prompts):
    prompts('convert', 'iter_300.pth', 'prompts.safetensors')
    printed = prompts('merge', CONFIG, 'prompts.safetensors', 'full.pth')
    assert printed == f'full.pth: {Path("full.pth").stat().st_size:,} bytes\n'
    full = load('full.pth')
    model = MODELS.build(tiny_config().model)
    assert full['state_dict'].keys() == model.state_dict().keys()
    assert full['meta'] == META
    model.load_state_dict(full['state_dict'])
    given = load('iter_300.pth')['state_dict']
    assert all(torch.equal(model.state_dict()[key], value) for key, value in given.items())


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (
            "backbone=dict(_delete_=True, type='PrecomputedFeatures', "
            "encoder=dict(type='SAMImageEncoder', variant='tiny'))",
            r'image encoder as model\.backbone, found PrecomputedFeatures.*without "_cached"',
        ),
        (
            'decode_head=dict(segmenter=dict(checkpoint=None))',
            r'pre-trained weights for model\.decode_head\.segmenter\.prompt_encoder, found random',
        ),
    ],
)
def test_merge_needs_all_weights(prompts, change, reason):
    text = f'_base_ = [{str(CONFIG)!r}]\nmodel = dict({change})'
    Path('config.py').write_text(text)
    with pytest.raises(ValueError, match=rf"config 'config\.py': expected .*{reason}"):
        prompts('merge', 'config.py', 'iter_300.pth', 'full.pth')
    assert not Path('full.pth').exists()


def test_merge_checks_what_loading_does(prompts):
    Path('config.py').write_text(
        f'_base_ = [{str(CONFIG)!r}]\n'
        'model = dict(decode_head=dict(spatial_prompts=dict(num_prompts=16)))'
    )
    with pytest.raises(PromptStateError, match=r'iter_300\.pth.*\n.*num_prompts: expected 16'):
        prompts('merge', 'config.py', 'iter_300.pth', 'full.pth')
    with pytest.raises(FileNotFoundError, match=r"config 'none\.py' does not exist"):
        prompts('merge', 'none.py', 'iter_300.pth', 'full.pth')


@pytest.mark.parametrize(
    'arguments',
    [
        ('convert', 'iter_300.pth', 'iter_300.pth'),
        ('convert', 'iter_300.pth', 'new/../iter_300.pth'),
    ],
)
def test_what_is_read_is_not_overwritten(prompts, saved, arguments):
    Path('new').mkdir()
    before = saved.read_bytes()
    with pytest.raises(OutputError, match='OUT=.*expected a path that the run does not read'):
        prompts(*arguments)
    assert saved.read_bytes() == before


def test_other_suffixes_are_refused(prompts, capsys):
    with pytest.raises(SystemExit, match='2'):
        prompts('convert', 'iter_300.pth', 'a.onnx')
    assert (
        "OUT: 'a.onnx': expected a name that ends with .pth or .pt or .safetensors"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize('command', ['inspect', 'convert'])
def test_damaged_files_are_named(prompts, saved, command):
    saved.write_bytes(saved.read_bytes()[:-1])
    arguments = ['a.safetensors'] if command == 'convert' else []
    with pytest.raises(CheckpointError, match=r"'iter_300\.pth'.*damaged or truncated"):
        prompts(command, 'iter_300.pth', *arguments)
    torch.save(dict(state_dict={}), 'empty.pth')
    with pytest.raises(CheckpointError, match=r"'empty\.pth'.*found an empty one"):
        prompts(command, 'empty.pth', *arguments)
    torch.save(dict(meta={}), 'no.pth')
    with pytest.raises(CheckpointError, match=r"'no\.pth'.*found 'meta' in it"):
        prompts(command, 'no.pth', *arguments)
    assert not Path('a.safetensors').exists()


def test_metadata_that_nobody_wrote_is_not_passed_on(prompts, saved):
    content = torch.load(saved, weights_only=True)
    content['state_dict']._metadata['']['prompts']['class_names'] = 3
    torch.save(content, 'odd.pth')
    for arguments in (['inspect', 'odd.pth'], ['convert', 'odd.pth', 'a.safetensors']):
        with pytest.raises(CheckpointError, match=r"'odd\.pth', metadata.*class_names: expected"):
            prompts(*arguments)


def test_what_was_there_stays_if_writing_fails(prompts, monkeypatch):
    Path('out.pth').write_text('of before')

    def fail(checkpoint: Any, stream: Any) -> None:
        stream.write(b'half')
        raise OSError('no space left')

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError, match='no space left'):
        prompts('convert', 'iter_300.pth', 'out.pth')
    assert Path('out.pth').read_text() == 'of before'
    assert sorted(path.name for path in Path().iterdir()) == ['iter_300.pth', 'out.pth']


def test_the_commands_of_the_docs(saved, tmp_path, monkeypatch):
    """As they are written, but for fewer images."""
    text = (ROOT / 'docs' / 'checkpoints.md').read_text()
    pattern = r'^ *(?:mmseg-ssprompt |python tools/(?=test))(.*)$'
    commands = re.findall(pattern, text, flags=re.MULTILINE)
    assert [command.split()[:2] for command in commands[:2]] == [
        ['prompts', 'inspect'],
        ['prompts', 'convert'],
    ]
    assert any(command.startswith('test.py') for command in commands)
    work_dir = tmp_path / 'work_dirs' / 'ssprompt_sam-tiny_shapes'
    work_dir.mkdir(parents=True)
    saved.rename(work_dir / 'iter_300.pth')
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    for number, command in enumerate(commands):
        name, *arguments = command.split()
        if name == 'test.py':
            unique = f'{tmp_path.name}_{number}'  # mmengine keeps one of each name
            arguments += ['--cfg-options', 'test_dataloader.dataset.num_images=2']
            arguments += [f'experiment_name={unique}', f'visualizer.name={unique}']
        run_here(name, *arguments)
    figures = next(tmp_path.glob('**/2*/2*.json'))
    assert 'mIoU' in json.loads(figures.read_text())
    assert (tmp_path / 'full.pth').is_file()
