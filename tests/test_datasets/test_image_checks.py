"""Images of every kind become the colours that they show, or are refused by name."""

import io
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadImageFromNDArray
from PIL import Image, ImageOps

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.file_checks import check_image
from picture_files import encode, make_png, smooth_colours, with_orientation

RGB = smooth_colours()
GREY = RGB[..., 0]


def check(folder: Path, content: bytes, **loader: Any) -> Tuple[Dict[str, Any], int, bool]:
    file = folder / 'a.img'
    file.write_bytes(content)
    return check_image(LoadImageFromFile(**loader), dict(img_path=str(file)))


def colours(checked: Tuple[Dict[str, Any], int, bool]) -> np.ndarray:
    """RGB: mmcv loads BGR."""
    return checked[0]['img'][..., ::-1]


def sixteen_bits(values: np.ndarray) -> bytes:
    """A PNG of colours (H, W, 3) uint16."""
    rows = b''.join(b'\x00' + row.astype('>u2').tobytes() for row in values)
    return make_png((values.shape[1], values.shape[0], 16, 2), rows)


@pytest.mark.parametrize('file_format', ['PNG', 'BMP', 'TIFF', 'PPM'])
def test_colours_are_kept(tmp_path, file_format):
    checked = check(tmp_path, encode(RGB, file_format))
    np.testing.assert_array_equal(colours(checked), RGB)
    assert checked[1] == 1


@pytest.mark.parametrize('mode', ['L', 'LA'])
def test_grey_is_repeated(tmp_path, mode):
    image = Image.fromarray(GREY).convert(mode)
    if mode == 'LA':
        image.putalpha(7)
    checked = check(tmp_path, encode(image, 'PNG'))
    np.testing.assert_array_equal(colours(checked), np.stack([GREY] * 3, -1))


def test_alpha_is_dropped(tmp_path):
    image = Image.fromarray(RGB)
    image.putalpha(0)  # all of it transparent
    checked = check(tmp_path, encode(image, 'PNG'))
    np.testing.assert_array_equal(colours(checked), RGB)


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(RGB).quantize(40)
    checked = check(tmp_path, encode(image, 'PNG'))
    np.testing.assert_array_equal(colours(checked), np.array(image.convert('RGB')))


def test_one_bit_is_black_and_white(tmp_path):
    checked = check(tmp_path, encode(GREY, 'PNG', '1'))
    assert sorted(np.unique(colours(checked))) == [0, 255]


@pytest.mark.parametrize('file_format', ['PNG', 'TIFF'])
def test_of_sixteen_bits_grey_the_upper_are_kept(tmp_path, file_format):
    checked = check(tmp_path, encode(GREY * np.uint16(256) + np.uint16(200), file_format))
    np.testing.assert_array_equal(colours(checked)[..., 1], GREY)


def test_of_sixteen_bits_a_channel_the_upper_are_kept(tmp_path):
    checked = check(tmp_path, sixteen_bits(RGB * np.uint16(256) + np.uint16(200)))
    np.testing.assert_array_equal(colours(checked), RGB)


@pytest.mark.parametrize('bits', [8, 12, 16])
def test_sixteen_bits_of_which_the_upper_are_unused_are_dark(tmp_path, bits):
    values = RGB.astype(np.uint16) * 2 ** (bits - 8)
    assert check(tmp_path, sixteen_bits(values))[2] == (bits < 16)


@pytest.mark.parametrize('adobe', [True, False])
def test_cmyk_jpeg(tmp_path, adobe):
    """As Pillow converts it, to one level, with Adobe's marker and without."""
    content = encode(RGB, 'JPEG', 'CMYK', quality=95)
    if not adobe:
        marker = content.index(b'\xff\xee')
        length = int.from_bytes(content[marker + 2 : marker + 4], 'big')
        content = content[:marker] + content[marker + 2 + length :]
    assert (b'Adobe' in content) == adobe
    file = tmp_path / 'pillow.jpg'
    file.write_bytes(content)
    expected = np.array(Image.open(file).convert('RGB')).astype(int)
    assert np.abs(colours(check(tmp_path, content)) - expected).max() <= 1


def test_cmyk_tiff(tmp_path):
    checked = check(tmp_path, encode(RGB, 'TIFF', 'CMYK'))
    np.testing.assert_array_equal(colours(checked), RGB)


@pytest.mark.parametrize(
    ('content', 'mode'),
    [
        (encode(GREY.astype(np.float32), 'TIFF'), 'F'),
        (encode(GREY.astype(np.int32), 'TIFF'), 'I'),
        (encode(RGB, 'TIFF', 'LAB'), 'LAB'),
    ],
    ids=['F', 'I', 'LAB'],  # some releases of libtiff fill what is unused with whatever was there
)
def test_other_values_are_refused(tmp_path, content, mode):
    with pytest.raises(DatasetError, match=rf"a\.img': .*TIFF with '{mode}' pixels.*8-bit RGB"):
        check(tmp_path, content)


def test_pillow_does_not_keep_sixteen_bits_of_grey(tmp_path):
    content = encode(GREY * np.uint16(256), 'PNG')
    with pytest.raises(DatasetError, match="whose values 'pillow' does not keep"):
        check(tmp_path, content, imdecode_backend='pillow')


@pytest.mark.parametrize('color_type', ['grayscale', 'unchanged'])
def test_a_single_channel(tmp_path, color_type):
    with pytest.raises(DatasetError, match=r'expected 3 channels, got the shape \(12, 16\)'):
        check(tmp_path, encode(GREY, 'PNG'), color_type=color_type)


@pytest.mark.parametrize('tag', range(1, 9))
@pytest.mark.parametrize('file_format', ['JPEG', 'PNG', 'TIFF'])
def test_orientation_is_applied(tmp_path, file_format, tag):
    options = dict(quality=100, subsampling=0) if file_format == 'JPEG' else {}
    checked = check(tmp_path, with_orientation(tag, file_format, **options))
    assert checked[1] == tag
    upright = np.array(
        ImageOps.exif_transpose(Image.open(io.BytesIO(with_orientation(tag, 'PNG'))))
    )
    assert np.abs(colours(checked).astype(int) - upright).max() < 12


def test_orientation_that_the_loader_ignores(tmp_path):
    checked = check(tmp_path, with_orientation(6), color_type='color_ignore_orientation')
    assert checked[1] == 1
    assert checked[0]['img'].shape == RGB.shape


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (5000, 3)])
def test_images_of_any_size(tmp_path, size):
    picture = np.full((*size, 3), 9, np.uint8)
    np.testing.assert_array_equal(colours(check(tmp_path, encode(picture, 'PNG'))), picture)


def test_loaders_that_read_something_else_are_run():
    sample, orientation, _ = check_image(LoadImageFromNDArray(), dict(img=RGB))
    assert (sample['ori_shape'], orientation) == (RGB.shape[:2], 1)
