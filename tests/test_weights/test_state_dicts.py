"""Reading weights: paths, damaged and dangerous files, keys and shapes."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import mmseg_ssprompt  # noqa: F401
from mmseg_ssprompt.weights import state_dicts as checkpoint_module
from mmseg_ssprompt.weights.state_dicts import (
    CheckpointError,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint_path,
)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(nn.Linear(40, 30).state_dict(), path)
    return path


def test_plain_and_home_paths_resolve():
    assert resolve_checkpoint_path('weights/a.pth') == Path('weights/a.pth')
    assert resolve_checkpoint_path('~/a.pth') == Path.home() / 'a.pth'


def test_assets_resolve_to_files_of_the_package(tmp_path, monkeypatch):
    assets = Path(checkpoint_module.__file__).parent.parent / 'assets'
    assert resolve_checkpoint_path('mmseg_ssprompt://a.pth') == assets / 'a.pth'
    monkeypatch.setattr(checkpoint_module, '_ASSETS_DIR', tmp_path)
    torch.save({'a': torch.ones(2)}, tmp_path / 'a.pth')
    assert read_checkpoint('mmseg_ssprompt://a.pth')['a'].tolist() == [1, 1]


def test_urls_are_not_fetched():
    with pytest.raises(CheckpointError, match='https://a.b/c.pth.*is a URL.*download'):
        resolve_checkpoint_path('https://a.b/c.pth')


def test_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.pth.*does not exist.*Get it there'):
        read_checkpoint(tmp_path / 'none.pth', remedy='Get it there.')
    with pytest.raises(FileNotFoundError, match='is a directory'):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize('wrap', [False, True])
def test_state_dict_round_trip(tmp_path, wrap):
    state_dict = nn.Linear(4, 3).state_dict()
    torch.save({'meta': {}, 'state_dict': state_dict} if wrap else state_dict, tmp_path / 'a.pth')
    read = read_checkpoint(str(tmp_path / 'a.pth'))
    assert read.keys() == state_dict.keys()
    assert all(torch.equal(read[key], state_dict[key]) for key in read)


def test_reads_safetensors_and_the_legacy_format(tmp_path):
    state_dict = {'a': torch.randn(3)}
    save_file(state_dict, tmp_path / 'a.safetensors')
    torch.save(state_dict, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    for name in ('a.safetensors', 'a.pth'):
        assert torch.equal(read_checkpoint(tmp_path / name)['a'], state_dict['a'])


@pytest.mark.parametrize('keep', [0, 1, 0.5, -1])
def test_truncated_files_are_named_with_their_size(saved, keep):
    content = saved.read_bytes()
    cut = int(len(content) * keep) if isinstance(keep, float) else keep
    saved.write_bytes(content[:cut])
    size = saved.stat().st_size
    reason = 'it is empty' if size == 0 else 'damaged or truncated'
    with pytest.raises(CheckpointError, match=rf'weights\.pth.*\({size} bytes\).*{reason}'):
        read_checkpoint(saved)


@pytest.mark.parametrize(
    'content',
    [b'this is text\n', b'<!DOCTYPE html>', b'version https://git-lfs', b'{"a": 1}', b'\x00' * 64],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_other_files_are_refused(tmp_path, content, suffix):
    path = tmp_path / f'weights{suffix}'
    path.write_bytes(content)
    size = rf'\({len(content)} bytes\)'
    with pytest.raises(CheckpointError, match=f'{size}: expected a state dict') as info:
        read_checkpoint(path)
    assert 'weights_only' not in str(info.value)  # torch's advice to load unsafely


def test_huge_safetensors_header_is_refused(tmp_path):
    path = tmp_path / 'weights.safetensors'
    path.write_bytes((2**40).to_bytes(8, 'little') + b'{}')
    with pytest.raises(CheckpointError, match='weights.safetensors'):
        read_checkpoint(path)


@pytest.mark.parametrize('plain_pickle', [False, True])
def test_foreign_objects_never_run(tmp_path, plain_pickle):
    marker, path = tmp_path / 'marker', tmp_path / 'trap.pth'
    content = {'weight': torch.ones(1) if not plain_pickle else 1, 'trap': Trap(marker)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=r'trap\.pth.*holds Python objects') as info:
        read_checkpoint(path)
    assert not marker.exists()
    assert 'weights_only' not in str(info.value)


def test_torchscript_archives_are_named_as_such(tmp_path):
    path = tmp_path / 'script.pt'
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(CheckpointError, match='is a TorchScript archive'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([torch.ones(1)], 'it holds [a tensor of'),
        ({}, 'it holds {}'),
        ({'model': [torch.ones(1)]}, "'model' is a list"),
        ({'a': torch.ones(1), 'epoch': 3}, "'epoch' is a int"),
        ({3: torch.ones(1)}, '3 is a Tensor'),
    ],
)
def test_contents_other_than_a_state_dict_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read_checkpoint(tmp_path / 'a.pth')


def test_half_precision_is_cast_to_the_module():
    source, target = nn.Linear(4, 3).half(), nn.Linear(4, 3)
    load_strictly(target, source.state_dict(), 'a.pth')
    assert target.weight.dtype == torch.float32
    assert torch.equal(target.weight, source.weight.float())


def test_meta_modules_move_to_the_cpu():
    source = nn.BatchNorm1d(3)
    with torch.device('meta'):
        target = nn.BatchNorm1d(3)
    load_strictly(target, source.state_dict(), 'a.pth')
    assert all(torch.equal(a, b) for a, b in zip(target.buffers(), source.buffers()))
    assert target.weight.device.type == 'cpu'


def test_wrong_shape_names_the_first_key_and_changes_nothing():
    module = nn.Linear(4, 3)
    before = module.weight.clone()
    message = r"file 'a.pth' does not fit Linear.*weight: expected shape \(3, 4\), found \(3, 5\)"
    with pytest.raises(CheckpointError, match=f'(?s){message}.*Take b.pth'):
        load_strictly(module, nn.Linear(5, 3).state_dict(), "file 'a.pth'", remedy='Take b.pth')
    assert torch.equal(module.weight, before)


def test_at_most_five_keys_are_listed():
    module = nn.ModuleList(nn.Linear(1, 1) for _ in range(4))
    found = {f'layer{i}': torch.ones(1) for i in range(3)}
    with pytest.raises(CheckpointError) as info:
        load_strictly(module, found, 'a.pth')
    text = str(info.value)
    assert '8 missing: 0.weight, 0.bias, 1.weight, 1.bias, 2.weight and 3 more' in text
    assert text.endswith('\n  3 unexpected: layer0, layer1, layer2')
    with pytest.raises(CheckpointError, match='8 missing') as info:
        load_strictly(module, {f'layer{i}': torch.ones(1) for i in range(5)}, 'a.pth')
    assert str(info.value).endswith('\n  5 unexpected: layer0, layer1, layer2, layer3, layer4')


def test_integers_do_not_pass_for_weights():
    state_dict = dict(nn.Linear(4, 3).state_dict(), weight=torch.ones(3, 4, dtype=torch.int8))
    with pytest.raises(CheckpointError, match=r'weight: expected a dense .*, found torch\.int8'):
        load_strictly(nn.Linear(4, 3), state_dict, 'a.pth')


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        (lambda x: x.cfloat(), 'torch.complex64'),
        (lambda x: x.to_sparse(), 'torch.sparse_coo'),
        (lambda x: x.to('meta'), r'one without data \(meta\)'),
    ],
)
def test_weights_of_another_kind_are_refused(change, found):
    module = nn.Linear(4, 3)
    before = module.weight.clone()
    state_dict = dict(module.state_dict(), weight=change(torch.zeros(3, 4)))
    expected = f'weight: expected a dense tensor of floating-point numbers, found {found}'
    with pytest.raises(CheckpointError, match=expected):
        load_strictly(module, state_dict, 'a.pth')
    assert torch.equal(module.weight, before)


def test_weights_that_are_not_finite_are_refused():
    module = nn.Linear(4, 3)
    before = module.weight.clone()
    state_dict = nn.Linear(4, 3).half().state_dict()
    state_dict['weight'][1, 2] = float('nan')
    expected = r"a\.pth: expected finite numbers, found 1 of 12 in 'weight' that are NaN"
    with pytest.raises(CheckpointError, match=expected):
        load_strictly(module, state_dict, 'a.pth')
    assert torch.equal(module.weight, before)


def test_shared_storages_and_views_are_read(tmp_path):
    base = torch.arange(12.0)
    state_dict = dict(a=base, b=base, c=base[2:4], d=base.view(3, 4).t())
    torch.save(state_dict, tmp_path / 'a.pth')
    found = read_checkpoint(tmp_path / 'a.pth')
    assert all(torch.equal(found[key], value) for key, value in state_dict.items())
