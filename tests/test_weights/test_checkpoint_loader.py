"""Our own runs read checkpoints from disk alone, by a loader that runs nothing in them."""

import contextlib
import io
import pickle
import socket
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from mmseg_ssprompt.weights.checkpoint_loader import load_from_local, safe_checkpoint_loading
from mmseg_ssprompt.weights.safetensors_file import pack_safetensors
from mmseg_ssprompt.weights.state_dicts import CheckpointError, read_torch_file
from toy_training import build_toy

PLAIN = dict(meta=dict(iter=3, name='a', sizes=[1, 2.5], pair=(True, None)))


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


URLS = (
    'http://example.org/a.pth',
    'https://example.org/a.safetensors',
    'pavi://a',
    's3://bucket/a.pth',
    'cluster:s3://bucket/a.pth',
    'petrel://bucket/a.pth',
)


def load(path: Path) -> dict:
    """As the runner of a training run of ours does."""
    with safe_checkpoint_loading():
        return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def loaders() -> dict:
    """mmengine's loaders by scheme."""
    return dict(CheckpointLoader._schemes)


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
    with safe_checkpoint_loading():
        for path in (str(saved), 'relative/iter_3.pth', '~/iter_3.pth', str(tmp_path)):
            assert CheckpointLoader._get_checkpoint_loader(path) is load_from_local
        for url in (*URLS, 'torchvision://resnet50'):
            assert CheckpointLoader._get_checkpoint_loader(url) is not load_from_local


def test_mmengine_loads_a_model_through_it(saved):
    model = nn.Linear(40, 30)
    with safe_checkpoint_loading():
        load_checkpoint(model, str(saved))
    assert torch.equal(model.weight, load(saved)['state_dict']['weight'])


def test_all_loaders_are_what_they_were_after_an_error():
    before = loaders()

    @safe_checkpoint_loading()
    def fail() -> None:
        with safe_checkpoint_loading():
            pass
        assert loaders() != before
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert loaders() == before


def test_a_loader_that_is_registered_meanwhile_stays(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', loaders())
    with safe_checkpoint_loading():
        CheckpointLoader.register_scheme('mine://', len)
    assert CheckpointLoader._get_checkpoint_loader('mine://a') is len


@pytest.fixture
def no_network(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError('the network was asked')

    monkeypatch.setattr(socket, 'getaddrinfo', fail)


@pytest.mark.parametrize('url', URLS)
def test_urls_are_refused(url, no_network):
    with safe_checkpoint_loading():
        with pytest.raises(CheckpointError, match='expected the path of a local file') as caught:
            CheckpointLoader.load_checkpoint(url, 'cpu')
    assert repr(url) in str(caught.value)


def test_a_training_does_not_begin_from_a_url(tmp_path, no_network):
    """By whichever tool: the runner's own hook reads."""
    before = loaders()
    runner = build_toy(tmp_path, load_from=URLS[1])
    with pytest.raises(CheckpointError, match='Download it'):
        runner.train()
    assert runner.iter == 0
    assert loaders() == before


def test_code_in_a_checkpoint_does_not_run_when_a_run_begins(tmp_path):
    marker = tmp_path / 'marker'
    torch.save(dict(state_dict={}, trap=Trap(marker)), tmp_path / 'trap.pth')
    runner = build_toy(tmp_path / 'work', load_from=str(tmp_path / 'trap.pth'))
    with pytest.raises(CheckpointError, match='holds Python objects'):
        runner.train()
    assert not marker.exists()


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


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint '.*none\.pth' does not exist"):
        load(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match=r'publish` has written, with prompts\.safetensors'):
        load(tmp_path)


# Damage that torch does not see


def record_of(path: Path, name: str) -> range:
    """Where the content of a record of an archive is in the file."""
    with zipfile.ZipFile(path) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith(name))
    content = path.read_bytes()
    lengths = (
        int.from_bytes(content[info.header_offset + at : info.header_offset + at + 2], 'little')
        for at in (26, 28)
    )
    start = info.header_offset + 30 + sum(lengths)
    return range(start, start + info.file_size)


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize('share', [0.0, 0.37, 1.0])
def test_a_flipped_bit_in_the_tensors_is_found(saved, share):
    record = record_of(saved, 'data/0')
    flip(saved, record[int(share * (len(record) - 1))], bit=3)
    with pytest.raises(CheckpointError, match=r'iter_3\.pth.*the checksum of .*data/0 is not that'):
        load(saved)
    torch.load(saved, weights_only=True)  # which is why we look


def test_no_flipped_bit_changes_what_is_read(tmp_path):
    path = tmp_path / 'small.pth'
    expected = dict(meta=dict(name='abc'), state_dict=OrderedDict(a=torch.arange(3.0)))
    torch.save(expected, path)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        flip(path, place, bit=place % 8)
        with contextlib.suppress(CheckpointError):
            found = load(path)
            # Padding, dates, and other marks of the archive say nothing.
            assert found['meta'] == expected['meta']
            assert torch.equal(found['state_dict']['a'], torch.arange(3.0))
        path.write_bytes(content)


def test_base_weights_are_not_read_twice(saved, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, 'testzip', None)  # would be an error
    assert read_torch_file(saved)['meta'] == PLAIN['meta']


def test_tar_archives_are_refused(tmp_path):
    """torch unpacks them, and before 2.6 whatever is asked for."""
    path = tmp_path / 'old.pth'
    with tarfile.open(path, 'w') as archive:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            content = pickle.dumps(Trap(tmp_path / 'marker'))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises(CheckpointError, match=r'old\.pth.*it is a tar archive'):
        load(path)
    assert not (tmp_path / 'marker').exists()


def test_an_archive_that_python_cannot_read_is_not_handed_on(tmp_path):
    """Before 2.6 torch would run the program of a TorchScript archive that we take for another."""
    path = tmp_path / 'script.pth'
    path.write_bytes(b'PK\x03\x04' + b'constants.pkl' * 100)
    with pytest.raises(CheckpointError, match=r'script\.pth.*BadZipFile'):
        load(path)


@pytest.mark.parametrize('content', [[1, 2], 'text', torch.ones(2)])
def test_something_else_than_a_dict(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    kind = type(content).__name__
    with pytest.raises(CheckpointError, match=rf'a\.pth.*expected a dict.*found a {kind}'):
        load(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (dict(state_dict=None), 'state_dict: expected a state dict .*, found None'),
        (dict(state_dict=[torch.ones(2)]), r'state_dict: expected .*, found \[a tensor of'),
        (dict(state_dict={3: torch.ones(2)}), 'state_dict: expected a state dict'),
        ({3: torch.ones(2)}, 'state_dict: expected a state dict'),
        (dict(state_dict={}, ema_state_dict=[1]), 'ema_state_dict: expected a state dict'),
        (
            dict(state_dict={}, ema_state_dict={'module.a': torch.ones(2)}),
            "ema_state_dict: expected the names of state_dict, found 'module.a'",
        ),
        (dict(state_dict={}, meta=[1]), r'meta: expected a dict, found \[1\]'),
        (dict(state_dict={}, meta=dict(dataset_meta=3)), 'meta.dataset_meta: expected a dict or'),
        (
            dict(state_dict={}, meta=dict(dataset_meta=dict(classes=('a', 3)))),
            r"meta.dataset_meta.classes: expected a list of names or None, found \('a', 3\)",
        ),
        (dict(state_dict={}, message_hub=3), 'message_hub: expected a dict or None, found 3'),
    ],
)
def test_entries_of_another_kind_are_named(tmp_path, content, expected):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=rf"a\.pth': {expected}.*save it so"):
        load(tmp_path / 'a.pth')


