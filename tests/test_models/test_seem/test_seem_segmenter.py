"""SEEM fulfils the contract of base models, with its own queries and with points as prompts."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from mmseg_ssprompt.models.base import ImageFeatures, PromptableSegmenter
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput, SSPromptHead
from mmseg_ssprompt.models.prompts import CoordinatePromptLearner, SpatialPromptLearner
from mmseg_ssprompt.models.prompts.fusion import FUSION_MODES
from mmseg_ssprompt.models.seem import SEEMImageEncoder, SEEMSegmenter, SEEMTextEncoder
from mmseg_ssprompt.models.seem.seem_prompt_encoder import (
    NEGATIVE,
    POSITIVE,
    choose_rows,
    sample,
)
from mmseg_ssprompt.models.seem.seem_variants import PIXEL_MEAN, PIXEL_STD
from seem_files import make_buffers, make_weights, read_golden, read_keys

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')

VARIANT, WIDTH, QUERIES = 'focal_tiny', 32, 11
NAMES = ['sky', 'sea', 'wall-brick', 'dog']
#: Of class logits, and of masks on the small models and with clicks.
LOGITS, MASKS, CLICKS = (dict(atol=bound, rtol=0) for bound in (2e-5, 3e-4, 4e-3))


@pytest.fixture(scope='module')
def segmenter(tiny_file):
    return SEEMSegmenter(VARIANT, tiny_file)


@pytest.fixture(scope='module')
def encoder(tiny_file):
    return SEEMImageEncoder(VARIANT, tiny_file)


@pytest.fixture(scope='module')
def features(encoder):
    """Of the two images of golden case 4, ``batch``."""
    return encoder(draw((2, 3, 64, 96), 402))


def draw(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def select(features, number):
    """One image of a batch."""
    keep = slice(number, number + 1)
    return ImageFeatures(
        tuple(level[keep] for level in features.levels), None, features.embedding[keep]
    )


def test_it_fulfils_the_contract(segmenter):
    assert isinstance(segmenter, PromptableSegmenter)
    assert (segmenter.kind, segmenter.token_dims, segmenter.tokens_per_prompt) == ('seem', 32, 2)
    assert segmenter.masks_per_prompt == 1
    assert segmenter.prompts_see_image and not segmenter.trainable
    assert not any(parameter.requires_grad for parameter in segmenter.parameters())
    assert not any(
        module.training for module in segmenter.train().modules() if module is not segmenter
    )


# --- SEEM's own queries


@pytest.mark.parametrize('images', ['a', 'b'])
@pytest.mark.parametrize(
    ('variant', 'case'), [('focal_tiny', 'case1_tiny'), ('focal_tiny_deform', 'case1_tiny_deform')]
)
def test_own_queries_give_the_official_result(tiny_file, tiny_deform_file, variant, case, images):
    """From images to masks and class logits, with the texts through SEEM's tower."""
    file = dict(focal_tiny=tiny_file, focal_tiny_deform=tiny_deform_file)[variant]
    golden, described = read_golden(case)
    shape, seed = dict(a=((1, 3, 64, 96), 0), b=((2, 3, 96, 64), 1))[images]
    seed = int(described['inputs'][images].split('seed ')[1].split(':')[0])
    segmenter, texts = SEEMSegmenter(variant, file), SEEMTextEncoder(variant, file)
    rows = texts.text_transformer()(*texts.embed(described['text']['texts']))
    features = SEEMImageEncoder(variant, file)(draw(shape, seed))
    decoded = segmenter.decode(features, segmenter.default_prompts())
    torch.testing.assert_close(decoded.mask_logits, golden[f'{images}.pred_masks'], **MASKS)
    logits = decoded.class_embeddings @ rows.t()
    torch.testing.assert_close(logits, golden[f'{images}.pred_logits'], **LOGITS)
    assert decoded.tokens.shape == (len(logits), QUERIES, WIDTH) and decoded.quality is None


@pytest.mark.slow
def test_own_queries_give_the_official_result_at_real_size(tmp_path):
    golden, case = read_golden('case_full_focalt_unicl_lang_v1')
    shapes, buffers = read_keys('focalt_unicl_lang_v1')
    file = tmp_path / 'seem_focalt_v1.pt'
    torch.save({**make_weights(shapes), **make_buffers(buffers)}, file)
    texts = SEEMTextEncoder('focal_t', file)
    rows = texts.text_transformer()(*texts.embed(case['text']['texts']))
    torch.testing.assert_close(rows, golden['text.embeddings'], atol=2e-6, rtol=0)
    segmenter = SEEMSegmenter('focal_t', file)
    assert segmenter.default_prompts().shape == (101, 2, 512)
    with torch.no_grad():
        features = SEEMImageEncoder('focal_t', file)(draw((3, 256, 320), 306)[None])
        decoded = segmenter.decode(features, segmenter.default_prompts())
        logits = decoded.class_embeddings @ rows.t()
    torch.testing.assert_close(logits, golden['pred_logits'], **LOGITS)
    masks = decoded.mask_logits[:, :, ::4, ::4]
    torch.testing.assert_close(masks, golden['pred_masks_every_4th'], atol=3.5e-3, rtol=0)


