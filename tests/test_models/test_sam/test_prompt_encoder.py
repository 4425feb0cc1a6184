"""The frozen prompt encoder computes what the official one does, with gradients to points."""

import pytest
import torch
from mmseg.registry import MODELS
from segment_anything.modeling import Sam

from mmseg_ssprompt.models.sam.prompt_encoder import SAMPromptEncoder
from mmseg_ssprompt.models.sam.sam_variants import build_prompt_encoder


@pytest.fixture(scope='module')
def encoder(tiny_file):
    return MODELS.build(dict(type='SAMPromptEncoder', variant='tiny', checkpoint=str(tiny_file)))


@pytest.fixture
def points():
    return 96 * torch.rand(5, 3, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels():
    return torch.tensor([[1, 0, -1], [1, 1, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 1]])


def test_points_equal_the_official_ones(tiny_sam: Sam, encoder, points, labels):
    sparse, dense = tiny_sam.prompt_encoder((points, labels), None, None)
    assert torch.equal(encoder.encode_points(points, labels), sparse)  # (5, 4, D)
    assert torch.equal(encoder.dense_prompt(), dense[:1])
    assert encoder.dense_prompt().shape == (1, 96, 12, 12)


def test_boxes_equal_the_official_ones(tiny_sam: Sam, encoder):
    boxes = torch.tensor([[3.0, 4.0, 50.0, 60.5], [0.0, 0.0, 95.0, 95.0]])
    sparse, _ = tiny_sam.prompt_encoder(None, boxes, None)
    assert sparse.shape == (2, 2, 96)
    assert torch.equal(encoder.encode_boxes(boxes), sparse)


def test_image_pe_equals_the_official_one(tiny_sam: Sam, encoder):
    assert torch.equal(encoder.image_pe(), tiny_sam.prompt_encoder.get_dense_pe())


def test_equals_the_official_ones_at_real_size():
    encoder, official = SAMPromptEncoder('vit_b'), build_prompt_encoder('vit_b')
    official.load_state_dict(encoder.model.state_dict())
    points, labels = 1024 * torch.rand(100, 1, 2), torch.ones(100, 1)
    sparse, dense = official((points, labels), None, None)
    assert torch.equal(encoder.encode_points(points, labels), sparse)  # (100, 2, 256)
    assert encoder.encode_points(points, labels).shape == (100, 2, 256)
    assert torch.equal(encoder.dense_prompt(), dense[:1])
    assert encoder.image_pe().shape == (1, 256, 64, 64)


def test_prompts_of_a_batch_do_not_meet(encoder, points, labels):
    together = encoder.encode_points(points[:2], labels[:2])
    singly = [encoder.encode_points(points[n : n + 1], labels[n : n + 1]) for n in range(2)]
    torch.testing.assert_close(together, torch.cat(singly), atol=1e-6, rtol=1e-6)


def test_gradients_reach_coordinates_and_nothing_else(encoder, points, labels):
    points = points.double().requires_grad_()
    weight = torch.randn(5, 4, 96, generator=torch.Generator().manual_seed(2))
    loss = (encoder.encode_points(points, labels) * weight).sum()
    loss.backward()
    assert (points.grad[labels >= 0].abs() > 0).all()
    assert (points.grad[labels == -1] == 0).all()  # not a point: its place does not matter
    assert all(parameter.grad is None for parameter in encoder.parameters())

    step = torch.zeros_like(points)
    step[1, 0, 0] = 0.01
    with torch.no_grad():
        high = (encoder.encode_points(points + step, labels) * weight).sum(dtype=torch.float64)
        low = (encoder.encode_points(points - step, labels) * weight).sum(dtype=torch.float64)
    assert (high - low).item() / 0.02 == pytest.approx(points.grad[1, 0, 0].item(), rel=0.01)


def test_autocast_does_not_blur_positions(encoder, points, labels):
    expected = encoder.encode_points(points, labels), encoder.image_pe()
    boxes = torch.tensor([[3.0, 4.0, 50.0, 60.5]])
    expected_boxes = encoder.encode_boxes(boxes)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = encoder.encode_points(points, labels), encoder.image_pe()
        assert torch.equal(encoder.encode_boxes(boxes), expected_boxes)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_is_frozen(encoder):
    assert not any(module.training for module in encoder.train().modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.dense_prompt().requires_grad and not encoder.image_pe().requires_grad


def test_wrong_boxes_are_refused(encoder):
    with pytest.raises(ValueError, match='left <= right'):
        encoder.encode_boxes(torch.tensor([[5.0, 0.0, 4.0, 9.0]]))
