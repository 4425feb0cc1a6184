"""The head is SAM's official modules wired as the paper says, and the formulas by hand."""

from typing import Dict, Iterator, List, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from segment_anything.modeling import Sam
from segment_anything.utils.amg import build_point_grid
from torch import Tensor, nn

from mmseg_ssprompt.miniature.shapes_dataset import ShapesWorldDataset
from mmseg_ssprompt.models.clip import build_text_encoder, encode_class_names
from mmseg_ssprompt.models.heads import SSPromptHead
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput, enlarge, find_frame
from mmseg_ssprompt.models.sam.mask_decoder import decode_joint
from mmseg_ssprompt.models.sam.sam_variants import build_sam
from mmseg_ssprompt.weights.state_dicts import read_checkpoint
from tiny_model import (
    IGNORED,
    NUM_CLASSES,
    SIZE,
    build_tiny,
    names_of_trainable,
    random_images,
    random_labels,
    samples_of,
    tiny_config,
    training_loss,
)

SIDE = 8  # of the grid of prompts
DECODINGS = ('joint', 'independent')
METAS = [dict(img_shape=(SIZE, SIZE))] * 2
HALF = (torch.float16, torch.bfloat16)
LEARNED = {
    'decode_head.spatial_prompts.fusion.learned',
    'decode_head.spatial_prompts.fusion.weight_logit',
    'decode_head.semantic_prompts.fusion.learned',
    'decode_head.semantic_prompts.fusion.weight_logit',
}
BRIDGE = {
    'decode_head.classifier.projection.weight',
    'decode_head.classifier.projection.bias',
    'decode_head.classifier.no_object',
    'decode_head.classifier.logit_scale',
}

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning'),
    pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning'),
]


class Parts(NamedTuple):
    """What the shipped files hold, in official modules."""

    sam: Sam
    text: Tensor  # (C, E)
    bridge: Dict[str, Tensor]


@pytest.fixture(scope='module')
def parts() -> Parts:
    sam = build_sam('tiny')
    sam.load_state_dict(read_checkpoint('mmseg_ssprompt://sam-tiny_shapes.pth'))
    encoder = build_text_encoder('tiny', 'mmseg_ssprompt://clip-tiny_shapes.pth')
    bridge = read_checkpoint('mmseg_ssprompt://projection-tiny_shapes.pth')
    bridge = {key: value.float() for key, value in bridge.items()}
    return Parts(sam, encode_class_names(tiny_classes(), encoder), bridge)


def tiny_classes() -> List[str]:
    return list(ShapesWorldDataset.METAINFO['classes'])


def grid_prompts(sam: Sam) -> Tensor:
    """A foreground point at each place of the grid: (N, 2, D)."""
    points = torch.from_numpy(build_point_grid(SIDE)).float()[:, None] * SIZE  # (N, 1, 2)
    return sam.prompt_encoder((points, torch.ones(SIDE**2, 1)), None, None)[0]


def dense_prompt(sam: Sam) -> Tensor:
    return sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(-1, -1, 12, 12)


def classify(parts: Parts, tokens: Tensor) -> Tensor:
    """``scale * cos(projection(token), [text; no object])``: (..., C + 1)."""
    projected = tokens @ parts.bridge['projection.weight'].T + parts.bridge['projection.bias']
    rows = torch.cat([parts.text, parts.bridge['no_object'][None]])
    scale = parts.bridge['logit_scale'].exp().clamp(max=100)
    return scale * F.cosine_similarity(projected[..., None, :], rows, dim=-1)


def wire_joint(parts: Parts, images: Tensor) -> HeadOutput:
    sam = parts.sam
    masks, tokens, quality = decode_joint(
        sam.mask_decoder,
        sam.image_encoder(images),
        sam.prompt_encoder.get_dense_pe(),
        grid_prompts(sam),
        dense_prompt(sam),
    )
    return HeadOutput(masks[:, :, 0], classify(parts, tokens[:, :, 0]), quality[:, :, 0])


