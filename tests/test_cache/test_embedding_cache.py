"""Embedded samples: what is stored, its key, resuming, damage, and ranks."""

import hashlib
import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from embedding_caches import LOAD, PACK, RANDOM, as_dataset, contents, fill, recipe_of, shapes
from mmseg_ssprompt.cache import (
    CacheError,
    EmbeddedSample,
    Embedder,
    EmbeddingCache,
    SourceViews,
    fill_cache,
    finish_cache,
)
from mmseg_ssprompt.cache.embedding_cache import SHARD_SIZE, _checksum
from mmseg_ssprompt.cache.recipe import fingerprint_encoder
from mmseg_ssprompt.fingerprint import fingerprint_tensors
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.plain import from_json, to_json
from mmseg_ssprompt.weights.state_dicts import read_checkpoint
from tiny_model import build_tiny
from trees import MMSEG_LAYOUT, make_photograph_tree, write_pair

CAMVID = MMSEG_LAYOUT
WEIGHTS = 'mmseg_ssprompt://sam-tiny_shapes.pth'


@pytest.fixture
def camvid(tmp_path, monkeypatch):
    """The config of each split, whose images of 4:3 are padded."""
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'data' / 'photographs', num_images=2)
    config = Config.fromfile(CAMVID)
    return {s: config[f'{s}_dataloader'].dataset.to_dict() for s in ('train', 'val')}


def uncached_step(model, dataset, index, training):
    """The embedding and data sample that reach the head without a cache."""
    batch = model.data_preprocessor(pseudo_collate([dataset[index]]), training)
    return model.extract_feat(batch['inputs'])[-1][0], batch['data_samples'][0]


def fingerprint_of(weights: str) -> str:
    """SHA-256 of SAM's image encoder in a file."""
    encoder = dict(type='SAMImageEncoder', variant='tiny', checkpoint=weights)
    return fingerprint_encoder(encoder)['image_encoder']


def open_cache(folder, recipe):
    return EmbeddingCache(folder, recipe.key(recipe.build_dataset()))


def test_a_stored_sample_is_what_training_sees_without_a_cache(camvid, tmp_path):
    dataset = camvid['train']
    dataset['pipeline'] = [t for t in dataset['pipeline'] if t['type'] != 'RandomFlip']
    recipe = recipe_of(dataset, dtype='float32')
    fill(tmp_path / 'cache', recipe)
    cache, source = open_cache(tmp_path / 'cache', recipe), recipe.build_dataset()
    model = build_tiny()
    assert len(cache) == 2
    for index in range(2):
        embedding, sample = uncached_step(model, source, index, training=True)
        assert torch.equal(cache[index].features['embedding'], embedding)
        assert torch.equal(cache[index].labels.long(), sample.gt_sem_seg.data)
        assert cache[index].labels.shape == (1, 96, 96)
        assert (cache[index].labels[:, 72:] == 255).all()  # padding
        assert cache[index].metainfo == sample.metainfo
        assert cache[index].metainfo['padding_size'] == (0, 0, 0, 24)


def test_a_stored_sample_is_what_testing_sees_without_a_cache(camvid, tmp_path):
    recipe = recipe_of(camvid['val'], dtype='float32', test_mode=True)
    fill(tmp_path / 'cache', recipe)
    stored = open_cache(tmp_path / 'cache', recipe)[1]
    embedding, sample = uncached_step(build_tiny(), recipe.build_dataset(), 1, training=False)
    assert torch.equal(stored.features['embedding'], embedding)
    assert torch.equal(stored.labels.long(), sample.gt_sem_seg.data)
    assert stored.labels.shape == (1, 36, 48)  # neither resized nor padded
    assert stored.metainfo == sample.metainfo
    assert stored.metainfo['img_padding_size'] == (0, 0, 0, 24)


