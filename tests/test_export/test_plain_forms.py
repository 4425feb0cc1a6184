"""What models compute while they are exported is what they compute otherwise."""

import numpy as np
import pytest
import torch

from exported import move_weights, write_model
from mmseg_ssprompt.export.graphs import DecoderGraph, EncoderGraph, output_names
from mmseg_ssprompt.export.parity import make_reference, predict_here
from mmseg_ssprompt.export.runner import merging
from mmseg_ssprompt.export.tracing import Graph, narrow_weights
from mmseg_ssprompt.models.base import linear
from mmseg_ssprompt.models.sam import vit
from mmseg_ssprompt.models.seem import SEEMImageEncoder, pixel_decoders
from mmseg_ssprompt.prediction.predictor import Predictor, read_model


@pytest.mark.parametrize('most', [2**24, 1])
def test_attention_head_by_head(monkeypatch, most):
    monkeypatch.setattr(vit, '_MAX_BIAS_NUMBERS', most)
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 20, 8)] * 3 + [(2, 3, 4, 5, 4), (2, 3, 4, 5, 5)]
    parts = [torch.randn(shape, generator=generator) for shape in shapes]
    expected = vit.attend_with_bias(*parts)
    torch.testing.assert_close(vit.attend_head_by_head(*parts), expected)


def test_layers_are_layers_while_exporting(monkeypatch):
    monkeypatch.setattr(linear, '_MIN_MULTIPLICATIONS', 1)
    layer, x = torch.nn.Linear(4, 5), torch.randn(3, 4)
    assert linear._is_faster_as_convolution(layer.weight, x) == torch.backends.mkldnn.is_available()
    monkeypatch.setattr(linear, 'is_exporting', lambda: True)
    assert not linear._is_faster_as_convolution(layer.weight, x)


def test_deformable_attention_by_grids(monkeypatch):
    torch.manual_seed(0)
    encoder = SEEMImageEncoder('focal_tiny_deform')
    with torch.no_grad():
        for layer in encoder.pixel_decoder.transformer.encoder.layers:
            layer.self_attn.sampling_offsets.bias.normal_(std=3)  # outside of the map, too
    images = torch.randn(2, 3, 64, 96)
    expected = encoder(images)
    monkeypatch.setattr(pixel_decoders, 'is_exporting', lambda: True)
    found = encoder(images)
    for own, other in zip(found.named().values(), expected.named().values()):
        torch.testing.assert_close(own, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    'name', ['sam-tiny_shapes', 'sam-tiny_shapes_instance', 'seem-tiny_shapes_panoptic']
)
def test_graphs_are_the_model(name, tmp_path):
    """Run by PyTorch, with what run.py makes of their results."""
    config, prompts = write_model(tmp_path / 'model', name)
    predictor = Predictor(read_model(config, prompts), 'cpu')
    model = predictor.model
    encoder = EncoderGraph(model).eval()
    frame = model.backbone.frame or (128, 96)
    names = (
        ['embedding'] if model.backbone.frame else ['embedding', *map('level_{}'.format, range(3))]
    )
    stride = frame[0] // encoder(torch.zeros(1, *frame, 3).byte(), torch.tensor(frame))[0].shape[2]
    decoder = DecoderGraph(model, names, (stride, stride)).eval()
    graphs = [
        Graph(part, module, {}, [], output_names(model.outputs))
        for part, module in (('encoder', encoder), ('decoder', decoder))
    ]
    reference = make_reference(predictor, graphs)
    settings = dict(
        bits=8, void_id=255, first_class=0, things=list(predictor.things), min_score=0.3,
        classes=predictor.classes, overlap_threshold=model.test_cfg.overlap_threshold,
    )  # fmt: skip
    found = {n: v[0].numpy() for n, v in zip(graphs[1].outputs, reference.results)}
    label_map = merging.gather(found, settings)[0]
    assert np.array_equal(label_map, reference.label_maps[0])
    assert len(np.unique(label_map)) > 1


def test_half_weights_are_computed_with_in_float32(tmp_path):
    options = move_weights('sam', tmp_path / 'sam.pth')
    config, prompts = write_model(tmp_path / 'model', 'sam-tiny_shapes', **options)
    predictor = Predictor(read_model(config, prompts), 'cpu')
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    encoder = EncoderGraph(predictor.model).eval()
    inputs = torch.from_numpy(picture)[None], torch.tensor([96, 96])
    (before,) = encoder(*inputs)
    labels = predict_here(predictor, picture)
    narrow_weights(predictor.model)
    for part in (predictor.model.backbone, predictor.model.decode_head.segmenter.mask_decoder):
        halves = [p for p in part.parameters() if p.dtype == torch.float16]
        assert sum(p.numel() for p in halves) > 0.9 * sum(p.numel() for p in part.parameters())
    (after,) = encoder(*inputs)
    assert after.dtype == torch.float32
    difference = float((after - before).abs().max())
    assert 1e-5 < difference < 0.05
    assert np.mean(predict_here(predictor, picture) == labels) > 0.97
