"""Exported models give in onnxruntime, without torch, what ``predict`` gives in PyTorch."""

import json
import sys
from pathlib import Path
from typing import Any, Tuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from exported import draw_pictures, move_weights, read_labels, run_without_torch, write_model
from mmseg_ssprompt.export import export
from mmseg_ssprompt.export.graphs import output_names
from mmseg_ssprompt.export.parity import predict_here
from mmseg_ssprompt.export.tracing import make_graphs
from mmseg_ssprompt.prediction import predict
from mmseg_ssprompt.prediction.predictor import Predictor, read_model

pytestmark = pytest.mark.slow

COUNT = 20
TASKS = {
    'sam semantic': ('sam-tiny_shapes', {}),
    'sam panoptic': ('sam-tiny_shapes_panoptic', {}),
    'sam instances, independent, best masks': (
        'sam-tiny_shapes_instance',
        dict(
            model__test_cfg__predicted_iou=True,
            model__decode_head__segmenter__decoding='independent',
            model__decode_head__segmenter__mask_output='best',
        ),
    ),
    'seem semantic': ('seem-tiny_shapes', {}),
    'seem panoptic': ('seem-tiny_shapes_panoptic', {}),
    'seem semantic of resized masks': ('seem-tiny_shapes', dict(model__test_cfg__resize='masks')),
}


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp('pictures') / 'in', COUNT)


@pytest.fixture(scope='module', params=TASKS, ids=str)
def model(request, tmp_path_factory) -> Tuple[Path, Path]:
    name, options = TASKS[request.param]
    return write_model(tmp_path_factory.mktemp('model') / 'model', name, **options)


@pytest.fixture(scope='module')
def exported(model, tmp_path_factory) -> Path:
    config, prompts = model
    out = tmp_path_factory.mktemp('exported') / 'out'
    done = export(config, out, prompts=prompts)
    assert done.comparison.equal_pixels >= 0.999
    assert done.comparison.largest_difference < 1e-3
    return out


def test_label_maps_of_20_pictures_without_torch(model, exported, pictures, tmp_path):
    config, prompts = model
    done = run_without_torch(exported, pictures, tmp_path / 'out')
    assert (done.returncode, done.stderr) == (0, '')
    expected = list(predict(config, pictures, prompts=prompts))
    assert len(expected) == COUNT
    equal = total = 0
    seen = set()
    for prediction in expected:
        found = read_labels(tmp_path / 'out' / f'{Path(prediction.name).stem}.png')
        assert found.shape == prediction.label_map.shape
        share = np.mean(found == prediction.label_map)
        # OpenCV and Pillow may decode a JPEG differently by one level.
        assert share > 0.995, prediction.name
        equal, total = equal + share * found.size, total + found.size
        seen |= set(np.unique(found).tolist())
        if prediction.objects is not None:
            file = tmp_path / 'out' / f'{Path(prediction.name).stem}_segments.json'
            assert len(json.loads(file.read_text())) == len(prediction.objects)
    assert equal / total > 0.999
    assert len(seen) > 2


def test_graphs_take_batches(model, exported):
    """Two pictures of one size at once, at another size than they were traced with."""
    config, prompts = model
    predictor = Predictor(read_model(config, prompts), 'cpu')
    graphs = make_graphs(predictor.model)
    frame = predictor.model.backbone.frame or (64, 160)
    pixels = torch.randint(0, 256, (3, *frame, 3), dtype=torch.uint8)
    sizes = torch.tensor([frame[0] - 7, frame[1]]), torch.tensor([77, 131])
    with torch.no_grad():
        features = graphs[0].module(pixels, sizes[0])
        expected = graphs[1].module(*features, *sizes)
    encoder, decoder = (
        onnxruntime.InferenceSession(exported / f'{name}.onnx') for name in ('encoder', 'decoder')
    )
    feeds = dict(pixels=pixels.numpy(), size=sizes[0].numpy())
    values = [*encoder.run(None, feeds), *(each.numpy() for each in sizes)]
    names = [each.name for each in decoder.get_inputs()]
    assert names[-2:] == ['size', 'output_size']
    assert [each.name for each in decoder.get_outputs()] == output_names(predictor.model.outputs)
    for own, other in zip(values, features):
        assert np.abs(own - other.numpy()).max() < 1e-3
    for own, other in zip(decoder.run(None, dict(zip(names, values))), expected):
        if other.is_floating_point():
            assert np.abs(own - other.numpy()).max() < 1e-3
        else:
            assert np.mean(own == other.numpy()) > 0.999