@pytest.mark.parametrize(('name', 'epsilon'), [('float16', 2**-11), ('bfloat16', 2**-8)])
def test_types_on_disk(tmp_path, name, epsilon):
    fill(tmp_path / 'exact', recipe_of(shapes(1), dtype='float32'))
    fill(tmp_path / name, recipe_of(shapes(1), dtype=name))
    exact = load_file(tmp_path / 'exact' / '000000.safetensors')
    rounded = load_file(tmp_path / name / '000000.safetensors')
    assert exact['0.embedding'].dtype == torch.float32
    assert rounded['0.embedding'].dtype == getattr(torch, name)
    assert rounded['0.embedding'].shape == (96, 12, 12)
    assert rounded['0.labels'].dtype == torch.uint8
    difference = (rounded['0.embedding'].float() - exact['0.embedding']).abs()
    assert (difference <= epsilon * exact['0.embedding'].abs() + 1e-7).all()
    assert difference.max() > 0


def test_ids_above_255_are_kept(tmp_path):
    class Wide(Embedder):
        def __call__(self, packed):
            packed['data_samples'].gt_sem_seg.data[0, 0, :2] = torch.tensor([300, 65535])
            return super().__call__(packed)

    recipe = recipe_of(shapes(1))
    sample = Wide(recipe)(recipe.build_dataset()[0])
    assert sample.labels.dtype == torch.int32
    assert sample.labels[0, 0, :2].tolist() == [300, 65535]
    assert sample.nbytes == 96 * 12 * 12 * 2 + 96 * 96 * 4


def test_index_says_how_it_was_made(tmp_path):
    recipe = recipe_of(shapes(17), seed=3)
    fill(tmp_path, recipe)
    index = json.loads((tmp_path / 'index.json').read_text())
    key = index['key']
    assert (index['format'], index['samples'], len(index['sizes'])) == (3, 17, 2)
    assert key['encoder'] == dict(
        type='SAMImageEncoder',
        variant='tiny',
        weights=dict(image_encoder=fingerprint_of(WEIGHTS)),
    )
    assert (key['views'], key['seed'], key['dtype'], key['test_mode']) == (1, 3, 'float16', False)
    assert key['source']['samples'] == 17
    assert key['source']['classes'][0] == 'ball'
    assert key['dataset']['pipeline'][1] == dict(type='LoadAnnotations')
    sizes = {file.name: file.stat().st_size for file in tmp_path.glob('*.safetensors')}
    assert index['sizes'] == [sizes[name] for name in sorted(sizes)]
    assert open_cache(tmp_path, recipe).metainfo == recipe.build_dataset().metainfo


def test_fingerprint_is_that_of_the_encoder_that_runs():
    encoder = build_tiny().backbone.model
    assert fingerprint_of(WEIGHTS) == fingerprint_tensors(encoder.state_dict())
    with torch.no_grad():
        encoder.neck[0].weight[0, 0] += 1e-6
    assert fingerprint_of(WEIGHTS) != fingerprint_tensors(encoder.state_dict())


def test_views_differ_and_a_seed_repeats_them(tmp_path):
    recipe = recipe_of(shapes(2, LOAD + RANDOM + PACK), views=3)
    fill(tmp_path / 'a', recipe)
    fill(tmp_path / 'again', recipe)
    fill(tmp_path / 'other', replace(recipe, seed=1))
    cache = open_cache(tmp_path / 'a', recipe)
    embeddings = torch.stack([cache[number].features['embedding'] for number in range(6)]).flatten(
        1
    )
    assert len(embeddings.unique(dim=0)) == 6
    paths = [cache[number].metainfo['img_path'] for number in range(6)]
    assert paths[:3] == [paths[0]] * 3 and paths[3:] == [paths[3]] * 3 and paths[0] != paths[3]
    assert contents(tmp_path / 'a') == contents(tmp_path / 'again')
    tensors = [tmp_path / name / '000000.safetensors' for name in ('a', 'other')]
    assert tensors[0].read_bytes() != tensors[1].read_bytes()


def test_random_draws_do_not_depend_on_order_or_process():
    dataset = recipe_of(shapes(2, LOAD + RANDOM + PACK)).build_dataset()
    views = SourceViews(dataset, 2, seed=0)
    forwards = [views[number]['inputs'] for number in range(4)]
    backwards = [views[number]['inputs'] for number in reversed(range(4))][::-1]
    loader = torch.utils.data.DataLoader(views, batch_size=None, num_workers=2)
    workers = [sample['inputs'] for sample in loader]
    for one, two, three in zip(forwards, backwards, workers):
        assert torch.equal(one, two) and torch.equal(one, three)


