"""The pre-training script runs, and the weights in the package are what the docs say they are."""

import json
from pathlib import Path

import pytest
import torch

import mmseg_ssprompt
from commands import run_here
from mmseg_ssprompt.models.sam.sam_variants import build_sam

ASSETS = Path(mmseg_ssprompt.__file__).parent / 'assets'
FILES = ('sam-tiny_shapes.pth', 'clip-tiny_shapes.pth', 'projection-tiny_shapes.pth')


def load(name, folder=ASSETS):
    return torch.load(folder / name, weights_only=True)


@pytest.mark.slow
def test_a_few_steps(tmp_path):
    run_here(
        *('dev.pretrain_sam_tiny', '--out-dir', tmp_path, '--scenes', 20, '--held-out', 4),
        *('--batch-size', 2, '--stage1-iters', 2, '--stage2-iters', 2),
        *('--log-every', 1, '--gate-every', 2),
    )
    log = json.loads((tmp_path / 'sam-tiny_shapes.json').read_text())
    assert [entry['stage'] for entry in log['losses']] == [1, 1, 2, 2]
    assert log['gates'][-1]['step'] == 2
    assert log['passed'] is False
    for name in FILES:
        fresh, kept = load(name, tmp_path), load(name)
        assert {k: v.shape for k, v in fresh.items()} == {k: v.shape for k, v in kept.items()}


def test_sam_weights_are_official_layout():
    keys = build_sam('tiny').load_state_dict(load(FILES[0]), strict=True)
    assert not keys.missing_keys and not keys.unexpected_keys


def test_weights_are_small_and_finite():
    assert sum((ASSETS / name).stat().st_size for name in FILES) < 8e6
    for name in FILES:
        for key, tensor in load(name).items():
            assert tensor.dtype == torch.float16, (name, key)
            assert tensor.isfinite().all(), (name, key)


def test_text_weights_have_the_names_of_clip():
    state = load(FILES[1])
    assert state['token_embedding.weight'].shape == (49408, 32)
    assert state['positional_embedding'].shape == (77, 32)
    assert state['text_projection'].shape == (32, 64)
    assert state['transformer.resblocks.1.attn.in_proj_weight'].shape == (96, 32)


def test_projection_weights():
    shapes = {key: tuple(tensor.shape) for key, tensor in load(FILES[2]).items()}
    assert shapes == {
        'projection.weight': (64, 96),
        'projection.bias': (64,),
        'no_object': (64,),
        'logit_scale': (),
    }


@pytest.mark.slow
@pytest.mark.parametrize('held_out', [100])
def test_gate(held_out, capsys):
    run_here('dev.pretrain_sam_tiny', '--out-dir', ASSETS, '--evaluate', '--held-out', held_out)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures['joint_miou'] >= 58
    assert figures['point_iou'] >= 0.73
