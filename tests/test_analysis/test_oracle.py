"""Oracles by hand on 2 x 4 pixels, and on sam-tiny in the frame of the label maps."""

from typing import List

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample

from mmseg_ssprompt.analysis.oracle import (
    label_true_masks,
    mask_ious,
    measure_oracle,
    paint_best_masks,
    predict_oracle_maps,
    present_classes,
    select_best_masks,
)
from mmseg_ssprompt.datasets.checks import DatasetError
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput
from tiny_model import build_tiny

X = 255
LABEL = torch.tensor([[2, 2, 5, X], [2, 2, 5, X]])
MASKS = torch.tensor(
    [
        [[1, 1, 0, 1], [1, 0, 0, 1]],  # 3 of the 4 pixels of class 2; ignored ones do not count
        [[1, 1, 1, 0], [1, 1, 1, 0]],  # all of both
        [[0, 0, 1, 0], [0, 0, 0, 0]],  # 1 of the 2 pixels of class 5
        [[0, 0, 0, 1], [0, 0, 0, 1]],  # ignored pixels only
    ]
).bool()
IOUS = [[3 / 4, 0], [4 / 6, 2 / 6], [0, 1 / 2], [0, 0]]


def test_ious_by_hand():
    assert present_classes(LABEL, X).tolist() == [2, 5]
    torch.testing.assert_close(mask_ious(MASKS, LABEL, X), torch.tensor(IOUS))


def test_ious_are_those_of_the_evaluator():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(4, (9, 7), generator=generator)
    label[:, 5] = X
    masks = torch.rand(3, 9, 7, generator=generator) > 0.4
    found = mask_ious(masks, label, X)
    for n, mask in enumerate(masks):
        for class_id in range(4):
            region = torch.where(label == X, label, (label == class_id).long())
            intersection, union, *_ = IoUMetric.intersect_and_union(mask.long(), region, 2, X)
            assert found[n, class_id] == pytest.approx(float(intersection[1] / union[1]))


def test_the_best_mask_of_each_class():
    assert select_best_masks(torch.tensor(IOUS)).tolist() == [0, 2]


def test_the_first_of_equal_masks_and_none_that_misses():
    ious = torch.tensor([[0.0, 0.0, 0.2], [0.5, 0.0, 0.1], [0.5, 0.0, 0.2]])
    assert select_best_masks(ious).tolist() == [1, -1, 0]


def test_painting_takes_the_highest_mask_and_the_lower_id():
    soft = torch.tensor([[[0.9, 0.2, 0.3, 0.6]], [[0.8, 0.4, 0.3, 0.7]]])
    painted = paint_best_masks(soft, torch.tensor([2, 5]), X)
    assert painted.tolist() == [[2, 5, 2, 5]]
    assert painted.dtype == torch.int64


def test_nothing_to_paint():
    assert paint_best_masks(torch.zeros(0, 1, 3), torch.zeros(0), X).tolist() == [[X, X, X]]


def test_true_masks_get_the_class_of_the_highest_mean():
    # class 2: means 0.35, 0.30; class 5: 0.1, 0.2, though one pixel of it says 0
    scores = torch.tensor(
        [
            [[0.9, 0.3, 0.2, 0.0], [0.1, 0.1, 0.0, 0.0]],
            [[0.3, 0.3, 0.1, 0.9], [0.3, 0.3, 0.3, 0.9]],
        ]
    )
    painted = label_true_masks(scores, LABEL, X)
    assert painted.tolist() == [[0, 0, 1, X], [0, 0, 1, X]]


def test_an_image_without_labels():
    label = torch.full((2, 3), X)
    assert label_true_masks(torch.rand(4, 2, 3), label, X).tolist() == label.tolist()
    assert mask_ious(torch.ones(5, 2, 3).bool(), label, X).shape == (5, 0)


@pytest.fixture(scope='module')
def model():
    return build_tiny()


def make_batch(labels: List[torch.Tensor], flip: bool = False) -> dict:
    """Images of 72 x 96, to be padded below, of label maps of any size."""
    samples, inputs = [], []
    generator = torch.Generator().manual_seed(1)
    for label in labels:
        meta = dict(ori_shape=tuple(label.shape), img_shape=(72, 96), img_path='some.png')
        meta.update(dict(flip=True, flip_direction='horizontal') if flip else {})
        sample = SegDataSample(metainfo=dict(meta, seg_map_path='label.png'))
        sample.gt_sem_seg = PixelData(data=label[None])
        samples.append(sample)
        inputs.append(torch.randint(256, (3, 72, 96), generator=generator).byte())
    return dict(inputs=inputs, data_samples=samples)


