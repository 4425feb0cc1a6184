"""K images a class: the same ones everywhere, credited once, reported where there are too few."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from mmseg_ssprompt.datasets import DatasetError, FewShotDataset, draw_few_shot
from mmseg_ssprompt.datasets import few_shot as module
from mmseg_ssprompt.datasets.few_shot_manifest import (
    count_presence,
    make_manifest,
    read_manifest,
    write_manifest,
)
from mmseg_ssprompt.hooks import DatasetCheckHook
from picture_files import CLASSES, LOAD, dataset_config
from trees import MMSEG_LAYOUT, make_photograph_tree, write_pair

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
#: Classes of each image of the tree below: 'cat' is in two, 'dog' in five, 'sky' in all but one.
CONTENTS = ([0, 2], [0, 1, 2], [1, 2], [1, 2], [1, 2], [2], [2], [1])


def random_presence(images: int, density: List[float], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((images, len(density))) < np.array(density)


def names_of(count: int) -> List[str]:
    return [f'{index:03d}.png' for index in range(count)]


def write_tree(root: Path, contents: Any = CONTENTS) -> Path:
    """An image for each entry, four pixels of each of its classes and void."""
    for index, classes in enumerate(contents):
        labels = np.full((6, 8), 255, np.uint8)
        labels[: len(classes), :4] = np.array(classes)[:, None]
        picture = np.full((6, 8, 3), index, np.uint8)
        write_pair(root, f'img/{index:02d}.png', f'ann/{index:02d}.png', picture, labels)
    return root


def build(root: Path, dataset: Any = None, **kwargs: Any) -> FewShotDataset:
    config = dict(type='FewShotDataset', shots=2, dataset=dataset or dataset_config(root))
    return DATASETS.build(dict(config, **kwargs))


def stems(dataset: Any) -> List[str]:
    return [Path(dataset.get_data_info(index)['img_path']).stem for index in range(len(dataset))]


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / 'data')


# The draw.


def test_each_class_is_credited_with_k_images():
    presence = random_presence(300, [0.1, 0.2, 0.9, 0.95, 0.5], 0)
    for shots in (1, 2, 4, 8, 16):
        draw = draw_few_shot(presence, shots, 1)
        assert Counter(draw.values()) == dict.fromkeys(range(5), shots)
        assert all(presence[image, class_id] for image, class_id in draw.items())


def test_images_are_sorted():
    draw = list(draw_few_shot(random_presence(100, [0.3, 0.5, 0.8], 0), 8, 3))
    assert draw == sorted(draw) and len(draw) == 24


def test_a_written_down_draw():
    """The same on every machine and with every version of Python and numpy."""
    presence = np.array([[(i + 1) % (c + 2) == 0 for c in range(3)] for i in range(24)])
    assert draw_few_shot(presence, 2, 1, names_of(24)) == {3: 2, 5: 1, 9: 0, 11: 2, 14: 1, 21: 0}
    assert draw_few_shot(presence, 2, 2, names_of(24)) == {3: 0, 9: 0, 11: 2, 19: 2, 20: 1, 23: 1}


def test_order_of_the_files_does_not_matter():
    presence, names = random_presence(60, [0.1, 0.4, 0.9], 0), names_of(60)
    expected = {names[i]: c for i, c in draw_few_shot(presence, 4, 1, names).items()}
    order = np.random.default_rng(1).permutation(60)
    shuffled = [names[i] for i in order]
    draw = draw_few_shot(presence[order], 4, 1, shuffled)
    assert {shuffled[i]: c for i, c in draw.items()} == expected


def test_seeds_and_names_draw_others():
    presence = random_presence(200, [0.5, 0.5], 0)
    draws = [tuple(draw_few_shot(presence, 4, seed)) for seed in (1, 2, 3)]
    assert len(set(draws)) == 3
    assert tuple(draw_few_shot(presence, 4, 1, names_of(200))) not in draws


def test_drawing_uses_no_global_generator():
    before = np.random.get_state()[1].copy()
    draw_few_shot(random_presence(50, [0.5], 0), 4, 1)
    assert (np.random.get_state()[1] == before).all()


def test_too_few_images_are_all_drawn():
    presence = np.zeros((10, 3), bool)
    presence[:2, 0] = presence[:, 1] = True  # class 2 is nowhere
    draw = draw_few_shot(presence, 4, 1)
    assert Counter(draw.values()) == {0: 2, 1: 4}
    assert {image for image, class_id in draw.items() if class_id == 0} == {0, 1}


@pytest.mark.parametrize('seed', range(20))
def test_images_are_exchanged_where_classes_compete(seed):
    """Class 0 has 3 images, class 1 four: only if 0 leaves 2 to class 1 do both have two."""
    presence = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 1]], bool)
    draw = draw_few_shot(presence[:4], 2, seed)
    assert Counter(draw.values()) == {0: 2, 1: 2}
    assert draw[2] == 1
    assert Counter(draw_few_shot(presence, 2, seed).values()) == {0: 2, 1: 2}


def most_images(presence: np.ndarray, shots: int) -> int:
    """The largest number of images that can be credited, by scipy's flow-based matching."""
    sparse = pytest.importorskip('scipy.sparse')
    graph = sparse.csr_matrix(np.repeat(presence, shots, axis=1).astype(int))
    match = sparse.csgraph.maximum_bipartite_matching(graph, perm_type='column')
    return int((match >= 0).sum())