def wire_independent(parts: Parts, images: Tensor) -> HeadOutput:
    """The official decoder, an image at a time."""
    sam = parts.sam
    seen: List[Tensor] = []
    hook = sam.mask_decoder.transformer.register_forward_hook(lambda *a: seen.append(a[-1][0]))
    decoded = [
        sam.mask_decoder(
            embedding[None],
            sam.prompt_encoder.get_dense_pe(),
            grid_prompts(sam),
            dense_prompt(sam),
            multimask_output=False,
        )
        for embedding in sam.image_encoder(images)
    ]
    hook.remove()
    tokens = torch.stack([queries[:, 1] for queries in seen])  # SAM's mask token 0
    masks, quality = (torch.stack(each)[:, :, 0] for each in zip(*decoded))
    return HeadOutput(masks, classify(parts, tokens), quality)


def decode(model: nn.Module, images: Tensor) -> HeadOutput:
    return model(images, mode='tensor')


def assert_close(found, expected, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def frozen_modules(model: nn.Module) -> Iterator[nn.Module]:
    for part in (
        model.backbone,
        model.decode_head.segmenter.prompt_encoder,
        model.decode_head.segmenter.mask_decoder,
        model.decode_head.classifier,
    ):
        yield from part.modules()


# What comes out


@pytest.mark.parametrize(
    ('decoding', 'wire'), [('joint', wire_joint), ('independent', wire_independent)]
)
@torch.no_grad()
def test_handcrafted_prompts_equal_the_official_modules(parts, decoding, wire):
    model = build_tiny('default_only', **{'segmenter.decoding': decoding})
    found, expected = decode(model, random_images()), wire(parts, random_images())
    assert found.mask_logits.shape == (2, SIDE**2, 48, 48)
    assert found.class_logits.shape == (2, SIDE**2, NUM_CLASSES + 1)
    assert expected.class_logits.std() > 0.5
    assert_close(found, expected)


@pytest.mark.parametrize('mode', ['learned_weight', 'fixed_weight', 'learned_only'])
@torch.no_grad()
def test_without_noise_learning_starts_at_the_handcrafted_prompts(mode):
    quiet = {f'{prompts}_prompts.fusion.noise': 0.0 for prompts in ('spatial', 'semantic')}
    found = decode(build_tiny(mode, **quiet), random_images())
    expected = decode(build_tiny('default_only'), random_images())
    assert_close(found, expected, 1e-6)


@torch.no_grad()
def test_learned_prompts_change_masks_and_labels():
    model = build_tiny()
    before = decode(model, random_images())
    model.decode_head.semantic_prompts.fusion.learned.mul_(-1)
    semantic = decode(model, random_images())
    assert torch.equal(semantic.mask_logits, before.mask_logits)
    assert (semantic.class_logits - before.class_logits).abs().max() > 0.1
    model.decode_head.spatial_prompts.fusion.learned[3].mul_(-1)
    spatial = decode(model, random_images())
    change = (spatial.mask_logits - semantic.mask_logits).abs().amax(dim=(0, 2, 3))  # (N,)
    assert change.argmax() == 3


@pytest.mark.parametrize('decoding', DECODINGS)
@torch.no_grad()
def test_a_batch_equals_its_images(decoding):
    model = build_tiny(**{'segmenter.decoding': decoding})
    images = random_images(2)
    singly = [decode(model, images[b : b + 1]) for b in range(2)]
    assert_close(decode(model, images), HeadOutput(*map(torch.cat, zip(*singly))), 1e-5)


@torch.no_grad()
def test_a_batch_is_predicted_as_its_images():
    model, images, labels = build_tiny(), random_images(2), random_labels(2)
    together = model(images, samples_of(labels), mode='predict')
    for b in range(2):
        (alone,) = model(images[b : b + 1], samples_of(labels[b : b + 1]), mode='predict')
        assert alone.seg_logits.data.shape == (NUM_CLASSES, SIZE, SIZE)
        assert_close(together[b].seg_logits.data, alone.seg_logits.data, 1e-5)
        assert_close(alone.pred_sem_seg.data[0], alone.seg_logits.data.argmax(dim=0))


@torch.no_grad()
def test_predict_is_the_formula_on_what_forward_gives():
    model, images = build_tiny(), random_images()
    features = model.extract_feat(images)
    masks, labels, _ = decode(model, images)
    scores = labels.softmax(dim=-1)[..., :NUM_CLASSES]
    expected = (scores[..., None, None] * masks.sigmoid()[:, :, None]).sum(dim=1)  # (B, C, h, w)
    expected = F.interpolate(expected, (SIZE, SIZE), mode='bilinear', align_corners=False)
    assert_close(model.decode_head.predict(features, METAS, {}), expected, 1e-5)


# The formula by hand


def by_hand(mask_logits: Tensor, class_logits: Tensor, size: int) -> Tensor:
    scores = SSPromptHead.semantic_scores(HeadOutput(mask_logits, class_logits))
    return enlarge(scores, (size, size))


def test_semantic_map_by_hand():
    """Two prompts, two classes: p(class) 0.6, 0.3 and 0.2, 0.2; the rest is no object."""
    class_logits = torch.tensor([[[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]]]).log()
    masks = torch.tensor([[[[0.5, 0.25]] * 2, [[0.5, 0.75]] * 2]]).logit()
    expected = [[[0.4, 0.3]] * 2, [[0.25, 0.225]] * 2]
    assert_close(by_hand(masks, class_logits, 2), torch.tensor([expected]), 1e-6)


def test_no_object_takes_part_in_the_softmax_but_not_in_the_map():
    class_logits = torch.tensor([[[0.0, 0.0, 50.0]]])
    found = by_hand(torch.full((1, 1, 2, 2), 50.0), class_logits, 2)
    assert found.shape == (1, 2, 2, 2)
    assert found.max() < 1e-6


def test_the_map_fills_the_frame_with_values_that_are_not_negative():
    generator = torch.Generator().manual_seed(0)
    masks = 5 * torch.randn(2, 3, 4, 4, generator=generator)
    found = by_hand(masks, 5 * torch.randn(2, 3, 5, generator=generator), 16)
    assert found.shape == (2, 4, 16, 16)
    assert found.min() >= 0


def test_scores_are_added_before_they_are_interpolated():
    """Half way between the centres of sure and empty: 0.5, however sure."""
    masks = torch.tensor([100.0, -100.0]).expand(1, 1, 2, 2)
    found = by_hand(masks, torch.tensor([[[100.0, 0.0]]]), 4)
    assert_close(found[0, 0, 1], torch.tensor([1.0, 0.75, 0.25, 0.0]), 1e-6)


@pytest.mark.parametrize(
    ('meta', 'frame'),
    [
        (dict(img_shape=(64, 96)), (64, 96)),
        (dict(img_shape=(60, 90), pad_shape=(64, 96)), (64, 96)),
        (dict(img_shape=(60, 90, 3), pad_shape=(64, 96, 3)), (64, 96)),
    ],
)
def test_the_frame_is_that_of_the_padded_samples(meta, frame):
    """It need not be square."""
    assert find_frame([meta, meta]) == frame
    output = HeadOutput(torch.zeros(1, 3, 16, 24), torch.zeros(1, 3, NUM_CLASSES + 1))
    scores = build_tiny().decode_head.predict_by_feat(output, [meta])
    assert scores.shape == (1, NUM_CLASSES, *frame)


# Precision


@pytest.mark.parametrize(
    ('decoding', 'dtype'),
    [
        *(('joint', dtype) for dtype in HALF),
        ('independent', torch.bfloat16),
        # Some seconds on processors without float16.
        pytest.param('independent', torch.float16, marks=pytest.mark.slow),
    ],
)
def test_logits_maps_and_losses_are_float32_under_autocast(decoding, dtype):
    model = build_tiny(**{'segmenter.decoding': decoding})
    with torch.autocast('cpu', dtype):
        features = model.extract_feat(random_images())
        output = model.decode_head(features)
        semantic = model.decode_head.predict(features, METAS, {})
        losses = model.decode_head.loss(features, samples_of(random_labels()), {})
    assert output.class_logits.dtype == output.mask_logits.dtype == torch.float32
    assert semantic.dtype == torch.float32
    tensors = {key: value for key, value in losses.items() if isinstance(value, Tensor)}
    assert tensors.keys() >= {'loss_cls', 'loss_mask', 'loss_dice'}
    assert {value.dtype for value in tensors.values()} == {torch.float32}


@torch.no_grad()
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float16, 0.005), (torch.bfloat16, 0.05)])
def test_autocast_hardly_changes_the_map(dtype, tolerance):
    model = build_tiny()
    expected = model.decode_head.predict(model.extract_feat(random_images()), METAS, {})
    with torch.autocast('cpu', dtype):
        found = model.decode_head.predict(model.extract_feat(random_images()), METAS, {})
    assert (found - expected).abs().max() < tolerance * expected.max()


