"""Nearest points of learned embeddings, and the random ones that they are compared with."""

import pytest
import torch

from mmseg_ssprompt.analysis.spatial import (
    CandidatePoints,
    default_tokens,
    encode_with_labels,
    explain_coordinates,
    explain_spatial_prompts,
)
from mmseg_ssprompt.models.prompts import SpatialPromptLearner
from mmseg_ssprompt.models.prompts.spatial import point_grid
from mmseg_ssprompt.models.sam import SAMPromptEncoder, SAMSegmenter

SAM = 'mmseg_ssprompt://sam-tiny_shapes.pth'
SIZE = 96
PIXELS = [(9.0, 18.0), (48.0, 72.0), (90.0, 3.0)]
POINTS = [(x / SIZE, y / SIZE) for x, y in PIXELS]  # as a config gives them
CORNERS = [(3, 6, 30, 42), (6, 9, 72, 84)]
BOXES = [tuple(side / SIZE for side in box) for box in CORNERS]


@pytest.fixture(scope='module')
def encoder():
    return SAMPromptEncoder('tiny', SAM)


@pytest.fixture(scope='module')
def segmenter():
    return SAMSegmenter('tiny', SAM)


def explain(encoder, change, **places):
    """Report on prompts whose default tokens ``change`` has altered."""
    segmenter = SAMSegmenter('tiny', SAM)
    learner = SpatialPromptLearner(segmenter, **places, fusion=dict(mode='default_only'))
    default = learner.fusion()
    fused = default.clone()
    change(fused)
    weights = torch.linspace(0.1, 0.9, len(default))
    start = default_tokens(learner.handcrafted, encoder.image_size)
    return explain_spatial_prompts(encoder, start, fused, default, weights)


def test_default_tokens_of_a_grid():
    start = default_tokens(point_grid(4, (1.0, 0.5)), 96)
    assert start.points.tolist() == [[24, 12], [72, 12], [24, 36], [72, 36]]
    assert start.prompts.tolist() == [0, 1, 2, 3]
    assert start.labels.tolist() == [1, 1, 1, 1]


def test_default_tokens_of_points():
    start = default_tokens(torch.tensor(POINTS), SIZE)
    assert start.points.tolist() == [list(point) for point in PIXELS]
    assert start.prompts.tolist() == [0, 1, 2]
    assert start.labels.tolist() == [1, 1, 1]


def test_default_tokens_of_boxes():
    start = default_tokens(torch.tensor(BOXES), 96)
    assert start.points.tolist() == [[3, 6], [30, 42], [6, 9], [72, 84]]
    assert start.prompts.tolist() == [0, 0, 1, 1]
    assert start.tokens.tolist() == [0, 1, 0, 1]
    assert start.labels.tolist() == [2, 3, 2, 3]


def test_labels_are_in_the_official_order(encoder):
    """A label is one vector of ``point_embeddings``, added to the encoding of the place."""
    tokens = encode_with_labels(encoder, torch.tensor(PIXELS))
    places = tokens - torch.stack([e.weight for e in encoder.model.point_embeddings])
    for label in range(1, 4):
        torch.testing.assert_close(places[label], places[0], atol=1e-5, rtol=0)


def test_a_candidate_finds_itself(encoder):
    candidates = CandidatePoints(encoder)
    assert candidates.spacing == 2.0
    indices, labels = [0, 777, 2303], [3, 0, 2]
    tokens = 3 * candidates.embeddings[labels, indices]
    own = encode_with_labels(encoder, torch.tensor(PIXELS))
    points, found, cosines = candidates.nearest(tokens, torch.tensor(PIXELS), own)
    assert points.tolist() == [[1, 1], [19, 33], [95, 95]]  # 48 a row, 2 pixels apart
    assert found.tolist() == labels
    assert cosines.tolist() == pytest.approx([1, 1, 1])


