"""Panoptic quality equals what the official evaluation has found, in every digit."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.evaluation.evalPanopticSemanticLabeling import (
    average_pq,
    pq_compute_single_core,
)
from PIL import Image

from mmseg_ssprompt.evaluation import PanopticError, evaluate_panoptic
from mmseg_ssprompt.evaluation.panoptic_files import read_id_map, write_id_map
from mmseg_ssprompt.evaluation.panoptic_quality import compare_panoptic, sum_classes

DATA = Path(__file__).resolve().parents[1] / 'data' / 'panoptic'
GROUPS = ('All', 'Things', 'Stuff')


def evaluate(folder: Path) -> dict:
    """As JSON reads it."""
    names = ('gt.json', 'gt', 'pred.json', 'pred')
    return json.loads(json.dumps(evaluate_panoptic(*(folder / name for name in names))))


@pytest.mark.parametrize('name', ['golden', 'edges'])
def test_equal_to_the_official_numbers(name):
    expected = json.loads((DATA / name / 'expected.json').read_text())
    expected.pop('per_image', None)
    results = evaluate(DATA / name)
    assert {key: results[key] for key in expected} == expected
    assert {*GROUPS, 'per_class'} <= set(expected)


def read_pairs(folder: Path) -> list:
    truth, found = (json.loads((folder / f'{n}.json').read_text()) for n in ('gt', 'pred'))
    predictions = {each['image_id']: each for each in found['annotations']}
    return [(each, predictions[each['image_id']]) for each in truth['annotations']]


EXPECTED_IMAGES = json.loads((DATA / 'edges' / 'expected.json').read_text())['per_image']


@pytest.mark.parametrize('note', EXPECTED_IMAGES)
def test_each_edge(note):
    folder = DATA / 'edges'
    ((true, found),) = (pair for pair in read_pairs(folder) if pair[0]['note'] == note)
    compared = compare_panoptic(
        read_id_map(folder / 'gt' / true['file_name']),
        true['segments_info'],
        read_id_map(folder / 'pred' / found['file_name']),
        found['segments_info'],
        (1, 2, 90, 300, 301, 302),
    )
    counts = {str(key): each._asdict() for key, each in sum_classes([compared]).items()}
    assert counts == EXPECTED_IMAGES[note]


def write_random(folder: Path, seed: int) -> dict:
    """Six images of random regions, with crowds, void, areas and ids of their own; categories."""
    rng = np.random.default_rng(seed)
    categories = [dict(id=k, isthing=int(k < 40), name=str(k)) for k in (3, 17, 40, 255, 300)]
    ids = [category['id'] for category in categories[: rng.integers(1, 6)]]
    files = {}
    for name in ('gt', 'pred'):
        (folder / name).mkdir(parents=True)
        files[name] = []
    for image in range(6):
        base = rng.integers(0, 7, (5, 6)).repeat(4, axis=0).repeat(4, axis=1)
        noise = np.where(rng.random(base.shape) < 0.2, rng.integers(0, 7, base.shape), base)
        chosen = rng.choice(ids, 7)
        for name, number_map in (('gt', base), ('pred', noise)):
            id_of = np.array([0, *rng.choice(256**3 - 1, 6, replace=False) + 1])
            entries = []
            for number in set(number_map.ravel().tolist()) - {0}:
                category = chosen[number] if rng.random() < 0.8 else rng.choice(ids)
                entry = dict(id=int(id_of[number]), category_id=int(category))
                if name == 'gt':
                    entry['iscrowd'] = int(rng.random() < 0.25)
                    entry['area'] = int((number_map == number).sum()) + int(rng.integers(-1, 2))
                    if rng.random() < 0.1:
                        continue  # in the map alone
                entries.append(entry)
            rng.shuffle(entries)
            file_name = f'{name}{image}.png'
            write_id_map(id_of[number_map], folder / name / file_name)
            files[name].append(dict(image_id=image, file_name=file_name, segments_info=entries))
    for name, annotations in files.items():
        content = dict(annotations=annotations, categories=categories)
        (folder / f'{name}.json').write_text(json.dumps(content))
    return {category['id']: category for category in categories}


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
@pytest.mark.parametrize('seed', range(25))
def test_equal_to_the_official_code_on_random_maps(tmp_path, seed):
    """Cityscapes' scripts have a copy of panopticapi's functions."""
    categories = write_random(tmp_path, seed)
    sums = pq_compute_single_core(
        0, read_pairs(tmp_path), str(tmp_path / 'gt'), str(tmp_path / 'pred'), categories
    )
    results = evaluate(tmp_path)
    for group, isthing in (('All', None), ('Things', True), ('Stuff', False)):
        try:
            mean, per_class = sums.pq_average(categories, isthing)
        except ZeroDivisionError:
            assert results[group]['n'] == 0 and math.isnan(results[group]['pq'])
            continue
        assert results[group] == mean
        assert {key: results['per_class'][str(key)] for key in per_class} == per_class
    assert results['All']['n'] > 0
    if results['Things']['n'] and results['Stuff']['n']:
        official = average_pq(sums, categories)
        assert {group: results[group] for group in GROUPS} == {g: official[g] for g in GROUPS}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the golden files, to be broken."""
    shutil.copytree(DATA / 'golden', tmp_path / 'copy')
    return tmp_path / 'copy'


