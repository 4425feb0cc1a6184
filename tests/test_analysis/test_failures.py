"""Kinds of errors, computed by hand."""

import numpy as np
import pytest
import torch

from mmseg_ssprompt.analysis.failures import (
    FailureTotals,
    analyse_image,
    classify_regions,
    map_errors,
)
from mmseg_ssprompt.analysis.segmentation import ImageSegmentation

# Five classes; class 4 is not in the ground truth, 255 is ignored.
TRUTH = torch.tensor(
    [
        [0, 0, 0, 0, 255, 255],
        [1, 1, 1, 1, 1, 1],
        [2, 2, 2, 2, 2, 2],
        [3, 3, 3, 3, 3, 3],
    ]
)
PREDICTION = torch.tensor(
    [
        [0, 0, 0, 4, 4, 0],
        [4, 4, 4, 4, 4, 1],
        [2, 2, 0, 0, 4, 4],
        [4, 4, 4, 4, 4, 4],
    ]
)
# Columns are classes: the best masks have IoU 0.4 with class 0, 0.5 with 1, 0.49 with 2 and 3.
FITS = torch.tensor([[0.4, 0.1, 0.49, 0.0, 0.0], [0.2, 0.5, 0.1, 0.49, 0.0]])
LABELS = torch.tensor([2, 4])


def classify(prediction=PREDICTION, fits=FITS, labels=LABELS):
    return {r.class_id: r for r in classify_regions(prediction, TRUTH, fits, labels)}


def test_the_four_kinds():
    regions = classify()
    assert {i: r.kind for i, r in regions.items()} == {
        0: 'found',  # 3 of 4 pixels, and 2 more elsewhere: 3 / 6 = 0.5, however poor the masks
        1: 'wrong label',  # IoU 1 / 6, and mask 1 fits
        2: 'wrong mask',  # IoU 2 / 6, no mask fits, the class is predicted
        3: 'missed',
    }
    assert [regions[i].iou for i in range(4)] == pytest.approx([0.5, 1 / 6, 2 / 6, 0])
    assert [regions[i].pixels for i in range(4)] == [4, 6, 6, 6]
    assert [regions[i].wrong_pixels for i in range(4)] == [1, 5, 4, 6]
    assert [regions[i].best_mask for i in range(4)] == [0, 1, 0, 1]
    assert regions[1].best_mask_iou == pytest.approx(0.5)
    assert regions[1].best_mask_label == 4


def test_a_class_predicted_elsewhere_is_not_missed():
    prediction = PREDICTION.clone()
    prediction[2, 2] = 3
    assert classify(prediction)[3].kind == 'wrong mask'


def test_a_class_predicted_only_on_ignored_pixels_is_missed():
    prediction = PREDICTION.clone()
    prediction[0, 5] = 3
    assert classify(prediction)[3].kind == 'missed'


def test_a_mask_with_the_right_label_that_others_overlaid():
    assert classify(labels=torch.tensor([2, 1]))[1].outvoted
    assert not classify()[1].outvoted


def test_where_the_errors_are():
    regions = list(classify().values())
    assert map_errors(PREDICTION, TRUTH, regions).tolist() == [
        [0, 0, 0, 1, 255, 255],
        [2, 2, 2, 2, 2, 0],
        [0, 0, 3, 3, 3, 3],
        [4, 4, 4, 4, 4, 4],
    ]


def segmentation(masks, labels, prediction=PREDICTION) -> ImageSegmentation:
    """Masks at the image's own size, in a frame of 6 x 6 that is padded below."""
    padded = torch.nn.functional.pad(masks.float(), (0, 0, 0, 2))
    scores = torch.nn.functional.one_hot(torch.tensor(labels), 6).float()
    return ImageSegmentation(padded, scores, prediction, (6, 6), (4, 6))


def masks_of(*rows) -> torch.Tensor:
    """A mask for each given row of the image."""
    masks = torch.zeros(len(rows), 4, 6)
    for mask, row in zip(masks, rows):
        mask[row] = 1
    return masks


def test_an_image():
    masks = masks_of(1, 2)
    masks[1, 2, :3] = 0.5  # not above one half
    masks[1, 0, 4:] = 1  # ignored pixels
    found = analyse_image(segmentation(masks, [4, 5]), TRUTH)
    kinds = {region.class_id: region.kind for region in found.regions}
    assert kinds == {0: 'found', 1: 'wrong label', 2: 'wrong label', 3: 'missed'}
    assert found.regions[1].best_mask_iou == 1
    assert found.regions[2].best_mask_iou == 0.5  # 3 of 6 pixels
    assert found.regions[2].best_mask_label == 5  # "no object"
    assert found.intersections.tolist() == [3, 1, 2, 0, 0]
    assert found.unions.tolist() == [6, 6, 6, 6, 14]
    assert found.miou == pytest.approx(100 * (3 / 6 + 1 / 6 + 2 / 6) / 5)
    assert found.errors.shape == (4, 6)


def test_shapes_that_do_not_agree():
    with pytest.raises(ValueError, match='LoadAnnotations must come after Resize'):
        analyse_image(segmentation(masks_of(1), [0]), TRUTH[:3])


def test_an_image_without_labels():
    with pytest.raises(ValueError, match='no pixel'):
        analyse_image(segmentation(masks_of(1), [0]), torch.full_like(TRUTH, 255))


def test_totals():
    groups = dict(things=[0, 1], stuff=[2, 3], other=[4])
    totals = FailureTotals(['a', 'b', 'c', 'd', 'e'], groups)
    totals.add(analyse_image(segmentation(masks_of(1), [1]), TRUTH))
    totals.add(analyse_image(segmentation(masks_of(1), [1], prediction=TRUTH.clamp(max=4)), TRUTH))
    report = totals.report()
    ious = [7 / 10, 7 / 12, 8 / 12, 6 / 12, 0]
    assert report['mIoU'] == pytest.approx(100 * np.mean(ious))
    assert report['mIoU_by_group'] == pytest.approx(
        dict(things=100 * np.mean(ious[:2]), stuff=100 * np.mean(ious[2:4]), other=0)
    )
    errors = report['errors']
    assert {k: v['wrong_pixels'] for k, v in errors.items()} == {
        'found': 1,
        'wrong label': 5,
        'wrong mask': 4,
        'missed': 6,
    }
    assert errors['missed']['share_of_wrong'] == pytest.approx(6 / 16)
    assert errors['missed']['share_of_labelled'] == pytest.approx(6 / 44)
    assert errors['found']['regions'] == 5  # and the four of the second image
    assert report['errors_by_group']['things']['wrong label']['share_of_labelled'] == 5 / 20
    assert report['errors_by_group']['stuff']['found']['wrong_pixels'] == 0
    assert report['outvoted_regions'] == 1
    assert report['classes'][1]['IoU'] == pytest.approx(100 * 7 / 12)
    assert report['classes'][1]['pixels'] == 12


def test_a_class_that_is_nowhere_does_not_count():
    totals = FailureTotals(['a', 'b'], dict(all=[0, 1]))
    truth = torch.zeros(4, 6, dtype=torch.long)
    image = ImageSegmentation(torch.ones(1, 6, 6), torch.eye(3)[:1], truth, (6, 6), (4, 6))
    totals.add(analyse_image(image, truth))
    report = totals.report()
    assert report['mIoU'] == 100
    assert np.isnan(report['classes'][1]['IoU'])
