"""Training, testing, resuming and inference on the embedded data."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine import fileio

from mmseg_ssprompt.miniature.shapes_backend import shapes_path

from .tools import CONFIGS, mmseg_tool, read_metrics, run, run_tool

pytestmark = pytest.mark.process
CONFIG = CONFIGS / 'ssprompt_sam-tiny_shapes.py'
SMALL = [
    '--cfg-options',
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=4',
    'train_dataloader.dataset.num_images=8',
    'train_dataloader.batch_size=2',
    'val_dataloader.dataset.num_images=4',
    'test_dataloader.dataset.num_images=4',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
]


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """A work_dir after four steps."""
    folder = tmp_path_factory.mktemp('shapes')
    run_tool('train.py', CONFIG, '--work-dir', folder, *SMALL, cwd=folder)
    return folder


@pytest.fixture(scope='module')
def photo(tmp_path_factory) -> str:
    """A picture on disk, of a size of its own."""
    path = tmp_path_factory.mktemp('photo') / 'scene.png'
    scene = cv2.imdecode(
        np.frombuffer(fileio.get(shapes_path('downstream', 'image', 'test', 0, 7)), np.uint8), 1
    )
    cv2.imwrite(str(path), cv2.resize(scene, (120, 80)))
    return str(path)


def losses(work_dir: Path) -> dict:
    """Loss by step, of all runs in a work_dir."""
    lines = [
        json.loads(line)
        for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()
    ]
    return {line['step']: line['loss'] for line in lines if 'loss' in line}


def test_checkpoint_holds_prompts_only_as_plain_values(trained):
    checkpoint = torch.load(trained / 'iter_4.pth', weights_only=True)
    assert set(checkpoint['state_dict']) == {
        'decode_head.spatial_prompts.fusion.default',
        'decode_head.spatial_prompts.fusion.learned',
        'decode_head.spatial_prompts.fusion.weight_logit',
        'decode_head.semantic_prompts.fusion.default',
        'decode_head.semantic_prompts.fusion.learned',
        'decode_head.semantic_prompts.fusion.weight_logit',
        'decode_head.classifier.projection.weight',
        'decode_head.classifier.projection.bias',
        'decode_head.classifier.no_object',
        'decode_head.classifier.logit_scale',
    }
    assert (trained / 'iter_4.pth').stat().st_size < 1e6


def test_tools_test_reads_it_and_draws(trained, tmp_path):
    run_tool(
        *('test.py', CONFIG, trained / 'iter_4.pth', '--work-dir', tmp_path / 'work'),
        *('--out', tmp_path / 'labels', '--show-dir', tmp_path / 'pictures', *SMALL),
        'default_hooks.visualization.interval=1',
        cwd=tmp_path,
    )
    assert 0 <= read_metrics(tmp_path / 'work')['mIoU'] <= 100
    names = sorted(path.name for path in (tmp_path / 'labels').iterdir())
    assert names == [f'test_0_{index:06d}.png' for index in range(4)]
    assert cv2.imread(str(tmp_path / 'labels' / names[0]), -1).shape == (96, 96)
    assert list((tmp_path / 'pictures').rglob('*.png'))


@pytest.mark.slow  # test_cases/test_k08_test_tool.py does it too
def test_test_time_augmentation(trained, tmp_path):
    run_tool(
        *('test.py', CONFIG, trained / 'iter_4.pth', '--work-dir', tmp_path, '--tta'),
        *SMALL,
        'test_dataloader.batch_size=1',
        cwd=tmp_path,
    )
    assert 0 <= read_metrics(tmp_path)['mIoU'] <= 100


def test_resume_continues_with_the_history_of_the_log(trained, tmp_path):
    first = losses(trained)
    run_tool('train.py', CONFIG, '--work-dir', tmp_path, *SMALL, cwd=tmp_path)
    output = run_tool(
        *('train.py', CONFIG, '--work-dir', tmp_path, '--resume', *SMALL),
        'train_cfg.max_iters=6',
        cwd=tmp_path,
    )
    assert 'resumed epoch: 0, iter: 4' in output
    assert sorted(losses(tmp_path)) == [1, 2, 3, 4, 5, 6]
    assert losses(tmp_path)[4] == first[4]  # the same seed gives the same run
    assert (tmp_path / 'iter_6.pth').is_file()


@pytest.mark.slow
def test_mmseg_s_own_tools(trained, tmp_path):
    run(
        sys.executable, mmseg_tool('train.py'), CONFIG, '--work-dir', tmp_path, *SMALL, cwd=tmp_path
    )
    assert losses(tmp_path) == losses(trained)
    checkpoint = tmp_path / 'iter_4.pth'
    run(
        sys.executable,
        mmseg_tool('test.py'),
        CONFIG,
        checkpoint,
        '--work-dir',
        'test',
        *SMALL,
        cwd=tmp_path,
    )
    assert 0 <= read_metrics(tmp_path / 'test')['mIoU'] <= 100


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [('float16', 5e-3), pytest.param('bfloat16', 5e-2, marks=pytest.mark.slow)],
)
def test_mixed_precision(trained, tmp_path, dtype, tolerance):
    run_tool(
        *('train.py', CONFIG, '--work-dir', tmp_path, '--amp', *SMALL),
        f'optim_wrapper.dtype={dtype}',
        cwd=tmp_path,
    )
    expected, found = losses(trained), losses(tmp_path)
    assert found != expected
    assert found == pytest.approx(expected, rel=tolerance)  # NaN is near nothing
    checkpoint = torch.load(tmp_path / 'iter_4.pth', weights_only=True)
    assert {tensor.dtype for tensor in checkpoint['state_dict'].values()} == {torch.float32}
    weights = checkpoint['state_dict']['decode_head.spatial_prompts.fusion.weight_logit']
    assert weights.any()  # it starts at zero: no step was skipped for good


def test_inference_model(trained, photo):
    from mmseg.apis import inference_model, init_model

    model = init_model(str(CONFIG), str(trained / 'iter_4.pth'), device='cpu')
    assert model.dataset_meta['classes'][0] == 'ball'
    result = inference_model(model, photo)
    assert result.pred_sem_seg.data.shape == (1, 80, 120)
    from_array = inference_model(model, cv2.imread(photo))
    assert torch.equal(from_array.pred_sem_seg.data, result.pred_sem_seg.data)


def test_inferencer(trained, photo, tmp_path):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    inferencer = MMSegInferencer(str(CONFIG), str(trained / 'iter_4.pth'), device='cpu')
    found = inferencer(photo, out_dir=str(tmp_path), img_out_dir='vis', pred_out_dir='pred')
    model = init_model(str(CONFIG), str(trained / 'iter_4.pth'), device='cpu')
    expected = inference_model(model, photo).pred_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(found['predictions'], expected)
    assert list((tmp_path / 'vis').iterdir())
    assert list((tmp_path / 'pred').iterdir())
