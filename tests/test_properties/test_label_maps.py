"""Classes that are passed over have the highest score nowhere: label maps are those of mmseg."""

import math
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

import example_counts
from mmseg_ssprompt.models.heads.outputs import semantic
from mmseg_ssprompt.models.heads.ssprompt_head import enlarge
from mmseg_ssprompt.models.segmentors import label_map
from mmseg_ssprompt.models.segmentors.label_map import find_best_classes, find_candidates


@pytest.fixture(autouse=True, scope='module')
def only_small_scores_are_made_at_once():
    """So that small examples go the way of large images too."""
    with mock.patch.object(label_map, '_AT_ONCE', 1 << 16):
        yield


SIDES = st.sampled_from([1, 2, 3, 7, 16, 33, 64])


def smooth_scores(classes: int, height: int, width: int, random: torch.Generator) -> Tensor:
    """Scores of few smooth masks, most of which show one of a few classes."""
    rows, columns = torch.arange(height)[:, None] / height, torch.arange(width) / width
    masks = []
    for _ in range(12):
        y, x, radius = torch.rand(3, generator=random).tolist()
        distance = (rows - y) ** 2 + (columns - x) ** 2
        masks.append(20 * (0.1 + radius / 4 - distance.sqrt()))
    logits = torch.randn(12, classes + 1, generator=random)
    logits[torch.arange(12), torch.randint(0, min(classes, 6), (12,), generator=random)] += 8
    return semantic(torch.stack(masks), logits)


@st.composite
def all_scores(draw) -> Tensor:
    """Scores of every kind, of any size."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    classes, height, width = draw(st.integers(2, 40)), draw(SIDES), draw(SIDES)
    kind = draw(st.sampled_from(['noise', 'smooth', 'constant', 'ulps', 'equal', 'few', 'spikes']))
    noise = torch.randn(classes, height, width, generator=random)
    if kind == 'smooth':
        scores = smooth_scores(classes, height, width, random)
    elif kind == 'constant':  # some of them with the same number
        scores = noise[:, :1, :1].round(decimals=1).expand_as(noise).clone()
    elif kind == 'ulps':  # constant, and so near to each other that rounding decides
        steps = torch.randint(0, 3, (classes, 1, 1), generator=random) * 2.0**-24
        return (noise[:1, :1, :1].abs() * (1 - steps)).expand_as(noise).clone()
    elif kind == 'equal':
        scores = noise[torch.randint(0, min(classes, 3), (classes,), generator=random)]
    elif kind == 'few':
        scores = noise.round().clamp(-1, 1)
    else:
        scores = noise if kind == 'noise' else noise.pow(9)
    return scores * draw(st.sampled_from([1.0, 1e-30, 1e30, -1.0])) + draw(
        st.sampled_from([0.0, 0.0, 1e4])
    )


@st.composite
def all_settings(draw):
    """A frame, and how an image was brought into it: padded, mirrored, of another size."""
    frame = draw(st.sampled_from([(24, 40), (64, 256), (150, 150), (200, 96), (256, 256)]))
    padding, size = [], []
    for side in reversed(frame):
        padded = draw(st.sampled_from([0.0, 0.0, 0.3, 0.9]))
        before = draw(st.sampled_from([0.0, 0.5]))
        padding += [int(padded * before * side), int(padded * (1 - before) * side)]
        size.insert(0, side - sum(padding[-2:]))
    other = draw(st.one_of(st.none(), st.tuples(st.integers(1, 260), st.integers(1, 260))))
    flip = draw(st.sampled_from((None, 'horizontal', 'vertical')))
    metainfo = dict(
        ori_shape=other or tuple(size),
        padding_size=padding,
        **({} if flip is None else dict(flip=True, flip_direction=flip)),
    )
    return frame, metainfo, draw(st.booleans())


def scores_of_mmseg(scores: Tensor, frame, metainfo, align_corners: bool) -> Tensor:
    """The scores of all classes at each pixel, (C, H', W')."""
    model = SimpleNamespace(align_corners=align_corners)
    sample = SegDataSample(metainfo=metainfo)
    BaseSegmentor.postprocess_result(model, enlarge(scores[None], frame), [sample])
    return sample.seg_logits.data


def rounds_alike(scores: Tensor, frame, metainfo) -> bool:
    """Whether torch makes equal scores of equal ones, and not of their places among several.

    In small images, and of a single place, it takes another way, where equal classes may differ by
    rounding alone, in mmseg's label maps too.
    """
    return scores[0].numel() > 1 and min(map(sum, (frame, metainfo['ori_shape']))) > 128


@settings(max_examples=example_counts.count(500))
@given(scores=all_scores(), how=all_settings())
def test_label_maps_are_those_of_all_classes(scores, how):
    found, expected = find_best_classes(scores, *how), scores_of_mmseg(scores, *how)
    assert found.dtype == torch.int64
    if rounds_alike(scores, *how[:2]):
        assert torch.equal(found, expected.argmax(dim=0, keepdim=True))
    else:
        best = expected.amax(dim=0)
        torch.testing.assert_close(expected.gather(0, found)[0], best, rtol=1e-6, atol=0)
    assert set(found.unique().tolist()) <= set(find_candidates(scores, *how[:2]))


@settings(max_examples=example_counts.count(50))
@given(
    classes=st.integers(60, 150),
    sides=st.tuples(st.integers(20, 64), st.integers(20, 64)),
    size=st.tuples(st.integers(64, 300), st.integers(65, 300)),
    seed=st.integers(0, 999),
)
def test_most_classes_of_trained_models_are_passed_over(classes, sides, size, seed):
    scores = smooth_scores(classes, *sides, torch.Generator().manual_seed(seed))
    frame, metainfo = (4 * sides[0], 4 * sides[1]), dict(ori_shape=size)
    candidates = find_candidates(scores, frame, metainfo)
    assert len(candidates) < classes / 3
    expected = scores_of_mmseg(scores, frame, metainfo, False).argmax(dim=0, keepdim=True)
    assert torch.equal(find_best_classes(scores, frame, metainfo), expected)


@pytest.mark.parametrize('classes', [2, 150])
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('where', ['a place', 'a class', 'everywhere'])
def test_what_is_no_number_is_not_the_highest(value, where, classes):
    """Interpolation makes NaN of infinity too, where its weight is zero."""
    scores = torch.rand(classes, 12, 12, generator=torch.Generator().manual_seed(0))
    places = {'a place': (1, 5, 7), 'a class': (1,), 'everywhere': (...,)}
    scores[places[where]] = value
    how = (48, 48), dict(ori_shape=(100, 90)), False
    expected = scores_of_mmseg(scores, *how).nan_to_num(-math.inf, math.inf, -math.inf)
    assert torch.equal(find_best_classes(scores, *how), expected.argmax(dim=0, keepdim=True))


def test_a_class_that_wins_in_the_padding_alone_is_passed_over():
    scores = torch.zeros(3, 32, 32)
    scores[0], scores[1, 24:], scores[2] = 1, 2, 0.5
    metainfo = dict(ori_shape=(64, 128), padding_size=[0, 0, 0, 64])
    assert find_candidates(scores, (128, 128), metainfo) == [0]
    assert find_candidates(scores, (128, 128), dict(ori_shape=(64, 64))) == [0, 1]
