"""State dicts as safetensors: what comes back, and what is refused without harm."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmseg_ssprompt.weights.safetensors_file import pack_safetensors
from mmseg_ssprompt.weights.state_dicts import (
    CheckpointError,
    read_checkpoint,
    read_safetensors_file,
)

META = dict(
    iter=3, classes=('cat', 'dog 🐕'), label_map={1: 2, 3: 4}, nested=[None, 1.5, dict(a=True)]
)
METADATA = OrderedDict({'': dict(version=1, prompts=dict(class_names=['cat'], n=None)), 'a.b': {}})


def state_dict() -> Dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = OrderedDict(
        weight=torch.randn(3, 4, generator=generator),
        scalar=torch.tensor(-0.5),
        half=torch.ones(2).bfloat16(),
        steps=torch.tensor([3]),
        transposed=torch.randn(2, 5, generator=generator).t(),
        empty=torch.zeros(0, 2),
    )
    tensors['shared'] = tensors['weight']
    tensors._metadata = METADATA
    return tensors


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / 'a.safetensors'
    path.write_bytes(pack_safetensors(state_dict(), META))
    return path


def same(first: Dict[str, Tensor], second: Dict[str, Tensor]) -> bool:
    pairs = [(first[key], second.get(key)) for key in first]
    return first.keys() == second.keys() and all(
        a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs
    )


def test_all_comes_back(file):
    tensors, meta = read_safetensors_file(file)
    assert same(state_dict(), tensors)
    assert tensors._metadata == METADATA
    assert meta == META
    assert type(meta['classes']) is tuple
    again = read_checkpoint(file)
    assert same(state_dict(), again)
    assert again._metadata[''] == dict(METADATA[''], file=str(file))


def test_other_readers_find_the_tensors(file):
    assert same(state_dict(), load_file(file))
    with safe_open(str(file), 'pt') as opened:
        texts = opened.metadata()
    assert set(texts) == {'format', 'mmseg_ssprompt', 'sha256'}
    assert texts['format'] == 'pt'  # without which transformers and others refuse a file
    assert json.loads(texts['mmseg_ssprompt'])['meta']['iter'] == 3


@pytest.mark.parametrize('metadata', [None, {'format': 'pt', 'author': 'somebody'}])
def test_files_of_others_hold_tensors_alone(tmp_path, metadata):
    save_file({'a': torch.ones(2)}, tmp_path / 'b.safetensors', metadata=metadata)
    tensors, meta = read_safetensors_file(tmp_path / 'b.safetensors')
    assert (list(tensors), meta, dict(tensors._metadata)) == (['a'], {}, {})


def test_what_is_no_plain_value_is_not_written():
    with pytest.raises(ValueError, match=r'meta\.a: expected plain values .* found a set'):
        pack_safetensors(state_dict(), dict(a={1}))


def test_no_flipped_bit_goes_unseen(file):
    """In the header's length, the header, the texts in it, and the numbers."""
    content, tensors, meta = bytearray(file.read_bytes()), *read_safetensors_file(file)
    tensors = OrderedDict((key, value.clone()) for key, value in tensors.items())
    refused = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        file.write_bytes(flipped)
        try:
            found = read_safetensors_file(file)
        except CheckpointError:
            refused += 1
            continue
        # Only what says nothing: the mark of the format, and spaces that fill the header up.
        assert same(found[0], tensors) and found[1] == meta
        assert found[0]._metadata == METADATA
    assert refused > 0.98 * len(content)


@pytest.mark.parametrize('keep', [0, 1, 7, 8, 9, 0.5, -1])
def test_truncated_files_are_named_with_their_size(file, keep):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    size = file.stat().st_size
    reason = 'it is empty' if keep == 0 else 'damaged or truncated'
    with pytest.raises(CheckpointError, match=rf'a\.safetensors.*\({size} bytes\).*{reason}'):
        read_safetensors_file(file)


def with_header(path: Path, header: Any, data: bytes = b'\0' * 8, length: int = -1) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length < 0 else length
    path.write_bytes(length.to_bytes(8, 'little') + text + data)
    return path


ENTRY = dict(dtype='F32', shape=[2], data_offsets=[0, 8])


@pytest.mark.parametrize(
    ('header', 'length', 'reason'),
    [
        (b'{}', 2**40, 'SafetensorError'),
        (b'', 0, 'SafetensorError'),
        (dict(a=ENTRY, b=ENTRY), -1, 'SafetensorError'),
        (dict(a=dict(ENTRY, data_offsets=[0, 2**40])), -1, 'SafetensorError'),
        (dict(a=dict(ENTRY, data_offsets=[8, 0])), -1, 'SafetensorError'),
        (dict(a=dict(ENTRY, shape=[2**62, 2**62])), -1, 'SafetensorError'),
        (dict(a=dict(ENTRY, dtype='X9')), -1, 'SafetensorError'),
        (dict(a=ENTRY, __metadata__=dict(sha256='0' * 64)), -1, 'expected the checksum 0000'),
        (dict(a=ENTRY, __metadata__=dict(mmseg_ssprompt='{}')), -1, 'expected the checksum None'),
        ([1, 2], -1, 'SafetensorError'),
        (b'\xff\xfe' * 10, -1, 'SafetensorError'),
    ],
)
def test_headers_that_nobody_wrote(tmp_path, header, length, reason):
    path = with_header(tmp_path / 'bad.safetensors', header, length=length)
    with pytest.raises(CheckpointError, match=rf'bad\.safetensors.*{reason}'):
        read_checkpoint(path)
