"""Ids of label maps arrive as they lie in the file, or are refused by name."""

from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.checks import check_sample
from mmseg_ssprompt.datasets.file_checks import check_labels
from mmseg_ssprompt.label_ids import LabelIds
from picture_files import LABELS, encode, make_png


def check(
    folder: Path, content: bytes, reduce_zero_label: bool = False, **loader: Any
) -> Tuple[Dict[str, Any], bool]:
    file = folder / 'ids.png'
    file.write_bytes(content)
    sample = dict(seg_map_path=str(file), reduce_zero_label=reduce_zero_label, seg_fields=[])
    return check_labels(LoadAnnotations(**loader), sample)


def with_values(values: Any, dtype: type) -> np.ndarray:
    labels = LABELS.astype(dtype)
    labels[3, : len(values)] = values
    return labels


@pytest.mark.parametrize(
    ('file_format', 'backend'),
    [('PNG', 'pillow'), ('TIFF', 'pillow'), ('BMP', 'pillow'), ('PNG', 'cv2'), ('TIFF', 'cv2')],
)
def test_bytes(tmp_path, file_format, backend):
    checked = check(tmp_path, encode(LABELS, file_format), imdecode_backend=backend)
    np.testing.assert_array_equal(checked[0]['gt_seg_map'], LABELS)
    assert not checked[1]


def test_a_palette_is_read_as_indices(tmp_path):
    image = Image.fromarray(LABELS)
    image.putpalette([255 - i // 3 for i in range(768)])
    checked = check(tmp_path, encode(image, 'PNG'))
    np.testing.assert_array_equal(checked[0]['gt_seg_map'], LABELS)


def test_a_palette_of_few_bits(tmp_path):
    image = Image.fromarray(LABELS)
    image.putpalette([9, 9, 9, 8, 8, 8, 7, 7, 7])
    content = encode(image, 'PNG')
    assert content[24] == 2  # bits
    np.testing.assert_array_equal(check(tmp_path, content)[0]['gt_seg_map'], LABELS)


def test_one_bit(tmp_path):
    content = encode(Image.fromarray(LABELS > 0), 'PNG')
    np.testing.assert_array_equal(check(tmp_path, content)[0]['gt_seg_map'], LABELS > 0)


@pytest.mark.parametrize('bits', [2, 4])
def test_grey_of_few_bits_would_be_stretched(tmp_path, bits):
    row = bytes([0]) + bytes(2 * bits)
    with pytest.raises(DatasetError, match=rf"ids\.png'.*fewer bits \('L;{bits}'\).*ids change"):
        check(tmp_path, make_png((16, 12, bits, 0), row * 12))


@pytest.mark.parametrize('file_format', ['PNG', 'TIFF'])
def test_sixteen_bits_of_large_ids(tmp_path, file_format):
    """mmseg would make 0, 44 and 255 of them, and all three may be valid."""
    content = encode(with_values([256, 300, 511, 1], np.uint16), file_format)
    message = (
        r"ids\.png': expected numbers from 0 to 255, found \[256, 300, 511\]\. For more than 255 "
        r"classes, load label maps with dict\(type='LoadLabelMap', ignore_index=65535\)"
    )
    with pytest.raises(DatasetError, match=message):
        check(tmp_path, content)


@pytest.mark.parametrize('dtype', [np.uint16, np.int32, np.float32])
def test_small_ids_in_large_numbers(tmp_path, dtype):
    labels = with_values([255, 200], dtype)
    checked = check(tmp_path, encode(labels, 'TIFF'))
    np.testing.assert_array_equal(checked[0]['gt_seg_map'], labels)


@pytest.mark.parametrize(
    ('values', 'dtype', 'found'),
    [
        ([-1, -1], np.int32, r'\[-1\] \(int32\)'),
        ([70000], np.int32, r'\[70000\] \(int32\)'),
        ([0.5, 1.25], np.float32, r'\[0\.5, 1\.25\] \(float32\)'),
        ([np.nan], np.float32, r'\[nan\] \(float32\)'),
    ],
)
def test_numbers_that_do_not_fit(tmp_path, values, dtype, found):
    with pytest.raises(DatasetError, match=f"ids.png': expected whole numbers .*, found {found}"):
        check(tmp_path, encode(with_values(values, dtype), 'TIFF'))


@pytest.mark.parametrize('shape', [(1, 5), (5, 1), (1, 1)])
def test_sides_of_one_pixel(tmp_path, shape):
    sample, _ = check(tmp_path, encode(np.zeros(shape, np.uint8), 'PNG'))
    with pytest.raises(DatasetError, match=r"ids\.png': .* mmseg drops a side of one pixel"):
        check_sample(sample, LabelIds(3))


def test_long_label_maps(tmp_path):
    labels = np.zeros((5000, 3), np.uint8)
    assert check(tmp_path, encode(labels, 'PNG'))[0]['gt_seg_map'].shape == (5000, 3)


def test_more_pixels_than_pillow_decodes(tmp_path):
    with pytest.raises(DatasetError, match=r'label map .*ids\.png.*exceeds limit of 178956970 pix'):
        check(tmp_path, make_png((20000, 20000, 8, 0)))


def test_cut_off(tmp_path):
    with pytest.raises(DatasetError, match=r"label map .*ids\.png': expected a whole PNG file"):
        check(tmp_path, encode(LABELS, 'PNG')[:-30])


def test_jpeg_is_remarked(tmp_path):
    checked = check(tmp_path, encode(np.zeros((12, 16), np.uint8), 'JPEG'))
    assert checked[1]


def test_what_is_no_picture(tmp_path):
    with pytest.raises(DatasetError, match='cannot read label map .*10 bytes that begin with'):
        check(tmp_path, b'no picture')


def test_loaders_that_read_something_else_are_run():
    class Table(LoadAnnotations):
        def transform(self, results):
            return dict(results, gt_seg_map=LABELS)

    checked = check_labels(Table(), dict(seg_map_path='a table'))
    assert checked[0]['gt_seg_map'] is LABELS
