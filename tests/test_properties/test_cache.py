"""Whatever is stored in a cache comes back, and every sample of a data set is in it once."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import example_counts
from mmseg_ssprompt.cache import (
    EmbeddedSample,
    EmbeddingCache,
    SourceViews,
    fill_cache,
    finish_cache,
)
from mmseg_ssprompt.cache.embedding_cache import missing_samples
from mmseg_ssprompt.plain import from_json, to_json

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(['__tuple__', '__items__']),
)
KEYS = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner), max_leaves=3)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=12,
)
METAINFO = st.dictionaries(st.text(max_size=6), PLAIN, max_size=4)


def types_of(value):
    """Nested types, which ``==`` does not tell apart for 1, 1.0 and True."""
    if isinstance(value, dict):
        return {key: (type(key), types_of(entry)) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [types_of(entry) for entry in value]
    return type(value)


@settings(max_examples=example_counts.count(200))
@given(value=PLAIN)
def test_plain_values_come_back(value):
    found = from_json(json.loads(json.dumps(to_json(value), sort_keys=True)))
    assert found == value
    assert types_of(found) == types_of(value)


@settings(max_examples=example_counts.count(200))
@given(
    value=st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(['a', '__tuple__', '__items__']), inner, min_size=1, max_size=2
            ),
        ),
        max_leaves=8,
    )
)
def test_what_nobody_wrote_is_read_or_refused(value):
    try:
        found = from_json(value)
    except ValueError:
        return
    assert from_json(json.loads(json.dumps(to_json(found)))) == found


@st.composite
def samples(draw):
    """As an embedder makes them, of all sizes and types that a cache has."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)))
    others = draw(st.sets(st.sampled_from(['companion', 'level_0', 'level_1'])))
    names = ['embedding', *sorted(others)]
    features = {name: (torch.randn(size, generator=generator) * 100).to(dtype) for name in names}
    labels = None
    if draw(st.booleans()):
        shape = (1, draw(st.sampled_from([1, 2, 33])), draw(st.sampled_from([1, 7, 500])))
        highest, kind = draw(st.sampled_from([(255, torch.uint8), (70_000, torch.int32)]))
        labels = torch.randint(highest + 1, shape, generator=generator).to(kind)
    segments = infos = None
    if draw(st.booleans()):
        segments = torch.randint(3, (1, 5, 7), generator=generator).to(torch.uint8)
        infos = [dict(id=index, category_id=-1, iscrowd=0, area=9) for index in range(2)]
    return EmbeddedSample(features, labels, draw(METAINFO), None, segments, infos)


@given(made=st.lists(samples(), min_size=1, max_size=3), metainfo=METAINFO)
def test_samples_come_back_to_the_bit(made, metainfo):
    with tempfile.TemporaryDirectory() as name:
        folder, key = Path(name) / 'cache', dict(made_by='a test')
        fill_cache(folder, key, made, lambda sample: sample)
        finish_cache(folder, key, metainfo, len(made))
        cache = EmbeddingCache(folder, key)
        assert len(cache) == len(made)
        assert cache.metainfo == metainfo
        for number, sample in enumerate(made):
            found = cache[number]
            assert set(found.features) == set(sample.features)
            for name, tensor in sample.features.items():
                assert found.features[name].dtype == tensor.dtype
                assert torch.equal(found.features[name], tensor)
            assert (found.labels is None) == (sample.labels is None)
            if sample.labels is not None:
                assert found.labels.dtype == sample.labels.dtype
                assert torch.equal(found.labels, sample.labels)
            assert (found.segments is None) == (sample.segments is None)
            if sample.segments is not None:
                assert torch.equal(found.segments, sample.segments)
            assert found.segments_info == sample.segments_info
            assert found.metainfo == sample.metainfo
            assert found.nbytes == sample.nbytes


@given(count=st.integers(1, 70), ranks=st.integers(1, 6), lost=st.sets(st.integers(0, 4)))
@settings(max_examples=example_counts.count(15))
def test_ranks_share_all_samples_and_compute_what_is_lost(count, ranks, lost):
    """Each sample once, in its place, however many ranks there are and whatever is missing."""

    def fill(own_ranks):
        done = []

        def embed(number):
            done.append(number)
            return EmbeddedSample(dict(embedding=torch.full((1, 1, 1), float(number))), None, {})

        for rank in range(own_ranks):
            fill_cache(folder, {}, range(count), embed, rank=rank, world_size=own_ranks)
        finish_cache(folder, {}, {}, count)
        return sorted(done)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert fill(ranks) == list(range(count))
        for shard in lost:
            for file in folder.glob(f'{shard:06d}.safetensors'):
                file.unlink()
        expected = [number for number in range(count) if number // 16 in lost]
        assert missing_samples(folder, count) == expected
        parts = [missing_samples(folder, count, rank, ranks) for rank in range(ranks)]
        assert sorted(number for part in parts for number in part) == expected
        assert fill(1) == expected
        cache = EmbeddingCache(folder, {})
        assert [cache[n].features['embedding'].item() for n in range(count)] == list(range(count))


@given(images=st.integers(1, 5), views=st.integers(1, 4), seed=st.integers(0, 9))
def test_views_of_an_image_differ_and_are_repeated(images, views, seed):
    class Noise:
        def __len__(self):
            return images

        def __getitem__(self, index):
            return index, torch.rand(()).item()

    source = SourceViews(Noise(), views, seed)
    first = [source[number] for number in range(len(source))]
    assert [index for index, _ in first] == [index for index in range(images) for _ in range(views)]
    assert len({noise for _, noise in first}) == images * views
    assert [source[number] for number in reversed(range(len(source)))] == first[::-1]


@pytest.mark.parametrize('value', [b'a', {1, 2}, torch.zeros(1), object()])
def test_values_that_are_not_plain_are_refused_where_they_are(value):
    with pytest.raises(ValueError, match=r'metainfo\.a\[1\]\.b: expected plain values'):
        to_json(dict(a=[0, dict(b=value)]))
