"""Nearest words, and the random prompts that they are compared with."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmseg_ssprompt.analysis.context import explain_context_tokens
from mmseg_ssprompt.analysis.semantic import explain_semantic_prompts, random_turns

WORDS = ['cat', 'dog', 'sea', 'Sky']
EMBEDDINGS = torch.eye(4)


def explain(prompt, name='cat', **kwargs):
    """The report on one prompt, whose default is its word."""
    default = EMBEDDINGS[[w.lower() for w in WORDS].index(name)]
    prompts = F.normalize(torch.tensor([prompt]), dim=-1)
    (report,) = explain_semantic_prompts(
        [name], prompts, default[None], WORDS, EMBEDDINGS, **kwargs
    )
    return report


def test_cosines_and_nearest_words():
    report = explain([3.0, 4.0, 0.0, 0.0], weights=torch.tensor([0.25]))
    assert report['weight'] == 0.25
    assert report['cosine_to_default'] == pytest.approx(0.6)
    assert report['angle_degrees'] == pytest.approx(math.degrees(math.acos(0.6)), abs=1e-3)
    assert [word['word'] for word in report['nearest_words'][:2]] == ['dog', 'cat']
    assert [word['cosine'] for word in report['nearest_words'][:2]] == pytest.approx([0.8, 0.6])
    assert [w['cosine_of_default'] for w in report['nearest_words'][:2]] == [0, 1]


def test_its_own_name_is_no_finding():
    report = explain([0.2, 0.0, 0.1, 1.0], name='sky')
    assert report['nearest_words'][0]['word'] == 'Sky'
    assert report['nearest_other_word']['word'] == 'cat'


def test_without_weights():
    assert explain([1.0, 1.0, 0.0, 0.0])['weight'] is None


def test_a_prompt_that_is_a_word_is_closer_than_chance():
    baseline = explain([0.0, 1.0, 0.0, 0.0])['baseline']
    for kind in ('any', 'words'):
        assert baseline[kind]['share_as_close'] == 0
        assert baseline[kind]['mean'] < 0.95


def test_a_prompt_between_the_words_is_further_than_chance():
    baseline = explain([0.0, -1.0, -1.0, -1.0])['baseline']
    assert baseline['any']['share_as_close'] == 1
    assert baseline['any']['mean'] > 0


def test_random_prompts_of_words_do_not_leave_the_plane_of_the_words():
    words = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]), dim=-1)
    prompt = torch.tensor([[0.0, 0, 1]])  # a right angle away from all of them
    (report,) = explain_semantic_prompts(['a'], prompt, words[:1], ['a', 'b', 'c'], words)
    by_words = report['baseline']['words']
    share = by_words['share_as_close']  # of draws that turned to "b", which the others turned from
    assert 0.4 < share < 0.6
    assert by_words['mean'] == pytest.approx(share - (1 - share) * 0.5**0.5, abs=1e-4)


def test_the_seed_decides_the_draws():
    prompt = [1.0, 1.0, 0.0, 0.0]
    assert explain(prompt, seed=1) == explain(prompt, seed=1)
    assert explain(prompt, seed=1)['baseline'] != explain(prompt, seed=2)['baseline']


def test_what_has_not_moved_has_no_baseline():
    report = explain([1.0, 0.0, 0.0, 0.0])
    assert report['baseline'] is None
    assert report['angle_degrees'] == 0


def test_a_name_that_is_not_in_the_vocabulary():
    with pytest.raises(ValueError, match='bird'):
        explain_semantic_prompts(['bird'], EMBEDDINGS[:1], EMBEDDINGS[:1], WORDS, EMBEDDINGS)


@pytest.mark.parametrize('degrees', [1.0, 60.0, 130.0])
def test_random_prompts_turn_by_the_same_angle(degrees):
    default = F.normalize(torch.tensor([1.0, 2.0, 3.0, 4.0]), dim=0)
    angle = torch.deg2rad(torch.tensor(degrees))
    generator = torch.Generator().manual_seed(0)
    turned = random_turns(default, angle, torch.eye(4), generator, draws=50)
    torch.testing.assert_close(turned.norm(dim=-1), torch.ones(50))
    torch.testing.assert_close(turned @ default, angle.cos().expand(50), atol=1e-5, rtol=0)
    assert torch.linalg.matrix_rank(turned) == 4


def test_random_prompts_among_words_stay_in_their_span():
    words = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.6, 0.8, 0.0]])
    turned = random_turns(
        words[0], torch.tensor(0.7), words, torch.Generator().manual_seed(0), draws=20
    )
    assert (turned[:, 2] == 0).all()
    assert (turned[:, 1].abs() > 0.5).all()


def test_context_tokens():
    table = torch.arange(1000.0)[:, None] * torch.tensor([3.0, 4.0])  # 5 apart
    context = torch.stack([table[[320, 7]], table[[8, 9]] + torch.tensor([0.6, 0.8])])
    report = explain_context_tokens(context, table)
    assert report['typical'] == pytest.approx(5, abs=0.01)
    assert [[len(words) for words in c] for c in report['contexts']] == [[5, 5], [5, 5]]
    distances = [[words[0]['distance'] for words in c] for c in report['contexts']]
    assert distances == [pytest.approx([0, 0], abs=0.2), pytest.approx([1, 1], abs=0.2)]
    assert report['contexts'][0][0][0]['token'] == 'a'  # 320 is CLIP's id of the word "a"
