"""Tensors of TorchScript archives: all of them, exactly, and nothing that is run."""

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Dict

import pytest
import torch
from torch import Tensor, nn

import mmseg_ssprompt  # noqa: F401
from clip_files import save_plain, save_torchscript
from mmseg_ssprompt.models.clip import build_text_encoder
from mmseg_ssprompt.weights.state_dicts import CheckpointError, is_torchscript_archive
from mmseg_ssprompt.weights.torchscript import read_torchscript_tensors

pytestmark = pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')


class Mixed(nn.Module):
    """What TorchScript saves in different ways."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(2, 3).half())
        self.view = nn.Parameter(torch.randn(3, 2).t())
        self.register_buffer('part', torch.arange(10)[2:7:2])
        self.register_buffer('scalar', torch.tensor(224))
        self.register_buffer('empty', torch.zeros(0, 4))
        self.register_buffer('flags', torch.tensor([True, False]))
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.LayerNorm(2))])
        self.numbers, self.names, self.table = [1, 2], ['a'], {'a': 1.0}
        self.nothing, self.pair, self.tensors = None, (1, 'b'), [torch.ones(2)]
        self.mask = torch.zeros(2, 2)
        if shared:
            self.shared = self.view

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.float()


class Hostile(nn.Module):
    """Runs a program when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: 'tuple[Tensor, bool]') -> None:
        assert False, 'this was run'  # noqa: B011


def rewrite(source: Path, target: Path, changes: Dict[str, bytes]) -> None:
    """Copy an archive with some records replaced, by their name within it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for record in old.namelist():
            content = changes.get(record.partition('/')[2], old.read(record))
            new.writestr(record, content)


@pytest.fixture
def archive(tmp_path: Path, tiny_state: Dict[str, Tensor]) -> Path:
    save_torchscript(tiny_state, tmp_path / 'clip.pt')
    return tmp_path / 'clip.pt'


@pytest.mark.parametrize('traced', [True, False])
def test_same_tensors_as_torch(traced: bool, tmp_path: Path):
    module = Mixed(shared=not traced)  # tracing refuses shared parameters
    script = torch.jit.trace(module, torch.ones(1, 2)) if traced else torch.jit.script(module)
    torch.jit.save(script, str(tmp_path / 'a.pt'))
    found = read_torchscript_tensors(tmp_path / 'a.pt')
    expected = torch.jit.load(str(tmp_path / 'a.pt')).state_dict()
    assert expected.keys() == found.keys() - {'mask'}
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype, key
        assert torch.equal(found[key], tensor), key


def test_kind_is_recognised(archive: Path, tiny_state: Dict[str, Tensor], tmp_path: Path):
    save_plain(tiny_state, tmp_path / 'plain.pt')
    (tmp_path / 'text.pt').write_text('not a file of weights')
    assert is_torchscript_archive(archive)
    for name in ('plain.pt', 'text.pt', 'none.pt', '.'):
        assert not is_torchscript_archive(tmp_path / name)


def test_program_is_not_run(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.save(torch.jit.script(Hostile()), str(tmp_path / 'a.pt'))
        with pytest.raises(Exception, match='this was run'):
            torch.jit.load(str(tmp_path / 'a.pt'))
    assert read_torchscript_tensors(tmp_path / 'a.pt') == {}


def test_pickle_is_not_run(archive: Path, tmp_path: Path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'marker'),)

    bad = tmp_path / 'bad.pt'
    rewrite(archive, bad, {'data.pkl': pickle.dumps(Payload(), protocol=2)})
    with pytest.raises(CheckpointError, match=r'bad.pt.*\.mkdir, which was not loaded'):
        build_text_encoder('tiny', bad)
    assert not (tmp_path / 'marker').exists()


def test_builtins_are_refused(archive: Path, tmp_path: Path):
    rewrite(archive, tmp_path / 'bad.pt', {'data.pkl': b"cbuiltins\neval\n(S'1'\ntR."})
    with pytest.raises(CheckpointError, match='builtins.eval'):
        read_torchscript_tensors(tmp_path / 'bad.pt')


def test_array_of_another_size(archive: Path, tmp_path: Path):
    rewrite(archive, tmp_path / 'bad.pt', {'data/3': b'123'})
    with pytest.raises(CheckpointError, match='data/3 has 3 bytes'):
        read_torchscript_tensors(tmp_path / 'bad.pt')


def test_view_beyond_its_array(tmp_path: Path):
    torch.jit.save(torch.jit.script(nn.LayerNorm(2)), str(tmp_path / 'a.pt'))
    with zipfile.ZipFile(tmp_path / 'a.pt') as content:
        data = content.read('a/data.pkl')
    # The offset and the size of each tensor: K 0 ( K 2 t -> K 0 ( K 9 t
    changed = data.replace(b'K\x00(K\x02t', b'K\x00(K\x09t')
    assert changed != data
    rewrite(tmp_path / 'a.pt', tmp_path / 'bad.pt', {'data.pkl': changed})
    with pytest.raises(CheckpointError, match='out of bounds'):
        read_torchscript_tensors(tmp_path / 'bad.pt')


def test_flipped_bit(archive: Path):
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as records:
        info = max(records.infolist(), key=lambda record: record.file_size)
    content[info.header_offset + 4096] ^= 1
    archive.write_bytes(content)
    with pytest.raises(CheckpointError, match='CRC'):
        build_text_encoder('tiny', archive)


@pytest.mark.parametrize('part', [0.0, 0.5, 0.999])
def test_truncated(part: float, archive: Path):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError, match='clip.pt'):
        build_text_encoder('tiny', archive)