def halves(height: int, width: int) -> torch.Tensor:
    """Class 3 on the left, 7 on the right, and ignored pixels below."""
    label = torch.full((height, width), 3)
    label[:, width // 2 :] = 7
    label[-2:] = X
    return label


@pytest.mark.parametrize('flip', [False, True])
def test_everything_is_in_the_frame_of_the_label_map(model, flip):
    labels = [halves(144, 192), halves(36, 50)]
    found = predict_oracle_maps(model, make_batch(labels, flip))
    data = model.data_preprocessor(make_batch(labels, flip), False)
    with torch.no_grad():
        expected = model.predict(data['inputs'], data['data_samples'])
    for maps, sample, label in zip(found, expected, labels):
        assert torch.equal(maps.prediction, sample.pred_sem_seg.data[0])
        assert torch.equal(maps.label, label)
        assert {tuple(entry.shape) for entry in maps} == {tuple(label.shape)}
        assert set(maps.best_mask.unique().tolist()) <= {3, 7, X}


def set_output(monkeypatch, model, mask_logits, class_logits) -> None:
    """Let the head answer each image with given masks (N, 24, 24) and labels (N, 11)."""

    def forward(inputs):
        count = len(inputs[-1])
        return HeadOutput(mask_logits.expand(count, -1, -1, -1), class_logits.expand(count, -1, -1))

    monkeypatch.setattr(model.decode_head, 'forward', forward)


def step_masks() -> torch.Tensor:
    """Two sharp masks: the left half, and the right half, of the input frame."""
    masks = torch.full((2, 24, 24), -20.0)
    masks[0, :, :12], masks[1, :, 12:] = 20.0, 20.0
    return masks


def test_right_masks_with_wrong_labels(model, monkeypatch):
    """Labels limit the result: best masks are perfect, and true masks as bad as the prediction."""
    labels = torch.full((2, 11), -20.0)
    labels[0, 1], labels[1, 7] = 20.0, 20.0  # the left half is taken for class 1
    set_output(monkeypatch, model, step_masks(), labels)
    classes = tuple(f'class {i}' for i in range(10))
    meta = dict(classes=classes, thing_classes=(classes[3],), stuff_classes=(classes[7],))
    figures = measure_oracle(model, [make_batch([halves(72, 96)] * 2)] * 2, meta)
    assert figures == {
        'mIoU': pytest.approx(100 / 3, abs=0.005),  # 0 of 1 and of 3, all of 7
        'mIoU.things': 0.0,
        'mIoU.stuff': 100.0,
        'mIoU.best_mask': 100.0,
        'mIoU.best_mask.things': 100.0,
        'mIoU.best_mask.stuff': 100.0,
        'mIoU.true_mask': pytest.approx(100 / 3, abs=0.005),
        'mIoU.true_mask.things': 0.0,
        'mIoU.true_mask.stuff': 100.0,
    }


def test_right_labels_with_a_wrong_mask(model, monkeypatch):
    """Masks limit the result: one covers a quarter of the image instead of the half."""
    masks = step_masks()
    masks[0, :, 6:12] = -20.0
    masks[1, :, :12] = -10.0  # where neither covers anything, this one is higher
    labels = torch.full((2, 11), -20.0)
    labels[0, 3], labels[1, 7] = 20.0, 20.0
    set_output(monkeypatch, model, masks, labels)
    classes = tuple(f'class {i}' for i in range(10))
    figures = measure_oracle(model, [make_batch([halves(72, 96)])], dict(classes=classes))
    # Of 48 columns each: the edge at 24 is blurred over 4, so 26 go to class 3 and 70 to class 7.
    expected = pytest.approx(100 * (26 / 48 + 48 / 70) / 2, abs=0.005)
    assert figures == {'mIoU': expected, 'mIoU.best_mask': expected, 'mIoU.true_mask': 100.0}


@pytest.mark.parametrize('num_masks', [1, 17])
def test_any_number_of_masks(model, monkeypatch, num_masks):
    """Masks are enlarged in chunks of 16, and never as a single channel."""
    masks = torch.full((num_masks, 24, 24), -20.0)
    masks[-1, :, :12] = 2.0
    set_output(monkeypatch, model, masks, torch.zeros(num_masks, 11))
    (maps,) = predict_oracle_maps(model, make_batch([halves(72, 96)]))
    # No mask meets class 7, so nothing competes with class 3, which is painted everywhere.
    assert maps.best_mask.unique().tolist() == [3]


def test_no_mask_at_all(model, monkeypatch):
    set_output(monkeypatch, model, torch.full((2, 24, 24), -20.0), torch.zeros(2, 11))
    (maps,) = predict_oracle_maps(model, make_batch([halves(72, 96)]))
    assert maps.best_mask.unique().tolist() == [X]


def test_without_label_maps(model):
    batch = make_batch([halves(72, 96)])
    del batch['data_samples'][0].gt_sem_seg
    with pytest.raises(DatasetError, match=r"'some\.png': expected a label map.*LoadAnnotations"):
        predict_oracle_maps(model, batch)


def test_label_map_of_another_size(model):
    batch = make_batch([halves(72, 96)])
    batch['data_samples'][0].set_metainfo(dict(ori_shape=(36, 48)))
    expected = r"'label\.png': expected the size \(36, 48\) of its image, found \(72, 96\)"
    with pytest.raises(DatasetError, match=expected):
        predict_oracle_maps(model, batch)


def test_unknown_ids(model):
    label = halves(72, 96)
    label[0, 0] = 11
    with pytest.raises(DatasetError, match=r"'label\.png': expected ids from 0 to 9.*found \[11\]"):
        predict_oracle_maps(model, make_batch([label]))