def test_a_prompt_that_became_another_point(encoder):
    target = encode_with_labels(encoder, torch.tensor([[51.0, 31.0]]))[0, 0]  # negative

    def change(fused):
        fused[1, 0] = target

    report = explain(encoder, change, points=POINTS)
    still, moved, _ = report['prompts']
    assert (moved['prompt'], moved['token']) == (1, 0)
    assert moved['weight'] == pytest.approx(0.5)
    assert moved['default'] == dict(
        x_pixels=48, y_pixels=72, x=48 / 96, y=72 / 96, label='positive'
    )
    assert moved['nearest'] == dict(
        x_pixels=51, y_pixels=31, x=51 / 96, y=31 / 96, label='negative'
    )
    assert moved['displacement_pixels'] == pytest.approx((3**2 + 41**2) ** 0.5)
    assert moved['cosine_to_nearest'] == pytest.approx(1)
    assert still['nearest'] == still['default']  # though no candidate of the grid lies there
    assert still['displacement_pixels'] == still['drift'] == 0
    learned, random = report['summary']['learned'], report['summary']['random']
    assert learned['share_with_default_label'] == pytest.approx(2 / 3)
    assert learned['share_displaced'] == pytest.approx(1 / 3)
    assert random['mean_cosine_to_nearest'] < learned['mean_cosine_to_nearest']


def test_drift_is_relative(encoder):
    def change(fused):
        fused[0] *= 1.5
        fused[2, 1] *= 0.75

    report = explain(encoder, change, points=POINTS)
    first, second, third = report['prompts']
    assert (first['drift'], first['padding_drift']) == pytest.approx((0.5, 0.5))
    assert (second['drift'], second['padding_drift']) == (0, 0)
    assert (third['drift'], third['padding_drift']) == pytest.approx((0, 0.25))
    assert first['displacement_pixels'] == 0  # the direction is the same
    assert first['random_cosine_to_nearest'] < 0.97
    learned = report['summary']['learned']
    assert learned['mean_drift_of_each_token'] == pytest.approx([0.5 / 3, 0.75 / 3])
    norm = encoder.model.not_a_point_embed.weight.norm().item()
    assert learned['mean_distance_of_each_token'][1] == pytest.approx(norm * 0.75 / 3)


def test_corners_of_boxes(encoder):
    def change(fused):
        fused[1, 1] *= 2

    report = explain(encoder, change, boxes=BOXES)
    assert [p['drift'] for p in report['prompts']] == pytest.approx([0, 0, 0, 1])
    assert [p['prompt'] for p in report['prompts']] == [0, 0, 1, 1]
    assert [p['nearest']['label'] for p in report['prompts']] == 2 * [
        'box corner 1',
        'box corner 2',
    ]
    assert 'padding_drift' not in report['prompts'][0]


def test_nothing_moved(encoder):
    report = explain(encoder, lambda fused: None, num_prompts=4)
    assert 'random' not in report['summary']
    assert report['summary']['learned']['share_displaced'] == 0
    assert report['summary']['learned']['mean_cosine_to_nearest'] == pytest.approx(1)


def test_a_checkpoint_of_other_points(encoder, segmenter):
    default = SpatialPromptLearner(segmenter, num_prompts=4).fusion.default
    start = default_tokens(point_grid(4, (1.0, 0.75)), 96)
    with pytest.raises(ValueError, match='extent'):
        explain_spatial_prompts(encoder, start, default, default, torch.zeros(4))


def test_coordinates():
    start = default_tokens(point_grid(4), 100)
    coordinates = start.points / 100 + torch.tensor([[0.03, 0.04], [0, 0], [0, -0.5], [0.1, 0]])
    report = explain_coordinates(start, coordinates, 100)
    moves = [p['displacement_pixels'] for p in report['prompts']]
    assert moves == pytest.approx([5, 0, 50, 10], abs=1e-4)
    first = report['prompts'][0]
    assert (first['nearest']['x_pixels'], first['nearest']['y']) == pytest.approx((28, 0.29))
    assert first['weight'] is first['drift'] is first['cosine_to_nearest'] is None
    assert report['summary']['learned']['mean_displacement_pixels'] == pytest.approx(16.25)
    assert 'random' not in report['summary']