def test_no_object_is_the_text_background(segmenter):
    golden, case = read_golden('case6_evaluate')
    assert case['text']['names'][-1] == 'background'
    found = segmenter.no_object()
    torch.testing.assert_close(found, golden['text.embeddings'][-1], atol=2e-6, rtol=0)


@torch.no_grad()
def test_semantic_scores_are_the_official_ones(segmenter, encoder):
    """From pixels to scores at the size of the photograph, with SEEM's two steps of resizing."""
    golden, _ = read_golden('case6_evaluate')
    mean, std = (torch.tensor(each)[:, None, None] for each in (PIXEL_MEAN, PIXEL_STD))
    images = [(golden[f'image.{number}'].float() - mean) / std for number in (0, 1)]
    frame = (64, 96)
    padded = [
        F.pad(image, (0, frame[1] - image.shape[2], 0, frame[0] - image.shape[1]))
        for image in images
    ]
    torch.testing.assert_close(padded[0][None], golden['alone.network_input'], atol=1e-5, rtol=0)
    # This case has its own logit scale, which class embeddings hold.
    scale = torch.tensor(4.0 - 2.0).exp()
    for name, batch in (('alone', padded[:1]), ('batch', padded)):
        decoded = segmenter.decode(encoder(torch.stack(batch)), segmenter.default_prompts())
        logits = scale * decoded.class_embeddings @ golden['text.embeddings'].t()
        masks = F.interpolate(decoded.mask_logits, size=frame, mode='bilinear', align_corners=False)
        for number in range(len(batch)):
            height, width = images[number].shape[1:]
            expected = golden[f'{name}.{number}.sem_seg']
            resized = F.interpolate(
                masks[number : number + 1, :, :height, :width],
                *(expected.shape[-2:], None, 'bicubic'),
                align_corners=False,
                antialias=True,
            )
            output = HeadOutput(resized, logits[number : number + 1])
            scores = SSPromptHead.semantic_scores(output)[0]
            torch.testing.assert_close(scores, expected, atol=5e-5, rtol=0)


def test_semantic_scores_of_stored_logits_are_the_official_ones():
    golden, _ = read_golden('case5_inference')
    output = HeadOutput(golden['mask_pred'][None], golden['mask_cls'][None])
    scores = SSPromptHead.semantic_scores(output)[0]
    torch.testing.assert_close(scores, golden['semantic'], atol=1e-5, rtol=0)


# --- points


def points_of(mask):
    """The pixels (P, 2) of a mask, x before y, in fractions of its frame."""
    return (mask.nonzero().float() / torch.tensor(mask.shape).float()).flip(-1)


def encode_clicks(segmenter, features, positive, negative):
    """A prompt (1, 1, T, D) of pixels (P, 2) on an object, and of pixels not on it."""
    encoder = segmenter.prompt_encoder
    tokens = [
        encoder.encode(points[None], features, sign)
        for points, sign in ((positive, POSITIVE), (negative, NEGATIVE))
        if len(points)
    ]
    level_tokens = torch.cat(tokens, dim=3).flatten(2, 3)
    mask_feature = sample(features.embedding, positive[None]).mean(dim=2, keepdim=True)
    return torch.cat([level_tokens, mask_feature], dim=2)