@pytest.mark.parametrize('seed', range(30))
def test_no_image_is_left_that_could_be_credited(seed):
    rng = np.random.default_rng(seed)
    shots, density = int(rng.integers(1, 6)), rng.random(6) ** 2
    presence = random_presence(int(rng.integers(1, 30)), list(density), seed)
    draw = draw_few_shot(presence, shots, seed)
    counts = Counter(draw.values())
    assert len(draw) == most_images(presence, shots)
    for class_id, present in enumerate(presence.T):
        assert counts[class_id] <= shots
        if counts[class_id] < shots:
            assert set(np.flatnonzero(present)) <= set(draw)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(shots=0), 'shots must be a whole number from 1, found 0'),
        (dict(shots=1.5), 'found 1.5'),
        (dict(names=['a', 'b', 'a']), "image 'a' is there 2 times"),
    ],
)
def test_bad_arguments(change, message):
    defaults = dict(presence=np.ones((3, 2), bool), shots=1, seed=1)
    with pytest.raises(ValueError, match=message):
        draw_few_shot(**dict(defaults, **change))


# What label maps hold.


def test_presence_of_files(tree):
    expected = [[c in classes for c in range(3)] for classes in CONTENTS]
    presence = count_presence(DATASETS.build(dataset_config(tree)))
    assert presence.dtype == bool
    np.testing.assert_array_equal(presence, expected)


def test_classes_of_too_few_pixels(tree):
    dataset = DATASETS.build(dataset_config(tree))
    assert count_presence(dataset, 4).sum() == count_presence(dataset).sum()
    assert not count_presence(dataset, 5).any()


def test_reduced_and_selected_labels_are_counted(tree):
    reduced = dataset_config(tree, reduce_zero_label=True, metainfo=dict(classes=CLASSES[1:]))
    presence = count_presence(DATASETS.build(reduced))
    np.testing.assert_array_equal(presence, [[1 in c, 2 in c] for c in CONTENTS])
    scenes = dict(type='ShapesWorldDataset', num_images=12, pipeline=LOAD, serialize_data=False)
    every = count_presence(DATASETS.build(scenes))
    some = DATASETS.build(dict(scenes, metainfo=dict(classes=('sky', 'ball'))))
    np.testing.assert_array_equal(count_presence(some), every[:, [6, 0]])


def test_progress_is_logged(tree, monkeypatch):
    logged = []
    monkeypatch.setattr('mmseg_ssprompt.datasets.few_shot_manifest.PROGRESS_INTERVAL', 4)
    monkeypatch.setattr(
        'mmseg_ssprompt.datasets.few_shot_manifest.print_log', lambda text, *_: logged.append(text)
    )
    count_presence(DATASETS.build(dataset_config(tree)))
    assert logged == [f'Counted classes in {n} of 8 label maps' for n in (4, 8)]


def test_pipeline_without_labels(tree):
    with pytest.raises(DatasetError, match=r"LoadAnnotations .*found \['LoadImageFromFile'\]"):
        build(tree, dataset_config(tree, pipeline=LOAD[:1]))


def test_unreadable_and_wrong_label_maps_are_named(tree):
    (tree / 'ann' / '03.png').write_text('no picture')
    with pytest.raises(DatasetError, match=r"ann/03\.png'.*10 bytes"):
        build(tree)
    write_tree(tree, [[0, 1, 7]])
    with pytest.raises(DatasetError, match=r"ann/00\.png'.*found \[7\] in 4 pixels"):
        build(tree)


