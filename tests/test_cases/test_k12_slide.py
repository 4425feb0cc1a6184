"""K12: pictures that are larger than the frame, in windows."""

from typing import Any, List, Tuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor

from mmseg_ssprompt.models.segmentors.windows import check_test_cfg, predict_windows
from own_photographs import CONFIGS, draw_photograph, own_config, save
from tiny_model import build_tiny, tiny_config

SLIDE = dict(mode='slide', crop_size=(96, 96), stride=(64, 64))


def build(test_cfg: dict, **options: Any) -> Any:
    config = tiny_config(**options)
    config.model.test_cfg = test_cfg
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(config.model).eval()


def random_picture(size: Tuple[int, int]) -> Tensor:
    return torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(0))


def predict(model: Any, picture: Tensor) -> SegDataSample:
    """As ``test_step``: through the data preprocessor, of a picture of uint8."""
    size = tuple(picture.shape[1:])
    sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size))
    with torch.no_grad():
        return model.test_step(dict(inputs=[picture], data_samples=[sample]))[0]


@pytest.mark.parametrize('size', [(300, 500), (96, 96), (97, 200), (40, 300), (40, 50)])
@pytest.mark.parametrize('logits', [True, False])
def test_pictures_of_any_size(size, logits):
    sample = predict(build(dict(SLIDE, logits=logits)), random_picture(size))
    assert sample.pred_sem_seg.data.shape == (1, *size)
    assert ('seg_logits' in sample) == logits


@pytest.mark.parametrize('size', [(40, 50), (96, 96)])
def test_one_window_is_the_whole_picture(size):
    picture = random_picture(size)
    whole = predict(build(dict(mode='whole')), picture)
    window = predict(build(SLIDE), picture)
    torch.testing.assert_close(window.seg_logits.data, whole.seg_logits.data)
    assert torch.equal(window.pred_sem_seg.data, whole.pred_sem_seg.data)


def test_label_maps_alone_are_those_of_the_scores():
    picture = random_picture((130, 170))
    with_scores = predict(build(SLIDE), picture)
    alone = predict(build(dict(SLIDE, logits=False)), picture)
    assert torch.equal(alone.pred_sem_seg.data, with_scores.pred_sem_seg.data)


def test_equal_to_mmseg_s_windows_where_these_fill_the_frame():
    model = build(SLIDE)
    images = torch.randn(1, 3, 130, 170, generator=torch.Generator().manual_seed(0))
    meta = dict(ori_shape=(130, 170), img_shape=(130, 170))
    with torch.no_grad():
        found = model.slide_inference(images, [dict(meta)])
        expected = super(type(model), model).slide_inference(images, [dict(meta)])
    torch.testing.assert_close(found, expected)


