"""SEEM's text tower gives the official embeddings, and fulfils the contract of text encoders."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_ssprompt.models.base import ClassNameEncoder
from mmseg_ssprompt.models.prompts import ContextPromptLearner, SemanticPromptLearner
from mmseg_ssprompt.models.seem import SEEMTextEncoder
from mmseg_ssprompt.models.seem.seem_text_encoder import SEEM_TEMPLATES, simplify_class_name
from seem_files import read_golden

#: The towers with LayerNorms of CLIP's epsilon differ from it by a thousand times as much.
BOUND = dict(atol=2e-6, rtol=0)


@pytest.fixture(scope='module')
def encoder(tiny_file):
    return SEEMTextEncoder('focal_tiny', tiny_file)


def test_it_fulfils_the_contract(encoder):
    assert isinstance(encoder, ClassNameEncoder)
    assert encoder.embed_dims == 32
    assert encoder.encode(['sky', 'sea']).shape == (2, 32)


def test_texts_have_the_official_embeddings(encoder):
    golden, case = read_golden('case1_tiny')
    embedded, ends = encoder.embed(case['text']['texts'])
    table = encoder.tower.lang_encoder.token_embedding.weight
    for own, end, ids in zip(embedded, ends, golden['text.input_ids']):
        assert end == ids.argmax()
        assert torch.equal(own[: end + 1], table[ids[: end + 1]])
    found = encoder.text_transformer()(embedded, ends)
    torch.testing.assert_close(found, golden['text.embeddings'], **BOUND)


def test_class_names_have_the_official_embeddings(encoder):
    """Through 81 templates, without what COCO adds to names, 'background' among them."""
    golden, case = read_golden('case6_evaluate')
    names = case['text']['names']
    assert names[0] == 'rock-merged' and names[-1] == 'background'
    torch.testing.assert_close(encoder.encode(names), golden['text.embeddings'], **BOUND)


def test_templates_are_81():
    assert len(set(SEEM_TEMPLATES)) == len(SEEM_TEMPLATES) == 81
    assert '{}.' in SEEM_TEMPLATES and 'a photo of a {}.' in SEEM_TEMPLATES


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('sky-other-merged', 'sky'),
        ('door-stuff', 'door'),
        ('water-other', 'water'),
        ('wall-brick', 'wall-brick'),
        ('stuffed toy', 'stuffed toy'),
    ],
)
def test_names_lose_what_coco_adds(encoder, name, expected):
    assert simplify_class_name(name) == expected
    if name != expected:
        assert torch.equal(encoder.encode([name]), encoder.encode([expected]))
        assert torch.equal(*(encoder.embed([f'a {each}.'])[0] for each in (name, expected)))


def test_other_texts_in_the_batch_have_no_influence(encoder):
    names = [f'thing {"very " * (i % 5)}number {i}' for i in range(9)]
    together = encoder.encode(names)
    torch.testing.assert_close(together[3:4], encoder.encode(names[3:4]), **BOUND)
    torch.testing.assert_close(together.flip(0), encoder.encode(names[::-1]), **BOUND)


def test_its_length_is_one_also_under_autocast(encoder):
    expected = encoder.encode(['sky', 'sea'])
    with torch.autocast('cpu', torch.bfloat16):
        found = encoder.encode(['sky', 'sea'])
    assert torch.equal(found, expected) and not found.requires_grad
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))


@pytest.mark.parametrize('words', [70, 200])
def test_too_long_names_are_refused(encoder, words):
    name = ' '.join(['tree'] * words)
    with pytest.raises(
        ValueError, match=r"class name 'tree.*\(index 1\) in template .* read at most"
    ):
        encoder.encode(['sky', name])
    with pytest.raises(ValueError, match='read at most 77: shorten the name'):
        encoder.embed(['sky', f'a photo of many things, {name} {name}'])


@pytest.mark.parametrize('names', [[], 'sky', ['sky', ' '], ['sky', 'Sky']])
def test_names_that_are_not_valid_are_refused(encoder, names):
    with pytest.raises(ValueError, match='class names'):
        encoder.encode(names)


def test_a_damaged_tower_is_refused(tiny_file):
    encoder = SEEMTextEncoder('focal_tiny', tiny_file)
    encoder.tower.lang_proj.data.zero_()
    with pytest.raises(ValueError, match="'sky' .* zero or not finite: the weights of SEEM's text"):
        encoder.encode(['sky'])


def test_semantic_prompts_and_contexts(tiny_file):
    config = dict(type='SEEMTextEncoder', variant='focal_tiny', checkpoint=str(tiny_file))
    names = ['sky-other-merged', 'sea']
    learner = SemanticPromptLearner(config, names, fusion=dict(mode='default_only'))
    expected = SEEMTextEncoder('focal_tiny', tiny_file).encode(['sky', 'sea'])
    assert torch.equal(learner.fusion.default, expected)
    torch.testing.assert_close(learner(), expected, **BOUND)  # it is made unit length once more
    assert len(learner.templates) == 81 and len(learner.text_encoder_fingerprint) == 64
    context = ContextPromptLearner(config, names, ctx_init='a photo of a')
    encoder = MODELS.build(dict(config, templates=['a photo of a {}.']))
    torch.testing.assert_close(context(), encoder.encode(names), **BOUND)
    context().sum().backward()
    assert (context.context.grad != 0).all()
    assert [name for name, p in context.named_parameters() if p.requires_grad] == ['context']
    assert not any('token_embedding' in name for name, _ in context.named_parameters())


def test_fingerprints(encoder, tiny_file):
    found = encoder.fingerprints()['text_encoder']
    assert found == SEEMTextEncoder('focal_tiny', tiny_file).fingerprints()['text_encoder']
    assert SEEMTextEncoder('focal_tiny').fingerprints() == dict(text_encoder=None)
    assert encoder.text_transformer().fingerprints()['text_transformer'] is not None


@pytest.mark.parametrize('has_file', [False, True])
def test_building_leaves_the_generator_of_random_numbers_as_it_was(tiny_file, has_file):
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    SEEMTextEncoder('focal_tiny', tiny_file if has_file else None)
    assert torch.rand(()) == expected


def test_settings_are_checked(tiny_file):
    with pytest.raises(ValueError, match='unknown SEEM variant'):
        SEEMTextEncoder('vit_b', tiny_file)
    with pytest.raises(ValueError, match='no predefined set'):
        SEEMTextEncoder('focal_tiny', tiny_file, templates='seem')
    assert len(SEEMTextEncoder('focal_tiny', tiny_file, templates='vild').templates) == 14
