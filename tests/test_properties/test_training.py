"""A step of the whole model, on label maps of all kinds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import example_counts
from mmseg_ssprompt.models.prompts.fusion import FUSION_MODES
from tiny_model import IGNORED, NUM_CLASSES, SIZE, build_tiny, random_images, training_loss

PATTERNS = dict(
    ignored=lambda labels: labels.fill_(IGNORED),
    one_pixel=lambda labels: labels.fill_(IGNORED)[SIZE // 2, 3].fill_(4),
    one_class=lambda labels: labels.fill_(NUM_CLASSES - 1),
    one_row=lambda labels: labels[1:].fill_(IGNORED),
    all_classes=lambda labels: labels,
)


@pytest.fixture(scope='module')
def models():
    """Of each mode that trains; another decoding is set where it is asked for."""
    return {mode: build_tiny(mode) for mode in FUSION_MODES if mode != 'default_only'}


def labels_of(patterns, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(NUM_CLASSES, (len(patterns), SIZE, SIZE), generator=generator)
    for label_map, pattern in zip(labels, patterns):
        PATTERNS[pattern](label_map)
    return labels


@settings(max_examples=example_counts.count(15))
@given(
    mode=st.sampled_from([mode for mode in FUSION_MODES if mode != 'default_only']),
    decoding=st.sampled_from(['joint', 'independent']),
    patterns=st.lists(st.sampled_from(sorted(PATTERNS)), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_every_parameter_has_a_gradient(models, mode, decoding, patterns, seed):
    """So that no process waits for one that another has not."""
    model = models[mode]
    model.decode_head.segmenter.mask_decoder.decoding = decoding
    model.zero_grad(set_to_none=True)
    loss = training_loss(model, labels_of(patterns, seed), random_images(len(patterns), seed))
    assert torch.isfinite(loss)
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert gradients
    assert all(gradient is not None for gradient in gradients.values())
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    trains = any(pattern != 'ignored' for pattern in patterns)
    assert any(gradient.any() for gradient in gradients.values()) == trains
    assert (loss != 0) == trains


@settings(max_examples=example_counts.count(8))
@given(batch=st.integers(1, 4), seed=st.integers(0, 99))
def test_images_of_a_batch_do_not_see_each_other(models, batch, seed):
    model, images = models['learned_weight'], random_images(batch, seed)
    model.decode_head.segmenter.mask_decoder.decoding = 'joint'
    with torch.no_grad():
        whole = model(images, mode='tensor')
        for index in range(batch):
            single = model(images[index : index + 1], mode='tensor')
            for a, b in zip(single, whole):
                torch.testing.assert_close(a[0], b[index], rtol=1e-3, atol=1e-3)