# The data set.


def test_counts_and_what_is_incomplete(tree):
    drawn = build(tree, shots=3).drawn
    assert drawn['counts'] == {'cat': 2, 'dog': 3, 'sky': 3}
    assert drawn['incomplete'] == {'cat': 2}
    assert build(tree, shots=2).drawn['incomplete'] == {}
    all_of_them = build(tree, shots=8)
    assert len(all_of_them) == 8
    assert all_of_them.drawn['incomplete'] == {'cat': 2, 'dog': 5, 'sky': 7}


def test_incomplete_classes_are_logged(tree, monkeypatch):
    logged = []
    monkeypatch.setattr(module, 'print_log', lambda text, *_: logged.append(text))
    build(tree, shots=3)
    assert logged[0] == '3 shots, seed 1: 8 images'
    assert logged[1].endswith("all of whose images are drawn: {'cat': 2}")


def test_only_drawn_images_remain(tree):
    whole, dataset = DATASETS.build(dataset_config(tree)), build(tree)
    drawn = [Path(row['image']).stem for row in dataset.drawn['images']]
    assert len(dataset) == len(dataset.dataset) == 6
    assert stems(dataset) == drawn == sorted(drawn)
    assert dataset.metainfo == whole.metainfo
    assert dataset.pipeline is dataset.dataset.pipeline
    for index, stem in enumerate(drawn):
        assert (dataset[index]['img'] == int(stem)).all()


def test_a_given_data_set_stays_whole(tree):
    whole = DATASETS.build(dataset_config(tree))
    assert len(FewShotDataset(whole, shots=1)) == 3
    assert len(whole) == 8


def test_serialised_and_lazy(tree):
    config = dataset_config(tree, serialize_data=True, lazy_init=True)
    dataset = build(tree, config, lazy_init=True)
    assert dataset.drawn == {} and dataset.metainfo['classes'] == CLASSES
    assert len(dataset) == 6
    assert stems(dataset) == stems(build(tree))


def test_annotation_file_in_another_order(tree):
    lines = tree / 'train.txt'
    lines.write_text('\n'.join(f'{index:02d}' for index in (5, 3, 7, 0, 1, 2, 6, 4)))
    listed = build(tree, dataset_config(tree, ann_file='train.txt'))
    assert stems(listed) == stems(build(tree))
    lines.write_text('00\n01\n00\n')
    with pytest.raises(DatasetError, match=r"'00\.png' is there 2 times.*annotation file"):
        build(tree, dataset_config(tree, ann_file='train.txt'))


def test_the_place_of_the_data_does_not_matter(tree, tmp_path):
    elsewhere = write_tree(tmp_path / 'some' / 'where' / 'else')
    split = dict(img_path=str(elsewhere / 'img'), seg_map_path=str(elsewhere / 'ann'))
    rootless = dataset_config(elsewhere, data_root=None, data_prefix=split)
    assert build(elsewhere).drawn == build(tree).drawn == build(tree, rootless).drawn


def test_shapes_world():
    config = dict(type='ShapesWorldDataset', num_images=40, pipeline=LOAD, serialize_data=False)
    dataset = DATASETS.build(dict(type='FewShotDataset', dataset=config, shots=2, seed=3))
    assert len(dataset) == 20
    assert set(dataset.drawn['counts'].values()) == {2}
    assert dataset.metainfo['thing_classes']
    name = dataset.drawn['images'][0]['image']
    assert name == dataset.get_data_info(0)['img_path']
    assert name.startswith('shapes://downstream/image/train_0_')


@pytest.mark.parametrize('sampler', [DefaultSampler, InfiniteSampler])
def test_samplers(tree, sampler):
    dataset = build(tree)
    indices = iter(sampler(dataset, shuffle=True, seed=0))
    assert sorted(next(indices) for _ in range(6)) == list(range(6))


def test_inside_other_wrappers(tree):
    few = dict(type='FewShotDataset', dataset=dataset_config(tree), shots=1)
    repeated = DATASETS.build(dict(type='RepeatDataset', dataset=dict(few), times=3))
    assert len(repeated) == 9
    joined = DATASETS.build(dict(type='ConcatDataset', datasets=[dict(few), dataset_config(tree)]))
    assert len(joined) == 11
    flip = dict(type='RandomFlip', prob=0.5)
    mixed = DATASETS.build(dict(type='MultiImageMixDataset', dataset=dict(few), pipeline=[flip]))
    assert len(mixed) == 3 and mixed[0]['img'].shape == (6, 8, 3)