def test_a_state_dict_alone_has_the_form_of_mmengines_checkpoints(tmp_path):
    """mmseg's init_model and mmengine's EMAHook look for these entries."""
    torch.save(nn.Linear(4, 3).state_dict(), tmp_path / 'a.pth')
    found = load(tmp_path / 'a.pth')
    assert found.keys() == {'meta', 'state_dict'}
    assert found['state_dict'].keys() == {'weight', 'bias'}
    torch.save(dict(state_dict=nn.Linear(4, 3).state_dict(), meta=None), tmp_path / 'a.pth')
    assert load(tmp_path / 'a.pth')['meta'] == {}


def test_text_that_mmengine_would_run_is_left_out(tmp_path):
    """``Runner.resume`` runs ``meta['config']`` as a Python file; no checkpoint needs it."""
    torch.save(dict(state_dict={}, meta=dict(iter=3, config='exit()')), tmp_path / 'a.pth')
    assert load(tmp_path / 'a.pth')['meta'] == dict(iter=3)


# safetensors


def test_safetensors_have_the_form_of_mmengines_checkpoints(tmp_path):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(pack_safetensors(nn.Linear(40, 30).state_dict(), PLAIN['meta']))
    found = load(path)
    assert found['meta'] == PLAIN['meta']
    assert set(found['state_dict']) == {'weight', 'bias'}
    assert found['state_dict']._metadata[''] == dict(version=1, file=str(path))
    weight, before = found['state_dict']['weight'], found['state_dict']['weight'].clone()
    path.write_bytes(b'1' * path.stat().st_size)
    assert torch.equal(weight, before)


def test_mmengine_reads_safetensors(tmp_path):
    """Everywhere, since it has no loader of its own for them."""
    path = tmp_path / 'a.safetensors'
    path.write_bytes(pack_safetensors(nn.Linear(40, 30).state_dict(), {}))
    assert set(CheckpointLoader.load_checkpoint(str(path))['state_dict']) == {'weight', 'bias'}
    for url in ('https://a.b/c.safetensors', 's3://a/c.safetensors'):
        assert CheckpointLoader._get_checkpoint_loader(url) is not load_from_local


@pytest.mark.parametrize(
    ('location', 'device'), [('meta', 'meta'), (torch.device('meta'), 'meta'), (None, 'cpu')]
)
def test_safetensors_are_moved(tmp_path, location, device):
    file = tmp_path / 'a.safetensors'
    file.write_bytes(pack_safetensors(dict(a=torch.ones(2)), {}))
    tensor = load_from_local(str(file), location)['state_dict']['a']
    assert tensor.device.type == device


def test_safetensors_are_copied(tmp_path):
    """So that the file may be written over, which would change or kill who has it mapped."""
    file = tmp_path / 'a.safetensors'
    file.write_bytes(pack_safetensors(dict(a=torch.ones(2)), {}))
    tensor = load_from_local(str(file), 'cpu')['state_dict']['a']
    with file.open('r+b') as stream:
        stream.truncate(0)
    assert tensor.tolist() == [1, 1]