def windows_of(
    size: Tuple[int, int],
    crop: Tuple[int, int],
    stride: Tuple[int, int],
    frame: Tuple[int, int] = (8, 8),
) -> List[Any]:
    """Corners of what each window shows, of an image whose pixels are their own coordinates."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing='ij')
    image = torch.stack([rows, columns, torch.ones(size)]).float()[None]
    seen = []

    def keep(window: Tensor) -> Tensor:
        shown = window[0, :, window[0, 2] == 1]
        seen.append((*shown[:2, 0].int().tolist(), *shown[:2, -1].int().tolist()))
        return window

    mean = predict_windows(image, crop, stride, frame, keep)
    torch.testing.assert_close(mean, image)  # the mean of what all windows say of a place
    return seen


def test_where_windows_lie():
    assert windows_of((8, 20), (8, 8), (8, 8)) == [(0, 0, 7, 7), (0, 8, 7, 15), (0, 12, 7, 19)]
    assert windows_of((9, 8), (8, 8), (4, 4)) == [(0, 0, 7, 7), (1, 0, 8, 7)]
    assert windows_of((3, 5), (8, 8), (4, 4)) == [(0, 0, 2, 4)]
    assert windows_of((8, 16), (8, 8), (8, 8)) == [(0, 0, 7, 7), (0, 8, 7, 15)]
    assert windows_of((6, 7), (6, 4), (6, 3)) == [(0, 0, 5, 3), (0, 3, 5, 6)]
    assert windows_of((5, 20), (4, 16), (4, 16), (4, 16)) == [
        (top, left, top + 3, left + 15) for top in (0, 1) for left in (0, 4)
    ]


def test_scores_are_averaged_over_windows():
    """The left window says 1, the right one 3: where both see, 2."""
    values = iter([1.0, 3.0])
    image = torch.zeros(1, 3, 4, 6)
    mean = predict_windows(
        image, (4, 4), (2, 2), (4, 4), lambda x: torch.full((1, 2, 4, 4), next(values))
    )
    assert mean[0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ('test_cfg', 'text'),
    [
        (dict(mode='slide'), r'\(96, 96\), the frame, .*found crop_size=None, stride=None'),
        (dict(SLIDE, crop_size=(128, 128)), r'at most \(96, 96\), .*crop_size=\(128, 128\)'),
        (dict(SLIDE, crop_size=96), 'found crop_size=96'),
        (dict(SLIDE, stride=(0, 64)), r'stride=\(0, 64\)'),
        (dict(SLIDE, stride=(64, 64.0)), r'stride=\(64, 64.0\)'),
        (dict(SLIDE, stride=(64,)), r'stride=\(64,\)'),
        (dict(SLIDE, crop_size=(48, 96)), r'not larger, .*crop_size=\(48, 96\), stride=\(64'),
        (dict(mode='tiles'), "mode: expected 'whole' or 'slide', found 'tiles'"),
    ],
)
def test_windows_that_cannot_be_predicted(test_cfg, text):
    with pytest.raises(ValueError, match=f'^model.test_cfg.*{text}'):
        build(test_cfg)


def test_windows_of_an_encoder_that_takes_any_frame():
    """A window is a frame then, and may be of any size."""
    large = dict(SLIDE, crop_size=(512, 768), stride=(512, 512))
    assert check_test_cfg(large, None).crop_size == (512, 768)
    with pytest.raises(ValueError, match=r'in pixels, and a stride .*stride=\(97, 64\)'):
        check_test_cfg(dict(SLIDE, stride=(97, 64)), None)
    model, picture = build(SLIDE), random_picture((130, 170))
    expected = predict(model, picture)
    model.backbone.frame = None
    assert torch.equal(predict(model, picture).seg_logits.data, expected.seg_logits.data)


def test_embedded_samples_have_no_windows():
    config = Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_shapes_cached.py').model
    config.test_cfg = SLIDE
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(ValueError, match="mode is 'slide', but this model has no image encoder"),
    ):
        MODELS.build(config)


@pytest.mark.parametrize('test_cfg', [None, {}, dict(logits=False)])
def test_without_a_mode_images_are_whole(test_cfg):
    assert build(test_cfg).test_cfg.mode == 'whole'


def test_a_large_picture_as_a_whole_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"got \(1, 3, 120, 200\).*RandomCrop.*mode='slide'"):
        predict(build_tiny(), random_picture((120, 200)))


def test_the_linear_baseline_in_windows():
    config = Config.fromfile(CONFIGS / 'ablations/linear_sam-tiny_shapes.py').model
    config.test_cfg = dict(SLIDE, logits=False)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config).eval()
    sample = predict(model, random_picture((100, 150)))
    assert sample.pred_sem_seg.data.shape == (1, 100, 150)
    assert 'seg_logits' not in sample


def test_one_class_in_windows():
    prompts = dict(dataset=None, class_names=('disc',))
    model = build(SLIDE, num_classes=1, rest_id=255, semantic_prompts=prompts)
    sample = predict(model, random_picture((100, 150)))
    assert set(sample.pred_sem_seg.data.unique().tolist()) <= {0, 255}
    torch.testing.assert_close(sample.seg_logits.data.sum(dim=0), torch.ones(100, 150))


def test_from_large_photographs_to_files(tmp_path):
    for number in range(2):
        image, labels = draw_photograph(number, size=(120, 200))
        save(image, tmp_path / 'img' / f'{number}.png')
        save(labels, tmp_path / 'ann' / f'{number}.png')
    cfg = own_config(tmp_path, img_suffix='.png')
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomCrop', crop_size=(96, 96)),
        dict(type='PackSegInputs'),
    ]
    pipeline = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    for split in ('val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.pipeline = [dict(type=name) for name in pipeline]
    cfg.model.test_cfg = dict(SLIDE, logits=False)
    cfg.test_evaluator.output_dir = str(tmp_path / 'out')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert 'mIoU' in runner.test()
    assert np.asarray(Image.open(tmp_path / 'out' / '0.png')).shape == (120, 200)