# What trains


@pytest.mark.parametrize('decoding', DECODINGS)
@pytest.mark.parametrize('bridge', [False, True])
def test_gradients_reach_all_that_trains_and_nothing_else(decoding, bridge):
    options = {'segmenter.decoding': decoding, 'classifier.trainable': bridge}
    model = build_tiny(**options).train()
    assert set(names_of_trainable(model)) == (LEARNED | BRIDGE if bridge else LEARNED)
    training_loss(model).backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == set(names_of_trainable(model))
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize('mode', ['fixed_weight', 'learned_only'])
def test_gradients_reach_the_ablations(mode):
    model = build_tiny(mode).train()
    assert set(names_of_trainable(model)) == {n for n in LEARNED if n.endswith('learned')}
    training_loss(model).backward()
    assert all(p.grad.any() for p in model.parameters() if p.requires_grad)


def test_handcrafted_prompts_do_not_train():
    assert names_of_trainable(build_tiny('default_only')) == []


@pytest.mark.parametrize('bridge', [False, True])
def test_three_steps_change_all_that_trains_and_no_other_bit(bridge):
    model = build_tiny(**{'classifier.trainable': bridge}).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        training_loss(model).backward()
        optimizer.step()
    after = model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == set(names_of_trainable(model))


def test_some_steps_lower_the_loss():
    model = build_tiny().train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    before = training_loss(model).item()
    for _ in range(10):
        optimizer.zero_grad()
        training_loss(model).backward()
        optimizer.step()
    assert training_loss(model) < 0.9 * before