def test_the_same_files_whatever_the_number_of_ranks(tmp_path):
    recipe = recipe_of(shapes(17, LOAD + RANDOM + PACK), views=2)  # 34 samples
    assert fill(tmp_path / 'one', recipe) == [34]
    assert fill(tmp_path / 'three', recipe, world_size=3) == [16, 16, 2]
    assert fill(tmp_path / 'five', recipe, world_size=5) == [16, 16, 2, 0, 0]
    one = contents(tmp_path / 'one')
    assert sorted(one) == [
        *('000000.safetensors', '000001.safetensors', '000002.safetensors', 'index.json'),
    ]
    assert contents(tmp_path / 'three') == one
    assert contents(tmp_path / 'five') == one


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A cache of three shards, and its recipe."""
    recipe = recipe_of(shapes(2 * SHARD_SIZE + 3))
    folder = tmp_path_factory.mktemp('whole') / 'cache'
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert fill(folder, recipe) == [2 * SHARD_SIZE + 3]
    return folder, recipe


@pytest.fixture
def made(whole, tmp_path):
    """A copy of it for each test, with its recipe and its files."""
    folder = shutil.copytree(whole[0], tmp_path / 'cache')
    return folder, whole[1], contents(folder)


def flip_bit(file: Path) -> None:
    """In the last byte, which is one of a tensor."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def test_writing_to_a_sample_does_not_change_the_cache(made):
    folder, recipe, files = made
    cache = open_cache(folder, recipe)
    before = cache[0].features['embedding'].clone()
    cache[0].features['embedding'].add_(1)
    cache[0].labels.fill_(0)
    assert torch.equal(cache[0].features['embedding'], before)
    assert cache[0].labels.max() > 0
    assert contents(folder) == files


def test_what_is_complete_is_not_computed_again(made):
    folder, recipe, files = made
    assert fill(folder, recipe) == [0]
    assert contents(folder) == files


def test_two_ways_in_one_folder_at_once_make_no_cache(tmp_path):
    """Both have begun before either had written anything."""
    recipe = recipe_of(shapes(SHARD_SIZE + 1))
    other = replace(recipe, seed=7)
    dataset, embed = recipe.build_dataset(), Embedder(recipe)
    for rank, own in enumerate((recipe, other)):
        views = SourceViews(dataset, 1, own.seed)
        fill_cache(tmp_path, own.key(dataset), views, embed, rank=rank, world_size=2)
    for own, wrong in ((recipe, '000001'), (other, '000000')):
        message = (
            rf"{wrong}\.safetensors', key\.seed: expected {own.seed}, found .*another cache_dir"
        )
        with pytest.raises(CacheError, match=message):
            finish_cache(tmp_path, own.key(dataset), dataset.metainfo, len(dataset))
    assert not (tmp_path / 'index.json').exists()


def test_an_index_is_not_written_for_half_a_cache(made):
    folder, recipe, _ = made
    (folder / 'index.json').unlink()
    (folder / '000002.safetensors').unlink()
    with pytest.raises(
        CacheError, match=r"000002\.safetensors' is damaged: expected .* no such file"
    ):
        finish_cache(folder, recipe.key(recipe.build_dataset()), {}, 2 * SHARD_SIZE + 3)
    assert not (folder / 'index.json').exists()


@pytest.mark.parametrize('damage', [flip_bit, truncate, Path.unlink])
def test_resuming_computes_what_is_damaged_or_missing(made, damage):
    folder, recipe, files = made
    (folder / 'index.json').unlink()
    damage(folder / '000001.safetensors')
    (folder / '000002.safetensors').unlink()
    # Killed while writing, long ago and on another machine.
    half = folder / f'000002.safetensors.elsewhere.1.{"0" * 32}.tmp'
    half.write_bytes(b'{')
    os.utime(half, (0, 0))
    assert fill(folder, recipe) == [SHARD_SIZE + 3]
    assert contents(folder) == files


