"""What cannot be exported is said by its option, before a model is built; nothing is written."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import RandomFlip, Resize
from mmseg.models import SegDataPreProcessor

from exported import CONFIGS
from mmseg_ssprompt.cli.parser import run_command
from mmseg_ssprompt.config_reading import ConfigError
from mmseg_ssprompt.export import ExportError, export, exporting
from mmseg_ssprompt.export.parity import Comparison
from mmseg_ssprompt.export.refusals import check_model, find_resize_rule
from mmseg_ssprompt.models.heads import SSPromptHead
from mmseg_ssprompt.outputs import OutputError
from mmseg_ssprompt.prediction.predictor import read_model

ZERO_SHOT = CONFIGS / 'ssprompt_sam-tiny_shapes_zero-shot.py'


@pytest.fixture(autouse=True)
def no_model_is_built(monkeypatch):
    def refuse(*arguments):
        raise AssertionError('a model is built')

    monkeypatch.setattr(exporting, 'Predictor', refuse)


@pytest.fixture
def write(tmp_path):
    """Write a config that inherits from the zero-shot one."""

    def write(text: str) -> Path:
        file = tmp_path / 'config.py'
        file.write_text(f'_base_ = [{str(ZERO_SHOT)!r}]\n{text}\n')
        return file

    return write


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (
            "model = dict(test_cfg=dict(mode='slide', crop_size=(96, 96), stride=(64, 64)))",
            r"model.test_cfg.mode='slide': .* Set mode='whole'",
        ),
        (
            "model = dict(decode_head=dict(classifier=dict(_delete_=True,type='EnsembleClassifier',"
            "token=dict(type='TokenClassifier'),region=dict(type='CLIPRegionClassifier'))))",
            r"(?s)model.decode_head.classifier.type='EnsembleClassifier'.*classifier.region.type=",
        ),
        ("model = dict(backbone=dict(dtype='bfloat16'))", r"backbone.dtype='bfloat16'.*float16"),
        ('model = dict(backbone=dict(compile=True))', r'backbone.compile=True: .*Leave it out'),
    ],
)  # fmt: skip
def test_options_are_named(write, tmp_path, text, expected):
    config = write(text)
    with pytest.raises(ExportError, match=expected) as error:
        export(config, tmp_path / 'out')
    assert str(config) in str(error.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ['config.py']


def predictor_of(steps=(), loader=None, head=SSPromptHead, **options):
    """What is looked at of a model, with parts that can be exported."""
    settings = dict(mean=[0] * 3, std=[1] * 3, test_cfg=dict(size=(96, 96)))
    preprocessor = SegDataPreProcessor(**{**settings, **options})
    model = SimpleNamespace(decode_head=head.__new__(head), data_preprocessor=preprocessor)
    transforms = SimpleNamespace(transforms=list(steps))
    loader = LoadImageFromFile() if loader is None else loader
    return SimpleNamespace(model=model, loader=loader, steps=transforms)


RESIZE = dict(scale=(96, 64), keep_ratio=True, backend='pillow')


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(steps=[Resize(scale=(96, 96))]), "Resize in .* expected backend='pillow' .*'cv2'"),
        (dict(steps=[Resize(scale_factor=0.5, backend='pillow')]), 'scale_factor=.*Set scale'),
        (dict(steps=[Resize(**RESIZE), Resize(**RESIZE)]), 'expected one Resize or SEEMResize'),
        (dict(steps=[RandomFlip(prob=0.5)]), 'RandomFlip in the pipeline of tests'),
        (dict(loader=LoadImageFromFile(color_type='grayscale')), "found \\('grayscale', 'cv2'\\)"),
        (dict(test_cfg=None), 'data_preprocessor.test_cfg: expected size or size_divisor'),
        (dict(mean=None, std=None), 'data_preprocessor: expected SegDataPreProcessor with mean'),
        (dict(head=torch.nn.Module), "decode_head.type='Module': expected SSPromptHead"),
    ],
)
def test_parts_without_a_form_are_named(options, expected):
    trained = read_model(ZERO_SHOT)
    with pytest.raises(ExportError, match=expected):
        check_model(predictor_of(**options), trained)


def test_rules_of_sizes():
    trained = read_model(ZERO_SHOT)
    found = find_resize_rule(predictor_of([Resize(**RESIZE)]), trained)
    assert found == dict(kind='within', scale=[96, 64])
    exact = Resize(scale=(96, 64), backend='pillow')
    assert find_resize_rule(predictor_of([exact]), trained) == dict(kind='exact', scale=[96, 64])
    assert find_resize_rule(predictor_of(), trained) == dict(kind='none')


def test_what_is_missing_is_said_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    assert run('export', ZERO_SHOT, '--out', tmp_path / 'out') == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'export to ONNX: expected onnxscript' in error
    assert 'pip install' in error
    assert not (tmp_path / 'out').exists()


def run(*arguments):
    return run_command([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['none', '--out', 'out'], "model 'none' does not exist"),
        ([ZERO_SHOT, '--out', 'out', '--opset', '17'], '--opset: expected a number from 18 to'),
        ([ZERO_SHOT, '--out', 'full'], "found 'kept.txt' in it. Nothing was written"),
        ([ZERO_SHOT, '--out', CONFIGS], 'expected a path that the run does not read'),
        ([ZERO_SHOT, '--out', 'out', '--prompts', 'none.pth'], "prompts 'none.pth': expected"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    Path('full').mkdir()
    Path('full', 'kept.txt').write_text('kept')
    assert run('export', *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith('mmseg-ssprompt export: ')
    assert expected in error
    assert error.count('\n') == 1
    assert [each.name for each in tmp_path.iterdir()] == ['full']
    assert Path('full', 'kept.txt').read_text() == 'kept'


def test_python_is_told_of_wrong_arguments(tmp_path):
    with pytest.raises(
        ExportError, match="--precision: expected one of float32, float16, found 'x'"
    ):
        export(ZERO_SHOT, tmp_path / 'out', precision='x')
    (tmp_path / 'file').touch()
    with pytest.raises(OutputError, match='found a file'):
        export(ZERO_SHOT, tmp_path / 'file')
    with pytest.raises(ConfigError, match='expected a config where prompts are given'):
        export(tmp_path, tmp_path / 'out', prompts='x')


@pytest.mark.parametrize(
    ('found', 'precision', 'is_refused'),
    [
        (Comparison(9e-4, 0.9991), 'float32', False),
        (Comparison(2e-3, 1.0), 'float32', True),
        (Comparison(0.0, 0.998), 'float32', True),
        (Comparison(float('nan'), 1.0), 'float32', True),
        (Comparison(2e-1, 0.991), 'float16', False),
        (Comparison(0.0, 0.98), 'float16', True),
    ],
)
def test_what_differs_too_much_is_refused(found, precision, is_refused):
    if not is_refused:
        return found.check(precision)
    with pytest.raises(ExportError, match='does not give what PyTorch gives: expected .* found'):
        found.check(precision)
