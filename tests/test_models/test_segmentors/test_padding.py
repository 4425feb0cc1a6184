"""Images that the image encoder would refuse are refused when the model is built."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_ssprompt.models.segmentors.padding import check_padding
from tiny_model import CONFIG

SQUARE = dict(frame=(96, 96), divisor=96)
ANY = dict(frame=None, divisor=32)


def check(own, test, encoder, mode='whole'):
    preprocessor = SimpleNamespace(size=None, size_divisor=None, test_cfg=test)
    vars(preprocessor).update(own)
    check_padding(preprocessor, mode=mode, **encoder)


@pytest.mark.parametrize(
    ('padding', 'encoder'),
    [
        (dict(size=(96, 96)), SQUARE),
        (dict(size=[96, 96]), SQUARE),
        (dict(size_divisor=96), SQUARE),
        (dict(size_divisor=32), ANY),
        (dict(size_divisor=64), ANY),
        (dict(size=(64, 96)), ANY),
        (dict(), SQUARE),
        (dict(), ANY),
        (dict(size=(7, 9)), dict(frame=None, divisor=1)),
    ],
)
def test_what_fits(padding, encoder):
    check(padding, padding, encoder)
    check(padding, None, encoder)


@pytest.mark.parametrize(
    ('padding', 'encoder', 'message'),
    [
        (
            dict(size=(96, 64)),
            SQUARE,
            r'size: the .* expects size=\(96, 96\), the frame',
        ),
        (dict(size_divisor=36), SQUARE, r'size_divisor: .*found 36\. Set .*size=\(96, 96\)'),
        (dict(size_divisor=32), SQUARE, r'size_divisor: .*found 32\. Set .*size=\(96, 96\)'),
        (dict(size_divisor=96), dict(SQUARE, frame=(96, 192)), r'size_divisor: .*found 96\.'),
        (dict(size=(64, 90)), ANY, r'size: .*multiples of 32 pixels, found \(64, 90\)'),
        (dict(size_divisor=16), ANY, r'size_divisor: .*found 16\. Set .*size_divisor=32'),
    ],
)
def test_what_does_not_fit(padding, encoder, message):
    with pytest.raises(ValueError, match=rf'^model\.data_preprocessor\.{message}'):
        check(padding, None, encoder)
    with pytest.raises(ValueError, match=rf'^model\.data_preprocessor\.test_cfg\.{message}'):
        check({}, padding, encoder)
    check({}, padding, encoder, mode='slide')


@pytest.mark.parametrize('key', ['size', 'test_cfg.size'])
def test_a_model_is_refused_before_it_trains(key):
    config = Config.fromfile(CONFIG)
    config.merge_from_dict({f'model.data_preprocessor.{key}': (128, 128)})
    with pytest.raises(ValueError, match=rf'model\.data_preprocessor\.{key}: .*found \(128, 128'):
        MODELS.build(config.model)