def test_half_a_cache_is_none(made):
    folder, recipe, _ = made
    (folder / 'index.json').unlink()
    with pytest.raises(
        CacheError, match=r"no embedding cache in '.*cache'.*`mmseg-ssprompt cache CONFIG`"
    ):
        open_cache(folder, recipe)


def test_a_cut_or_missing_shard_is_refused_by_name(made):
    folder, recipe, _ = made
    size = (folder / '000001.safetensors').stat().st_size
    truncate(folder / '000001.safetensors')
    message = rf"000001\.safetensors' is damaged: expected {size} bytes, found {size - 100} bytes"
    with pytest.raises(CacheError, match=message):
        open_cache(folder, recipe)
    (folder / '000001.safetensors').unlink()
    with pytest.raises(CacheError, match=r"000001\.safetensors' is damaged: .*no such file"):
        open_cache(folder, recipe)


def test_a_flipped_bit_is_refused_by_name(made):
    folder, recipe, _ = made
    flip_bit(folder / '000000.safetensors')  # of the labels of one sample
    cache = open_cache(folder, recipe)
    damaged = [number for number in range(len(cache)) if not is_readable(cache, number)]
    assert len(damaged) == 1 and damaged[0] < SHARD_SIZE
    with pytest.raises(CacheError, match=r"000000\.safetensors' is damaged: expected the CRC-32"):
        cache[damaged[0]]


def is_readable(cache, number):
    try:
        cache[number]
    except CacheError:
        return False
    return True


def alter_header(file: Path, alter: Callable[[Dict[str, Any]], Any]) -> None:
    """Write a shard again, with another description of its samples."""
    with safe_open(file, framework='pt') as shard:
        header = json.loads(shard.metadata()['shard'])
    alter(header)
    write_header(file, dict(shard=json.dumps(header, sort_keys=True)))


def write_header(file: Path, metadata: Optional[Dict[str, str]]) -> None:
    content = save(load_file(file), metadata)
    file.unlink()  # what has mapped it keeps what was there
    file.write_bytes(content)


def alter_key(entries):
    entries['key']['views'] = 7


def alter_metainfo(entries):
    entries['samples'][1]['metainfo']['img_shape'] = dict(__tuple__=[96, 69])


def test_altered_metainfo_is_refused_by_name(made):
    folder, recipe, _ = made
    alter_header(folder / '000002.safetensors', alter_metainfo)
    cache = open_cache(folder, recipe)
    for other in (0, 2 * SHARD_SIZE, 2 * SHARD_SIZE + 2):
        assert cache[other].features['embedding'].shape == (96, 12, 12)
    message = r"000002\.safetensors' is damaged: expected the CRC-32 \d+ of sample 1, found"
    with pytest.raises(CacheError, match=message):
        cache[2 * SHARD_SIZE + 1]


def test_altered_metainfo_is_computed_again(made):
    """It is not taken for what was written, although it is the description of a shard."""
    folder, recipe, files = made
    alter_header(folder / '000001.safetensors', alter_metainfo)
    assert fill(folder, recipe) == [SHARD_SIZE]
    assert contents(folder) == files


def test_a_shard_of_another_key_is_refused_by_name(made):
    folder, recipe, _ = made
    alter_header(folder / '000001.safetensors', alter_key)
    cache = open_cache(folder, recipe)
    assert cache[0].features['embedding'].shape == (96, 12, 12)
    message = r"000001\.safetensors' is damaged: expected a shard of this cache, found one made"
    with pytest.raises(CacheError, match=message):
        cache[SHARD_SIZE]
    with pytest.raises(CacheError, match=r"000001\.safetensors', key\.views: expected 1, found 7"):
        fill(folder, recipe)


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'\xff', b'[' * 10**5, b'\xff' * 99])
def test_broken_shards_are_computed_again(made, content):
    folder, recipe, files = made
    (folder / '000001.safetensors').write_bytes(content)
    assert fill(folder, recipe) == [SHARD_SIZE]
    assert contents(folder) == files