def test_other_wrappers_inside(tree):
    """Each image counts once; more is in test_k08_wrappers_few_shot_and_cache.py."""
    repeated = dict(type='RepeatDataset', dataset=dataset_config(tree), times=3)
    assert stems(build(tree, repeated)) == stems(build(tree))


def test_the_hook_looks_at_drawn_images(tree):
    pipeline = [*LOAD, dict(type='PackSegInputs')]
    dataset = build(tree, dataset_config(tree, pipeline=pipeline), shots=1)
    logged: List[str] = []
    head = SimpleNamespace(num_classes=3, ignore_index=255, class_names=CLASSES)
    runner = SimpleNamespace(
        cfg=Config(),
        model=SimpleNamespace(decode_head=head),
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=None,
        logger=SimpleNamespace(info=logged.append),
    )
    DatasetCheckHook().before_train(runner)
    assert logged[0] == 'Checked 3 of 3 training samples'


@pytest.mark.parametrize('key', ['shots', 'min_pixels'])
def test_numbers_from_one(tree, key):
    with pytest.raises(ValueError, match=f'{key} must be a whole number from 1, found 0'):
        build(tree, **{key: 0})


def test_nothing_to_draw(tree):
    with pytest.raises(DatasetError, match='at least 9 pixels of a class, found none in 8'):
        build(tree, min_pixels=9)


# The manifest.


def test_manifest_is_written_and_used(tree, tmp_path, monkeypatch):
    file = tmp_path / 'new' / 'draw.json'
    first = build(tree, manifest=str(file))
    content = json.loads(file.read_text())
    assert content == first.drawn
    assert list(content) == [
        *('version', 'dataset', 'classes', 'shots', 'seed', 'min_pixels', 'unit'),
        *('images', 'counts', 'incomplete'),
    ]
    assert content['dataset'] == 'BaseSegDataset'
    assert str(tmp_path) not in file.read_text()
    monkeypatch.setattr(module, 'make_manifest', None)  # which draws
    before = file.stat().st_mtime_ns
    assert stems(build(tree, manifest=str(file))) == stems(first)
    assert file.stat().st_mtime_ns == before
    assert [path.name for path in file.parent.iterdir()] == ['draw.json']


def test_manifest_chooses_the_images(tree, tmp_path):
    """Also such as would not be drawn."""
    file = tmp_path / 'draw.json'
    content = build(tree, manifest=str(file)).drawn
    left = min({f'{i:02d}.png' for i in range(8)} - {row['image'] for row in content['images']})
    content['images'][0]['image'] = left
    write_manifest(content, file)
    assert Path(left).stem in stems(build(tree, manifest=str(file)))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(shots=1), 'shots: expected 1, found 2'),
        (dict(seed=2), 'seed: expected 2, found 1'),
        (dict(min_pixels=3), 'min_pixels: expected 3, found 1'),
    ],
)
def test_manifest_of_another_draw(tree, tmp_path, settings, message):
    file = str(tmp_path / 'draw.json')
    build(tree, manifest=file)
    with pytest.raises(DatasetError, match=f"manifest '{file}', {message}.*delete"):
        build(tree, manifest=file, **settings)


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (('cat', 'cow', 'sky'), r"classes\[1\]: expected 'cow', found 'dog'"),
        (
            ('cat', 'dog', 'sky', 'cow'),
            r"classes: expected .*'cow'\], found \['cat', 'dog', 'sky'\]",
        ),
        (('cat', 'dog'), r"classes: expected \['cat', 'dog'\], found \['cat', 'dog', 'sky'\]"),
    ],
)
def test_manifest_of_other_classes(tree, tmp_path, classes, message):
    file = str(tmp_path / 'draw.json')
    build(tree, manifest=file)
    with pytest.raises(DatasetError, match=message):
        build(tree, dataset_config(tree, metainfo=dict(classes=classes)), manifest=file)


def test_manifest_of_missing_images(tree, tmp_path):
    file = str(tmp_path / 'draw.json')
    name = build(tree, manifest=file).drawn['images'][1]['image']
    (tree / 'img' / name).unlink()
    with pytest.raises(DatasetError, match=rf"images\[1\].image: .*7 images.*once, found '{name}'"):
        build(tree, manifest=file)


