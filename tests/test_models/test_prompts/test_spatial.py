"""Spatial prompts: the default is what SAM says of the points; both learners are exchangeable."""

import pytest
import torch
from mmseg.registry import MODELS
from segment_anything.modeling import PromptEncoder
from segment_anything.utils.amg import build_point_grid
from torch import Tensor

from mmseg_ssprompt.models.prompts.spatial import (
    CoordinatePromptLearner,
    SpatialPromptLearner,
    point_grid,
)
from mmseg_ssprompt.models.sam import SAMPromptEncoder, SAMSegmenter
from mmseg_ssprompt.models.sam.sam_variants import build_prompt_encoder

SIZE, WIDTH = 96, 96  # input frame and D of the variant tiny
POINTS = [(0.125, 0.25), (0.5, 0.5), (1.0, 0.0078125)]
BOXES = [(0.03125, 0.0625, 0.5, 0.640625), (0.0, 0.0, 1.0, 1.0)]
LEARNERS = [SpatialPromptLearner, CoordinatePromptLearner]


@pytest.fixture(scope='module')
def segmenter() -> SAMSegmenter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SAMSegmenter('tiny')


@pytest.fixture(scope='module')
def official(segmenter: SAMSegmenter) -> PromptEncoder:
    model = build_prompt_encoder('tiny')
    model.load_state_dict(segmenter.prompt_encoder.model.state_dict())
    return model.requires_grad_(False)


def embed_points(official: PromptEncoder, points: Tensor) -> Tensor:
    """One foreground point per prompt: (N, 2) pixels -> (N, 2, D)."""
    labels = torch.ones(len(points), 1, dtype=torch.int)
    return official((points[:, None], labels), None, None)[0]


@pytest.mark.parametrize('side', [1, 2, 5, 10, 32])
def test_grid_equals_the_one_of_segment_anything(side: int):
    grid = point_grid(side**2)
    assert grid.shape == (side**2, 2)
    assert grid.dtype == torch.float32
    torch.testing.assert_close(grid, torch.from_numpy(build_point_grid(side)).float())


def test_grid_by_hand():
    expected = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    assert torch.equal(point_grid(4), expected)  # x before y, row by row


def test_extent_shrinks_the_grid():
    torch.testing.assert_close(
        point_grid(9, (0.5, 0.75)), point_grid(9) * torch.tensor([0.5, 0.75])
    )
    wide = point_grid(100, (1.0, 0.75))
    assert wide[:, 0].max() > 0.9
    assert wide[:, 1].max() < 0.75


@pytest.mark.parametrize('number', [0, -4, 5, 99, '4', '100', 4.0])
@pytest.mark.parametrize('learner', LEARNERS)
def test_numbers_that_are_no_square(segmenter: SAMSegmenter, learner, number):
    with pytest.raises(ValueError, match=f'positive square number.*got {number!r}$'):
        learner(segmenter, num_prompts=number)


@pytest.mark.parametrize('extent', [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (1.0, 1.5), (-1.0, 1.0)])
@pytest.mark.parametrize('learner', LEARNERS)
def test_wrong_extent(segmenter: SAMSegmenter, learner, extent):
    with pytest.raises(ValueError, match=r'extent must be two fractions in \(0, 1\], got \('):
        learner(segmenter, extent=extent)


@pytest.mark.parametrize('extent', [(1.0, 1.0), (0.75, 1.0)])
def test_default_equals_the_official_embeddings_of_the_grid(segmenter, official, extent):
    learner = SpatialPromptLearner(segmenter, num_prompts=16, extent=extent)
    points = torch.from_numpy(build_point_grid(4)).float() * torch.tensor(extent) * SIZE
    expected = embed_points(official, points)
    assert expected.shape == (16, 2, WIDTH)
    assert torch.equal(learner.fusion.default, expected)


def test_default_equals_the_official_embeddings_of_points(segmenter, official):
    learner = SpatialPromptLearner(segmenter, points=POINTS)
    assert learner.num_prompts == 3
    assert torch.equal(learner.fusion.default, embed_points(official, torch.tensor(POINTS) * SIZE))


def test_default_equals_the_official_embeddings_of_boxes(segmenter, official):
    learner = SpatialPromptLearner(segmenter, boxes=BOXES)
    expected, _ = official(None, torch.tensor(BOXES) * SIZE, None)
    assert learner.num_prompts == 2
    assert torch.equal(learner.fusion.default, expected)


def test_second_token_is_the_one_of_no_point(segmenter: SAMSegmenter):
    default = SpatialPromptLearner(segmenter, num_prompts=4).fusion.default
    padding = segmenter.prompt_encoder.model.not_a_point_embed.weight
    torch.testing.assert_close(default[:, 1], padding.expand(4, -1))
    assert not torch.allclose(default[0, 0], default[1, 0])


@pytest.mark.parametrize('kwargs', [{}, dict(points=POINTS), dict(boxes=BOXES)])
def test_two_tokens_per_prompt_of_any_kind(segmenter: SAMSegmenter, kwargs: dict):
    learner = SpatialPromptLearner(segmenter, **kwargs)
    prompts = learner(segmenter)
    assert prompts.shape == (learner.num_prompts, 2, WIDTH)
    assert prompts.dtype == torch.float32
    assert learner.num_prompts == len(next(iter(kwargs.values()), range(100)))


