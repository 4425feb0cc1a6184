"""Candidate masks lie where mmseg puts the prediction."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_ssprompt.analysis.segmentation import ImageSegmentation, segment_image
from tiny_model import build_tiny


@pytest.fixture(scope='module')
def model():
    return build_tiny()


def sample(flip: bool = False):
    """A picture of 4:3, of 120 x 160 pixels, resized to 72 x 96 by the pipeline."""
    generator = torch.Generator().manual_seed(1)
    data_sample = SegDataSample(
        metainfo=dict(img_shape=(72, 96), ori_shape=(120, 160), flip=flip, img_path='a.png')
    )
    data_sample.gt_sem_seg = PixelData(data=torch.zeros(1, 120, 160, dtype=torch.long))
    image = torch.randint(0, 256, (3, 72, 96), generator=generator, dtype=torch.uint8)
    return dict(inputs=image, data_samples=data_sample)


def test_the_prediction_is_mmsegs(model):
    found = segment_image(model, sample())
    with torch.no_grad():
        (expected,) = model.test_step(
            dict(inputs=[sample()['inputs']], data_samples=[sample()['data_samples']])
        )
    assert found.prediction.shape == (120, 160)
    assert torch.equal(found.prediction, expected.pred_sem_seg.data[0])
    assert len(found.prediction.unique()) > 1
    # Interpolation is linear, so the weighted sum of the masks is mmseg's map of scores.
    masks = torch.cat(list(found.masks_at_image_size()))
    assert masks.shape == (64, 120, 160)
    scores = torch.einsum('nc,nhw->chw', found.class_scores[:, :-1], masks)
    torch.testing.assert_close(scores, expected.seg_logits.data, atol=1e-4, rtol=0)


def test_padding_is_outside(model):
    found = segment_image(model, sample())
    assert found.frame == (96, 96)
    assert found.image_shape == (72, 96)
    assert found.masks.shape[-2:] == (48, 48)
    inside = found.inside
    assert inside[:36].all()
    assert not inside[36:].any()


def test_a_place_is_inside_by_its_centre():
    given = torch.zeros(1, 4, 4), torch.zeros(1, 2), torch.zeros(5, 7)
    image = ImageSegmentation(*given, (8, 8), (5, 6))
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:2, :3] = True  # centres are 1, 3, 5 and 7
    assert torch.equal(image.inside, expected)


def test_frames_need_not_be_square():
    given = torch.rand(2, 4, 6), torch.zeros(2, 2), torch.zeros(5, 7)
    image = ImageSegmentation(*given, (8, 24), (5, 13))
    expected = torch.zeros(4, 6, dtype=torch.bool)
    expected[:2, :3] = True  # centres are 1, 3, 5, 7 and 2, 6, 10, 14, 18, 22
    assert torch.equal(image.inside, expected)
    assert torch.cat(list(image.masks_at_image_size())).shape == (2, 5, 7)


def test_flipped_pictures_are_refused(model):
    with pytest.raises(ValueError, match='flips'):
        segment_image(model, sample(flip=True))
