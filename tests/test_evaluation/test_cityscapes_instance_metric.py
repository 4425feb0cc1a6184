"""AP of Cityscapes is what its own tool finds in the files, on one and on two processes."""

import copy
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official
from PIL import Image

from mmseg_ssprompt.evaluation import CityscapesInstanceMetric
from segment_scenes import META, THINGS, make_scene, run_in_two_processes, run_metric

CONFIG = dict(type='CityscapesInstanceMetric')
#: Ids of Cityscapes for the classes of the scenes; void is 0.
IDS = (24, 26, 33, 7, 23, 0)


def is_usual(scene) -> bool:
    """Groups of one class are one in Cityscapes' files."""
    crowds = [each['category_id'] for each in scene.segments if each['iscrowd']]
    return len(crowds) == len(set(crowds))


def named(seed: int):
    return make_scene(seed, 60, 80)._replace(name=f'bonn_{seed:06}_000019_leftImg8bit')


SCENES = [scene for scene in map(named, range(12)) if is_usual(scene)]


def write_truth(folder: Path) -> None:
    """Write ``*_gtFine_instanceIds.png``: 1000 times the class plus a number, or the class."""
    folder.mkdir()
    for scene in SCENES:
        ids = [
            IDS[each['category_id']] * (1 if each['iscrowd'] or each['category_id'] > 2 else 1000)
            + (0 if each['iscrowd'] or each['category_id'] > 2 else number)
            for number, each in enumerate(scene.segments)
        ]
        image = np.array([*ids, 0])[scene.numbers].astype(np.uint16)
        name = scene.name.replace('leftImg8bit', 'gtFine_instanceIds')
        Image.fromarray(image).save(folder / f'{name}.png')


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_the_official_tool_reads_the_files_with_the_same_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(np, 'in1d', np.isin, raising=False)  # numpy 2.4 has it no longer
    # It writes numbers of numpy, which JSON has not.
    monkeypatch.setattr(official, 'writeDict2JSON', lambda content, file: None)
    metrics = run_metric(dict(CONFIG, output_dir=str(tmp_path / 'out')), SCENES)
    write_truth(tmp_path / 'truth')
    args = copy.copy(official.args)
    args.predictionPath, args.predictionWalk = str(tmp_path / 'out'), None
    args.gtInstancesFile, args.JSONOutput, args.quiet = str(tmp_path / 'gt.json'), False, True
    truth = sorted(map(str, (tmp_path / 'truth').iterdir()))
    found = [official.getPrediction(file, args) for file in truth]
    means = official.evaluateImgLists(found, truth, args)['averages']
    assert metrics['cityscapes/mAP'] == pytest.approx(100 * means['allAp'], rel=1e-12)
    assert metrics['cityscapes/mAP_50'] == pytest.approx(100 * means['allAp50%'], rel=1e-12)
    for name, values in means['classes'].items():
        for key, suffix in (('ap', 'AP'), ('ap50%', 'AP_50')):
            expected = pytest.approx(100 * values[key], rel=1e-12, nan_ok=True)
            assert metrics[f'cityscapes/{suffix}.{name}'] == expected
    assert 5 < metrics['cityscapes/mAP'] < 95
    assert math.isnan(metrics['cityscapes/AP.train'])


def test_scenes_have_all_that_the_rules_know():
    segments = [each for scene in SCENES for each in scene.segments]
    assert any(each['iscrowd'] for each in segments)
    assert any(each['area'] < 100 for each in segments)
    assert all((scene.numbers == -1).any() for scene in SCENES)


def test_two_processes_return_and_write_the_same(tmp_path):
    scenes = SCENES[:5]
    expected = run_metric(dict(CONFIG, output_dir=str(tmp_path / 'one')), scenes)
    config = dict(CONFIG, output_dir=str(tmp_path / 'two'))
    np.testing.assert_equal(run_in_two_processes(config, scenes, tmp_path), [expected] * 2)
    files = [file for file in (tmp_path / 'one').rglob('*') if file.is_file()]
    assert len(files) > 10
    for file in files:
        other = tmp_path / 'two' / file.relative_to(tmp_path / 'one')
        assert other.read_bytes() == file.read_bytes()


def test_tables(log):
    run_metric(CONFIG, SCENES[:2])
    for word in ('per class results (Cityscapes)', 'motorcycle', 'AP_50'):
        assert word in log.text


def test_predictions_on_void_alone():
    """The official code looks for the last of no predictions there, and fails."""
    scene = SCENES[0]
    numbers = np.full_like(scene.numbers, -1)
    numbers[-3:] = 0
    person = dict(id=1, category_id=0, iscrowd=0, area=numbers[-3:].size)
    found = np.zeros_like(scene.found)
    found[:20] = 1
    guess = dict(id=1, category_id=0, isthing=True, area=found[:20].size, score=0.5)
    scene = scene._replace(numbers=numbers, segments=[person], found=found, found_segments=[guess])
    assert run_metric(CONFIG, [scene])['cityscapes/AP.person'] == 0.0


def test_other_classes_than_those_of_cityscapes():
    meta = dict(META, classes=('ball', *META['classes'][1:]), thing_classes=('ball', *THINGS[1:]))
    with pytest.raises(ValueError, match=r"found \['ball'\].*type='InstanceMetric'"):
        run_metric(CONFIG, SCENES[:1], meta)


def test_masks_of_another_size():
    scene = SCENES[0]._replace(found=SCENES[0].found[:, :20])
    with pytest.raises(ValueError, match=r'bonn_0000.*\(60, 20\)'):
        run_metric(CONFIG, [scene])


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, official.__name__, None)
    monkeypatch.delitem(sys.modules, official.__name__)
    monkeypatch.setitem(sys.modules, 'cityscapesscripts.evaluation', None)
    with pytest.raises(ImportError, match=r'pip install "cityscapesscripts>'):
        CityscapesInstanceMetric()


def test_nothing_is_measured_without_annotations():
    class Unlabelled(type(SCENES[0])):
        def sample(self, **metainfo):
            sample = super().sample(**metainfo)
            del sample.gt_segments
            return sample

    assert run_metric(CONFIG, [Unlabelled(*SCENES[0])]) == {}
