"""What fit finds in folders of photographs and label maps, whatever people keep there."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image

from fit_trees import CLASSES, SIZE, draw, make_photographs, save
from mmseg_ssprompt.datasets.checks import DatasetError
from mmseg_ssprompt.fitting.fit_data import FitData
from mmseg_ssprompt.fitting.photographs import find_photographs
from mmseg_ssprompt.outputs import OutputError
from picture_files import make_png


def find(root: Path, **arguments: Any) -> FitData:
    defaults: Dict[str, Any] = dict(
        images=root / 'photos', labels=root / 'labels', classes=CLASSES, out=root / 'out'
    )
    arguments = {**defaults, **arguments}
    if 'masks' in arguments:
        arguments.update(labels=None, classes=None)
    return find_photographs(**arguments)


def load(data: FitData) -> Dict[str, np.ndarray]:
    """The label maps as training reads them, by names of pictures."""
    dataset = DATASETS.build(dict(data.dataset(), pipeline=[TRANSFORMS.build(data.loader())]))
    found = [dataset[index] for index in range(len(dataset))]
    return {os.path.relpath(each['img_path'], data.images): each['gt_seg_map'] for each in found}


def test_what_is_found_is_what_was_drawn(tmp_path):
    data = find(make_photographs(tmp_path, 6), test=0.2)
    assert data.names() == [f'{n:02d}.png' for n in range(6)]
    for number, picture in enumerate(data.pictures):
        labels = draw(number)[1]
        assert (picture.height, picture.width) == SIZE
        assert picture.pixels == {n: int((labels == i).sum()) for i, n in enumerate(CLASSES)}
        np.testing.assert_array_equal(load(data)[picture.name], labels)
    assert data.left_out == [] and data.ignored_share == 0
    assert FitData.read(tmp_path / 'out') == data
    content = json.loads((tmp_path / 'out' / 'data.json').read_text())
    assert content['classes'] == list(CLASSES) and len(content['pictures']) == 6
    for name, listed in data.lists().items():
        assert (tmp_path / 'out/data' / f'{name}.txt').read_text().splitlines() == listed
    text = '\n'.join(data.describe())
    assert '6 pictures, 28 x 20 pixels' in text and '3 folds' in text


def test_hostile_names(tmp_path):
    names = [
        'with space.png',
        'comma, and = sign.png',
        unicodedata.normalize('NFD', 'Müll-道路.png'),
        'UPPER.JPG',
        'two.dots.v1.png',
        'sub folder/01.jpeg',
        'quote\'"<b>.png',
    ]
    make_photographs(tmp_path, names=names)
    for bad in (' leading.png', 'back\\slash.png', 'line\nbreak.png', 'twice.png', 'twice.jpg'):
        make_photographs(tmp_path, names=[bad])
    save(draw(0)[0], tmp_path / 'photos' / '.hidden.png')
    (tmp_path / 'photos' / 'notes.txt').write_text('no picture')
    data = find(tmp_path)
    assert data.names() == sorted(names)
    assert {each['file'] for each in data.left_out} == {
        ' leading.png', 'back\\slash.png', 'line\nbreak.png', 'twice.png', 'twice.jpg',
    }  # fmt: skip
    assert all('rename' in each['reason'] or 'keep one' in each['reason'] for each in data.left_out)


@pytest.mark.parametrize('suffix', ['_mask.png', '-labels.png', '.png'])
def test_label_maps_beside_their_pictures(tmp_path, suffix):
    for number in range(4):
        image, labels = draw(number)
        save(image, tmp_path / 'both' / f'{number}.jpg')
        save(labels, tmp_path / 'both' / f'{number}{suffix}')
    save(draw(9)[0], tmp_path / 'both' / 'extra.jpg')
    data = find(tmp_path, images=tmp_path / 'both', labels=tmp_path / 'both')
    assert data.names() == [f'{n}.jpg' for n in range(4)]
    assert data.seg_map_suffix == suffix
    assert any('without label map, which are not used: 1' in note for note in data.notes)
    np.testing.assert_array_equal(load(data)['3.jpg'], draw(3)[1])


def test_one_folder_inside_the_other_and_a_suffix(tmp_path):
    for number in range(4):
        image, labels = draw(number)
        save(image, tmp_path / 'photos' / f'{number}.png')
        save(labels, tmp_path / 'photos' / 'gt' / f'{number}_L.png')
    data = find(tmp_path, labels=tmp_path / 'photos' / 'gt')
    assert data.names() == [f'{n}.png' for n in range(4)]
    np.testing.assert_array_equal(load(data)['2.png'], draw(2)[1])


def test_links_are_followed_once(tmp_path):
    make_photographs(tmp_path / 'real', 4)
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'linked').symlink_to(tmp_path / 'real' / 'photos')
    (tmp_path / 'photos' / 'circle').symlink_to(tmp_path / 'photos')
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'linked').symlink_to(tmp_path / 'real' / 'labels')
    data = find(tmp_path)
    assert data.names() == [f'linked/{n:02d}.png' for n in range(4)]


def test_kinds_of_pictures(tmp_path):
    make_photographs(tmp_path, 6)
    image = Image.fromarray(draw(1)[0])
    image.convert('L').save(tmp_path / 'photos' / '01.png')
    image.convert('RGBA').save(tmp_path / 'photos' / '02.png')
    image.convert('P').save(tmp_path / 'photos' / '03.png')
    save(draw(4)[0][..., 0].astype(np.uint16) * 257, tmp_path / 'photos' / '04.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    (tmp_path / 'photos' / '05.png').unlink()
    image.save(tmp_path / 'photos' / '05.jpg', exif=exif)
    data = find(tmp_path)
    assert data.names() == [f'{n:02d}.png' for n in range(5)]
    (left,) = data.left_out
    assert left['file'] == '05.jpg' and 'EXIF orientation 6' in left['reason']
    # Turned as viewers show it, it fits.
    save(np.rot90(draw(5)[1], -1).copy(), tmp_path / 'labels' / '05.png')
    data = find(tmp_path, out=tmp_path / 'turned')
    turned = next(each for each in data.pictures if each.name == '05.jpg')
    assert (turned.height, turned.width) == SIZE[::-1]
    assert any('EXIF' in note for note in data.notes)


def test_kinds_of_label_maps_that_are_read_as_they_are(tmp_path):
    make_photographs(tmp_path, 4)
    palette = Image.fromarray(draw(1)[1], mode='P')
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.save(tmp_path / 'labels' / '01.png')
    save(draw(2)[1].astype(np.uint16), tmp_path / 'labels' / '02.png')
    (tmp_path / 'labels' / '03.png').unlink()
    save(draw(3)[1], tmp_path / 'labels' / '03.tif')
    data = find(tmp_path)
    assert data.labels == str(tmp_path / 'labels') and data.label_map is None
    assert data.palette == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    for number, labels in enumerate(load(data).values()):
        np.testing.assert_array_equal(labels, draw(number)[1])


def test_grey_in_three_channels_is_made_one(tmp_path):
    make_photographs(tmp_path, 4)
    labels = draw(1)[1]
    save(np.stack([labels] * 3, -1), tmp_path / 'labels' / '01.png')
    save(np.stack([labels, 0 * labels, labels], -1), tmp_path / 'labels' / '02.png')
    data = find(tmp_path)
    assert data.names() == ['00.png', '01.png', '03.png']
    assert data.labels == str(tmp_path / 'out' / 'data' / 'labels')
    np.testing.assert_array_equal(load(data)['01.png'], labels)
    np.testing.assert_array_equal(load(data)['03.png'], draw(3)[1])
    (left,) = data.left_out
    assert left['file'] == '02.png' and '3 colours' in left['reason']


@pytest.mark.parametrize('kind', ['255', '1', 'bits', 'jpg', 'soft', 'mixed'])
def test_masks(tmp_path, kind):
    truths = {}
    for number in range(4):
        image, labels = draw(number, (64, 64))
        truth = labels == 2
        save(image, tmp_path / 'photos' / f'{number}.png')
        mask = (truth * (1 if kind == '1' or (kind == 'mixed' and number % 2) else 255)).astype(
            'u1'
        )
        if kind == 'bits':
            mask = truth
        elif kind == 'soft':
            mask = mask.copy()
            mask[0, :3] = 20, 90, 7
        save(mask, tmp_path / 'masks' / f'{number}.{"jpg" if kind == "jpg" else "png"}')
        truths[f'{number}.png'] = truth
    data = find(tmp_path, masks=tmp_path / 'masks', foreground='car')
    assert data.classes == ['car'] and data.rest_id == 0 and not data.left_out
    for name, labels in load(data).items():
        difference = (labels != truths[name]).mean()
        assert difference == 0 if kind != 'jpg' else difference < 0.01
    assert (data.labels == str(tmp_path / 'masks')) == (kind in ('255', '1', 'bits', 'mixed'))


def test_masks_that_are_none(tmp_path):
    make_photographs(tmp_path, 6)
    for file in (tmp_path / 'labels').iterdir():
        labels = np.array(Image.open(file))
        save(np.where(labels == 2, 255, 0).astype(np.uint8), tmp_path / 'masks' / file.name)
    save(draw(0)[1] * 60, tmp_path / 'masks' / '00.png')
    data = find(tmp_path, masks=tmp_path / 'masks', foreground='car')
    assert [each['file'] for each in data.left_out] == ['00.png']
    assert 'expected a mask of 0 and 255' in data.left_out[0]['reason']


def test_two_wrong_label_maps_are_named_and_the_rest_remains(tmp_path):
    make_photographs(tmp_path, 12)
    save(draw(0)[1][:-1], tmp_path / 'labels' / '03.png')
    save(draw(0)[1] + 7, tmp_path / 'labels' / '05.png')
    (tmp_path / 'labels' / '07.png').write_bytes(b'no picture')
    content = (tmp_path / 'photos' / '08.png').read_bytes()
    (tmp_path / 'photos' / '08.png').write_bytes(content[:-20])
    data = find(tmp_path)
    left = {each['file']: each['reason'] for each in data.left_out}
    assert list(left) == ['07.png', '05.png', '03.png', '08.png']
    assert '19 x 28' in left['03.png'] and '20 x 28' in left['03.png']
    assert 'found [7, 8, 9]' in left['05.png'] and '0 to 2' in left['05.png']
    assert 'cannot read label map' in left['07.png']
    assert 'cut off or damaged' in left['08.png']
    assert len(data.names()) == 8
    assert 'left out: 4' in '\n'.join(data.describe())


def test_ids_by_name_and_ignored_ones(tmp_path):
    make_photographs(tmp_path, 4)
    for file in (tmp_path / 'labels').iterdir():
        save(np.array([7, 1000, 3], np.uint16)[np.array(Image.open(file))], file)
    data = find(tmp_path, classes='1000=road, 7=sky', ignore='3')
    assert data.classes == ['sky', 'road'] and data.ignored_share > 0.05
    expected = np.array([0, 1, 255])[draw(2)[1]]
    np.testing.assert_array_equal(load(data)['02.png'], expected)
    with pytest.raises(DatasetError, match=r'found \[3\]') as error:
        find(tmp_path, classes='1000=road,7=sky', out=tmp_path / 'other')
    assert '--ignore' in str(error.value) and '1000' in str(error.value)


@pytest.mark.parametrize(
    ('ids', 'names', 'expected'),
    [
        ([0, 255, 0], ['sky', 'car'], r'--classes "0=sky,255=car"'),
        ([0, 127, 255], CLASSES, r'--classes "0=sky,127=road,255=car"'),
        ([1, 2, 3], CLASSES, r'--classes "1=sky,2=road,3=car"'),
        ([0, 1, 2], ['road', 'car'], r'--classes "1=road,2=car" --ignore 0'),
    ],
)
def test_what_may_be_meant_by_other_ids_is_proposed(tmp_path, ids, names, expected):
    make_photographs(tmp_path, 4)
    for file in (tmp_path / 'labels').iterdir():
        save(np.array(ids, np.uint8)[np.array(Image.open(file))], file)
    with pytest.raises(DatasetError, match=f'Perhaps this is meant: {expected}') as error:
        find(tmp_path, classes=names)
    arguments = str(error.value).rpartition('--classes "')[2].split('" --ignore ')
    classes, ignore = (*arguments, None)[:2]
    data = find(tmp_path, classes=classes.strip('"'), ignore=ignore)
    assert data.classes == list(names) and not data.left_out


def test_ids_that_are_ignored_are_not_proposed_for_a_class_without_pixels(tmp_path):
    make_photographs(tmp_path, 4)
    for file in (tmp_path / 'labels').iterdir():
        labels = np.array(Image.open(file))
        labels[:3] = 255
        save(labels, file)
    with pytest.raises(DatasetError, match='unicorn') as error:
        find(tmp_path, classes=[*CLASSES, 'unicorn'], out=tmp_path / 'refused')
    assert 'Perhaps' not in str(error.value)
    assert not (tmp_path / 'refused').exists()


def test_names_that_may_be_shifted_are_said(tmp_path):
    make_photographs(tmp_path, 6)
    for number in range(6):
        file = tmp_path / 'labels' / f'{number:02d}.png'
        labels = draw(number)[1]
        save(labels if number == 2 else np.minimum(labels, 1), file)
    data = find(tmp_path, classes=['road', 'car'])  # 0 is void, and road is 1
    assert [each['file'] for each in data.left_out] == ['02.png']
    assert any('all names are shifted by one' in note for note in data.notes)
    assert '--classes "1=road,2=car,..." --ignore 0' in '\n'.join(data.notes)


def test_missing_classes_are_asked_for_with_the_ids_found(tmp_path):
    make_photographs(tmp_path, 4)
    with pytest.raises(DatasetError, match='--classes') as error:
        find(tmp_path, classes=None)
    text = str(error.value)
    rows = [line.split() for line in text.splitlines()]
    share = sum(int((draw(n)[1] == 2).sum()) for n in range(4)) / (4 * SIZE[0] * SIZE[1])
    assert ['2', f'{100 * share:.2f}', '%', '4'] in rows
    assert '"NAME0,NAME1,NAME2"' in text


def test_class_names_from_a_file(tmp_path):
    make_photographs(tmp_path, 4)
    file = tmp_path / 'classes.txt'
    file.write_bytes('\ufeffsky, blue\nroad\n\ncar\n'.encode())
    assert find(tmp_path, classes=str(file)).classes == ['sky, blue', 'road', 'car']
    with pytest.raises(DatasetError, match='does not exist'):
        find(tmp_path, classes='missing.txt', out=tmp_path / 'other')
    with pytest.raises(DatasetError, match='once'):
        find(tmp_path, classes='sky,road,Sky', out=tmp_path / 'other')


def test_too_large_pictures_are_left_out_unread(tmp_path, monkeypatch):
    monkeypatch.setattr('mmseg_ssprompt.fitting.label_files.LARGEST', SIZE[0] * SIZE[1])
    make_photographs(tmp_path, 4)
    save(draw(0, (40, 60))[0], tmp_path / 'photos' / '02.png')
    data = find(tmp_path)
    (left,) = data.left_out
    assert left['file'] == '02.png' and 'megapixels (60 x 40)' in left['reason']


def test_a_picture_that_pillow_refuses_to_open_is_too_large(tmp_path):
    make_photographs(tmp_path, 4)
    header = make_png((20_000, 10_000, 8, 2))  # which has no pixels
    (tmp_path / 'photos' / '01.png').write_bytes(header)
    (left,) = find(tmp_path).left_out
    assert '200 megapixels' in left['reason']


def test_copies_of_a_picture_are_said(tmp_path):
    make_photographs(tmp_path, 6)
    content = (tmp_path / 'photos' / '01.png').read_bytes()
    (tmp_path / 'photos' / '04.png').write_bytes(content)
    assert any("a copy: 2, such as '01.png'" in note for note in find(tmp_path).notes)


def test_bad_folders(tmp_path):
    make_photographs(tmp_path, 3)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'texts').mkdir()
    (tmp_path / 'texts' / 'a.txt').write_text('a')
    others = make_photographs(tmp_path / 'others', names=['x.png', 'y.png'])
    for arguments, expected in (
        (dict(images=tmp_path / 'empty'), '--images: expected pictures .* found no files'),
        (dict(images=tmp_path / 'texts'), 'found other files only: 1 .txt'),
        (dict(images=tmp_path / 'missing'), '--images: .* does not exist'),
        (dict(images=tmp_path / 'texts/a.txt'), '--images: .* is a file'),
        (dict(labels=tmp_path / 'empty'), '--labels: expected pictures'),
        (dict(labels=others / 'labels'), "such as 'x.png', and none that belongs to a picture"),
        (dict(labels=tmp_path / 'photos'), '--labels: expected label maps'),
        (dict(labels=None, classes=None), 'Label some pictures first'),
        (dict(task='instance'), '--task instance needs --coco'),
        (dict(val='nowhere'), '--val .*expected a share such as 0.2, or a folder'),
        (dict(val=0.6, test=0.4), 'leave pictures for training'),
        (dict(val=1.5), 'from 0 to less than 1'),
        (dict(shots=0), '--shots'),
        (dict(classes=[*CLASSES, 'tree']), r"'tree' \(id 3\) have no pixels in 3 pictures"),
        (dict(classes=['car']), 'The label maps have these ids'),
        (dict(ignore='0'), '--ignore: expected ids of no class'),
        (dict(ignore='sky'), '--ignore: expected ids in label maps'),
    ):
        with pytest.raises(DatasetError, match=expected):
            find(tmp_path, **arguments)
    assert not (tmp_path / 'out' / 'data.json').exists()


def test_one_picture_is_too_few(tmp_path):
    with pytest.raises(DatasetError, match='at least two pictures with labels .* found 1'):
        find(make_photographs(tmp_path, 1))


def test_more_wrong_than_right(tmp_path):
    make_photographs(tmp_path, 6)
    for number in range(4):
        (tmp_path / 'labels' / f'{number:02d}.png').write_bytes(b'')
    with pytest.raises(DatasetError, match='2 of 6 pictures with labels can be used') as error:
        find(tmp_path)
    assert '00.png' in str(error.value) and 'these ids' not in str(error.value)


@pytest.mark.parametrize('place', ['photos', 'photos/out', 'labels/x', '.'])
def test_out_never_meets_what_is_read(tmp_path, place):
    make_photographs(tmp_path, 3)
    before = {file: file.read_bytes() for file in tmp_path.rglob('*') if file.is_file()}
    with pytest.raises(OutputError, match='--out'):
        find(tmp_path, out=tmp_path / place)
    assert {file: file.read_bytes() for file in tmp_path.rglob('*') if file.is_file()} == before


def test_out_of_others_stays_as_it_is(tmp_path):
    make_photographs(tmp_path, 3)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.tex').write_text('mine')
    with pytest.raises(OutputError, match=r"'thesis.tex'"):
        find(tmp_path)
    assert [each.name for each in (tmp_path / 'out').iterdir()] == ['thesis.tex']


def test_the_same_call_again_reads_nothing(tmp_path, monkeypatch):
    data = find(make_photographs(tmp_path, 6))
    with monkeypatch.context() as context:
        context.setattr('mmseg_ssprompt.fitting.photographs._survey', None)
        assert find(tmp_path) == data
    file = tmp_path / 'labels' / '02.png'
    os.utime(file, (1, 1))  # copied again, the same content
    again = find(tmp_path)
    assert again.digest == data.digest and again.stamp != data.stamp
    save(draw(3)[1], file)
    with pytest.raises(OutputError, match='others or changed ones'):
        find(tmp_path)


@pytest.mark.parametrize('step', ['reading label maps', 'making label maps', 'reading pictures'])
def test_an_interrupted_call_is_made_again(tmp_path, step):
    make_photographs(tmp_path, 4)
    save(np.stack([draw(1)[1]] * 3, -1), tmp_path / 'labels' / '01.png')

    def interrupt(items, what, count):
        for number, item in enumerate(items):
            if number == 2 and what.startswith(step):
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        find(tmp_path, track=interrupt)
    assert not (tmp_path / 'out' / 'data.json').exists()
    assert find(tmp_path).digest == find(tmp_path, out=tmp_path / 'other').digest


def test_other_arguments_are_refused_by_name(tmp_path):
    make_photographs(tmp_path, 6)
    find(tmp_path)
    with pytest.raises(OutputError, match=r'was made with --val 0.2, and now it is with --val 0.3'):
        find(tmp_path, val=0.3)
    with pytest.raises(OutputError, match='--classes'):
        find(tmp_path, classes=['a', 'b', 'c'])


def test_what_was_made_is_made_again_where_it_is_missing(tmp_path):
    make_photographs(tmp_path, 4)
    labels = draw(1)[1]
    save(np.stack([labels] * 3, -1), tmp_path / 'labels' / '01.png')
    data = find(tmp_path)
    (tmp_path / 'out/data/labels/02.png').unlink()
    (tmp_path / 'out/data/pictures.txt').unlink()
    assert find(tmp_path).digest == data.digest
    np.testing.assert_array_equal(load(data)['02.png'], draw(2)[1])
