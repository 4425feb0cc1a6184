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
from mmseg_ssprompt.models.sam.prompt_encoder import SAMPromptEncoder
from mmseg_ssprompt.models.sam.sam_variants import build_prompt_encoder

SIZE, WIDTH = 96, 96  # input frame and D of the variant tiny
POINTS = [(10.0, 20.0), (48.0, 48.0), (95.0, 0.5)]
BOXES = [(3.0, 4.0, 50.0, 60.5), (0.0, 0.0, 95.0, 95.0)]
LEARNERS = [SpatialPromptLearner, CoordinatePromptLearner]


@pytest.fixture(scope='module')
def encoder() -> SAMPromptEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SAMPromptEncoder('tiny')


@pytest.fixture(scope='module')
def official(encoder: SAMPromptEncoder) -> PromptEncoder:
    model = build_prompt_encoder('tiny')
    model.load_state_dict(encoder.model.state_dict())
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


@pytest.mark.parametrize('number', [0, -4, 5, 99, '4', '100', 4.0, None])
@pytest.mark.parametrize('learner', LEARNERS)
def test_numbers_that_are_no_square(encoder: SAMPromptEncoder, learner, number):
    with pytest.raises(ValueError, match=f'positive square number.*got {number!r}$'):
        learner(encoder, num_prompts=number)


@pytest.mark.parametrize('extent', [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (1.0, 1.5), (-1.0, 1.0)])
@pytest.mark.parametrize('learner', LEARNERS)
def test_wrong_extent(encoder: SAMPromptEncoder, learner, extent):
    with pytest.raises(ValueError, match=r'extent must be two fractions in \(0, 1\], got \('):
        learner(encoder, extent=extent)


@pytest.mark.parametrize('extent', [(1.0, 1.0), (0.75, 1.0)])
def test_default_equals_the_official_embeddings_of_the_grid(encoder, official, extent):
    learner = SpatialPromptLearner(encoder, num_prompts=16, extent=extent)
    points = torch.from_numpy(build_point_grid(4)).float() * torch.tensor(extent) * SIZE
    expected = embed_points(official, points)
    assert expected.shape == (16, 2, WIDTH)
    assert torch.equal(learner.fusion.default, expected)


def test_default_equals_the_official_embeddings_of_points(encoder, official):
    learner = SpatialPromptLearner(encoder, points=POINTS)
    assert learner.num_prompts == 3
    assert torch.equal(learner.fusion.default, embed_points(official, torch.tensor(POINTS)))


def test_default_equals_the_official_embeddings_of_boxes(encoder, official):
    learner = SpatialPromptLearner(encoder, boxes=BOXES)
    expected, _ = official(None, torch.tensor(BOXES), None)
    assert learner.num_prompts == 2
    assert torch.equal(learner.fusion.default, expected)


def test_second_token_is_the_one_of_no_point(encoder: SAMPromptEncoder):
    default = SpatialPromptLearner(encoder, num_prompts=4).fusion.default
    padding = encoder.model.not_a_point_embed.weight
    torch.testing.assert_close(default[:, 1], padding.expand(4, -1))
    assert not torch.allclose(default[0, 0], default[1, 0])


@pytest.mark.parametrize('kwargs', [{}, dict(points=POINTS), dict(boxes=BOXES)])
def test_two_tokens_per_prompt_of_any_kind(encoder: SAMPromptEncoder, kwargs: dict):
    learner = SpatialPromptLearner(encoder, **kwargs)
    prompts = learner(encoder)
    assert prompts.shape == (learner.num_prompts, 2, WIDTH)
    assert prompts.dtype == torch.float32
    assert learner.num_prompts == len(next(iter(kwargs.values()), range(100)))


def test_fusion_arguments_are_passed_on(encoder: SAMPromptEncoder):
    fusion = dict(mode='fixed_weight', initial_weight=0.25, noise=0.0)
    learner = SpatialPromptLearner(encoder, num_prompts=4, fusion=fusion)
    learner.fusion.learned.data.zero_()
    torch.testing.assert_close(learner(encoder), 0.75 * learner.fusion.default)


def test_handcrafted_prompts(encoder: SAMPromptEncoder):
    learner = SpatialPromptLearner(encoder, num_prompts=4, fusion=dict(mode='default_only'))
    assert torch.equal(learner(encoder), learner.fusion.default)
    assert not list(learner.parameters())


