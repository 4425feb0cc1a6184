"""Spatial prompts and numbers of a config are accepted with grounds only."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from mmseg_ssprompt.models.classifiers import EnsembleClassifier
from mmseg_ssprompt.models.prompts import CoordinatePromptLearner, PromptFusion
from mmseg_ssprompt.models.prompts.spatial import read_prompts
from mmseg_ssprompt.models.sam import SAMSegmenter
from tiny_model import CONFIG, build_tiny, tiny_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAN, INF = math.nan, math.inf
FRAME = 'from 0 to 1, fractions of the frame'


def build_with(**prompts):
    cfg = tiny_config()
    for name, value in prompts.items():
        cfg.model.decode_head.spatial_prompts[name] = value
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfg.model)


def test_points_outside_of_the_frame_are_refused_when_the_model_is_built():
    with pytest.raises(ValueError) as info:
        build_with(points=[(0.1, 0.1), (300, 20), (0.5, 0.5), (-0.1, 0)])
    assert str(info.value) == (
        f'spatial_prompts.points[1]: expected 2 numbers (x, y) {FRAME}, for each prompt, found '
        '(300, 20) (and 1 more, at indices [3]). Divide pixels by the width and height of the '
        'frame, to whose size photographs are scaled and padded'
    )


def test_boxes_outside_of_the_frame_are_refused_when_the_model_is_built():
    with pytest.raises(ValueError, match=r'spatial_prompts\.boxes\[0\]: expected 4 numbers'):
        build_with(boxes=[(0.1, 0.1, 0.2, 1.005)])


@pytest.mark.parametrize(
    ('points', 'where'),
    [
        ([(0.1, 0.2), (NAN, 0.3)], 'points[1]'),
        ([(0.1, INF)], 'points[0]'),
        ([(0.1, 0.2), (0.3,)], 'points[1]'),
        ([(0.1, 0.2), (0.3, 0.4, 0.5)], 'points[1]'),
        ([(0.1, 0.2), 0.3], 'points[1]'),
        ([(0.1, 0.2), ('0.3', '0.4')], 'points[1]'),
        ([(0.1, 0.2), (None, 0.4)], 'points[1]'),
        ([(True, 0.2)], 'points[0]'),
        ([(0, -0.5)], 'points[0]'),
        ([(1.0001, 0)], 'points[0]'),
        ([], 'points'),
        ('centre', 'points'),
        (7, 'points'),
        (dict(x=0.1, y=0.2), 'points'),
        (np.array([0.1, 0.2]), 'points[0]'),
        (torch.empty(0, 2), 'points'),
    ],
)
def test_wrong_points(points, where):
    with pytest.raises(ValueError) as info:
        read_prompts('points', points)
    text = str(info.value)
    assert text.startswith(f'spatial_prompts.{where}: expected ')
    assert FRAME in text
    assert 'found ' in text


@pytest.mark.parametrize(
    'box',
    [
        (0.1, 0.2, 0.3),
        (0.1, 0.2, 0.3, NAN),
        (0.1, 0.2, -INF, 0.4),
        (0, 0, 1.01, 0.5),
        (-0.1, 0, 0.5, 0.5),
        (0, 0, '0.9', 0.5),
    ],
)
def test_wrong_boxes(box):
    with pytest.raises(ValueError, match=r'spatial_prompts\.boxes\[1\]: expected 4 numbers'):
        read_prompts('boxes', [(0, 0, 1, 1), box])


@pytest.mark.parametrize(
    'box',
    [
        (0.75, 0.25, 0.5, 0.375),
        (0.125, 0.75, 0.25, 0.5),
        (0.5, 0.5, 0.5, 0.75),
        (0.5, 0.5, 0.75, 0.5),
    ],
)
def test_boxes_without_width_or_height(box):
    with pytest.raises(ValueError) as info:
        read_prompts('boxes', [box])
    assert str(info.value).startswith(
        f'spatial_prompts.boxes[0]: expected 4 numbers (left, top, right, bottom) {FRAME}, with '
        f'left < right and top < bottom, for each prompt, found {box}'
    )


def test_the_border_belongs_to_the_frame():
    corners = [(0, 0), (1, 1), (0.0, 0.9375)]
    assert read_prompts('points', corners).tolist() == [[0, 0], [1, 1], [0, 0.9375]]
    assert read_prompts('points', np.array(corners)).dtype == torch.float32
    assert read_prompts('boxes', torch.tensor([[0, 0, 1, 1]])).tolist() == [[0, 0, 1, 1]]


def test_many_wrong_points_are_counted_in_a_line():
    with pytest.raises(ValueError, match=r'points\[0\].*and 99 more, at indices \[1, 2, .* 10\]\)'):
        read_prompts('points', [(500, 500)] * 100)


# Learned coordinates stay inside


@pytest.fixture
def learner() -> CoordinatePromptLearner:
    torch.manual_seed(0)
    return CoordinatePromptLearner(SAMSegmenter('tiny'), num_prompts=4)


def test_inside_nothing_changes(learner):
    before = learner.coordinates.detach().clone()
    learner(SAMSegmenter('tiny'))
    learner.state_dict()
    assert torch.equal(learner.coordinates, before)


def test_a_step_out_of_the_frame_ends_at_its_border_and_can_return(learner):
    segmenter = SAMSegmenter('tiny')
    with torch.no_grad():
        learner.coordinates[0] = torch.tensor([1.3, -0.2])
    prompts = learner(segmenter)
    assert learner.coordinates[0].tolist() == [1.0, 0.0]
    border = torch.tensor([[[96.0, 0.0]]])
    expected = segmenter.prompt_encoder.encode_points(border, torch.ones(1, 1))
    torch.testing.assert_close(prompts[:1], expected)
    prompts[:, 0].sum().backward()
    assert (learner.coordinates.grad[0] != 0).all()


def test_what_is_saved_is_inside(learner):
    with torch.no_grad():
        learner.coordinates[1, 0] = 7.0
    assert learner.state_dict()['coordinates'][1, 0] == 1.0


def test_a_training_that_pushes_points_out_saves_a_checkpoint_that_loads(learner):
    segmenter = SAMSegmenter('tiny')
    optimizer = torch.optim.SGD(learner.parameters(), lr=50.0)
    for _ in range(5):
        optimizer.zero_grad()
        learner(segmenter).sum().backward()
        optimizer.step()
        saved = learner.state_dict()['coordinates'].clone()
        assert ((saved >= 0) & (saved <= 1)).all()
    assert saved.unique().numel() < 8  # some have met the border
    learner.load_state_dict({'coordinates': saved})
    assert torch.equal(learner.coordinates, saved)


# Other numbers of our modules


@pytest.mark.parametrize('extent', [(NAN, 1), ('1', 1), (True, 1), 1.0, None, 'ab', (0.5, 1.2), []])
def test_extents_that_are_none(extent):
    with pytest.raises(ValueError, match=r'extent must be two fractions in \(0, 1\]'):
        build_with(extent=extent)


@pytest.mark.parametrize('number', [True, 64.0, '64', -1, 0, 63])
def test_numbers_of_prompts_that_are_none(number):
    with pytest.raises(ValueError, match='num_prompts must be a positive square number'):
        build_with(num_prompts=number)


@pytest.mark.parametrize(
    ('fusion', 'text'),
    [
        (dict(initial_weight=NAN), r'initial_weight must be in \(0, 1\), got nan'),
        (dict(initial_weight='0.5'), r"initial_weight must be in \(0, 1\), got '0.5'"),
        (dict(initial_weight=1), r'initial_weight must be in \(0, 1\), got 1'),
        (dict(noise=INF), 'noise must be finite and not negative, got inf'),
        (dict(noise=-0.1), 'noise must be finite and not negative'),
        (dict(noise=None), 'noise must be finite and not negative, got None'),
    ],
)
@pytest.mark.parametrize('prompts', ['spatial_prompts', 'semantic_prompts'])
def test_wrong_fusions(prompts, fusion, text):
    cfg = Config.fromfile(CONFIG)
    cfg.model.decode_head[prompts].fusion = fusion
    with pytest.raises(ValueError, match=text):
        MODELS.build(cfg.model)


@pytest.mark.parametrize('share', [NAN, '0.5', None, True, -0.1, 1.1])
def test_wrong_shares_of_an_ensemble(share):
    with pytest.raises(ValueError, match='share: expected a number between 0 and 1'):
        EnsembleClassifier(8, 8, dict(type='TokenClassifier'), dict(type='TokenClassifier'), share)


def test_a_fusion_of_numbers_of_numpy_is_one():
    fusion = PromptFusion(torch.ones(2, 3), initial_weight=np.float32(0.25), noise=np.int64(0))
    torch.testing.assert_close(fusion.weight, torch.full((2,), 0.25))


def test_the_shipped_model_has_what_it_had():
    assert build_tiny().decode_head.spatial_prompts.num_prompts == 64
    cfg = Config.fromfile(CONFIGS / 'ablations' / 'coordinates_sam-tiny_shapes.py')
    assert cfg.model.decode_head.spatial_prompts.num_prompts == 64