def change(folder: Path, name: str, edit) -> None:
    content = json.loads((folder / f'{name}.json').read_text())
    edit(content)
    (folder / f'{name}.json').write_text(json.dumps(content))


def fails(folder: Path, *parts: str) -> None:
    with pytest.raises(PanopticError) as caught:
        evaluate(folder)
    for part in parts:
        assert part in str(caught.value)


def test_an_image_without_a_prediction(folder):
    change(folder, 'pred', lambda content: content['annotations'].pop(3))
    fails(folder, 'found none for 1 of them, such as image_id 3')


def test_a_prediction_for_another_image_is_passed_over(folder):
    expected = evaluate(folder)
    change(folder, 'gt', lambda content: content['annotations'].pop())
    assert evaluate(folder) != expected


def test_an_id_in_the_map_alone(folder):
    change(folder, 'pred', lambda content: content['annotations'][2]['segments_info'].pop(0))
    fails(folder, 'image_id 2', '02.png', 'are in the map, but not in segments_info')


def test_an_id_in_the_list_alone(folder):
    entry = dict(id=16_000_000, category_id=1)
    change(folder, 'pred', lambda c: c['annotations'][2]['segments_info'].append(entry))
    fails(folder, 'image_id 2', 'ids [16000000] are in segments_info, but no pixel')


def test_an_unknown_category(folder):
    def edit(content):
        content['annotations'][4]['segments_info'][0]['category_id'] = 77

    change(folder, 'pred', edit)
    fails(folder, 'image_id 4', 'category_id 77')


def test_a_missing_file(folder):
    (folder / 'pred' / '05.png').unlink()
    fails(folder, '05.png', 'no such file')


def test_a_damaged_file(folder):
    (folder / 'gt' / '05.png').write_bytes(b'no picture')
    fails(folder, '05.png', 'cannot be read')


def test_a_label_map_is_no_panoptic_map(folder):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / 'gt' / '05.png')
    fails(folder, '05.png', "mode 'L'")


def test_another_size(folder):
    write_id_map(np.zeros((48, 32), int), folder / 'gt' / '05.png')
    fails(folder, 'image_id 5', '(48, 32)', '(48, 64)')


@pytest.mark.parametrize('content', ['{', '[]', '{"annotations": 1}', '{"annotations": []}'])
def test_a_file_that_is_no_annotation(folder, content):
    (folder / 'gt.json').write_text(content)
    fails(folder, 'gt.json')


def test_an_area_of_zero(folder):
    maps = np.array([[1, 1]])
    true = [dict(id=1, category_id=1, iscrowd=0, area=0)]
    with pytest.raises(PanopticError, match='true segment 1 has 2 pixels in the map'):
        compare_panoptic(maps, true, maps, [dict(id=1, category_id=1)], [1])


def test_nothing_to_average_is_said(folder, log):
    def without_stuff(content):
        for image in content['annotations']:
            kept = [each for each in image['segments_info'] if each['category_id'] <= 3]
            image['segments_info'] = kept

    for image in read_pairs(folder):
        ids = read_id_map(folder / 'pred' / image[1]['file_name'])
        kept = [each['id'] for each in image[1]['segments_info'] if each['category_id'] <= 3]
        write_id_map(np.where(np.isin(ids, kept), ids, 0), folder / 'pred' / image[1]['file_name'])
    change(folder, 'gt', without_stuff)
    change(folder, 'pred', without_stuff)
    results = evaluate(folder)
    assert results['Stuff']['n'] == 0 and math.isnan(results['Stuff']['pq'])
    assert results['All']['n'] == results['Things']['n'] == 3
    assert 'Stuff: none of 3 classes has a segment' in log.text


def test_ids_survive_a_file(tmp_path):
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 256**3 - 1, 3]])
    write_id_map(ids, tmp_path / 'ids.png')
    np.testing.assert_array_equal(read_id_map(tmp_path / 'ids.png'), ids)
