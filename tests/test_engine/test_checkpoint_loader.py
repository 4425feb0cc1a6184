"""mmengine reads checkpoints from disk through our loader, which runs nothing in them."""

import pickle
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from mmseg_ssprompt.engine import load_from_local
from mmseg_ssprompt.models.checkpoint import CheckpointError

PLAIN = dict(meta=dict(iter=3, name='a', sizes=[1, 2.5], pair=(True, None)))


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


def load(path: Path) -> dict:
    """As the runner does."""
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / 'iter_3.pth'
    torch.save(dict(PLAIN, state_dict=nn.Linear(40, 30).state_dict()), path)
    return path


def test_tensors_and_plain_values(saved):
    found = load(saved)
    weights = torch.load(saved, weights_only=True)['state_dict']
    assert {key: found[key] for key in PLAIN} == PLAIN
    torch.testing.assert_close(dict(found['state_dict']), dict(weights), atol=0, rtol=0)


@pytest.mark.parametrize('map_location', [None, 'cpu', torch.device('cpu')])
def test_map_location(saved, map_location):
    state_dict = load_from_local(str(saved), map_location)['state_dict']
    assert state_dict['weight'].device.type == 'cpu'


def test_the_home_directory(saved, monkeypatch):
    monkeypatch.setenv('HOME', str(saved.parent))
    assert load(Path('~') / saved.name)['meta'] == PLAIN['meta']


def test_the_legacy_format(saved, tmp_path):
    torch.save(load(saved), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert load(tmp_path / 'old.pth')['meta'] == PLAIN['meta']


def test_a_loaded_file_can_be_replaced(saved):
    """What was read stays what it was."""
    weight = load(saved)['state_dict']['weight']
    before = weight.clone()
    replacement = saved.with_suffix('.tmp')
    torch.save(dict(state_dict=nn.Linear(40, 30).state_dict()), replacement)
    replacement.replace(saved)
    assert torch.equal(weight, before)


def test_a_loaded_file_can_be_written_over(saved):
    """As mmengine saves: a resumed optimiser keeps the tensors that were loaded."""
    weight = load(saved)['state_dict']['weight']
    before = weight.clone()
    saved.write_bytes(b'1' * saved.stat().st_size)
    assert torch.equal(weight, before)


def test_mmengine_uses_it_for_local_paths_only(saved, tmp_path):
    for path in (str(saved), 'relative/iter_3.pth', '~/iter_3.pth', str(tmp_path)):
        assert CheckpointLoader._get_checkpoint_loader(path) is load_from_local
    for url in ('https://a.b/c.pth', 's3://a/c.pth', 'torchvision://resnet50'):
        assert CheckpointLoader._get_checkpoint_loader(url) is not load_from_local


def test_mmengine_loads_a_model_through_it(saved):
    model = nn.Linear(40, 30)
    load_checkpoint(model, str(saved))
    assert torch.equal(model.weight, load(saved)['state_dict']['weight'])


@pytest.mark.parametrize('form', ['zip', 'legacy', 'pickle'])
def test_code_in_a_file_never_runs(tmp_path, form):
    marker, path = tmp_path / 'marker', tmp_path / 'trap.pth'
    content = dict(state_dict={}, trap=Trap(marker))
    if form == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')
    with pytest.raises(CheckpointError, match=r'trap\.pth.*holds Python objects') as info:
        load(path)
    assert not marker.exists()
    assert 'weights_only' not in str(info.value)  # torch's advice to load unsafely


def test_the_trap_is_one(tmp_path):
    """The test above would pass with a trap that does nothing."""
    pickle.loads(pickle.dumps(Trap(tmp_path / 'marker')))
    assert (tmp_path / 'marker').exists()


def test_checkpoints_with_mmengines_objects_are_refused_with_the_reason(tmp_path):
    path = tmp_path / 'theirs.pth'
    scalars = dict(loss=HistoryBuffer([1.0], [1]))
    torch.save(dict(state_dict={}, message_hub=dict(log_scalars=scalars)), path)
    with pytest.raises(CheckpointError) as info:
        load(path)
    text = str(info.value)
    assert 'theirs.pth' in text
    assert 'mmengine.logging.history_buffer.HistoryBuffer' in text
    assert 'save the state dict alone' in text


@pytest.mark.parametrize('keep', [1, 0.5, -1])
def test_truncated_files_are_named_with_their_size(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    size = rf'\({saved.stat().st_size} bytes\)'
    with pytest.raises(CheckpointError, match=rf'iter_3\.pth.*{size}.*damaged or truncated'):
        load(saved)


def test_empty_files_are_named(saved):
    saved.write_bytes(b'')
    with pytest.raises(CheckpointError, match=r'iter_3\.pth.*\(0 bytes\).*it is empty'):
        load(saved)


@pytest.mark.parametrize('name', ['none.pth', '.'])
def test_missing_files_are_named(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError) as info:
        load(path)
    assert f'checkpoint {str(path)!r} does not exist' in str(info.value)
