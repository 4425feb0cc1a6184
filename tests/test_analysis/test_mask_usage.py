"""What each mask wins and is labelled, computed by hand."""

import numpy as np
import pytest
import torch

from mmseg_ssprompt.analysis.mask_usage import MaskUsage, find_winners
from mmseg_ssprompt.analysis.segmentation import ImageSegmentation

#: Three masks of 2 x 2, two classes and "no object".
MASKS = torch.tensor([[[0.9, 0.8], [0.1, 0.4]], [[0.2, 0.9], [0.1, 0.3]], [[0.0, 0.0], [0.9, 0.9]]])
SCORES = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])


def image(shape=(4, 4), masks=MASKS, scores=SCORES) -> ImageSegmentation:
    return ImageSegmentation(masks, scores, torch.zeros(4, 4), (4, 4), shape)


def test_winners():
    """Class scores are 0.84 and 0.15; 1.18 and 0.35; 0.23 and 0.31; 0.59 and 0.40."""
    winners, classes = find_winners(MASKS, SCORES)
    assert classes.tolist() == [[0, 0], [1, 0]]
    # 0.72 against 0.12; 0.64 against 0.54; 0.27 against 0.03 and 0.01; 0.32 against 0.18, 0.09
    assert winners.tolist() == [[0, 0], [2, 0]]


def test_the_winner_is_of_the_class_that_the_pixel_gets():
    masks = torch.tensor([0.9, 0.7, 0.7]).view(3, 1, 1)
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.5, 0.4], [0.1, 0.6, 0.3]])
    # Class 0 has 0.68, class 1 has 1.04, to which the masks give 0.27, 0.35 and 0.42.
    assert find_winners(masks, scores).flatten().tolist() == [2, 1]


def test_report():
    usage = MaskUsage(['cat', 'sea'])
    usage.add(image())
    first, second, third = usage.report()
    assert first == dict(
        prompt=0,
        output=0,
        won_share=0.75,
        won_class='cat',
        won_class_share=1.0,
        label='cat',
        label_share=1.0,
        mean_area=pytest.approx(0.55),
    )
    assert (second['won_share'], second['won_class'], second['won_class_share']) == (0, None, None)
    assert (third['won_share'], third['won_class'], third['label']) == (0.25, 'sea', 'no object')


def test_padding_does_not_count():
    usage = MaskUsage(['cat', 'sea'])
    usage.add(image(shape=(2, 4)))  # the lower row is padding
    assert [mask['won_share'] for mask in usage.report()] == [1, 0, 0]
    assert usage.report()[0]['mean_area'] == pytest.approx(0.85)
    np.testing.assert_allclose(usage.mean_masks[0], [[0.9, 0.8], [np.nan, np.nan]])


def test_means_over_images_of_different_shapes():
    usage = MaskUsage(['cat', 'sea'])
    usage.add(image(shape=(2, 4)))
    usage.add(image(masks=torch.full((3, 2, 2), 0.5), scores=SCORES.flip(1)))
    np.testing.assert_allclose(usage.mean_masks[0], [[0.7, 0.65], [0.5, 0.5]])
    first, _, third = usage.report()
    assert usage.num_images == 2
    assert (first['label'], first['label_share']) == ('cat', 0.5)  # the other is "no object"
    # In the second image class 0 has 0.5 * (0.1 + 0.1 + 0.6), class 1 has 0.5 * (0.1 + 0.3 + 0.3).
    assert first['won_share'] == pytest.approx(2 / 6)
    assert third['won_share'] == pytest.approx(4 / 6)
    assert (third['won_class'], third['won_class_share']) == ('cat', 1)


def test_masks_of_one_prompt_are_told_apart():
    usage = MaskUsage(['cat', 'sea'], masks_per_prompt=3)
    usage.add(image())
    assert [(m['prompt'], m['output']) for m in usage.report()] == [(0, 0), (0, 1), (0, 2)]
