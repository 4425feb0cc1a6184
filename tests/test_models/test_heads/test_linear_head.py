"""The linear head is a 1 x 1 convolution with mmseg's own loss and prediction."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.hooks import DatasetCheckHook
from mmseg_ssprompt.miniature.shapes_dataset import ShapesWorldDataset
from mmseg_ssprompt.models.heads import LinearEmbeddingHead
from tiny_model import IGNORED, names_of_trainable, random_labels, samples_of, tiny_config

CLASSES = ShapesWorldDataset.METAINFO['classes']
NAMES = ('decode_head.conv_seg.weight', 'decode_head.conv_seg.bias')

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning'),
    pytest.mark.filterwarnings('ignore:.*avg_non_ignore.*:UserWarning'),
    pytest.mark.filterwarnings('ignore:.*binary segmentation.*:UserWarning'),
]


def build(**kwargs: Any) -> LinearEmbeddingHead:
    torch.manual_seed(0)
    arguments = dict(in_channels=96, num_classes=10, dataset='ShapesWorldDataset')
    return LinearEmbeddingHead(**dict(arguments, **kwargs))


def embedding() -> torch.Tensor:
    return torch.randn(2, 96, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> nn.Module:
    config = tiny_config().model
    config.decode_head = dict(
        type='LinearEmbeddingHead', in_channels=96, num_classes=10, dataset='ShapesWorldDataset'
    )
    return MODELS.build(config)


def test_is_linear_in_the_embedding():
    head = build()
    expected = torch.einsum('bdhw,cd->bchw', embedding(), head.conv_seg.weight[..., 0, 0])
    expected = expected + head.conv_seg.bias[:, None, None]
    torch.testing.assert_close(head((embedding(),)), expected)
    assert {name for name, _ in head.named_parameters()} == {'conv_seg.weight', 'conv_seg.bias'}
    torch.testing.assert_close(head.train()((embedding(),)), expected)  # no dropout


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_under_autocast(dtype):
    head = build()
    expected = head((embedding().to(dtype).float(),))
    with torch.autocast('cpu', dtype):
        logits = head((embedding().to(dtype),))
        losses = head.loss((embedding().to(dtype),), samples_of(random_labels()), {})
    assert logits.dtype == losses['loss_ce'].dtype == torch.float32
    assert torch.equal(logits, expected)


def test_loss_is_the_cross_entropy_of_pixels():
    head = build(loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True))
    labels = random_labels()
    losses = head.loss((embedding(),), samples_of(labels), {})
    logits = F.interpolate(head((embedding(),)), size=labels.shape[1:], mode='bilinear')
    expected = F.cross_entropy(logits, labels, ignore_index=IGNORED)
    torch.testing.assert_close(losses['loss_ce'], expected)


def test_names_are_those_of_the_data_set():
    assert build().class_names == CLASSES
    assert build(num_classes=2, class_names=['a', ' b'], dataset=None).class_names == ('a', 'b')


def test_another_number_of_classes():
    with pytest.raises(ValueError, match=r"num_classes is 3, but there are 10.*'ball'"):
        build(num_classes=3)


def test_neither_names_nor_data_set():
    with pytest.raises(ValueError, match='give either class_names, or a dataset'):
        build(dataset=None)


def test_data_are_checked_against_it(model):
    runner = SimpleNamespace(
        cfg=Config(),
        model=model,
        logger=SimpleNamespace(info=lambda text: None),
        test_dataloader=SimpleNamespace(
            dataset=ShapesWorldDataset(
                split='val',
                num_images=2,
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations'),
                    dict(type='PackSegInputs'),
                ],
            )
        ),
    )
    DatasetCheckHook().before_test(runner)
    model.decode_head.class_names = CLASSES[::-1]
    with pytest.raises(DatasetError, match='another order'):
        DatasetCheckHook().before_test(runner)


def test_nothing_else_trains_in_a_segmentor(model):
    assert names_of_trainable(model) == list(NAMES)
    assert set(model.without_frozen(model.state_dict())) == set(NAMES)