@pytest.mark.parametrize('text', ['', '{', '[]', '7', '[' * 10**5, '{"samples": 1}'])
def test_broken_headers_are_computed_again(made, text):
    folder, recipe, files = made
    write_header(folder / '000001.safetensors', dict(shard=text))
    assert fill(folder, recipe) == [SHARD_SIZE]
    assert contents(folder) == files


def test_a_file_of_tensors_that_is_no_shard_is_computed_again(made):
    folder, recipe, files = made
    write_header(folder / '000001.safetensors', None)
    assert fill(folder, recipe) == [SHARD_SIZE]
    assert contents(folder) == files


def alter_and_sign(folder: Path, alter: Callable[[Dict[str, Any]], Any]) -> None:
    """Alter the header of the first shard, its checksum and what the index says of it."""
    file = folder / '000000.safetensors'
    tensors = load_file(file)

    def sign(entries: Dict[str, Any]) -> None:
        alter(entries)
        sample = entries['samples'][0] if entries.get('samples') else None
        if isinstance(sample, dict) and type(sample.get('crc32')) is int:
            record = {name: value for name, value in sample.items() if name != 'crc32'}
            names = record.get('tensors')
            names = names if isinstance(names, list) else ()
            named = {name: tensors[f'0.{name}'] for name in names if f'0.{name}' in tensors}
            sample['crc32'] = _checksum(named, record)

    alter_header(file, sign)
    index = json.loads((folder / 'index.json').read_text())
    index['sizes'][0] = file.stat().st_size
    (folder / 'index.json').write_text(json.dumps(index))


def without(name):
    return lambda entries: entries.pop(name)


def with_sample(**changes):
    return lambda entries: entries['samples'][0].update(changes)


@pytest.mark.parametrize(
    'alter',
    [
        *map(without, ('key', 'samples')),
        lambda entries: entries.update(samples=[1]),
        lambda entries: entries.update(samples=[]),
        lambda entries: entries['samples'][0].pop('crc32'),
        with_sample(metainfo=5),
        with_sample(tensors=5),
        with_sample(tensors=['embedding', 'others']),
        with_sample(tensors=[3]),
        with_sample(crc32='3'),
        lambda entries: entries['samples'][0].pop('metainfo'),
        lambda entries: entries['samples'][0].pop('tensors'),
        lambda entries: entries['samples'][0].pop('files'),
        with_sample(metainfo=dict(__tuple__=5)),
        with_sample(metainfo=dict(__items__=[[1]])),
        with_sample(metainfo=dict(__items__=[[[1], 2]])),
    ],
)
def test_headers_of_a_stranger_are_refused_by_name(made, alter):
    """With checksums and sizes that fit."""
    folder, recipe, _ = made
    alter_and_sign(folder, alter)
    with pytest.raises(CacheError, match=r"000000\.safetensors' is damaged: expected .*, found "):
        open_cache(folder, recipe)[0]


def test_what_is_signed_again_is_read(made):
    """Else the test above would only show that the checksum does not fit."""
    folder, recipe, _ = made
    alter_and_sign(folder, with_sample(metainfo=dict(img_path='another.png')))
    assert open_cache(folder, recipe)[0].metainfo == dict(img_path='another.png')


@pytest.mark.parametrize(
    'changes',
    [
        dict(samples=-5, sizes=[]),
        dict(samples='3'),
        dict(sizes=[1]),
        dict(sizes=['1', '2', '3']),
        dict(metainfo=dict(__tuple__=5)),
        dict(metainfo=dict(__items__=[[[1], 2]])),
    ],
)
def test_an_index_of_a_stranger_is_refused_by_name(made, changes):
    folder, recipe, _ = made
    index = json.loads((folder / 'index.json').read_text())
    (folder / 'index.json').write_text(json.dumps(dict(index, **changes)))
    with pytest.raises(CacheError, match=r"index\.json'"):
        open_cache(folder, recipe)


