"""Context prompts are the text encoder's own numbers, and gradients reach the context alone."""

from typing import Any, List

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

from mmseg_ssprompt.models.base.frozen import FrozenModule
from mmseg_ssprompt.models.clip import build_text_encoder, encode_class_names
from mmseg_ssprompt.models.prompts import ContextPromptLearner
from mmseg_ssprompt.models.prompts.context import resolve_class_names
from tiny_model import build_tiny

NAMES = ('kite', 'heart balloon', 'first aid post', 'lake')
WIDTH, WORD_WIDTH = 64, 32
CHECKPOINT = 'mmseg_ssprompt://clip-tiny_shapes.pth'
ENCODER = dict(type='CLIPClassNameEncoder', variant='tiny', checkpoint=CHECKPOINT)
FOUR_WORDS = 'a photo of a'
CONTEXTS = [
    (FOUR_WORDS, 4),
    ('a cropped, blurry photograph of one', 7),
    (' an  OVERHEAD view of the', 5),
    ('unphotographable', None),  # a word of several tokens
]

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


def build(class_names: Any = NAMES, encoder: dict = ENCODER, **kwargs: Any) -> ContextPromptLearner:
    torch.manual_seed(0)
    return ContextPromptLearner(encoder, class_names, **kwargs)


@pytest.mark.parametrize('class_specific', [False, True])
@pytest.mark.parametrize(('ctx_init', 'n_ctx'), CONTEXTS)
def test_initial_words_give_what_the_template_gives(ctx_init, n_ctx, class_specific):
    learner = build(ctx_init=ctx_init, class_specific=class_specific)
    encoder = build_text_encoder('tiny', CHECKPOINT)
    expected = encode_class_names(NAMES, encoder, [f'{ctx_init} {{}}.'])
    torch.testing.assert_close(learner(), expected, atol=1e-5, rtol=0)
    assert learner.n_ctx == n_ctx or (n_ctx is None and learner.n_ctx > 1)


def test_the_same_at_the_size_of_vit_b_16():
    """With random weights, of width 512 and 12 layers."""
    learner = build(NAMES[:2], dict(type='CLIPClassNameEncoder'), ctx_init=FOUR_WORDS)
    torch.manual_seed(0)
    expected = encode_class_names(NAMES[:2], build_text_encoder(), [f'{FOUR_WORDS} {{}}.'])
    torch.testing.assert_close(learner(), expected, atol=1e-5, rtol=0)
    assert learner.context.shape == (4, 512)


def test_a_context_is_looked_up_as_its_words_are():
    """A random context that is given the embeddings of other words becomes these words."""
    random, words = build(n_ctx=4), build(ctx_init='an old map of')
    assert not torch.allclose(random(), words(), atol=1e-3)
    random.context.data.copy_(words.context)
    torch.testing.assert_close(random(), words(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ('class_specific', 'shape'), [(False, (16, WORD_WIDTH)), (True, (4, 16, WORD_WIDTH))]
)
def test_random_context(class_specific, shape):
    learner = build(class_specific=class_specific)
    assert learner.context.shape == shape
    assert 0.015 < learner.context.std() < 0.025
    assert learner().shape == (4, WIDTH)
    assert learner().dtype == torch.float32
    assert learner.embed_dims == WIDTH
    torch.testing.assert_close(learner().norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize('n_ctx', [1, 4])
def test_a_text_has_the_context_the_name_and_three_marks(n_ctx):
    """Its start, the full stop and its end; the name is one token."""
    learner = build(['lake'], n_ctx=n_ctx)
    assert learner.n_ctx == n_ctx
    assert learner.embedded.shape[1] == n_ctx + 1 + 3
    assert learner.ends.tolist() == [n_ctx + 3]
    assert learner().shape == (1, WIDTH)


@pytest.mark.parametrize('checkpoint', [CHECKPOINT, None])
def test_the_text_encoder_is_named_by_its_fingerprint(checkpoint):
    learner = build(encoder=dict(ENCODER, checkpoint=checkpoint))
    assert learner.text_transformer.pretrained == (checkpoint is not None)
    (fingerprint,) = learner.text_transformer.fingerprints().values()
    assert (fingerprint is None) == (checkpoint is None)


def test_contexts_of_classes_are_their_own():
    """A change of one class's context changes the prompt of this class only."""
    learner = build(ctx_init=FOUR_WORDS, class_specific=True)
    before = learner()
    learner.context.data[2] += torch.randn(4, WORD_WIDTH)
    changed = (learner() - before).abs().amax(dim=1) > 1e-4
    assert changed.tolist() == [False, False, True, False]


@pytest.mark.parametrize('class_specific', [False, True])
def test_gradients_reach_each_context_token_and_nothing_else(class_specific):
    learner = build(class_specific=class_specific).train()
    weight = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    (learner() * weight).sum().backward()
    assert (learner.context.grad != 0).any(dim=-1).all()
    assert [name for name, p in learner.named_parameters() if p.requires_grad] == ['context']
    assert all(p.grad is None for p in learner.text_transformer.parameters())


def test_gradient_is_that_of_finite_differences():
    learner = build(ctx_init=FOUR_WORDS).double()
    weight = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1)).double()
    direction = torch.randn(4, WORD_WIDTH, generator=torch.Generator().manual_seed(2)).double()
    start, values = learner.context.detach().clone(), []
    (learner() * weight).sum().backward()
    for step in (1e-5, -1e-5):
        learner.context.data.copy_(start + step * direction)
        values.append((learner() * weight).sum().item())
    slope = (learner.context.grad * direction).sum().item()
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def test_text_transformer_is_frozen():
    learner = build().train()
    assert isinstance(learner.text_transformer, FrozenModule)
    assert not any(module.training for module in learner.text_transformer.modules())
    before = [p.clone() for p in learner.text_transformer.parameters()]
    learner.init_weights()
    assert all(map(torch.equal, before, learner.text_transformer.parameters()))


