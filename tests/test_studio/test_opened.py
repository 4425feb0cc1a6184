"""Pictures of strangers, and how long they are kept."""

import io

import numpy as np
import pytest
from PIL import Image

from mmseg_ssprompt.studio import PictureStore, StudioError, open_picture
from mmseg_ssprompt.studio.opened import MAX_BYTES
from studio_models import demo_studio, draw_photograph, make_png, save_photograph


def open_bytes(tmp_path, content, name='photo.png'):
    file = tmp_path / 'upload'
    file.write_bytes(content)
    return open_picture(file, name, demo_studio().predictor)


def as_bytes(kind, **options):
    content = io.BytesIO()
    Image.fromarray(draw_photograph()).save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize('size', [(20_000, 10_000), (9000, 7000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch, size):
    monkeypatch.setattr(demo_studio().predictor, 'load', lambda file: pytest.fail('decoded'))
    with pytest.raises(StudioError, match=r'photo.png has \d+ megapixels or more: pictures may'):
        open_bytes(tmp_path, make_png(*size))


def test_too_many_bytes_are_refused_before_they_are_read(tmp_path):
    file = tmp_path / 'upload'
    with open(file, 'wb') as sparse:
        sparse.truncate(MAX_BYTES + 1)
    with pytest.raises(StudioError, match=r'photo.png has 64 megabytes: pictures may have at most'):
        open_picture(file, 'photo.png', demo_studio().predictor)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'no picture',
        as_bytes('JPEG')[:700],
        as_bytes('PNG')[:-200],
        make_png(100, 100),
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        as_bytes('GIF'),
        b'\x89PNG\r\n\x1a\n' + b'\0' * 50,
        b'II*\0' + b'\xff' * 30,
    ],
    ids=['empty', 'text', 'cut jpeg', 'cut png', 'short png', 'svg', 'gif', 'no header', 'tiff'],
)
def test_a_broken_file_is_said_in_a_sentence(tmp_path, content):
    with pytest.raises(StudioError) as caught:
        open_bytes(tmp_path, content)
    text = str(caught.value)
    assert 'photo.png' in text
    assert str(tmp_path) not in text, 'where uploads lie says nothing to people'


@pytest.mark.parametrize('size', [(1, 1), (3, 250), (250, 3)])
def test_small_and_narrow_pictures_are_opened(tmp_path, size):
    file = save_photograph(tmp_path / 'a.png', *size)
    picture = open_picture(file, 'a.png', demo_studio().predictor)
    assert picture.size == size
    assert min(picture.shown_size) >= 1


def test_sides_that_the_model_cannot_take_are_said_in_a_sentence(tmp_path):
    file = save_photograph(tmp_path / 'a.png', 2, 3000)
    with pytest.raises(StudioError, match='a.png does not pass the model: .*2 x 3000'):
        open_picture(file, 'a.png', demo_studio().predictor)


@pytest.mark.parametrize(
    ('size', 'shown'), [((80, 120), 480), ((600, 500), 600), ((400, 900), 768)]
)
def test_what_is_shown_has_a_bounded_size(tmp_path, size, shown):
    file = save_photograph(tmp_path / 'a.png', *size)
    picture = open_picture(file, 'a.png', demo_studio().predictor)
    assert picture.size == size
    assert max(picture.shown_size) == shown
    assert picture.shown.shape[:2] == picture.shown_size


def test_a_picture_lies_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture = open_bytes(tmp_path, as_bytes('JPEG', exif=exif), 'a.jpg')
    assert picture.size == (120, 80)


def test_memory_of_pictures_is_bounded(tmp_path):
    store, pictures = PictureStore(max_bytes=1_200_000), []
    for number in range(6):
        Image.fromarray(np.full((80, 120, 3), 40 * number, np.uint8)).save(tmp_path / 'a.png')
        picture = open_picture(tmp_path / 'a.png', 'a.png', demo_studio().predictor)
        pictures.append(picture)
        store.put(picture)
        assert store.bytes <= 1_200_000
        store.find(pictures[0].key)
    assert 1 < len(store) < 6
    assert store.find(pictures[0].key) is pictures[0], 'the one in use stays'
    assert store.find(pictures[-1].key) is pictures[-1]
    assert store.find(pictures[2].key) is None


def test_the_newest_picture_stays_whatever_it_takes(tmp_path):
    store = PictureStore(max_bytes=1)
    picture = open_picture(save_photograph(tmp_path / 'a.png'), 'a', demo_studio().predictor)
    store.put(picture)
    assert list(store) == [picture.key]
    store.drop(picture.key)
    assert len(store) == 0
