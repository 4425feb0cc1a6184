"""Intervals of figures of the test: of its pictures, and none where they would be of others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_ssprompt.files import read_json
from mmseg_ssprompt.fitting.fit_data import FitData
from mmseg_ssprompt.publishing.intervals import find_intervals
from own_photographs import save
from published_folders import make_fit_folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_fit_folder(tmp_path, has_model=False)


def intervals_of(folder: Path, **changes):
    results = read_json(folder / 'results.json')
    results.update(changes)
    return find_intervals(FitData.read(folder), results)


def test_they_are_around_the_figures(folder):
    found, results = intervals_of(folder), read_json(folder / 'results.json')
    figures = {
        'zero-shot': results['zero_shot']['test']['mIoU'],
        'best': results['arms'][0]['test']['mIoU'],
    }
    figures['gain'] = figures['best'] - figures['zero-shot']
    assert set(found) == set(figures)
    for name, value in figures.items():
        assert found[name].low < value < found[name].high
    assert found == intervals_of(folder)


@pytest.mark.parametrize('what', ['labels', 'predictions', 'figures', 'objects', 'no test', 'one'])
def test_none_is_given_where_it_would_be_of_something_else(folder, what):
    data, results = FitData.read(folder), read_json(folder / 'results.json')
    name = data.names('test')[0]
    if what == 'labels':  # others lie there now
        file = Path(data.labels) / name
        save(1 - np.array(Image.open(file)), file)
    elif what == 'predictions':
        (folder / 'predictions' / 'best' / name).unlink()
    elif what == 'figures':
        results['arms'][0]['test']['mIoU'] += 1
    elif what == 'objects':
        data.task = 'instance'
    elif what == 'no test':
        results['zero_shot']['test'] = None
    else:
        data.pictures = [
            each for each in data.pictures if each.name in (name, *data.names('train'))
        ]
    assert find_intervals(data, results) == {}