@torch.no_grad()
@pytest.mark.parametrize(('case', 'image'), [('clicks', 0), ('batch', 0), ('batch', 1)])
def test_clicks_give_the_official_result(segmenter, encoder, case, image):
    """Case 4: squares of pixels as clicks, negative ones among them, with its draws of queries."""
    golden, described = read_golden('case4_spatial')
    shape, seed = dict(clicks=((1, 3, 64, 96), 401), batch=((2, 3, 64, 96), 402))[case]
    features = select(encoder(draw(shape, seed)), image)
    ending = f'.{image}' if case == 'batch' else ''
    positive, negative = (golden[f'{case}.{kind}_mask{ending}'] for kind in ('pos', 'neg'))
    drawn = described['draws']['object queries copied to spatial queries']
    count = golden[f'{case}.prev_mask'].shape[1]
    assert choose_rows(3 * count, QUERIES).tolist() == drawn[str(count)]
    has_negative = False
    for number, masks in enumerate(zip(positive, negative)):
        prompt = encode_clicks(segmenter, features, *map(points_of, masks))
        has_negative |= bool(masks[1].any())
        expected = golden[f'{case}.pred_pspatials'][image, number]
        torch.testing.assert_close(prompt[0, 0, -1], expected, atol=1e-5, rtol=0)
        # Prompts have different numbers of pixels, and do not know of each other.
        decoded = segmenter.decode(features, prompt.expand(-1, count, -1, -1))
        mask = golden[f'{case}.prev_mask'][image, number]
        torch.testing.assert_close(decoded.mask_logits[0, number], mask, **CLICKS)
        logits = decoded.class_embeddings[0, number] @ golden['text.embeddings'].t()
        expected = golden[f'{case}.prompt_class_logits'][image, number]
        torch.testing.assert_close(logits, expected, **LOGITS)
    assert has_negative == ((case, image) == ('batch', 0))


def test_a_point_is_a_click_of_one_pixel(segmenter, features):
    """Fraction f is pixel f * W, and tokens are of the three levels, then the mask feature."""
    xy = torch.tensor([[0.25, 0.5], [0.0, 1.0]])
    found = segmenter.encode_points(xy, features)
    assert found.shape == (2, 2, 4, WIDTH)
    mask = torch.zeros(64, 96, dtype=torch.bool)
    mask[32, 24] = True
    for number in range(2):
        one = select(features, number)
        expected = encode_clicks(segmenter, one, points_of(mask), torch.zeros(0, 2))
        torch.testing.assert_close(found[number, :1], expected[0], atol=1e-5, rtol=0)
        corner = features.embedding[number, :, -1, 0]
        torch.testing.assert_close(found[number, 1, -1], corner, atol=1e-5, rtol=0)


def test_points_without_features_are_what_is_known_without_an_image(segmenter, features):
    """Tokens of features that are zero everywhere."""
    xy = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    found = segmenter.encode_points(xy)
    assert found.shape == (5, 4, WIDTH)
    empty = ImageFeatures(
        tuple(torch.zeros_like(level) for level in features.levels),
        None,
        torch.zeros_like(features.embedding),
    )
    for each in segmenter.encode_points(xy, empty):
        torch.testing.assert_close(found, each, atol=1e-6, rtol=0)
    assert found[:, :-1].abs().min() > 0 and not found[:, -1].any()


def test_a_box_is_nine_points_in_it(segmenter, features):
    boxes = torch.tensor([[0.0, 0.25, 0.75, 1.0]])
    found = segmenter.encode_boxes(boxes, features)
    assert found.shape == (2, 1, 28, WIDTH) and segmenter.encode_boxes(boxes).shape == (
        1,
        28,
        WIDTH,
    )
    sides = torch.tensor([1, 3, 5]) / 6
    points = torch.cartesian_prod(sides * 0.75, 0.25 + sides * 0.75)
    one = select(features, 0)
    expected = encode_clicks(segmenter, one, points, torch.zeros(0, 2))
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=0)
    decoded = segmenter.decode(features, found)
    assert decoded.mask_logits.shape == (2, 1, 16, 24)


def test_the_query_that_fits_the_point_best_answers(segmenter, features):
    """Whatever the other two are: turning the mask feature round makes another one answer."""
    prompts = segmenter.encode_points(
        torch.rand(6, 2, generator=torch.Generator().manual_seed(1)), features
    )
    turned = prompts.clone()
    turned[:, :, -1] *= -1
    scaled = prompts.clone()
    scaled[:, :, -1] *= 0.01
    expected = segmenter.decode(features, prompts)
    other = segmenter.decode(features, turned)
    assert (expected.tokens != other.tokens).any(dim=-1).all()
    for one, two in zip(expected, segmenter.decode(features, scaled)):
        assert one is two is None or torch.equal(one, two)


def test_rows_of_queries_are_fixed_and_used_alike():
    rows = choose_rows(303, 101)
    assert torch.equal(rows[:30], choose_rows(30, 101))
    counts = rows[9:].bincount(minlength=101)
    assert counts.min() >= 2 and counts.max() <= 4
    prompts = rows[9:].unflatten(0, (-1, 3))
    assert all(len(set(prompt)) == 3 for prompt in prompts.tolist())
    assert choose_rows(12, 4).max() < 4


