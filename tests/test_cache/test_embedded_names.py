"""One cache of photographs serves training and testing: some of its images, labels resized."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from embedding_caches import LOAD, PACK, as_dataset, fill, recipe_of
from fit_trees import CLASSES, make_photographs
from mmseg_ssprompt.cache import CacheError
from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.base import EmbeddingPreProcessor
from mmseg_ssprompt.models.heads.targets import stack_segments

RESIZE = dict(type='ResizeWithLabels', scale=(96, 96), keep_ratio=True, backend='pillow')
SEGMENTS = [dict(type='LoadImageFromFile'), dict(type='LoadSegments')]


def photographs(root, pipeline):
    return dict(
        type='ImageFolderDataset',
        classes=CLASSES,
        data_prefix=dict(img_path=str(root / 'photos'), seg_map_path=str(root / 'labels')),
        pipeline=pipeline,
    )


@pytest.fixture(scope='module')
def caches(tmp_path_factory):
    """Recipes and folders of caches of the same 4 photographs, for testing and for training."""
    root = make_photographs(tmp_path_factory.mktemp('photographs'), 4)
    pipelines = dict(test=[LOAD[0], RESIZE, LOAD[1], *PACK], train=[*LOAD, RESIZE, *PACK])
    found = {}
    with DefaultScope.overwrite_default_scope('mmseg'):
        for name, pipeline in pipelines.items():
            recipe = recipe_of(photographs(root, pipeline), test_mode=name == 'test')
            fill(root / name, recipe)
            found[name] = root / name, recipe
    return found


def test_resized_labels_are_those_of_training(caches):
    test, train = caches['test'], caches['train']
    one = DATASETS.build(as_dataset(*test, resize_labels=True))
    other = DATASETS.build(as_dataset(*train))
    preprocessor = EmbeddingPreProcessor()
    for index in range(4):
        batches = [
            preprocessor(
                dict(
                    inputs={name: [value] for name, value in sample['inputs'].items()},
                    data_samples=[sample['data_samples']],
                ),
                True,
            )
            for sample in (one[index], other[index])
        ]
        found, expected = (batch['data_samples'][0].gt_sem_seg.data for batch in batches)
        assert found.shape == (1, 96, 96)
        assert (found[:, 80:] == 255).all()  # padded below
        assert torch.equal(found, expected)
        assert all(
            torch.equal(batches[0]['inputs'][name], value)
            for name, value in batches[1]['inputs'].items()
        )


def test_without_resizing_labels_have_the_size_of_the_photograph(caches):
    dataset = DATASETS.build(as_dataset(*caches['test']))
    sample = dataset[0]['data_samples']
    assert tuple(sample.gt_sem_seg.data.shape[-2:]) == tuple(sample.ori_shape)


def test_some_images_in_the_order_of_the_list(caches, tmp_path):
    names = ['03.png', '01.png']
    file = tmp_path / 'names.txt'
    file.write_text('\n'.join(names) + '\n')
    for given in (names, str(file)):
        dataset = DATASETS.build(as_dataset(*caches['test'], names=given))
        assert len(dataset) == 2
        paths = [dataset[i]['data_samples'].img_path for i in range(2)]
        assert [path.rpartition('/')[2] for path in paths] == names
        infos = [dataset.get_data_info(i)['img_path'] for i in range(2)]
        assert infos == paths


def test_names_that_are_not_there(caches, tmp_path):
    with pytest.raises(CacheError, match=r"which has 4.*found 1 others, such as 'x\.png'"):
        DATASETS.build(as_dataset(*caches['test'], names=['01.png', 'x.png']))
    with pytest.raises(CacheError, match=r'found none'):
        DATASETS.build(as_dataset(*caches['test'], names=[]))
    with pytest.raises(CacheError, match=r"found no file '.*none\.txt'"):
        DATASETS.build(as_dataset(*caches['test'], names=str(tmp_path / 'none.txt')))


def test_labels_of_training_are_not_resized_again(caches):
    with pytest.raises(ValueError, match='expected a cache with test_mode=True'):
        DATASETS.build(as_dataset(*caches['train'], resize_labels=True))


def test_resized_segments_are_those_of_training(tmp_path):
    """Objects too small in the frame are void in both."""
    small = dict(RESIZE, scale=(20, 32), keep_ratio=False)
    scenes = dict(type='ShapesWorldDataset', num_images=3)
    pack = dict(type='PackSegmentInputs', min_pixels=16)
    train = recipe_of(dict(scenes, pipeline=[*SEGMENTS, small, pack]))
    kept = dict(pack, min_pixels=0)
    test = recipe_of(dict(scenes, pipeline=[SEGMENTS[0], small, SEGMENTS[1], kept]), test_mode=True)
    with DefaultScope.overwrite_default_scope('mmseg'):
        fill(tmp_path / 'train', train)
        fill(tmp_path / 'test', test)
    one = DATASETS.build(as_dataset(tmp_path / 'test', test, resize_labels=True))
    other = DATASETS.build(as_dataset(tmp_path / 'train', train))
    ids = LabelIds(10)
    dropped = 0
    for index in range(3):
        found, expected = (each[index]['data_samples'] for each in (one, other))
        assert torch.equal(found.gt_segments.data, expected.gt_segments.data)
        keys = ('id', 'category_id', 'iscrowd')
        infos = [
            [{key: info[key] for key in keys} for info in sample.gt_segments.segments_info]
            for sample in (found, expected)
        ]
        assert infos[0] == infos[1]
        whole = DATASETS.build(as_dataset(tmp_path / 'test', test))[index]['data_samples']
        dropped += len(whole.gt_segments.segments_info) - len(infos[0])
        maps = [stack_segments([sample], ids).maps for sample in (found, expected)]
        assert torch.equal(*maps)
    assert dropped > 0


def test_shortest_path_is_meant(tmp_path):
    """A name may be the end of another image's path."""
    root = make_photographs(tmp_path, 2)
    for folder in ('photos', 'labels'):
        (root / folder / 'sub').mkdir()
        (root / folder / '01.png').rename(root / folder / 'sub' / '00.png')
    recipe = recipe_of(photographs(root, [LOAD[0], RESIZE, LOAD[1], *PACK]), test_mode=True)
    with DefaultScope.overwrite_default_scope('mmseg'):
        fill(root / 'cache', recipe)
    names = ['00.png', 'sub/00.png']
    dataset = DATASETS.build(as_dataset(root / 'cache', recipe, names=names))
    found = [dataset[i]['data_samples'].img_path for i in range(2)]
    assert [path.replace(str(root / 'photos') + '/', '') for path in found] == names
    assert not np.array_equal(
        dataset[0]['data_samples'].gt_sem_seg.data, dataset[1]['data_samples'].gt_sem_seg.data
    )
