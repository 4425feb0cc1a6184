"""The command writes a checkpoint that the test tool loads as it is, or says why not."""

import json
from pathlib import Path

import pytest
import torch

from commands import run_here
from mmseg_ssprompt.outputs import OutputError
from mmseg_ssprompt.prompt_files.transfer import PromptTransferError
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from tiny_model import CONFIG, build_tiny, tiny_config

# Three of the world's classes; the prompts know one by another name.
TARGET = f"""
_base_ = [{str(CONFIG)!r}]
model = dict(decode_head=dict(num_classes=3, semantic_prompts=dict(
    dataset=None, class_names=['Tiled Pavement', 'beach ball', 'kite'])))
test_dataloader = dict(dataset=dict(
    num_images=2, metainfo=dict(classes=('tiled pavement', 'ball', 'kite'))))
"""
SEMANTIC = 'decode_head.semantic_prompts.fusion.'


@pytest.fixture
def transfer(files, monkeypatch):
    """Run the command in this process, in the folder of :func:`files`."""

    def run(out: str, *options: str) -> None:
        run_here('prompts transfer', 'source.pth', 'target.py', '--out', out, *options)

    monkeypatch.chdir(files)
    return run


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder with ``source.pth`` and ``target.py``."""
    model, config = build_tiny(seed=1), tiny_config()
    meta = dict(cfg=config.pretty_text, iter=2)
    state_dict = model.without_frozen(model.state_dict())
    torch.save(dict(meta=meta, state_dict=state_dict), tmp_path / 'source.pth')
    (tmp_path / 'target.py').write_text(TARGET)
    return tmp_path


def test_the_test_tool_loads_what_is_written(files, transfer, capsys):
    transfer('new/out.pth')
    assert capsys.readouterr().out.splitlines()[:4] == [
        'spatial prompts: all 64 taken as they are',
        'semantic prompts: 2 of 3 classes from the source',
        '  matched: Tiled Pavement, kite',
        '  handcrafted: beach ball',
    ]
    assert [path.name for path in (files / 'new').iterdir()] == ['out.pth']
    written = torch.load(files / 'new' / 'out.pth', weights_only=True)
    given = torch.load(files / 'source.pth', weights_only=True)['state_dict']
    learned, default = (written['state_dict'][SEMANTIC + key] for key in ('learned', 'default'))
    assert torch.equal(learned[[0, 2]], given[f'{SEMANTIC}learned'][[9, 2]])
    assert torch.equal(learned[1], default[1])
    assert written['meta']['dataset_meta']['classes'] == ('tiled pavement', 'ball', 'kite')
    assert written['meta']['prompt_transfer']['source'] == 'source.pth'
    assert written['meta']['prompt_transfer']['unmatched'] == ('beach ball',)

    name = f'experiment_name={files.name}'  # mmengine keeps one of each name
    options = ['--work-dir', 'work', '--cfg-options', name, f'visualizer.name={files.name}']
    run_here('test.py', 'target.py', 'new/out.pth', *options)
    (figures,) = (files / 'work').glob('*/*.json')
    assert {'IoU.tiled pavement', 'IoU.ball', 'IoU.kite'} <= set(json.loads(figures.read_text()))


def test_the_target_takes_settings_beside_its_config(files, transfer):
    setting = 'model.decode_head.semantic_prompts.fusion.mode=learned_only'
    expected = "semantic_prompts, fusion: expected 'learned_only', found 'learned_weight'"
    with pytest.raises(PromptTransferError, match=expected):
        transfer('out.pth', '--cfg-options', setting)
    assert not (files / 'out.pth').exists()


@pytest.mark.parametrize('out', ['source.pth', 'new/../source.pth'])
def test_what_is_read_is_not_overwritten(files, transfer, out):
    before = (files / 'source.pth').read_bytes()
    (files / 'new').mkdir()
    with pytest.raises(OutputError, match=f"--out='{out}': expected a path that the run does not"):
        transfer(out)
    assert (files / 'source.pth').read_bytes() == before
    assert (files / 'target.py').read_text() == TARGET


def test_a_damaged_file_is_named_and_nothing_is_written(files, transfer):
    (files / 'source.pth').write_bytes(b'PK\x03\x04 cut off')
    expected = r"cannot read checkpoint 'source\.pth' \(12 bytes\).*copy or download it again"
    with pytest.raises(CheckpointError, match=expected):
        transfer('out.pth')
    assert sorted(path.name for path in files.iterdir()) == ['source.pth', 'target.py']


def test_what_was_there_stays_if_writing_fails(files, transfer, monkeypatch):
    (files / 'out.pth').write_text('of before')

    def fail(checkpoint, stream):
        stream.write(b'half')
        raise OSError('no space left')

    monkeypatch.setattr(torch, 'save', fail)
    with pytest.raises(OSError, match='no space left'):
        transfer('out.pth')
    assert (files / 'out.pth').read_text() == 'of before'
    assert sorted(path.name for path in files.iterdir()) == ['out.pth', 'source.pth', 'target.py']


def test_a_target_without_prompts(files, transfer):
    linear = CONFIG.parent / 'ablations' / 'linear_sam-tiny_shapes.py'
    (files / 'target.py').write_text(f'_base_ = [{str(linear)!r}]')
    with pytest.raises(PromptTransferError, match=r"'target\.py'.*found a .*LinearEmbeddingHead"):
        transfer('out.pth')