def tokens_of_state(learner: nn.Module) -> List[str]:
    return [key for key in learner.state_dict() if not key.startswith('text_transformer.')]


def test_only_the_context_is_saved_and_no_table_of_tokens_kept():
    learner = build()
    assert tokens_of_state(learner) == ['context']
    assert all(49408 not in value.shape for value in learner.state_dict().values())


def test_a_generic_context_fits_other_classes():
    saved, loaded = build(ctx_init='an old map of'), build(('sky', 'tent'), n_ctx=4)
    loaded.load_state_dict(saved.state_dict())
    torch.testing.assert_close(loaded(), build(('sky', 'tent'), ctx_init='an old map of')())


def test_a_segmentor_leaves_the_text_encoder_out_of_its_prompts():
    learner = dict(
        _delete_=True,
        type='ContextPromptLearner',
        text_encoder=ENCODER,
        dataset='ShapesWorldDataset',
    )
    model = build_tiny(semantic_prompts=learner)
    kept = [key for key in model.without_frozen(model.state_dict()) if 'semantic' in key]
    assert kept == ['decode_head.semantic_prompts.context']


def test_built_from_config_with_the_names_of_a_data_set():
    config = dict(
        type='ContextPromptLearner', text_encoder=ENCODER, dataset='ShapesWorldDataset', n_ctx=2
    )
    learner = MODELS.build(config)
    assert learner.class_names[:2] == ('ball', 'heart balloon')
    assert learner().shape == (10, WIDTH)
    assert learner.train() is learner


def test_float32_under_autocast():
    learner = build()
    expected = learner()
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(learner(), expected)


def test_same_seed_same_context():
    assert torch.equal(build().context, build().context)


def longest_name(n_ctx: int) -> str:
    """Fills 77 tokens with the context, the full stop and the marks of start and end."""
    return ' '.join(['lake'] * (77 - n_ctx - 3))


def test_longest_texts_fit():
    learner = build(('kite', longest_name(16)))
    assert learner().isfinite().all()


@pytest.mark.parametrize('context', [dict(n_ctx=16), dict(ctx_init=FOUR_WORDS)])
def test_a_text_too_long_names_class_and_tokens(context):
    name = longest_name(build(('kite',), **context).n_ctx) + ' lake'
    with pytest.raises(
        ValueError, match=rf"text '.* {name}\.' is too long: it has 78 tokens.*at most 77.*n_ctx"
    ):
        build(('kite', name), **context)


def test_a_context_too_long():
    with pytest.raises(ValueError, match=r"x kite\.' is too long: it has 80 tokens"):
        build(('kite',), n_ctx=76)


@pytest.mark.parametrize('n_ctx', [0, -1, 2.5, None])
def test_bad_number_of_context_tokens(n_ctx):
    with pytest.raises(ValueError, match=f'n_ctx must be a positive number.*{n_ctx!r}'):
        build(n_ctx=n_ctx)


@pytest.mark.parametrize('ctx_init', ['', '  '])
def test_no_words(ctx_init):
    with pytest.raises(ValueError, match='ctx_init must be words'):
        build(ctx_init=ctx_init)


def test_a_template_is_no_context():
    with pytest.raises(ValueError, match=r"must be words .*, got 'a photo of a \{\}'"):
        build(ctx_init='a photo of a {}')


@pytest.mark.parametrize(
    ('names', 'dataset', 'problem'),
    [
        (None, None, 'give either class_names, or a dataset'),
    ],
)
def test_names_or_data_set(names, dataset, problem):
    with pytest.raises(ValueError, match=problem):
        build(names, dataset=dataset)
    with pytest.raises(ValueError, match=problem):
        resolve_class_names(names, dataset)


def test_some_classes_of_a_data_set():
    learner = build(None, dataset='ShapesWorldDataset', classes=['sky', 'kite'])
    assert learner.class_names == ('sky', 'kite')
    with pytest.raises(ValueError, match=r"\(classes=\['sky'\] are some of a dataset\)"):
        build(None, classes=['sky'])


def test_bad_names_are_refused():
    with pytest.raises(ValueError, match=r'indices \[1\] are empty or blank'):
        build(('kite', ' '))


def test_all_tensors_move_with_the_module():
    """What is no parameter is a buffer, though not saved."""
    learner = build()
    buffers = {name for name, _ in learner.named_buffers()}
    assert buffers == {'embedded', 'ends', 'text_transformer.attn_mask'}
    assert not buffers & set(learner.state_dict())
