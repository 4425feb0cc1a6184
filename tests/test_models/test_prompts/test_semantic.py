"""Semantic prompts: whose names, unit length, and nothing left of the text encoder."""

import gc
import weakref
from typing import List

import pytest
import torch
from mmseg.registry import DATASETS, MODELS
from torch import Tensor

from mmseg_ssprompt.class_names import check_class_names
from mmseg_ssprompt.models.clip import CLIPClassNameEncoder
from mmseg_ssprompt.models.prompts.semantic import SemanticPromptLearner
from mmseg_ssprompt.readable_names import readable_class_names

NAMES = ('kite', 'tent', 'forest', 'lake')
WIDTH = 64
ENCODER = dict(
    type='CLIPClassNameEncoder',
    variant='tiny',
    checkpoint='mmseg_ssprompt://clip-tiny_shapes.pth',
)


@pytest.fixture(scope='module')
def default() -> Tensor:
    """What the text encoder says of ``NAMES``."""
    return MODELS.build(ENCODER).encode(NAMES)


def build(class_names=NAMES, **kwargs) -> SemanticPromptLearner:
    return SemanticPromptLearner(ENCODER, class_names, **kwargs)


def test_given_names(default: Tensor):
    learner = build(list(NAMES))
    assert learner.class_names == NAMES
    assert learner.embed_dims == WIDTH
    assert torch.equal(learner.fusion.default, default)


@pytest.mark.parametrize(
    ('dataset', 'number', 'name'),
    [
        ('ShapesWorldDataset', 10, 'heart balloon'),
        ('ADE20KDataset', 150, 'wall'),
        ('mmseg.CityscapesDataset', 19, 'traffic light'),
    ],
)
def test_names_of_a_data_set(dataset: str, number: int, name: str):
    learner = build(None, dataset=dataset)
    expected = check_class_names(DATASETS.get(dataset).METAINFO['classes'])
    assert check_class_names(learner.class_names) == expected  # ADE20K's 'bed ' ends with a space
    assert len(learner.class_names) == number
    assert name in learner.class_names
    assert learner().shape == (number, WIDTH)


def test_neither_names_nor_data_set():
    with pytest.raises(ValueError, match='give either class_names, or a dataset'):
        build(None)


def test_names_win_over_a_data_set():
    """Which the base of a config may name."""
    assert build(dataset='ADE20KDataset').class_names == build().class_names


def test_unknown_data_set():
    with pytest.raises(ValueError, match="data set 'ADE2OK', which is not registered"):
        build(None, dataset='ADE2OK')


@pytest.mark.parametrize('dataset', ['BaseSegDataset', 'ConcatDataset'])
def test_data_set_without_class_names(dataset: str):
    with pytest.raises(ValueError, match=f"data set '{dataset}' names no classes"):
        readable_class_names(dataset)


@pytest.mark.parametrize('mode', ['learned_weight', 'fixed_weight', 'learned_only', 'default_only'])
def test_prompts_have_unit_length(mode: str):
    learner = build(fusion=dict(mode=mode, noise=3.0))
    assert learner().shape == (4, WIDTH)
    assert learner().dtype == torch.float32
    torch.testing.assert_close(learner().norm(dim=-1), torch.ones(4))


def test_mixture_by_hand(default: Tensor):
    """Mixed first and normalised afterwards."""
    learner = build(fusion=dict(mode='fixed_weight', initial_weight=0.25))
    learned = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))
    learner.fusion.learned.data.copy_(learned)
    mixture = 0.25 * learned + 0.75 * default
    expected = mixture / mixture.square().sum(dim=-1, keepdim=True).sqrt()
    torch.testing.assert_close(learner(), expected)


def test_handcrafted_prompts_are_the_text_embeddings(default: Tensor):
    learner = build(fusion=dict(mode='default_only'))
    torch.testing.assert_close(learner(), default, atol=1e-7, rtol=0)
    assert not list(learner.parameters())
    assert not learner().requires_grad


def test_starts_near_the_text_embeddings(default: Tensor):
    away = (build()() - default).norm(dim=-1)
    assert ((away > 0) & (away < 0.02)).all()


def test_gradients_reach_what_is_learned():
    learner = build()
    shapes = {name: tuple(value.shape) for name, value in learner.named_parameters()}
    assert shapes == {'fusion.learned': (4, WIDTH), 'fusion.weight_logit': (4,)}
    weight = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    (learner() * weight).sum().backward()
    assert (learner.fusion.learned.grad != 0).any(dim=1).all()
    assert (learner.fusion.weight_logit.grad != 0).all()


def test_text_encoder_is_dropped(monkeypatch: pytest.MonkeyPatch):
    encoders: List[weakref.ref] = []
    encode = CLIPClassNameEncoder.encode

    def remember(self, class_names):
        encoders.append(weakref.ref(self.text_encoder))
        return encode(self, class_names)

    monkeypatch.setattr(CLIPClassNameEncoder, 'encode', remember)
    learner = build()
    gc.collect()
    assert [encoder() for encoder in encoders] == [None]
    assert set(learner.state_dict()) == {
        'fusion.default',
        'fusion.learned',
        'fusion.weight_logit',
    }


def test_state_dict_needs_no_text_encoder():
    """A learner of other names takes over the default prompts too."""
    saved, loaded = build(), build(('ball', 'house', 'sky', 'meadow'))
    assert not torch.allclose(loaded(), saved(), atol=0.1)
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded(), saved())


def test_built_from_config():
    config = dict(type='SemanticPromptLearner', text_encoder=ENCODER, class_names=list(NAMES))
    learner = MODELS.build(config)
    assert isinstance(learner, SemanticPromptLearner)
    assert learner.train() is learner


def test_default_does_not_depend_on_the_seed():
    defaults = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        defaults.append(build().fusion.default)
    assert torch.equal(*defaults)


def test_float32_under_autocast():
    learner = build()
    expected = learner()
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(learner(), expected)


@pytest.mark.parametrize('twin', ['kite', 'Kite', ' kite '])
def test_duplicate_names(twin: str):
    with pytest.raises(ValueError, match=r"indices \{'kite': \[0, 2\]\}"):
        build(('kite', 'lake', twin))


@pytest.mark.parametrize('blank', ['', ' \n'])
def test_empty_name(blank: str):
    with pytest.raises(ValueError, match=r'indices \[1\] are empty or blank'):
        build(('kite', blank))


def test_name_too_long_for_the_text_encoder():
    with pytest.raises(ValueError, match=r'index 1.*at most 77'):
        build(('kite', ' '.join(['lake'] * 80)))


def test_no_names_at_all():
    with pytest.raises(ValueError, match='expected at least one'):
        build(())


@pytest.mark.parametrize('names', ['sky', 3])
def test_names_that_are_no_list(names):
    """One string would otherwise be read as a name per letter."""
    with pytest.raises(ValueError, match=f'expected a list of strings, got .*{names!r}'):
        build(names)


def test_some_classes_of_a_data_set():
    learner = build(None, dataset='ShapesWorldDataset', classes=['tent', 'kite'])
    assert learner.class_names == ('tent', 'kite')
    assert len(learner()) == 2