@pytest.mark.parametrize('bridge', [False, True])
def test_training_mode_passes_frozen_parts_by(bridge):
    model = build_tiny(**{'classifier.trainable': bridge})
    assert model.train() is model
    head = model.decode_head
    assert all(m.training for m in (model, head, head.spatial_prompts, head.semantic_prompts))
    assert head.classifier.projection.training is bridge
    learning = set(head.classifier.modules()) if bridge else set()
    assert not any(m.training for m in frozen_modules(model) if m not in learning)


def test_nothing_labelled():
    """Finite, zero, and still in the graph: DDP waits for every tensor that trains."""
    model = build_tiny(**{'classifier.trainable': True}).train()
    loss = training_loss(model, torch.full((2, SIZE, SIZE), IGNORED))
    assert loss == 0
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert len(gradients) == len(LEARNED | BRIDGE)
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in gradients)


def test_an_image_without_labels_beside_one_with():
    model = build_tiny().train()
    labels = random_labels()
    labels[1] = IGNORED  # the last, so that the same points are drawn in the other
    both = training_loss(model, labels)
    assert torch.isfinite(both)
    assert_close(both, training_loss(model, labels[:1], random_images()[:1]))


def test_losses_have_the_names_that_are_logged():
    losses = build_tiny().train()(random_images(), samples_of(random_labels()), mode='loss')
    names = {'decode.loss_cls', 'decode.loss_mask', 'decode.loss_dice'}
    assert names <= losses.keys()
    assert all(losses[name].shape == () and losses[name] > 0 for name in names)


# How it is built


@pytest.mark.parametrize('num_classes', [9, 11])
def test_another_number_of_classes_is_refused(num_classes):
    with pytest.raises(ValueError, match='class names') as info:
        build_tiny(num_classes=num_classes)
    text = str(info.value)
    assert f'num_classes is {num_classes}, but there are 10 class names' in text
    assert str(tiny_classes()) in text


def test_the_loss_is_told_the_number_of_classes():
    assert build_tiny().decode_head.loss_decode.num_classes == NUM_CLASSES


def test_class_names_are_those_of_the_data_set():
    assert list(build_tiny().decode_head.class_names) == tiny_classes()


def test_interchangeable_with_learned_coordinates():
    learner = dict(_delete_=True, type='CoordinatePromptLearner', num_prompts=16)
    config = tiny_config(spatial_prompts=learner)
    model = MODELS.build(config.model).train()
    assert decode(model, random_images()).mask_logits.shape == (2, 16, 48, 48)
    training_loss(model).backward()
    assert model.decode_head.spatial_prompts.coordinates.grad.any()


def test_nothing_of_the_base_classifier_is_left():
    keys = build_tiny().decode_head.state_dict()
    assert not [key for key in keys if 'conv_seg' in key or 'text_encoder' in key]
