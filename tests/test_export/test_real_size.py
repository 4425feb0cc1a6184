"""Models of real size, with random weights in files of the official formats."""

import numpy as np
import onnxruntime
import pytest
import torch

import seem_files
from exported import draw_pictures, run_without_torch, write_model
from mmseg_ssprompt.export import export, tracing
from official_sam import randomised_sam

pytestmark = pytest.mark.slow


def test_sam_vit_b_at_1024(tmp_path, monkeypatch):
    """In float32, with its weights in a file of their own, as ViT-H needs it."""
    monkeypatch.setattr(tracing, '_LARGE', 100_000_000)
    torch.save(randomised_sam('vit_b').state_dict(), tmp_path / 'sam.pth')
    weights = dict(_delete_=True, sam=str(tmp_path / 'sam.pth'))
    config, prompts = write_model(tmp_path / 'model', 'sam_cityscapes', model__weights=weights)
    done = export(config, tmp_path / 'out', prompts=prompts)
    assert done.comparison.largest_difference < 1e-3
    assert done.comparison.equal_pixels >= 0.999
    assert done.files['encoder.onnx'] < 20_000_000 < 300_000_000 < done.files['encoder.onnx.data']
    session = onnxruntime.InferenceSession(tmp_path / 'out' / 'encoder.onnx')
    assert session.get_inputs()[0].shape[1:] == [1024, 1024, 3]
    files = draw_pictures(tmp_path / 'pictures', 1)
    assert run_without_torch(tmp_path / 'out', files, tmp_path / 'labels').returncode == 0


@pytest.mark.parametrize('precision', ['float32', 'float16'])
def test_seem_focal_t(tmp_path, precision):
    seem_files.save_official_file('focalt_unicl_lang_v1', tmp_path / 'seem.pt')
    weights = dict(seem=str(tmp_path / 'seem.pt'))
    name = 'seem_focal-t_cityscapes_panoptic'
    config, prompts = write_model(tmp_path / 'model', name, model__weights=weights)
    done = export(config, tmp_path / 'out', prompts=prompts, precision=precision)
    assert done.comparison.equal_pixels >= (0.999 if precision == 'float32' else 0.99)
    if precision == 'float32':
        assert done.comparison.largest_difference < 1e-3
    assert np.isfinite(done.comparison.largest_difference)