def edited(content: Dict[str, Any], edit: str) -> Any:
    rows = content['images']
    if edit == 'twice':
        rows[1]['image'] = rows[0]['image']
    elif edit == 'keys':
        rows[2] = '02.png'
    elif edit == 'empty':
        content['images'] = []
    elif edit == 'version':
        content['version'] = 2
    elif edit == 'list':
        return rows
    return content


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        ('twice', r"images\[1\]\.image: expected one of the 8 images .*, each once, found '"),
        ('keys', r"images: expected a list of drawn images, .*'02.png'"),
        ('empty', r'images: expected a list of drawn images, .*, found \[\]'),
        ('version', 'version: expected 1, found 2'),
        ('list', r'expected a dict, found \['),
    ],
)
def test_edited_manifest(tree, tmp_path, edit, message):
    file = tmp_path / 'draw.json'
    content = edited(build(tree, manifest=str(file)).drawn, edit)
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message):
        build(tree, manifest=str(file))


def test_truncated_manifest(tree, tmp_path):
    file = tmp_path / 'draw.json'
    build(tree, manifest=str(file))
    file.write_text(file.read_text()[:-20])
    with pytest.raises(DatasetError, match=r'draw.json.*expected a JSON file.*delete this one'):
        read_manifest(file)


def test_a_manifest_is_never_half_written(tree, tmp_path, monkeypatch):
    """Neither a value that JSON does not know, nor a disk that fails, leaves or spoils a file."""
    file, manifest = tmp_path / 'out' / 'draw.json', make_manifest(build(tree).dataset, 1, 1)
    with pytest.raises(TypeError):
        write_manifest(dict(manifest, seed=object()), file)
    assert list(file.parent.iterdir()) == []
    write_manifest(manifest, file)

    def fail(descriptor: int) -> None:
        raise OSError('no space left')

    monkeypatch.setattr('os.fsync', fail)
    with pytest.raises(OSError, match='no space left'):
        write_manifest(dict(manifest, seed=7), file)
    assert read_manifest(file) == manifest
    assert list(file.parent.iterdir()) == [file]


# Several processes.


def draw_in_process(rank: int, root: Path) -> None:
    """Build a data set in one of two processes, and write down what it did."""
    torch.set_num_threads(1)  # those of the test process are not in a fork of it
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{root}/rendezvous', rank=rank, world_size=2
    )
    written, broken = [], []
    module.write_manifest = lambda *args: (written.append(rank), write_manifest(*args))
    with DefaultScope.overwrite_default_scope('mmseg'):
        drawn = [stems(build(root)) for _ in range(2)]  # without a manifest
        for _ in range(2):
            drawn.append(stems(build(root, manifest=str(root / 'draw.json'))))
        try:
            build(root, manifest=str(root / 'draw.json'), seed=9)
        except DatasetError as error:
            broken.append(str(error))
        try:  # only the main process reads label maps
            build(root, dataset_config(root, pipeline=[]))
        except DatasetError as error:
            broken.append(str(error))
    result = dict(drawn=drawn, written=written, broken=broken)
    (root / f'rank{rank}.json').write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


def test_two_processes_draw_the_same(tree):
    expected = stems(build(tree))
    torch.multiprocessing.start_processes(draw_in_process, (tree,), nprocs=2, start_method='fork')
    results = [json.loads((tree / f'rank{rank}.json').read_text()) for rank in (0, 1)]
    for result in results:
        assert result['drawn'] == [expected] * 4
        assert [text.split(':')[0] for text in result['broken']] == [
            f"few-shot manifest '{tree}/draw.json', seed",
            'cannot count the classes of the data set BaseSegDataset',
        ]
    assert [result['written'] for result in results] == [[0], []]


# Training.


def test_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'data' / 'photographs', num_images=13)
    cfg = Config.fromfile(MMSEG_LAYOUT)
    whole = cfg.train_dataloader.pop('dataset')
    few = dict(type='FewShotDataset', shots=1, manifest='draw.json', dataset=whole)
    cfg.train_dataloader.update(dataset=few, batch_size=2, num_workers=2, persistent_workers=True)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.update(work_dir=str(tmp_path / 'work'), experiment_name=tmp_path.name)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert len(runner.train_dataloader.dataset) == 11
    assert len(read_manifest('draw.json')['images']) == 11
    checkpoint = torch.load(tmp_path / 'work' / 'iter_2.pth', weights_only=True)
    assert list(checkpoint['meta']['dataset_meta']['classes']) == list(whole.metainfo.classes)
