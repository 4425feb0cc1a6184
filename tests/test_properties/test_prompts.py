"""What holds of prompts of any number, width and mode, and of class names of any kind."""

import re
import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseg_ssprompt.class_names import check_class_names, normalize_class_name, tokenize_class_names
from mmseg_ssprompt.models.prompts.fusion import FUSION_MODES, PromptFusion
from mmseg_ssprompt.models.prompts.spatial import point_grid

SHAPES = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(1, 9)),
    st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 9)),
)
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: normalize_class_name(name) != '')


def make(shape, mode='learned_weight', weight=0.5, noise=0.02, seed=0) -> PromptFusion:
    torch.manual_seed(seed)
    return PromptFusion(torch.randn(shape), mode, weight, noise)


@given(shape=SHAPES, mode=st.sampled_from(FUSION_MODES), weight=st.floats(0.01, 0.99))
def test_a_mixture_lies_between_learned_and_default(shape, mode, weight):
    fusion = make(shape, mode, weight)
    fused, default = fusion(), fusion.default
    learned = default if mode == 'default_only' else fusion.learned
    low, high = torch.minimum(default, learned), torch.maximum(default, learned)
    assert fused.shape == default.shape
    assert (fused >= low - 1e-6).all()
    assert (fused <= high + 1e-6).all()
    expected = dict(default_only=0.0, learned_only=1.0).get(mode, weight)
    assert fusion.weight.shape == (shape[0],)
    torch.testing.assert_close(fusion.weight, torch.full((shape[0],), expected), atol=1e-5, rtol=0)


@given(shape=SHAPES, mode=st.sampled_from(FUSION_MODES), logit=st.floats(-200, 200))
def test_learned_like_the_default_is_the_default_to_the_bit(shape, mode, logit):
    fusion = make(shape, mode)
    if mode != 'default_only':
        fusion.learned.data.copy_(fusion.default)
    if mode == 'learned_weight':
        fusion.weight_logit.data.fill_(logit)
    assert torch.equal(fusion(), fusion.default)


@given(shape=SHAPES, mode=st.sampled_from(FUSION_MODES), seed=st.integers(0, 99))
def test_a_prompt_depends_on_its_own_parameters_only(shape, mode, seed):
    fusion = make(shape, mode, seed=seed)
    if mode == 'default_only':
        assert not list(fusion.parameters())
        return
    fusion()[0].sum().backward()
    for parameter in fusion.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert not parameter.grad[1:].any()
    assert fusion.learned.grad[0].all()


@given(
    side=st.integers(1, 12),
    extent=st.tuples(st.floats(0.1, 1.0), st.floats(0.1, 1.0)),
)
def test_a_grid_is_regular_and_inside(side, extent):
    grid = point_grid(side**2, extent).view(side, side, 2)
    assert (grid > 0).all()
    assert (grid[..., 0] < extent[0]).all()
    assert (grid[..., 1] < extent[1]).all()
    if side > 1:
        torch.testing.assert_close(
            grid[:, 1:, 0] - grid[:, :-1, 0], torch.full((side, side - 1), extent[0] / side)
        )
    # Half a step from every border: the grid is its own mirror image.
    mirrored = torch.tensor(extent) - grid.flip(0, 1)
    torch.testing.assert_close(grid, mirrored)


@given(number=st.one_of(st.integers(-5, 0), st.text(max_size=3), st.floats(), st.none()))
def test_other_numbers_of_prompts_are_refused(number):
    with pytest.raises(ValueError, match='positive square number'):
        point_grid(number)


@given(name=NAMES)
def test_normalising_a_name_twice_changes_nothing(name):
    once = normalize_class_name(name)
    assert normalize_class_name(once) == once
    assert once == once.strip()
    assert '\n' not in once


@given(names=st.lists(NAMES, min_size=1, max_size=5))
def test_names_come_through_or_are_refused_with_their_indices(names):
    normal = [normalize_class_name(name) for name in names]
    blank = [
        index
        for index, name in enumerate(normal)
        if not any(unicodedata.category(letter)[0] in 'LMNPS' for letter in name)
    ]
    twice = len({name.lower() for name in normal}) < len(normal)
    if blank:
        with pytest.raises(ValueError, match=re.escape(f'indices {blank} are empty or blank')):
            check_class_names(names)
    elif twice:
        with pytest.raises(ValueError, match=r'each may be there once .* but found at indices'):
            check_class_names(names)
    else:
        assert list(check_class_names(names)) == normal


@pytest.mark.parametrize(
    'name',
    [
        'café',
        'cafe\u0301',
        '交通信号灯',
        'إشارة مرور',
        '🚦',
        'a\u200bb',
        '../../etc/passwd',
        'a\nb',
    ],
)
def test_names_in_any_script(name):
    (checked,) = check_class_names([name])
    assert checked == normalize_class_name(name)
    assert '\n' not in checked


@given(
    words=st.integers(1, 200),
    place=st.integers(0, 2),
    template=st.sampled_from(['{}', 'a photo of a {}.']),
)
def test_names_are_never_cut_off(words, place, template):
    """Each word is a token, as are start, end, and the words of the template."""
    names = ['sea', 'tree', 'road']
    names[place] = ' '.join(['sky'] * words)
    count = words + 2 + (0 if template == '{}' else 5)
    if count <= 77:
        tokens = tokenize_class_names(names, [template])
        assert tokens.shape == (1, 3, max(count, len(tokens[0, 0].nonzero())))
        assert int((tokens[0, place] != 0).sum()) == count
    else:
        message = rf"{names[place]}' \(index {place}\) in template .* has {count} tokens .* 77"
        with pytest.raises(ValueError, match=message):
            tokenize_class_names(names, [template])