def test_gradients_reach_the_points(segmenter, features):
    xy = torch.rand(4, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    decoded = segmenter.decode(features, segmenter.encode_points(xy, features))
    decoded.mask_logits.square().sum().backward()
    assert (xy.grad != 0).all()
    assert all(parameter.grad is None for parameter in segmenter.parameters())


# --- both


@pytest.mark.parametrize('kind', ['queries', 'points'])
def test_two_images_are_twice_one(segmenter, features, kind):
    xy = torch.rand(5, 2, generator=torch.Generator().manual_seed(1))

    def decode(of):
        own = kind == 'queries'
        return segmenter.decode(
            of, segmenter.default_prompts() if own else segmenter.encode_points(xy, of)
        )

    both = decode(features)
    for number in range(2):
        alone = decode(select(features, number))
        for one, two in zip(both, alone):
            if one is not None:
                torch.testing.assert_close(one[number], two[0], **MASKS)


def test_prompts_may_differ_between_images(segmenter, features):
    prompts = segmenter.default_prompts()
    other = prompts + 0.5 * draw(prompts.shape, 3)
    decoded = segmenter.decode(features, torch.stack([prompts, other]))
    for number, each in enumerate((prompts, other)):
        expected = segmenter.decode(features, each)
        torch.testing.assert_close(
            decoded.mask_logits[number], expected.mask_logits[number], **MASKS
        )


def build_head(tiny_file, **settings):
    parts = dict(variant=VARIANT, checkpoint=str(tiny_file))
    config = dict(
        type='SSPromptHead',
        segmenter=dict(type='SEEMSegmenter', **parts),
        spatial_prompts=dict(type='SpatialPromptLearner'),
        semantic_prompts=dict(
            type='SemanticPromptLearner',
            class_names=NAMES,
            text_encoder=dict(type='SEEMTextEncoder', templates=['a {}.'], **parts),
        ),
        classifier=dict(type='BaseModelClassifier'),
        loss_decode=dict(type='MaskClassificationLoss', num_points=64),
    )
    for name, values in settings.items():
        config[name] = dict(config[name], **values)
    torch.manual_seed(0)
    return MODELS.build(config)


def test_default_prompts_give_its_own_result_to_the_bit(tiny_file, segmenter, features):
    fixed = dict(fusion=dict(mode='default_only'))
    head = build_head(tiny_file, spatial_prompts=fixed, semantic_prompts=fixed)
    output = head(features)
    expected = segmenter.decode(features, segmenter.default_prompts())
    assert torch.equal(output.mask_logits, expected.mask_logits)
    rows = torch.cat([head.semantic_prompts(), segmenter.no_object()[None]])
    assert torch.equal(output.class_logits, expected.class_embeddings @ rows.t())
    quiet = dict(fusion=dict(noise=0))
    start = build_head(tiny_file, spatial_prompts=quiet, semantic_prompts=quiet)(features)
    for one, two in zip(start, output):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


@pytest.mark.parametrize('mode', FUSION_MODES)
@pytest.mark.parametrize(
    'prompts', [dict(), dict(num_prompts=4), dict(boxes=[[0.1, 0.2, 0.9, 0.8]])]
)
def test_nothing_but_the_prompts_gets_gradients(tiny_file, features, prompts, mode):
    spatial = dict(prompts, fusion=dict(mode=mode))
    semantic = dict(fusion=dict(mode=mode))
    head = build_head(tiny_file, spatial_prompts=spatial, semantic_prompts=semantic).train()
    output = head(features)
    assert output.quality is None
    for each in (output.mask_logits, output.class_logits):
        assert torch.isfinite(each).all()
    trainable = {name for name, p in head.named_parameters() if p.requires_grad}
    learned = () if mode == 'default_only' else ('learned',)
    learned += ('weight_logit',) if mode == 'learned_weight' else ()
    assert trainable == {
        f'{part}_prompts.fusion.{name}' for part in ('spatial', 'semantic') for name in learned
    }
    if trainable:
        (output.mask_logits.square().mean() + output.class_logits.square().mean()).backward()
    for name, parameter in head.named_parameters():
        assert (parameter.grad is not None) == (name in trainable)
        assert parameter.grad is None or parameter.grad.abs().sum() > 0


def test_coordinates_learn_through_it(tiny_file, features):
    learner = dict(type='CoordinatePromptLearner', num_prompts=4)
    head = build_head(tiny_file, spatial_prompts=learner)
    assert isinstance(head.spatial_prompts, CoordinatePromptLearner)
    head(features).class_logits.square().mean().backward()
    assert (head.spatial_prompts.coordinates.grad != 0).any(dim=1).all()


def test_contexts_learn_through_it(tiny_file, features):
    context = dict(type='ContextPromptLearner', n_ctx=4)
    head = build_head(tiny_file, semantic_prompts=context)
    head(features).class_logits.square().mean().backward()
    assert (head.semantic_prompts.context.grad != 0).any()


@pytest.mark.parametrize('prompts', [dict(), dict(num_prompts=4)])
def test_its_decoder_can_train(tiny_file, features, prompts):
    spatial = dict(prompts, fusion=dict(mode='default_only'))
    head = build_head(tiny_file, segmenter=dict(trainable=True), spatial_prompts=spatial).train()
    segmenter = head.segmenter
    assert segmenter.trainable and segmenter.mask_decoder.training
    assert not segmenter.prompt_encoder.training
    output = head(features)
    expected = build_head(tiny_file, spatial_prompts=spatial)(features)
    for one, two in zip(output, expected):
        torch.testing.assert_close(one, two, atol=0, rtol=0)
    (output.mask_logits.square().mean() + output.class_logits.square().mean()).backward()
    without = [n for n, p in head.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    decoder = {name for name, p in segmenter.named_parameters() if p.requires_grad}
    own = {name for name, _ in segmenter.named_parameters() if name.startswith('mask_decoder.')}
    assert decoder == own - {'mask_decoder.logit_scale'}


def test_fingerprints_are_those_of_its_frozen_parts(segmenter, tiny_file):
    found = segmenter.fingerprints()
    assert set(found) == {'prompt_encoder', 'mask_decoder'} and None not in found.values()
    assert SEEMSegmenter(VARIANT, tiny_file).fingerprints() == found
    trainable = SEEMSegmenter(VARIANT, tiny_file, trainable=True)
    assert trainable.fingerprints() == dict(prompt_encoder=found['prompt_encoder'])
    assert SEEMSegmenter(VARIANT).fingerprints() == dict(prompt_encoder=None, mask_decoder=None)


def test_a_learner_starts_from_its_own_queries(segmenter):
    learner = SpatialPromptLearner(segmenter)
    assert learner.num_prompts == QUERIES
    assert torch.equal(learner.fusion.default, segmenter.default_prompts())


def test_init_weights_keeps_what_was_loaded(tiny_file):
    segmenter = SEEMSegmenter(VARIANT, tiny_file)
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    segmenter.init_weights()
    assert all(torch.equal(before[key], value) for key, value in segmenter.state_dict().items())


# --- errors


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(mask_output='best'), 'SEEM has one mask for each query'),
        (dict(carry_all_tokens=True), 'no mask tokens beside'),
        (dict(chunk_size=8), 'all prompts in one pass'),
        (dict(frozen=True), "no setting 'frozen', found frozen=True. Expected some of variant"),
        (dict(decoding='apart'), "must be 'joint' or 'independent', got 'apart'"),
    ],
)
def test_settings_that_it_has_not_are_refused_with_the_reason(settings, message):
    with pytest.raises(ValueError, match=message):
        SEEMSegmenter(VARIANT, **settings)