def test_spatial_learner_trains_embeddings_and_weights_only(encoder: SAMPromptEncoder):
    learner = SpatialPromptLearner(encoder, num_prompts=4)
    shapes = {name: tuple(value.shape) for name, value in learner.named_parameters()}
    assert shapes == {'fusion.learned': (4, 2, WIDTH), 'fusion.weight_logit': (4,)}
    assert set(learner.state_dict()) == {*shapes, 'fusion.default'}
    learner(encoder).square().sum().backward()
    assert all((parameter.grad != 0).any() for parameter in learner.parameters())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_coordinate_learner_trains_coordinates_only(encoder: SAMPromptEncoder):
    learner = CoordinatePromptLearner(encoder, num_prompts=4)
    assert {name: tuple(p.shape) for name, p in learner.named_parameters()} == {
        'coordinates': (4, 2)
    }
    assert set(learner.state_dict()) == {'coordinates'}
    weight = torch.randn(4, 2, WIDTH, generator=torch.Generator().manual_seed(1))
    (learner(encoder) * weight).sum().backward()
    assert (learner.coordinates.grad != 0).all()
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize('extent', [(1.0, 1.0), (1.0, 0.75)])
def test_both_learners_start_from_the_same_prompts(encoder: SAMPromptEncoder, extent):
    kwargs = dict(num_prompts=25, extent=extent)
    coordinates = CoordinatePromptLearner(encoder, **kwargs)
    assert coordinates.num_prompts == 25
    default = SpatialPromptLearner(encoder, **kwargs).fusion.default
    assert torch.equal(coordinates(encoder), default)


def test_moved_coordinates_are_encoded_where_they_are(encoder: SAMPromptEncoder, official):
    learner = CoordinatePromptLearner(encoder, num_prompts=4)
    learner.coordinates.data.copy_(torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.0, 0.0], [1.0, 0.2]]))
    expected = embed_points(official, learner.coordinates.detach() * SIZE)
    torch.testing.assert_close(learner(encoder), expected)


@pytest.mark.parametrize('learner', LEARNERS)
def test_state_dict_round_trip(encoder: SAMPromptEncoder, learner):
    saved, loaded = learner(encoder, num_prompts=4), learner(encoder, num_prompts=4)
    for parameter in saved.parameters():
        parameter.data.uniform_(0, 1)
    assert not torch.equal(loaded(encoder), saved(encoder))
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded(encoder), saved(encoder))


@pytest.mark.parametrize('learner', LEARNERS)
def test_built_from_config_and_encoder_not_kept(encoder: SAMPromptEncoder, learner):
    config = dict(type=learner.__name__, num_prompts=4)
    built = MODELS.build(config, default_args=dict(prompt_encoder=encoder))
    assert isinstance(built, learner)
    assert not any(isinstance(module, SAMPromptEncoder) for module in built.modules())
    assert built(encoder).shape == (4, 2, WIDTH)


def test_points_and_boxes_together(encoder: SAMPromptEncoder):
    with pytest.raises(ValueError, match='as points or as boxes, not as both'):
        SpatialPromptLearner(encoder, points=POINTS, boxes=BOXES)


@pytest.mark.parametrize('points', [[], [1.0, 2.0], [(1.0, 2.0, 3.0)], [[(1.0, 2.0)]]])
def test_points_of_other_shapes(encoder: SAMPromptEncoder, points):
    with pytest.raises(ValueError, match=r'spatial_prompts\.points.*: expected .*2 numbers'):
        SpatialPromptLearner(encoder, points=points)


@pytest.mark.parametrize('boxes', [[], [1.0, 2.0, 3.0, 4.0], [(1.0, 2.0)]])
def test_boxes_of_other_shapes(encoder: SAMPromptEncoder, boxes):
    with pytest.raises(ValueError, match=r'spatial_prompts\.boxes.*: expected .*4 numbers'):
        SpatialPromptLearner(encoder, boxes=boxes)


def test_box_with_swapped_corners(encoder: SAMPromptEncoder):
    with pytest.raises(ValueError, match='expected left < right and top < bottom'):
        SpatialPromptLearner(encoder, boxes=[(50.0, 4.0, 3.0, 60.0)])


def test_point_that_is_not_a_number(encoder: SAMPromptEncoder):
    with pytest.raises(ValueError, match=r'points\[0\]: expected 2 numbers .* found \(1.0, nan\)'):
        SpatialPromptLearner(encoder, points=[(1.0, float('nan'))])