def test_fusion_arguments_are_passed_on(segmenter: SAMSegmenter):
    fusion = dict(mode='fixed_weight', initial_weight=0.25, noise=0.0)
    learner = SpatialPromptLearner(segmenter, num_prompts=4, fusion=fusion)
    learner.fusion.learned.data.zero_()
    torch.testing.assert_close(learner(segmenter), 0.75 * learner.fusion.default)


def test_handcrafted_prompts(segmenter: SAMSegmenter):
    learner = SpatialPromptLearner(segmenter, num_prompts=4, fusion=dict(mode='default_only'))
    assert torch.equal(learner(segmenter), learner.fusion.default)
    assert not list(learner.parameters())


def test_spatial_learner_trains_embeddings_and_weights_only(segmenter: SAMSegmenter):
    learner = SpatialPromptLearner(segmenter, num_prompts=4)
    shapes = {name: tuple(value.shape) for name, value in learner.named_parameters()}
    assert shapes == {'fusion.learned': (4, 2, WIDTH), 'fusion.weight_logit': (4,)}
    assert set(learner.state_dict()) == {*shapes, 'fusion.default'}
    learner(segmenter).square().sum().backward()
    assert all((parameter.grad != 0).any() for parameter in learner.parameters())
    assert all(parameter.grad is None for parameter in segmenter.parameters())


def test_coordinate_learner_trains_coordinates_only(segmenter: SAMSegmenter):
    learner = CoordinatePromptLearner(segmenter, num_prompts=4)
    assert {name: tuple(p.shape) for name, p in learner.named_parameters()} == {
        'coordinates': (4, 2)
    }
    assert set(learner.state_dict()) == {'coordinates'}
    weight = torch.randn(4, 2, WIDTH, generator=torch.Generator().manual_seed(1))
    (learner(segmenter) * weight).sum().backward()
    assert (learner.coordinates.grad != 0).all()
    assert all(parameter.grad is None for parameter in segmenter.parameters())


@pytest.mark.parametrize('extent', [(1.0, 1.0), (1.0, 0.75)])
def test_both_learners_start_from_the_same_prompts(segmenter: SAMSegmenter, extent):
    kwargs = dict(num_prompts=25, extent=extent)
    coordinates = CoordinatePromptLearner(segmenter, **kwargs)
    assert coordinates.num_prompts == 25
    default = SpatialPromptLearner(segmenter, **kwargs).fusion.default
    assert torch.equal(coordinates(segmenter), default)


def test_moved_coordinates_are_encoded_where_they_are(segmenter: SAMSegmenter, official):
    learner = CoordinatePromptLearner(segmenter, num_prompts=4)
    learner.coordinates.data.copy_(torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.0, 0.0], [1.0, 0.2]]))
    expected = embed_points(official, learner.coordinates.detach() * SIZE)
    torch.testing.assert_close(learner(segmenter), expected)


@pytest.mark.parametrize('learner', LEARNERS)
def test_state_dict_round_trip(segmenter: SAMSegmenter, learner):
    saved, loaded = learner(segmenter, num_prompts=4), learner(segmenter, num_prompts=4)
    for parameter in saved.parameters():
        parameter.data.uniform_(0, 1)
    assert not torch.equal(loaded(segmenter), saved(segmenter))
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded(segmenter), saved(segmenter))


@pytest.mark.parametrize('learner', LEARNERS)
def test_built_from_config_and_segmenter_not_kept(segmenter: SAMSegmenter, learner):
    config = dict(type=learner.__name__, num_prompts=4)
    built = MODELS.build(config, default_args=dict(segmenter=segmenter))
    assert isinstance(built, learner)
    assert not any(
        isinstance(module, (SAMSegmenter, SAMPromptEncoder)) for module in built.modules()
    )
    assert built(segmenter).shape == (4, 2, WIDTH)


def test_points_and_boxes_together(segmenter: SAMSegmenter):
    with pytest.raises(ValueError, match='as points or as boxes, not as both'):
        SpatialPromptLearner(segmenter, points=POINTS, boxes=BOXES)


@pytest.mark.parametrize('points', [[], [0.1, 0.2], [(0.1, 0.2, 0.3)], [[(0.1, 0.2)]]])
def test_points_of_other_shapes(segmenter: SAMSegmenter, points):
    with pytest.raises(ValueError, match=r'spatial_prompts\.points.*: expected .*2 numbers'):
        SpatialPromptLearner(segmenter, points=points)


@pytest.mark.parametrize('boxes', [[], [0.1, 0.2, 0.3, 0.4], [(0.1, 0.2)]])
def test_boxes_of_other_shapes(segmenter: SAMSegmenter, boxes):
    with pytest.raises(ValueError, match=r'spatial_prompts\.boxes.*: expected .*4 numbers'):
        SpatialPromptLearner(segmenter, boxes=boxes)


def test_box_with_swapped_corners(segmenter: SAMSegmenter):
    with pytest.raises(ValueError, match='with left < right and top < bottom'):
        SpatialPromptLearner(segmenter, boxes=[(0.5, 0.4, 0.3, 0.6)])


def test_point_that_is_not_a_number(segmenter: SAMSegmenter):
    with pytest.raises(ValueError, match=r'points\[0\]: expected 2 numbers .* found \(1.0, nan\)'):
        SpatialPromptLearner(segmenter, points=[(1.0, float('nan'))])
