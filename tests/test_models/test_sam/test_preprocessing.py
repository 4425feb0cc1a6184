"""mmseg's pipeline and preprocessor give SAM the input that its own predictor gives it.

With ``backend='pillow'`` in ``Resize`` the two agree exactly. mmcv's default backend, OpenCV, does
not blur before it shrinks as Pillow does; how far that is from SAM's own input is bounded here.
"""

from typing import List

import mmcv
import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from mmcv.transforms import Resize
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn

import mmseg_ssprompt  # noqa: F401

from mmseg.datasets.transforms import PackSegInputs  # isort: skip
from mmseg.models.data_preprocessor import SegDataPreProcessor  # isort: skip
from mmseg_ssprompt.models.sam.sam_variants import PIXEL_MEAN, PIXEL_STD

GREY_LEVEL = 1 / min(PIXEL_STD)  # one step of 255, after normalising


class Recorder(nn.Module):
    """Stands in for the image encoder and keeps what it is given."""

    def __init__(self, img_size: int) -> None:
        super().__init__()
        self.img_size = img_size

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x


class PromptEncoderStub(nn.Module):
    """All that ``SamPredictor`` asks of a prompt encoder before there are prompts."""


def official_input(rgb: np.ndarray, size: int) -> Tensor:
    """What ``SamPredictor.set_image`` gives the image encoder: (1, 3, S, S)."""
    recorder = Recorder(size)
    sam = Sam(recorder, PromptEncoderStub(), nn.Identity(), list(PIXEL_MEAN), list(PIXEL_STD))
    SamPredictor(sam).set_image(rgb, image_format='RGB')
    return recorder.seen


def our_inputs(
    bgr_images: List[np.ndarray], size: int, backend: str = 'cv2', training: bool = False
) -> Tensor:
    """What mmseg's transforms and preprocessor give the backbone: (B, 3, S, S)."""
    resize = Resize(scale=(size, size), keep_ratio=True, backend=backend)
    packed = []
    for image in bgr_images:
        results = resize(dict(img=image.copy(), img_shape=image.shape[:2]))
        packed.append(PackSegInputs(meta_keys=('img_shape',))(results))
    preprocessor = SegDataPreProcessor(
        mean=PIXEL_MEAN,
        std=PIXEL_STD,
        bgr_to_rgb=True,
        size=(size, size),
        pad_val=0,
        test_cfg=dict(size=(size, size)),
    )
    data = {key: [one[key] for one in packed] for key in ('inputs', 'data_samples')}
    return preprocessor(data, training)['inputs']


def random_image(height: int, width: int) -> np.ndarray:
    """A BGR image of noise, the hardest to resize."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def to_rgb(bgr: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(bgr[..., ::-1])


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    """A photograph, 600 x 512, that comes with matplotlib."""
    return mmcv.imread(str(get_sample_data('grace_hopper.jpg', asfileobj=False)))


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(('height', 'width'), [(96, 96), (96, 50), (31, 96)])
def test_equal_where_nothing_is_resized(height, width, training):
    bgr = random_image(height, width)
    ours = our_inputs([bgr], 96, training=training)
    torch.testing.assert_close(ours, official_input(to_rgb(bgr), 96), atol=1e-4, rtol=0)


@pytest.mark.parametrize('training', [False, True])
def test_pads_with_zeros_after_normalising(training):
    ours = our_inputs([random_image(60, 96)], 96, training=training)
    assert ours.shape == (1, 3, 96, 96)
    assert (ours[..., 60:, :] == 0).all()
    assert (ours[..., :60, :] != 0).float().mean() > 0.9
    black = our_inputs([np.zeros((60, 96, 3), np.uint8)], 96, training=training)
    mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
    assert torch.equal(black[0, :, 0, 0], -mean / std)  # black is not what padding is


def test_colours_are_rgb():
    bgr = np.zeros((96, 96, 3), np.uint8)
    bgr[..., 2] = 255  # red
    red, green, blue = our_inputs([bgr], 96)[0, :, 0, 0]
    assert red > 0 > max(green, blue)


def test_sizes_agree_for_every_aspect_ratio():
    rng = np.random.default_rng(0)
    for height, width in [*rng.integers(1, 5000, (2000, 2)), (683, 512), (1024, 2048), (3, 1500)]:
        expected = ResizeLongestSide.get_preprocess_shape(int(height), int(width), 1024)
        if min(expected) > 0:  # neither can shrink a side to nothing
            found = mmcv.rescale_size((int(width), int(height)), (1024, 1024))
            assert found == expected[::-1]


@pytest.mark.parametrize(('height', 'width'), [(40, 30), (333, 517), (96, 200), (20, 96)])
def test_pillow_resizes_exactly_as_sam_does(height, width):
    bgr = random_image(height, width)
    ours = our_inputs([bgr], 96, backend='pillow')
    assert torch.equal(ours, official_input(to_rgb(bgr), 96))


@pytest.mark.parametrize('size', [1024, 300, 96])
def test_pillow_equals_sam_on_a_photograph(photo, size):
    ours = our_inputs([photo], size, backend='pillow')
    assert torch.equal(ours, official_input(to_rgb(photo), size))


def test_opencv_enlarges_a_photograph_within_one_grey_level(photo):
    difference = (our_inputs([photo], 1024) - official_input(to_rgb(photo), 1024)).abs()
    assert difference.mean() < 0.2 * GREY_LEVEL  # measured: 0.0031, where one level is 0.0175
    assert difference.max() <= 1.01 * GREY_LEVEL


@pytest.mark.parametrize(('size', 'mean_bound'), [(300, 0.07), (96, 0.15)])
def test_opencv_shrinks_a_photograph_more_sharply_than_sam(photo, size, mean_bound):
    ours, official = our_inputs([photo], size), official_input(to_rgb(photo), size)
    difference = (ours - official).abs()
    # Measured: mean 0.032, maximum 1.2 at half the size; 0.123 and 2.4 at a sixth.
    assert 0.2 * mean_bound < difference.mean() < mean_bound
    assert ours.std() > official.std()