def replace_image(file: Path, keep_size: bool) -> None:
    """By another of the same name and time, and of the same number of bytes if possible."""
    state = file.stat()
    content = bytearray(file.read_bytes())
    if keep_size:
        content[len(content) // 2] ^= 1
    else:
        content += b'\0'
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.fixture
def bitmaps(tmp_path):
    """A recipe of 18 images without compression, which can be altered in place."""
    folder = tmp_path / 'data'
    for index in range(SHARD_SIZE + 2):
        picture = np.full((6, 8, 3), index, np.uint8)
        write_pair(
            folder, f'images/{index:02d}.bmp', f'labels/{index:02d}.png', picture, picture[..., 0]
        )
    source = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.bmp',
        metainfo=dict(classes=[str(i) for i in range(20)]),
        pipeline=LOAD + PACK,
    )
    return recipe_of(source, views=2), folder


def test_files_are_compared_only_of_shards_that_are_there(tmp_path):
    """Else all images would be read twice."""
    asked = []
    views = [
        EmbeddedSample(dict(embedding=torch.zeros(1, 1, 1)), None, {})
        for _ in range(SHARD_SIZE + 1)
    ]

    def fill_and_note():
        asked.clear()
        fill_cache(tmp_path, {}, views, lambda sample: sample, files=asked.append)
        return asked

    assert fill_and_note() == list(range(SHARD_SIZE + 1))
    (tmp_path / '000000.safetensors').unlink()
    assert sorted(fill_and_note()) == list(range(SHARD_SIZE + 1))


@pytest.mark.parametrize('keep_size', [True, False])
@pytest.mark.parametrize('file', ['images/17.bmp', 'labels/17.png'])
def test_the_tool_finds_files_that_were_replaced(bitmaps, tmp_path, file, keep_size):
    recipe, data = bitmaps
    folder = tmp_path / 'cache'
    assert fill(folder, recipe) == [2 * (SHARD_SIZE + 2)]
    assert fill(folder, recipe) == [0]
    before = contents(folder)
    if keep_size and file.endswith('png'):
        write_pair(data, 'unused.bmp', file, *np.zeros((2, 6, 8), np.uint8))
    else:
        replace_image(data / file, keep_size)
    assert fill(folder, recipe) == [4]  # two images in the last shard, two views of each
    after = contents(folder)
    changed = {name for name, content in after.items() if before[name] != content}
    assert {'000002.safetensors'} <= changed <= {'000002.safetensors', 'index.json'}


def test_training_finds_files_of_another_size(bitmaps, tmp_path):
    recipe, data = bitmaps
    fill(tmp_path / 'cache', recipe)
    dataset = DATASETS.build(as_dataset(tmp_path / 'cache', recipe))
    replace_image(data / 'images' / '03.bmp', keep_size=True)
    dataset[3]  # the documented limit
    replace_image(data / 'images' / '03.bmp', keep_size=False)
    size = (data / 'images' / '03.bmp').stat().st_size
    message = rf"03\.bmp' is not the file .* expected {size - 1} bytes, found {size}\. Run"
    with pytest.raises(CacheError, match=message):
        dataset[3]
    dataset[4]
    (data / 'images').rename(data / 'gone')
    dataset[3]  # there is nothing to compare


def test_records_have_the_identity_of_files(bitmaps, tmp_path):
    recipe, data = bitmaps
    fill(tmp_path / 'cache', recipe)
    files = open_cache(tmp_path / 'cache', recipe)[2 * 5 + 1].files
    assert set(files) == {'img_path', 'seg_map_path'}
    content = (data / 'images' / '05.bmp').read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert files['img_path'] == dict(bytes=len(content), sha256=sha256)


@pytest.mark.parametrize('content', ['', '{"key": 1}', '[]', '\x00', '7', '[' * 10**5])
def test_a_broken_index_is_refused_by_name(made, content):
    folder, recipe, _ = made
    (folder / 'index.json').write_text(content)
    with pytest.raises(CacheError, match=r"index\.json'"):
        open_cache(folder, recipe)


