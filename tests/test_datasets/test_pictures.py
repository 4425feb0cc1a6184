"""Headers are read and damage is found without decoding, in every format."""

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.file_checks import (
    check_image,
    check_labels,
    find_damage,
    find_orientation,
    open_picture,
)
from picture_files import encode, make_png, smooth_colours, with_orientation

FORMATS = ('JPEG', 'PNG', 'BMP', 'TIFF', 'WEBP', 'GIF', 'PPM')
LOADER = LoadImageFromFile()


@pytest.mark.parametrize('file_format', FORMATS)
def test_whole_files(file_format):
    content = encode(smooth_colours(), file_format)
    picture = open_picture(content)
    assert (picture.format, picture.size) == (file_format, (16, 12))
    assert find_orientation(picture) == 1
    assert find_damage(content) is None


@pytest.mark.parametrize('share', [0.5, 0.8, 0.99])
@pytest.mark.parametrize('file_format', FORMATS)
def test_files_that_are_cut_off(tmp_path, file_format, share):
    """By Pillow's header and damage, or, of those that it does not know, by the loader."""
    content = encode(smooth_colours(), file_format)
    file = tmp_path / 'a.img'
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DatasetError, match=r"image '.*a\.img': expected a (whole|file of)"):
        check_image(LOADER, dict(img_path=str(file)))


@pytest.mark.parametrize('options', [{}, dict(progressive=True)])
@pytest.mark.parametrize('tail', [b'', b'\x00' * 500])
def test_no_place_to_cut_a_jpeg_is_missed(options, tail):
    """Also where the rest is zeros, as in downloads into a file of the full size."""
    content = encode(smooth_colours(), 'JPEG', **options)
    begin = content.index(b'\xff\xda')
    found = [find_damage(content[:end] + tail) for end in range(begin + 20, len(content))]
    assert found == ['the end marker is missing'] * len(found)


def test_the_end_of_a_preview_is_not_the_end():
    whole = encode(smooth_colours(), 'JPEG')
    preview = encode(np.zeros((2, 2, 3), np.uint8), 'JPEG')
    segment = b'\xff\xe2' + (len(preview) + 2).to_bytes(2, 'big') + preview
    content = whole[:2] + segment + whole[2:]
    assert find_damage(content) is None
    assert find_damage(content[:-9]) == 'the end marker is missing'


def test_what_follows_a_jpeg_is_no_damage():
    assert find_damage(encode(smooth_colours(), 'JPEG') + b'\xff\xda a video') is None


def test_a_changed_bit_in_a_png():
    content = bytearray(encode(smooth_colours(), 'PNG'))
    content[len(content) // 2] ^= 1
    assert 'checksum' in find_damage(bytes(content))


@pytest.mark.parametrize('content', [b'', b'no picture', b'\xff\xd8\xff'])
def test_what_pillow_does_not_know_is_left_to_the_loader(content):
    assert open_picture(content) is None
    assert find_damage(content) is None


@pytest.mark.parametrize('tag', range(1, 9))
@pytest.mark.parametrize('file_format', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_orientation(file_format, tag):
    assert find_orientation(open_picture(with_orientation(tag, file_format))) == tag


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
@pytest.mark.parametrize('exif', [b'Exif\x00\x00', b'Exif\x00\x00II*\x00\xff\xff\xff\xff', b'no'])
def test_damaged_exif_is_none(exif):
    content = encode(smooth_colours(), 'JPEG', exif=exif)
    assert find_orientation(open_picture(content)) == 1


def test_an_orientation_that_there_is_not():
    assert find_orientation(open_picture(with_orientation(9))) == 1


@pytest.mark.parametrize(
    ('backend', 'limit'), [('cv2', 'CV_IO_MAX_IMAGE'), ('pillow', 'limit of 178956970 pixels')]
)
def test_more_pixels_than_are_decoded(tmp_path, backend, limit):
    file = tmp_path / 'huge.png'
    file.write_bytes(make_png((40000, 30000, 8, 2)))
    with pytest.raises(DatasetError, match=rf"image '.*huge\.png'.*{limit}"):
        check_image(LoadImageFromFile(imdecode_backend=backend), dict(img_path=str(file)))


def test_pillow_keeps_its_own_limit():
    before = Image.MAX_IMAGE_PIXELS
    open_picture(make_png((20000, 20000, 8, 2)))
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_file_that_must_not_be_read(monkeypatch):
    def refuse(path, backend_args=None):
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr(fileio, 'get', refuse)
    with pytest.raises(DatasetError, match=r"image 'a\.png'.*cannot be opened.*Permission den"):
        check_image(LOADER, dict(img_path='a.png'))


def test_files_of_other_storage():
    path = 'shapes://downstream/label/train_0_000000.png'
    sample = dict(seg_map_path=path, reduce_zero_label=False, seg_fields=[])
    sample, _ = check_labels(LoadAnnotations(), sample)
    assert sample['gt_seg_map'].ndim == 2
    with pytest.raises(DatasetError, match='shapes://nothing.*no such file'):
        check_image(LOADER, dict(img_path='shapes://nothing'))
