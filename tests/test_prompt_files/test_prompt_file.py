"""Nothing that cannot be used is written as a file of prompts."""

import pytest
import torch

from mmseg_ssprompt.prompt_files.prompt_file import write_prompts
from mmseg_ssprompt.weights.state_dicts import (
    CheckpointError,
    read_checkpoint,
    read_safetensors_file,
)
from mmseg_ssprompt.weights.tensor_checks import NonFinitePromptsError


@pytest.fixture(params=['a.pth', 'a.safetensors'])
def file(request, tmp_path):
    path = tmp_path / request.param
    write_prompts(dict(a=torch.ones(3), b=torch.arange(2)), {}, path)
    return path


def test_prompts_that_are_not_finite(file):
    before = file.read_bytes()
    with pytest.raises(NonFinitePromptsError, match=r'state_dict\.a: .*found 1 of 2 that are NaN'):
        write_prompts(dict(a=torch.tensor([1.0, float('nan')])), {}, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize('value', [torch.ones(2).to_sparse(), torch.ones(2).to('meta'), 'text'])
def test_what_is_no_dense_tensor(file, value):
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match=r"cannot write '.*/a\..*': a: expected a dense"):
        write_prompts(dict(a=value), {}, file)
    assert file.read_bytes() == before


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_folders_are_made(tmp_path, name):
    file = tmp_path / 'one' / 'two' / name
    write_prompts(dict(a=torch.ones(3)), {}, file)
    assert torch.equal(read_checkpoint(file)['a'], torch.ones(3))


def test_other_suffixes(tmp_path):
    with pytest.raises(ValueError, match=r"cannot write '.*/a\.zip': expected a name that ends"):
        write_prompts(dict(a=torch.ones(3)), {}, tmp_path / 'a.zip')


def test_what_is_no_text_is_left_out_and_named(tmp_path, log):
    meta = dict(iter=3, a=torch.ones(1), classes=('x',), b=[torch.ones(1)])
    write_prompts(dict(a=torch.ones(3)), meta, tmp_path / 'a.safetensors')
    assert read_safetensors_file(tmp_path / 'a.safetensors')[1] == dict(iter=3, classes=('x',))
    (record,) = log.records
    assert record.levelname == 'WARNING'
    assert record.message == 'meta.a, meta.b: not written, since there are tensors in it'