def test_own_queries_are_not_decoded_apart(tiny_file, features):
    apart = dict(decoding='independent')
    with pytest.raises(ValueError, match="SEEM's own queries, which know of each other only"):
        build_head(tiny_file, segmenter=apart)
    points = dict(num_prompts=4, fusion=dict(mode='default_only'))
    found = build_head(tiny_file, segmenter=apart, spatial_prompts=points)(features)
    expected = build_head(tiny_file, spatial_prompts=points)(features)
    assert torch.equal(found.mask_logits, expected.mask_logits)


@pytest.mark.parametrize(
    'shape', [(5, 1, 32), (5, 3, 32), (5, 6, 32), (0, 2, 32), (3, 5, 2, 32), (2, 32), (5, 2, 16)]
)
def test_other_prompts_are_refused(segmenter, features, shape):
    with pytest.raises(ValueError, match=r'spatial prompts of SEEM must have shape \(N, T, 32\)'):
        segmenter.decode(features, torch.zeros(shape))


def test_features_of_another_encoder_are_refused(segmenter, features):
    prompts = segmenter.default_prompts()
    wide = torch.zeros(2, 256, 64, 64)
    for others in (features._replace(levels=()), features._replace(embedding=wide)):
        with pytest.raises(
            ValueError, match='features of SEEMImageEncoder with variant=.focal_tiny'
        ):
            segmenter.decode(others, prompts)