def other_weights(folder: Path) -> str:
    """sam-tiny with one weight changed a little."""
    tensors = {k: v.clone() for k, v in read_checkpoint(WEIGHTS).items()}
    tensors['image_encoder.neck.0.weight'][0, 0] += 1e-4
    save_file(tensors, folder / 'other.safetensors')
    return str(folder / 'other.safetensors')


MISMATCHES = dict(
    pipeline=(
        dict(dataset=shapes(3, [*LOAD, dict(type='RandomFlip', prob=0.5), *PACK])),
        r'key\.dataset\.pipeline: expected \[.*RandomFlip.*\], found \[',
    ),
    argument=(
        dict(dataset=shapes(3, [dict(LOAD[0], to_float32=True), LOAD[1], *PACK])),
        r'key\.dataset\.pipeline\[0\]\.to_float32: expected True, found nothing',
    ),
    files=(dict(dataset=shapes(4)), r'key\.dataset\.num_images: expected 4, found 3'),
    classes=(
        dict(dataset=shapes(3, metainfo=dict(classes=('ball', 'sky')))),
        r"key\.dataset\.metainfo: expected \{'classes': \['ball', 'sky'\]\}, found nothing",
    ),
    views=(dict(views=2), r'key\.views: expected 2, found 1'),
    seed=(dict(seed=5), r'key\.seed: expected 5, found 0'),
    dtype=(dict(dtype='float32'), r"key\.dtype: expected 'float32', found 'float16'"),
    test_mode=(dict(test_mode=True), r'key\.test_mode: expected True, found False'),
)


@pytest.mark.parametrize('name', MISMATCHES)
def test_a_cache_made_in_another_way_is_refused(tmp_path, name):
    changes, message = MISMATCHES[name]
    recipe = recipe_of(shapes(3))
    fill(tmp_path, recipe)
    other = replace(recipe, **changes)
    with pytest.raises(
        CacheError, match=rf"index\.json', {message}.*`mmseg-ssprompt cache CONFIG`"
    ):
        open_cache(tmp_path, other)
    before = contents(tmp_path)
    with pytest.raises(CacheError, match=rf"000000\.safetensors', {message}.*Delete the folder"):
        fill(tmp_path, other)
    assert contents(tmp_path) == before


def test_a_cache_of_other_weights_is_refused(tmp_path):
    recipe = recipe_of(shapes(1))
    fill(tmp_path / 'cache', recipe)
    other = replace(recipe, encoder=dict(recipe.encoder, checkpoint=other_weights(tmp_path)))
    expected = fingerprint_of(other.encoder['checkpoint'])
    found = fingerprint_of(WEIGHTS)
    message = rf"key\.encoder\.weights\.image_encoder: expected '{expected}', found '{found}'"
    with pytest.raises(CacheError, match=message):
        open_cache(tmp_path / 'cache', other)


def test_a_cache_of_another_preprocessor_is_refused(tmp_path):
    recipe = recipe_of(shapes(1))
    fill(tmp_path, recipe)
    other = dict(recipe.data_preprocessor, mean=[120.0, 116.28, 103.53])
    with pytest.raises(CacheError, match=r'data_preprocessor\.mean\[0\]: expected 120\.0, found 1'):
        open_cache(tmp_path, replace(recipe, data_preprocessor=other))


def test_another_place_is_no_mismatch_but_another_file_is(camvid, tmp_path, monkeypatch):
    recipe = recipe_of(camvid['train'])
    fill(tmp_path / 'cache', recipe)
    moved = replace(recipe, dataset=dict(camvid['train'], data_root=str(tmp_path / 'moved')))
    (tmp_path / 'data' / 'photographs').rename(tmp_path / 'moved')
    assert len(open_cache(tmp_path / 'cache', moved)) == 2
    for kind in ('img_dir', 'ann_dir'):
        folder = tmp_path / 'moved' / kind / 'train'
        (folder / '1.png').rename(folder / '7.png')
    with pytest.raises(CacheError, match=r"key\.source\.files: expected '\w+', found '\w+'"):
        open_cache(tmp_path / 'cache', moved)


def test_random_weights_are_not_cached():
    recipe = recipe_of(shapes(1))
    recipe = replace(recipe, encoder=dict(recipe.encoder, checkpoint=None))
    with pytest.raises(CacheError, match=r'encoder\.checkpoint: expected the file'):
        recipe.key()


