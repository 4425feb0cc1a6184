"""What a session answers, compared with what `predict` writes and with the parts themselves."""

import copy
import shutil
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from mmseg_ssprompt import predict
from mmseg_ssprompt.config_files import find_config
from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.prediction.predictor import read_model
from mmseg_ssprompt.prompt_files.prompt_file import read_prompt_source, write_prompts
from mmseg_ssprompt.studio import Look, PictureStore, StudioError, StudioModel, StudioSession
from mmseg_ssprompt.studio.prompt_set import PromptSet
from mmseg_ssprompt.studio.studio_model import HANDCRAFTED, OTHER
from studio_models import (
    DEMO_CONFIG,
    DEMO_PROMPTS,
    demo_studio,
    draw_photograph,
    save_photograph,
    studio_of,
)

ZERO_SHOT = 'ssprompt_sam-tiny_shapes_zero-shot'
SEEM = 'ssprompt_seem-tiny_shapes_zero-shot'
SEEM_PANOPTIC = 'ssprompt_seem-tiny_shapes_panoptic_zero-shot'
SEEM_INSTANCE = 'ssprompt_seem-tiny_shapes_instance_zero-shot'


def open_session(model, tmp_path_factory):
    session = StudioSession(model, PictureStore())
    session.open(save_photograph(tmp_path_factory.mktemp('studio') / 'a.png'), 'a.png')
    return session


@pytest.fixture(scope='module')
def session(tmp_path_factory):
    return open_session(demo_studio(), tmp_path_factory)


@pytest.fixture(scope='module')
def seem(tmp_path_factory):
    return open_session(studio_of(SEEM), tmp_path_factory)


def predicted(config, prompts=None):
    (found,) = predict(find_config(config), draw_photograph(), prompts=prompts, device='cpu')
    return found.label_map


def full(session, look=None, **options):
    return session.label_map(look or Look(), size=session.picture.size, **options).labels


def test_label_map_is_that_of_predict(session):
    expected = predicted('ssprompt_sam-tiny_shapes', DEMO_PROMPTS)
    found = full(session)
    assert found.dtype == expected.dtype
    assert len(np.unique(found)) > 2
    np.testing.assert_array_equal(found, expected)


def test_trust_of_zero_is_the_model_of_handcrafted_prompts(session):
    expected = predicted(ZERO_SHOT)
    np.testing.assert_array_equal(full(session, Look(0.0, 0.0)), expected)
    np.testing.assert_array_equal(full(session, which=HANDCRAFTED), expected)
    assert (full(session) != expected).mean() > 0.1


@pytest.mark.parametrize('config', [SEEM, SEEM_PANOPTIC, SEEM_INSTANCE])
def test_views_of_seem_are_those_of_predict(config, tmp_path_factory):
    own = open_session(studio_of(config), tmp_path_factory)
    view = own.model.views[0]
    expected = {SEEM: 'semantic', SEEM_PANOPTIC: 'panoptic', SEEM_INSTANCE: 'instances'}
    assert view == expected[config]
    np.testing.assert_array_equal(full(own, view=view), predicted(config))
    assert own.model.views[-1] == 'semantic'


def test_seem_answers_all_questions(seem):
    assert seem.mask(seem.model.num_masks - 1, Look())[0].shape == seem.picture.shown_size
    found = seem.at_point(0.5, 0.2, Look())
    assert found.base.quality is None
    assert found.base.score is not None, 'SEEM tells classes itself'
    names = (*seem.model.head.class_names[:3], 'unheard of')
    view = seem.label_map(Look(names=names))
    assert set(view.shares) <= set(range(4))
    assert seem.compare(Look()).share == 0, 'nothing was learned'


