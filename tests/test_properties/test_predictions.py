"""A label map of any image's size, from one pixel to very long, with and without scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.structures import SegDataSample

import example_counts
from mmseg_ssprompt.models.heads.ssprompt_head import enlarge
from mmseg_ssprompt.models.segmentors.label_map import find_best_classes
from tiny_model import NUM_CLASSES, SIZE, build_tiny, random_images

LENGTHS = st.sampled_from([1, 2, 3, 31, 96, 333, 517])


@pytest.fixture(scope='module')
def model():
    return build_tiny()


def sample_of(height: int, width: int) -> SegDataSample:
    """As mmseg's pipeline describes an image that was resized and padded to the frame."""
    scale = SIZE / max(height, width)
    size = tuple(max(1, int(side * scale + 0.5)) for side in (height, width))
    padding = [0, SIZE - size[1], 0, SIZE - size[0]]
    return SegDataSample(
        metainfo=dict(
            ori_shape=(height, width),
            img_shape=size,
            pad_shape=(SIZE, SIZE),
            padding_size=padding,
            img_padding_size=padding,
        )
    )


def predict(model, height: int, width: int, logits: bool) -> SegDataSample:
    model.test_cfg.logits = logits
    with torch.no_grad():
        return model.predict(random_images(1), [sample_of(height, width)])[0]


@settings(max_examples=example_counts.count(12))
@given(height=LENGTHS, width=LENGTHS)
def test_label_maps_have_the_size_of_the_image(model, height, width):
    scores, labels = (predict(model, height, width, logits) for logits in (True, False))
    assert scores.seg_logits.data.shape == (NUM_CLASSES, height, width)
    assert labels.pred_sem_seg.data.shape == (1, height, width)
    assert torch.equal(labels.pred_sem_seg.data, scores.pred_sem_seg.data)
    assert 'seg_logits' not in labels


@given(
    classes=st.integers(2, 40),
    size=st.one_of(st.tuples(LENGTHS, LENGTHS), st.sampled_from([(5000, 3), (3, 5000)])),
    seed=st.integers(0, 99),
)
def test_any_number_of_classes(model, classes, size, seed):
    """As mmseg finds them from the scores of all classes at once."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(classes, 6, 6, generator=generator)
    frame, sample = (SIZE, SIZE), sample_of(*size)
    found = find_best_classes(scores, frame, sample.metainfo)
    (expected,) = model.postprocess_result(enlarge(scores[None], frame), [sample])
    assert found.shape == (1, *size)
    assert torch.equal(found, expected.pred_sem_seg.data)


@pytest.mark.parametrize('size', [(5000, 3), (3, 5000), (1, 1)])
def test_extreme_sizes(model, size):
    labels = predict(model, *size, logits=False).pred_sem_seg.data
    assert labels.shape == (1, *size)
    assert 0 <= labels.min() <= labels.max() < NUM_CLASSES
