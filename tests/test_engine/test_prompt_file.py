"""Nothing that cannot be used is written as a file of prompts."""

import pytest
import torch

from mmseg_ssprompt.engine.prompt_checkpoint_hook import NonFinitePromptsError
from mmseg_ssprompt.engine.prompt_file import write_prompts
from mmseg_ssprompt.models.checkpoint import CheckpointError


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