@pytest.mark.parametrize('weight', [0.0, 0.25, 1.0])
@pytest.mark.parametrize('kind', ['spatial', 'semantic'])
def test_a_weight_is_that_of_all_prompts_of_its_kind(session, kind, weight):
    """As in a model whose own weights all have this value."""
    model, picture = session.model, session.picture
    output = model.output(picture, Look(**{kind: weight}))
    head = copy.deepcopy(model.head)
    logit = torch.tensor(weight).logit(eps=1e-9)
    getattr(head, f'{kind}_prompts').fusion.weight_logit.data.fill_(float(logit))
    with torch.no_grad():
        expected = head(picture.features).image(0)
    torch.testing.assert_close(output.mask_logits, expected.mask_logits, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(output.class_logits, expected.class_logits, atol=1e-3, rtol=1e-4)


def test_semantic_changes_need_no_decoding(session):
    session.label_map(Look())
    with mock.patch.object(session.model.head.segmenter, 'decode', side_effect=AssertionError):
        session.label_map(Look(semantic=0.3))
        session.label_map(Look(names=('sky', 'zebra')))
        session.mask(3, Look(semantic=0.3))
        with pytest.raises(AssertionError):
            session.label_map(Look(spatial=0.123))


def test_names_in_another_order_give_the_same_picture(session):
    names = tuple(session.model.head.class_names)
    own, other = session.label_map(Look()), session.label_map(Look(names=names[::-1]))
    np.testing.assert_array_equal(own.labels, len(names) - 1 - other.labels)
    assert [own.naming.palette[i] for i in range(10)] == list(other.naming.palette)[::-1]
    assert all(other.naming.learned)


def test_a_new_name_has_the_handcrafted_prompt(session):
    """A trained name under another spelling keeps what was learned; a new one is encoded."""
    learner = session.model.head.semantic_prompts
    naming = session.model.naming(Look(names=('SKY', 'zebra')))
    assert naming.learned == (True, False)
    rows = session.model._rows(Look(names=('SKY', 'zebra')), 'own')
    sky = session.model.head.class_names.index('sky')
    torch.testing.assert_close(rows[0], learner()[sky])
    config = session.model.predictor.model.decode_head.semantic_prompts
    with DefaultScope.overwrite_default_scope('mmseg'):
        cfg = dict(
            type='CLIPClassNameEncoder',
            variant='tiny',
            checkpoint='mmseg_ssprompt://clip-tiny_shapes.pth',
            templates=config.templates,
        )
        expected = MODELS.build(cfg).encode(['zebra'])[0]
    torch.testing.assert_close(rows[1], expected)


def test_a_single_name_is_told_from_the_rest(session):
    view = session.label_map(Look(names=('sky',)))
    assert view.naming.classes == ('rest', 'sky')
    assert set(view.shares) == {0, 1}


def test_names_of_prompts_that_are_made_for_their_own_are_not_changed():
    head = SimpleNamespace(
        semantic_prompts=torch.nn.Identity(),
        class_names=['sky', 'lake'],
        label_ids=LabelIds(2),
        things=None,
    )
    own = PromptSet('own.pth', head, ('sky', 'lake'), [[0, 0, 255], [0, 255, 0]])
    assert own.naming(Look()).learned == (True, True)
    with pytest.raises(StudioError, match=r'names of own\.pth cannot be changed: .* Identity'):
        own.naming(Look(names=('sea',)))


def test_handcrafted_encodings_agree_with_trained_defaults(session):
    default = session.model.head.semantic_prompts.fusion.default
    encoded = session.model._encode(list(session.model.head.class_names))
    torch.testing.assert_close(torch.stack(list(encoded.values())), default)


def test_masks_and_their_facts_fit(session):
    output = session.model.output(session.picture, Look())
    scores = output.class_logits.softmax(-1)
    for number in (0, 17, 63):
        mask, facts = session.mask(number, Look())
        assert mask.shape == session.picture.shown_size
        assert (mask.min() >= 0) and (mask.max() <= 1)
        assert abs((mask > 0.5).mean() - facts.share) < 0.03
        label = 10 if facts.label is None else facts.label
        assert scores[number].argmax() == label
        assert facts.score == pytest.approx(float(scores[number, label]), abs=1e-5)
    best = session.best_mask(Look())
    assert session.masks(Look())[best].label is not None
    assert session.small_masks(Look()).shape == (64, 32, 48)


def test_facts_of_masks_are_found_once(session):
    look = Look(semantic=0.77)
    with mock.patch.object(session, '_find_facts', wraps=session._find_facts) as find:
        facts = session.masks(look)
        assert session.mask(3, look)[1] == facts[3]
        assert session.best_mask(look) in range(len(facts))
        assert find.call_count == 1
        assert session.masks(Look(semantic=0.78)) != facts
        assert find.call_count == 2


@pytest.mark.parametrize('number', [-1, 64, 0.5, float('nan'), None, '1'])
def test_there_is_no_other_mask(session, number):
    with pytest.raises(StudioError, match='number of a mask'):
        session.mask(number, Look())


def test_base_model_is_asked_as_sam_is(session):
    """One click, three masks, the best of them: as a segmenter of that setting decodes."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        official = MODELS.build(
            dict(
                type='SAMSegmenter',
                variant='tiny',
                checkpoint='mmseg_ssprompt://sam-tiny_shapes.pth',
                decoding='independent',
                mask_output='best',
            )
        )
    place = torch.tensor([[0.25, 0.5 * 64 / 96]])  # 120 x 80 pixels become 96 x 64 of 96 x 96
    with torch.no_grad():
        decoded = official.decode(session.picture.features, official.encode_points(place))
    said = session.model.ask_base(session.picture, tuple(place[0].tolist()), Look())
    torch.testing.assert_close(said.mask_logits, decoded.mask_logits[0])
    torch.testing.assert_close(said.quality, decoded.quality[0])
    found = session.at_point(0.25, 0.5, Look())
    assert found.base.quality == pytest.approx(float(decoded.quality))
    assert found.base.score is None, 'SAM knows no classes'


def test_point_agrees_with_label_map(session):
    view = session.label_map(Look())
    height, width = view.labels.shape
    for x, y in ((0.0, 0.0), (0.31, 0.77), (1.0, 1.0)):
        found = session.at_point(x, y, Look())
        row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
        assert found.label == view.labels[row, column]
        assert 0 < found.score <= 1
        assert found.mask[row, column] > 0.02, 'the mask that decides is there'
        # Of one class, all scores are of that class.
        assert session.at_point(x, y, Look(names=('sky', 'lake'))).label in (0, 1)


@pytest.mark.parametrize('place', [(float('nan'), 0.5), (0.5, -0.1), (1.1, 0.5), (None, 0.5)])
def test_a_point_lies_in_the_picture(session, place):
    with pytest.raises(StudioError, match='The place from'):
        session.at_point(*place, Look())


def test_comparison_counts_what_differs(session):
    found = session.compare(Look())
    own, other = found.first.labels, found.second.labels
    np.testing.assert_array_equal(found.differs, own != other)
    assert found.share == pytest.approx((own != other).mean())
    assert sum(share for *_, share in found.swaps) <= found.share + 1e-9
    first, second, share = found.swaps[0]
    names = session.model.head.class_names
    pairs = (own == names.index(first)) & (other == names.index(second))
    assert share == pytest.approx(pairs.mean())


def test_another_file_of_prompts_is_compared(tmp_path, tmp_path_factory):
    source = read_prompt_source(DEMO_PROMPTS)
    state = {key: value.clone() for key, value in source.state_dict.items()}
    state['decode_head.semantic_prompts.fusion.weight_logit'].fill_(-20)
    kept = type(source.state_dict)(state)
    kept._metadata = source.state_dict._metadata
    write_prompts(kept, {}, tmp_path / 'other.safetensors')
    trained = read_model(DEMO_CONFIG, DEMO_PROMPTS)
    model = StudioModel(trained, 'cpu', tmp_path / 'other.safetensors')
    own = open_session(model, tmp_path_factory)
    found = own.compare(Look(), OTHER)
    assert found.second.title == 'other.safetensors'
    expected = own.label_map(Look(semantic=0.0), size=None).labels
    np.testing.assert_array_equal(found.second.labels, expected)
    assert 0 < found.share < 1


def test_a_folder_is_a_model_and_is_compared(tmp_path, tmp_path_factory):
    """A folder that `fit` has written, on both sides."""
    (tmp_path / 'config.py').write_text(f'_base_ = [{str(DEMO_CONFIG)!r}]\n')
    shutil.copy(DEMO_PROMPTS, tmp_path / 'prompts.safetensors')
    model = StudioModel(read_model(tmp_path), 'cpu', tmp_path)
    found = open_session(model, tmp_path_factory).compare(Look(semantic=0.5), OTHER)
    expected = open_session(demo_studio(), tmp_path_factory)
    np.testing.assert_array_equal(found.second.labels, expected.label_map(Look()).labels)
    np.testing.assert_array_equal(found.first.labels, expected.label_map(Look(semantic=0.5)).labels)
    assert found.second.title == f'{tmp_path.name}/prompts.safetensors'


def test_other_prompts_must_be_there(session):
    with pytest.raises(StudioError, match='start the studio with --compare'):
        session.compare(Look(), OTHER)
    with pytest.raises(StudioError, match='no prompts'):
        session.compare(Look(), '/etc/passwd')


def test_a_view_that_the_model_has_not_is_refused(session):
    with pytest.raises(StudioError, match="has no view 'panoptic'"):
        session.label_map(Look(), view='panoptic')


def test_without_a_picture_nothing_is_answered():
    session = StudioSession(demo_studio(), PictureStore())
    with pytest.raises(StudioError, match='No picture is open'):
        session.label_map(Look())


def test_a_picture_that_had_to_go_is_asked_for_again(tmp_path):
    store = PictureStore(max_bytes=1)
    first, second = StudioSession(demo_studio(), store), StudioSession(demo_studio(), store)
    first.open(save_photograph(tmp_path / 'a.png'), 'a')
    second.open(save_photograph(tmp_path / 'b.png', 90, 60), 'b')
    with pytest.raises(StudioError, match='no longer in memory'):
        first.label_map(Look())
    assert second.label_map(Look()).labels.size
