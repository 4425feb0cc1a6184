"""Points lie on labelled pixels, each as likely as another, and are read as interpolation would."""

import pytest
import torch
import torch.nn.functional as F

from mmseg_ssprompt.models.losses import point_sampling
from mmseg_ssprompt.models.losses.point_sampling import draw_labelled_points, sample_masks

IGNORED = 255


def test_coordinates_are_the_centres_of_the_pixels_whose_labels_are_given():
    labels = torch.arange(6).view(1, 2, 3)
    points, drawn = draw_labelled_points(labels, 200, IGNORED)
    assert set(drawn[0].tolist()) == set(range(6))
    x, y = points[0].unbind(dim=-1)
    assert torch.allclose(x, (drawn[0] % 3 + 0.5) / 3)
    assert torch.allclose(y, (drawn[0] // 3 + 0.5) / 2)


def test_every_labelled_pixel_is_as_likely_as_another():
    labels = torch.full((1, 4, 5), IGNORED)
    labels[0, 1, 1], labels[0, 3, 0], labels[0, 3, 4] = (
        0,
        1,
        2,
    )  # not in the first row, and the last
    _, drawn = draw_labelled_points(labels, 30_000, IGNORED)
    shares = drawn[0].bincount(minlength=3) / 30_000
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.015)  # five deviations


def test_images_are_drawn_from_their_own_pixels():
    labels = torch.full((3, 4, 4), IGNORED)
    labels[0, 0, 0], labels[2, 3, 3] = 7, 8
    points, drawn = draw_labelled_points(labels, 5, IGNORED)
    assert drawn.tolist() == [[7] * 5, [IGNORED] * 5, [8] * 5]
    assert torch.equal(points[0], torch.full((5, 2), 0.125))
    assert torch.equal(points[2], torch.full((5, 2), 0.875))


def test_each_image_has_points_of_its_own():
    labels = torch.arange(400).view(1, 20, 20).expand(2, -1, -1)
    points, drawn = draw_labelled_points(labels, 50, IGNORED)
    assert not torch.equal(points[0], points[1])
    assert not torch.equal(drawn[0], drawn[1])


def test_largest_random_number_stays_inside(monkeypatch):
    monkeypatch.setattr(torch, 'rand', lambda *size, device: torch.ones(size, device=device))
    labels = torch.arange(12).view(1, 3, 4)
    assert draw_labelled_points(labels, 2, IGNORED)[1].tolist() == [[11, 11]]


def test_masks_are_read_as_interpolation_gives_them():
    masks = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(masks, size=(16, 16), mode='bilinear', align_corners=False)
    labels = torch.arange(256).view(1, 16, 16).expand(2, -1, -1)
    points, pixels = draw_labelled_points(labels, 50, ignore_index=-1)
    expected = large.flatten(2).gather(2, pixels[:, None].expand(-1, 3, -1))
    torch.testing.assert_close(sample_masks(masks, points), expected)


@pytest.mark.parametrize('images', [0, 1, 3])
def test_large_masks_are_read_as_small_ones_are(images: int, monkeypatch):
    """With their gradients; CPUs read them in another order."""
    masks, points = torch.randn(images, 5, 96, 100), torch.rand(images, 40, 2)
    found = []
    for least in (96 * 100, 96 * 100 + 1):
        monkeypatch.setattr(point_sampling, '_MIN_PIXELS', least)
        own = masks.clone().requires_grad_()
        sampled = sample_masks(own, points)
        assert sampled.shape == (images, 5, 40)
        found.append((sampled, torch.autograd.grad(sampled.square().sum(), own)[0]))
    for one, two in zip(*found):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