@pytest.mark.parametrize('options', [dict(views=0), dict(views=True), dict(dtype='float8')])
def test_impossible_recipes(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))} must be'):
        recipe_of(shapes(1), **options)


def test_what_would_be_drawn_after_the_pipeline_is_refused():
    recipe = recipe_of(shapes(1))
    augments = dict(recipe.data_preprocessor, batch_augments=[dict(type='RandomFlip')])
    with pytest.raises(ValueError, match=r'batch_augments: expected none, found .*RandomFlip'):
        replace(recipe, data_preprocessor=augments)


def test_there_is_no_place_for_augmentation_after_the_cache(made):
    folder, recipe, _ = made
    with pytest.raises(TypeError, match="unexpected keyword argument 'pipeline'"):
        DATASETS.build(as_dataset(folder, recipe, pipeline=RANDOM))


def test_full_disk(tmp_path):
    """Nothing with the shard's name is left, and the error says what was needed."""
    recipe = recipe_of(shapes(2))
    dataset = recipe.build_dataset()
    key, views, embed = recipe.key(dataset), SourceViews(dataset, 1, 0), Embedder(recipe)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CacheError, match=r"000000\.safetensors': expected room for 7\d,\d+ "):
            fill_cache(tmp_path / 'cache', key, views, embed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / 'cache').iterdir()) == []


def test_infinite_embeddings_are_refused_by_name(monkeypatch):
    recipe = recipe_of(shapes(1))
    embed = Embedder(recipe)

    def encode(images):
        return ImageFeatures((), None, images.new_full((1, 96, 12, 12), 7e4))

    monkeypatch.setattr(embed.encoder, 'forward', encode)
    with pytest.raises(CacheError, match=r"shapes://.*finite in torch\.float16.*dtype='float32'"):
        embed(recipe.build_dataset()[0])


def test_annotations_that_a_cache_has_no_place_for():
    recipe = recipe_of(shapes(1))
    packed = recipe.build_dataset()[0]
    packed['data_samples'].gt_edge_map = packed['data_samples'].gt_sem_seg.clone()
    with pytest.raises(CacheError, match=r"no other annotations .* found \['gt_edge_map'\]"):
        Embedder(recipe)(packed)


def test_images_without_labels(tmp_path):
    recipe = recipe_of(shapes(1, [LOAD[0], *PACK]), test_mode=True)
    fill(tmp_path, recipe)
    sample = open_cache(tmp_path, recipe)[0]
    assert sample.labels is None
    assert isinstance(sample, EmbeddedSample) and sample.nbytes == 96 * 12 * 12 * 2
    data = DATASETS.build(dict(vars(recipe), type='EmbeddedDataset', cache_dir=str(tmp_path)))[0]
    assert 'gt_sem_seg' not in data['data_samples']


def test_metainfo_round_trip():
    value = dict(
        shape=torch.Size([3, 4]),
        label_map={0: 255, 1: 0},
        nested=[(1, (2.5, None)), {'a': True}, 'text'],
        empty=((), [], {}),
        like_ours={'__tuple__': [1], 'a': {'__items__': 3}},
        ours={'__tuple__': 5},
    )
    back = from_json(json.loads(json.dumps(to_json(value))))
    assert back == dict(value, shape=(3, 4))
    assert type(back['shape']) is tuple
    with pytest.raises(ValueError, match=r'metainfo\.a\[1\]: .*found a Tensor'):
        to_json(dict(a=[1, torch.zeros(1)]))


def test_metainfo_that_has_no_place_in_a_cache(tmp_path):
    sample = EmbeddedSample(dict(embedding=torch.zeros(1, 1, 1)), None, dict(a=torch.zeros(1)))
    message = r'meta_keys of PackSegInputs\)\.a: expected plain values .*found a Tensor'
    with pytest.raises(ValueError, match=message):
        fill_cache(tmp_path, {}, [sample], lambda each: each)
    assert list(tmp_path.iterdir()) == []