def test_model_json_says_what_it_is(model, exported):
    content = json.loads((exported / 'model.json').read_text())
    assert content['resize']['kind'] in ('within', 'shortest')
    assert content['opset'] == 18
    assert content['precision'] == content['computed_in'] == 'float32'
    assert content['versions']['torch'] == torch.__version__
    assert len(content['digests']['prompts']) == 64
    assert content['prompts']['base']['parts']['image_encoder']
    assert len(content['classes']) == len(content['palette'])
    assert content['compared']['equal_pixels'] >= 0.999
    names = sorted(each.name for each in exported.iterdir())
    assert names == ['decoder.onnx', 'encoder.onnx', 'merging.py', 'model.json', 'run.py']


@pytest.mark.parametrize('name', ['sam-tiny_shapes_panoptic', 'seem-tiny_shapes'])
def test_half_the_weights_give_99_percent(name, pictures, tmp_path):
    options = move_weights(name.partition('-')[0], tmp_path / 'weights.pth')
    config, prompts = write_model(tmp_path / 'model', name, **options)
    done = export(config, tmp_path / 'out', prompts=prompts, precision='float16')
    assert done.comparison.largest_difference > 1e-5
    assert done.comparison.equal_pixels >= 0.99
    predictor = Predictor(read_model(config, prompts), 'cpu')
    weights = sum(each.numel() for each in predictor.model.backbone.parameters())
    # Of two bytes each, but for small tensors; a small model's nodes take as much as its weights.
    stored = onnx.load(str(tmp_path / 'out' / 'encoder.onnx')).graph.initializer
    assert sum(numpy_helper.to_array(each).nbytes for each in stored) < 2.6 * weights
    out = tmp_path / 'labels'
    assert run_without_torch(tmp_path / 'out', pictures, out).returncode == 0
    expected = predict(config, pictures, prompts=prompts)
    shares = [
        np.mean(read_labels(out / f'{Path(e.name).stem}.png') == e.label_map) for e in expected
    ]
    assert len(shares) == COUNT
    assert np.mean(shares) >= 0.99


@pytest.mark.parametrize('name', ['sam-tiny_shapes', 'seem-tiny_shapes_panoptic'])
def test_programs_of_torch(name, tmp_path):
    config, prompts = write_model(tmp_path / 'model', name)
    done = export(config, tmp_path / 'out', prompts=prompts, format='torch')
    assert done.comparison.equal_pixels >= 0.999
    assert done.comparison.largest_difference < 1e-3
    assert sorted(done.files) == ['decoder.pt2', 'encoder.pt2', 'model.json']


def test_an_export_of_one_class_with_a_rest(tmp_path):
    options: Any = dict(
        model__decode_head__num_classes=1,
        model__decode_head__rest_id=0,
        model__decode_head__semantic_prompts__class_names=('car',),
        test_dataloader__dataset__metainfo=dict(classes=('car',)),
    )
    config, prompts = write_model(tmp_path / 'model', 'sam-tiny_camvid', **options)
    done = export(config, tmp_path / 'out', prompts=prompts)
    assert done.comparison.equal_pixels >= 0.999
    predictor = Predictor(read_model(config, prompts), 'cpu')
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    assert set(np.unique(predict_here(predictor, picture))) <= {0, 1}
    content = json.loads((tmp_path / 'out' / 'model.json').read_text())
    assert (content['classes'], content['first_class']) == (['rest', 'car'], 1)


def test_nothing_is_written_where_numbers_differ(tmp_path, monkeypatch):
    from mmseg_ssprompt.export import exporting, parity

    monkeypatch.setitem(parity.TOLERANCES, 'float32', (0.0, 1.0))
    monkeypatch.setattr(sys.modules[exporting.__name__], 'compare_torch', _different)
    config, prompts = write_model(tmp_path / 'model', 'sam-tiny_shapes')
    with pytest.raises(ValueError, match='does not give what PyTorch gives'):
        export(config, tmp_path / 'out', prompts=prompts, format='torch')
    assert [each.name for each in tmp_path.iterdir()] == ['model']


def _different(*arguments):
    from mmseg_ssprompt.export.parity import Comparison

    return Comparison(0.1, 0.5)
