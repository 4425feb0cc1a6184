"""Lists of data sets, and wrappers around them, in few-shot sampling and in the cache."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmseg.registry import DATASETS, TRANSFORMS

from commands import run_here
from embedding_caches import PACK, as_dataset, fill, recipe_of, shapes
from mmseg_ssprompt.cache import CacheError
from mmseg_ssprompt.cli.cache_embeddings import plan
from mmseg_ssprompt.cli.sample_few_shot import find_source
from mmseg_ssprompt.config_reading import ConfigError
from mmseg_ssprompt.dataset_wrappers import build_dataset, find_configs
from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.few_shot_manifest import count_presence, make_manifest
from mmseg_ssprompt.folders import tell_apart
from picture_files import LOAD, dataset_config
from trees import write_pair

#: Classes of the images of each part: all names are in both parts.
PARTS = dict(day=([0], [0, 1], [1], [2]), night=([2], [1], [0], [2, 1]))


def write_part(root: Path, contents: Any) -> None:
    for index, classes in enumerate(contents):
        labels = np.full((6, 8), 255, np.uint8)
        labels[: len(classes), :4] = np.array(classes)[:, None]
        picture = np.full((6, 8, 3), 10 * index + len(root.name), np.uint8)
        write_pair(root, f'img/{index:02d}.png', f'ann/{index:02d}.png', picture, labels)


@pytest.fixture
def parts(tmp_path) -> List[Dict[str, Any]]:
    """Configs of two parts whose files have the same names."""
    for name, contents in PARTS.items():
        write_part(tmp_path / name, contents)
    return [dataset_config(tmp_path / name) for name in PARTS]


def wrap(kind: str, parts: List[Dict[str, Any]]) -> Any:
    """Both parts, wrapped in one of the ways that there are."""
    joined = dict(type='ConcatDataset', datasets=parts)
    return {
        'list': parts,
        'concatenated': joined,
        'repeated': dict(type='RepeatDataset', dataset=joined, times=3),
        'mixed': dict(type='MultiImageMixDataset', dataset=joined, pipeline=[]),
        'repeated parts': dict(
            type='ConcatDataset',
            datasets=[dict(type='RepeatDataset', dataset=part, times=2) for part in parts],
        ),
    }[kind]


DRAWN = ['list', 'concatenated', 'repeated', 'repeated parts']
KINDS = [*DRAWN, 'mixed']


def few_shot(dataset: Any, **options: Any) -> Any:
    return DATASETS.build(dict(dict(type='FewShotDataset', shots=2, dataset=dataset), **options))


def paths(dataset: Any) -> List[str]:
    """Part and name of each image."""
    files = [Path(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    return [f'{file.parts[-3]}/{file.name}' for file in files]


# Few-shot sampling


@pytest.mark.parametrize('kind', DRAWN)
def test_images_are_drawn_from_all_parts_and_told_apart(parts, tmp_path, kind):
    file = tmp_path / 'draw.json'
    dataset = few_shot(wrap(kind, parts), manifest=str(file))
    manifest = json.loads(file.read_text())
    names = [row['image'] for row in manifest['images']]
    assert len(set(names)) == len(names) == len(dataset) == 6
    assert {name.split('/')[0] for name in names} == {'day', 'night'}
    drawn = {f'{name.split("/")[0]}/{name.split("/")[-1]}' for name in names}
    assert set(paths(dataset)) == drawn
    assert manifest['counts'] == dict(cat=2, dog=2, sky=2)
    assert manifest['dataset'] == 'BaseSegDataset'
    again = few_shot(wrap(kind, parts), manifest=str(file))
    assert paths(again) == paths(dataset)


def test_every_way_of_wrapping_draws_the_same(parts):
    manifests = [make_manifest(build_dataset(wrap(kind, parts)), 2, 1) for kind in KINDS]
    assert all(manifest == manifests[0] for manifest in manifests)


def test_the_label_map_of_an_image_is_that_of_its_part(parts):
    dataset = few_shot(parts, shots=4)
    for index in range(len(dataset)):
        sample, (part, name) = dataset[index], paths(dataset)[index].split('/')
        expected = PARTS[part][int(name[:2])]
        assert sorted(set(np.unique(sample['gt_seg_map'])) - {255}) == sorted(expected)


@pytest.mark.parametrize('kind', ['list', 'mixed'])
def test_presence_counts_each_image_once(parts, kind):
    presence = count_presence(build_dataset(wrap(kind, parts)))
    expected = [[c in classes for c in range(3)] for part in PARTS.values() for classes in part]
    np.testing.assert_array_equal(presence, expected)


def test_a_mixing_wrapper_mixes_drawn_images_only(parts, tmp_path):
    @TRANSFORMS.register_module(force=True)
    class TakesAnother:
        def get_indices(self, dataset):
            return list(range(len(dataset)))

        def __call__(self, results):
            mixed = [Path(other['img_path']) for other in results['mix_results']]
            return dict(mixed=sorted(f'{file.parts[-3]}/{file.name}' for file in mixed))

    few = dict(type='FewShotDataset', shots=1, dataset=parts)
    mixed = dict(type='MultiImageMixDataset', dataset=few, pipeline=[dict(type='TakesAnother')])
    dataset = build_dataset(mixed)
    assert dataset[0]['mixed'] == sorted(paths(dataset.dataset))
    assert len(dataset) == 3
    with pytest.raises(DatasetError, match='put FewShotDataset inside of it'):
        few_shot(wrap('mixed', parts))


def test_a_part_without_drawn_images_is_left_out(parts, tmp_path):
    write_part(tmp_path / 'empty', [[]])
    dataset = few_shot([dataset_config(tmp_path / 'empty'), parts[0]])
    assert all(path.startswith('day/') for path in paths(dataset))
    assert len(dataset) == 4


def test_parts_of_other_classes_are_refused(parts):
    other = dict(copy.deepcopy(parts[1]), metainfo=dict(classes=('cat', 'dog')))
    joined = dict(type='ConcatDataset', datasets=[parts[0], other], ignore_keys=['classes'])
    joined['ignore_keys'] += ['palette', 'label_map']
    with pytest.raises(DatasetError, match=r"part 1 has \['cat', 'dog'\], part 0 has \['cat', 'd"):
        few_shot(joined)


def test_what_lists_no_files_is_refused(parts, tmp_path):
    numbers = SimpleNamespace(metainfo=dict(classes=('a',)), full_init=lambda: None)
    with pytest.raises(DatasetError, match='found SimpleNamespace: wrap what is inside of it'):
        few_shot(numbers)


def test_one_data_set_keeps_its_names(parts, tmp_path):
    manifest = make_manifest(build_dataset(parts[0]), 1, 1)
    assert {row['image'] for row in manifest['images']} <= {f'{i:02d}.png' for i in range(4)}
    assert make_manifest(build_dataset(parts[:1]), 1, 1) == manifest


@pytest.mark.parametrize(
    ('folders', 'names'),
    [
        (['/d/day/img', '/d/night/img'], ['day/img', 'night/img']),
        (['/d/img/a', '/d/img/b/'], ['a', 'b']),
        (['x/a', 'y/a', 'x/a'], ['x/a', 'y/a', 'x/a']),
        (['/d', '/d/two'], ['d', 'two']),
        (['a', 'x/a'], ['a', 'x/a']),
        (['same', 'same'], ['same', 'same']),
        ([], []),
    ],
)
def test_folders_are_told_apart_by_their_ends(folders, names):
    assert tell_apart(folders) == names


@pytest.mark.parametrize('kind', DRAWN)
def test_the_command_draws_what_training_would(parts, tmp_path, kind):
    few = dict(type='FewShotDataset', shots=1, seed=3, dataset=wrap(kind, parts))
    wrapped = dict(type='RepeatDataset', times=2, dataset=few)
    config = tmp_path / 'config.py'
    config.write_text(f'train_dataloader = dict(dataset={wrapped!r})\n')
    out = tmp_path / 'out' / 'draw.json'
    run_here('few-shot', config, '--out', out)
    written = out.read_text()
    used = few_shot(few['dataset'], shots=1, seed=3, manifest=str(out))
    assert out.read_text() == written
    assert len(used) == 3


def test_the_command_refuses_a_choice_of_draws(parts):
    each = [dict(type='FewShotDataset', dataset=part) for part in parts]
    with pytest.raises(ConfigError, match='expected at most one FewShotDataset, found 2'):
        find_source(dict(type='ConcatDataset', datasets=each))


def test_configs_are_found_at_any_depth(parts):
    few = dict(type='FewShotDataset', dataset=dict(type='FewShotDataset', dataset=parts[0]))
    nested = [dict(type='RepeatDataset', dataset=dict(type='X', datasets=[parts[1], few]))]
    assert list(find_configs(nested, 'FewShotDataset')) == [few]
    assert list(find_configs(parts, 'FewShotDataset')) == []


# The cache


def photographs(root: Path, name: str) -> Dict[str, Any]:
    """Config of a part of photographs large enough for sam-tiny."""
    for index in range(2):
        picture = np.full((24, 32, 3), 40 * index + 10 * len(name), np.uint8)
        labels = np.full((24, 32), index, np.uint8)
        write_pair(root / name, f'img/{index}.png', f'ann/{index}.png', picture, labels)
    return dict(dataset_config(root / name), pipeline=LOAD + PACK)


@pytest.fixture
def pictured(tmp_path) -> List[Dict[str, Any]]:
    return [photographs(tmp_path / 'data', name) for name in ('day', 'night')]


@pytest.mark.parametrize('kind', KINDS)
def test_a_cache_of_parts_gives_each_sample_of_each(pictured, tmp_path, kind):
    recipe = recipe_of(wrap(kind, pictured))
    fill(tmp_path / 'cache', recipe)
    dataset = DATASETS.build(as_dataset(tmp_path / 'cache', recipe))
    source = recipe.build_dataset()
    assert len(dataset) == len(source) == {'repeated': 12, 'repeated parts': 8}.get(kind, 4)
    assert dataset.metainfo['classes'] == source.metainfo['classes']
    for index in range(len(source)):
        info = dataset.get_data_info(index)
        assert info['img_path'] == source.get_data_info(index)['img_path']
        ids = set(np.unique(info['gt_seg_map'])) - {255}  # padding
        assert ids == {int(Path(info['img_path']).stem)}


def test_parts_in_another_order_are_another_cache(pictured, tmp_path):
    """Their configs are the same but for the folders, and so are the names of their files."""
    recipe = recipe_of(pictured)
    fill(tmp_path / 'cache', recipe)
    swapped = recipe_of(pictured[::-1])
    with pytest.raises(CacheError, match=r'key\.source\.files: expected'):
        DATASETS.build(as_dataset(tmp_path / 'cache', swapped))


def test_parts_that_were_moved_together_are_the_same_cache(pictured, tmp_path):
    recipe = recipe_of(pictured)
    key = recipe.key(recipe.build_dataset())
    (tmp_path / 'data').rename(tmp_path / 'elsewhere')
    moved = json.loads(json.dumps(pictured).replace(f'{tmp_path}/data', f'{tmp_path}/elsewhere'))
    recipe = recipe_of(moved)
    assert recipe.key(recipe.build_dataset()) == key


def test_a_changed_file_in_the_second_part_is_noticed(pictured, tmp_path):
    recipe = recipe_of(pictured)
    fill(tmp_path / 'cache', recipe)
    image = tmp_path / 'data' / 'night' / 'img' / '1.png'
    image.write_bytes(image.read_bytes() + b'.')
    dataset = DATASETS.build(as_dataset(tmp_path / 'cache', recipe))
    assert dataset[2] is not None
    with pytest.raises(CacheError, match=r'night/img/1\.png.*is not the file that was embedded'):
        dataset[3]


def split_config(**datasets: Any) -> Config:
    loaders = {f'{split}_dataloader': dict(dataset=each) for split, each in datasets.items()}
    recipe = recipe_of(shapes())
    model = dict(backbone=recipe.encoder, data_preprocessor=recipe.data_preprocessor)
    return Config(dict(loaders, model=model), cfg_text='of a file', filename='mine.py')


def arguments(**options: Any) -> SimpleNamespace:
    return SimpleNamespace(**dict(dict(split='all', cache_dir=None, views=None), **options))


def test_the_tool_makes_each_cache_inside_of_wrappers(pictured, tmp_path):
    each = [
        as_dataset(tmp_path / name, recipe_of(part))
        for name, part in zip(('one', 'other'), pictured)
    ]
    cfg = split_config(
        train=dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=each))
    )
    plans = plan(cfg, arguments())
    assert list(plans) == [tmp_path / 'one', tmp_path / 'other']
    assert [recipe.dataset for recipe in plans.values()] == pictured


@pytest.mark.parametrize('kind', KINDS)
def test_the_command_embeds_wrapped_data_sets(pictured, kind):
    dataset = wrap(kind, pictured)
    plans = plan(split_config(train=dataset), arguments())
    assert {str(folder): r.dataset for folder, r in plans.items()} == {
        'data/embeddings/mine/train': dataset
    }


def test_the_tool_refuses_one_folder_for_two_caches(pictured, tmp_path):
    each = [
        as_dataset(tmp_path / name / 'train', recipe_of(part))
        for name, part in zip(('one', 'other'), pictured)
    ]
    cfg = split_config(train=dict(type='ConcatDataset', datasets=each))
    with pytest.raises(CacheError, match="mine/train'.*Give each EmbeddedDataset a cache_dir"):
        plan(cfg, arguments(cache_dir='mine'))


def test_embedded_parts_concatenate(pictured, tmp_path):
    each = []
    for name, part in zip(('one', 'other'), pictured):
        fill(tmp_path / name, recipe_of(part))
        each.append(as_dataset(tmp_path / name, recipe_of(part)))
    dataset = build_dataset(each)
    assert isinstance(dataset, ConcatDataset)
    assert paths(dataset) == ['day/0.png', 'day/1.png', 'night/0.png', 'night/1.png']
