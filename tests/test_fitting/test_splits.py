"""How fit divides pictures into parts and folds."""

from collections import Counter

import numpy as np
import pytest

from fit_trees import CLASSES, draw, make_photographs, save
from mmseg_ssprompt.datasets.checks import DatasetError
from mmseg_ssprompt.fitting.photographs import find_photographs
from mmseg_ssprompt.fitting.splits import divide


@pytest.mark.parametrize('seed', range(8))
def test_each_part_shows_each_class_that_is_in_enough_pictures(seed):
    random = np.random.default_rng(seed)
    presence = random.random((40, 9)) < random.choice([0.1, 0.3, 0.8], 9)
    presence[:, 0] = False
    presence[random.permutation(40)[:3], 0] = True  # as many as there are parts
    sizes = dict(train=24, val=8, test=8)
    parts = np.array(divide(presence, sizes, seed))
    assert Counter(parts.tolist()) == sizes
    for part in sizes:
        shown = presence[parts == part].any(0)
        assert shown[presence.sum(0) >= 3].all(), part
    # Of a class that is everywhere each part has its share.
    assert divide(presence, sizes, seed) == parts.tolist()
    assert divide(presence, sizes, seed + 1) != parts.tolist()


def test_training_comes_first_where_a_class_is_rare():
    presence = np.zeros((10, 3), bool)
    presence[0, 0] = presence[[0, 1], 1] = True
    presence[:, 2] = True
    for seed in range(10):
        parts = divide(presence, dict(train=6, val=2, test=2), seed)
        assert parts[0] == 'train'
        assert parts[1] == 'val'


def test_an_exchange_mends_what_the_draw_has_missed():
    # Two pictures are enough for training only if they are these.
    presence = np.eye(4, dtype=bool).repeat(3, 0)
    presence[0, 1] = presence[3, 2] = presence[6, 3] = presence[9, 0] = True
    for seed in range(10):
        parts = np.array(divide(presence, dict(train=2, val=10), seed))
        assert presence[parts == 'train'].any(0).all()


def photographs(root, count, **arguments):
    make_photographs(root, count)
    return find_photographs(
        root / 'photos', root / 'labels', classes=CLASSES, out=root / 'out', **arguments
    )


def test_enough_pictures_are_divided_by_shares(tmp_path):
    data = photographs(tmp_path, 30)
    assert [len(data.names(split)) for split in ('train', 'val', 'test')] == [18, 6, 6]
    assert data.num_folds == 0 and 'fold_0_val' not in data.lists()


def test_few_pictures_are_folded(tmp_path):
    data = photographs(tmp_path, 10)
    assert (len(data.names('train')), len(data.names('test'))) == (8, 2)
    lists = data.lists()
    validated = [name for fold in range(3) for name in lists[f'fold_{fold}_val']]
    assert sorted(validated) == data.names('train')
    for fold in range(3):
        both = lists[f'fold_{fold}_train'] + lists[f'fold_{fold}_val']
        assert sorted(both) == data.names('train')
        assert len(lists[f'fold_{fold}_val']) in (2, 3)


def test_two_pictures_are_the_fewest(tmp_path):
    data = photographs(tmp_path, 2)
    assert data.num_folds == 2 and not data.names('test')
    assert any('too few to set some aside' in note for note in data.notes)


def test_folders_below_that_of_the_pictures(tmp_path):
    for folder, numbers in (('train', range(5)), ('val', (5, 6)), ('test', (7, 8, 9))):
        for number in numbers:
            image, labels = draw(number)
            save(image, tmp_path / 'photos' / folder / f'{number}.png')
            save(labels, tmp_path / 'labels' / folder / f'{number}.png')
    common = dict(
        images=tmp_path / 'photos', labels=tmp_path / 'labels', classes=CLASSES, out=tmp_path / 'o'
    )
    data = find_photographs(**common, val=tmp_path / 'photos' / 'val', test='test')
    for split, count in (('train', 5), ('val', 2), ('test', 3)):
        assert len(data.names(split)) == count
        assert all(name.startswith(f'{split}/') for name in data.names(split))
    assert data.num_folds == 0
    for arguments in (dict(val='val', test='val'), dict(val='val', test=0.9)):
        common['out'] = tmp_path / 'other'
        with pytest.raises(DatasetError, match=r'both have the picture|pictures for training'):
            find_photographs(**common, **arguments)


def test_shots_are_drawn_from_the_training_part(tmp_path):
    data = photographs(tmp_path, 30, shots=1)
    assert len(data.names('train')) == 3 and len(data.names('val')) == 6
    assert any('--shots 1: 3 of 18 training pictures' in note for note in data.notes)


def test_no_validation_is_refused_where_it_is_needed(tmp_path):
    with pytest.raises(DatasetError, match='--val 0: expected pictures for validation'):
        photographs(tmp_path, 30, val=0)


def test_a_class_of_one_picture_is_said_to_be_missing_elsewhere(tmp_path):
    make_photographs(tmp_path, 30)
    for number in range(1, 30):
        labels = draw(number)[1]
        save(np.minimum(labels, 1), tmp_path / 'labels' / f'{number:02d}.png')
    data = find_photographs(
        tmp_path / 'photos', tmp_path / 'labels', classes=CLASSES, out=tmp_path / 'out'
    )
    assert '00.png' in data.names('train')
    notes = '\n'.join(data.notes)
    assert 'No picture of the validation part shows car' in notes
    assert 'No picture of the test part shows car' in notes
