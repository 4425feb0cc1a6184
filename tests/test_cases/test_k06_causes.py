"""Only errors of reading and decoding are damaged files; others name transform and sample."""

from pathlib import Path
from typing import Any, Dict

import pytest
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS, TRANSFORMS

from mmseg_ssprompt.datasets import (
    DatasetError,
    SeededDataset,
    UnreadableFileError,
    explain_dataset_errors,
)
from mmseg_ssprompt.datasets.checks import read_with
from mmseg_ssprompt.datasets.packed_checks import check_packed
from mmseg_ssprompt.datasets.seeded import PlacedIndex
from mmseg_ssprompt.datasets.survey import Survey, survey_samples
from mmseg_ssprompt.label_ids import LabelIds
from own_photographs import NAMES, make_photographs

IMAGE, LABELS = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
PACK = dict(type='PackSegInputs')
ERRORS = dict(
    os=lambda path: FileNotFoundError(2, 'No such file or directory', 'table.csv'),
    assertion=lambda path: AssertionError('crop_size must be positive'),
    memory=lambda path: MemoryError('Unable to allocate 9 GiB'),
    key=lambda path: KeyError('depth'),
    type=lambda path: TypeError('unsupported operand'),
    value=lambda path: ValueError('bad scale'),
    truncated=lambda path: OSError('image file is truncated'),
)


@TRANSFORMS.register_module()
class Raises(BaseTransform):
    """In the place of a mistake in somebody's transform."""

    def __init__(self, error: str) -> None:
        self.error = error

    def transform(self, results: Dict[str, Any]) -> None:
        raise ERRORS[self.error](results['img_path'])


@TRANSFORMS.register_module()
class RaisingLoader(LoadImageFromFile):
    """A loader of somebody's own, with a mistake."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = error

    def transform(self, results: Dict[str, Any]) -> None:
        raise ERRORS[self.error](results['img_path'])


@TRANSFORMS.register_module()
class FreeLoader(BaseTransform):
    """Derives from no loader of mmcv."""

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        return LoadImageFromFile().transform(results)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')
    with explain_dataset_errors():  # as in our loops and tools
        yield


@pytest.fixture
def root(tmp_path):
    return make_photographs(tmp_path)


def build(root: Path, *pipeline: dict, **options: Any) -> Any:
    return DATASETS.build(
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            data_prefix=dict(img_path='img', seg_map_path='ann'),
            img_suffix='.png',
            metainfo=dict(classes=NAMES),
            pipeline=list(pipeline),
            serialize_data=False,
            **options,
        )
    )


def fails(dataset: Any) -> str:
    """Of a sample that a training reads, with damaged samples allowed."""
    seeded = SeededDataset(dataset, max_damaged=2)
    with pytest.raises(DatasetError) as raised:
        seeded[PlacedIndex(0, 0, 1)]
    assert not isinstance(raised.value, UnreadableFileError)
    message = str(raised.value)
    assert 'damaged' not in message and 'download' not in message
    return message


@pytest.mark.parametrize('error', ['os', 'assertion', 'memory', 'key', 'type', 'value'])
def test_a_transform_that_fails_is_named_with_the_sample(root, error):
    message = fails(build(root, IMAGE, LABELS, dict(type='Raises', error=error), PACK))
    assert 'Raises (pipeline[2]) fails' in message
    assert repr(str(root / 'img' / '1.png')) in message
    assert repr(str(root / 'ann' / '1.png')) in message
    assert type(ERRORS[error]('')).__name__ in message


def test_what_to_do_depends_on_the_error(root):
    def message(error: str) -> str:
        return fails(build(root, IMAGE, dict(type='Raises', error=error)))

    assert "has no entry 'depth': a transform before it has to add it" in message('key')
    assert 'The memory of this machine does not suffice' in message('memory')
    assert 'Look for the mistake in its arguments' in message('type')


@pytest.mark.parametrize('error', ['os', 'assertion', 'memory', 'key', 'type', 'value'])
def test_a_loader_that_fails_although_its_file_is_whole(root, error):
    message = fails(build(root, dict(type='RaisingLoader', error=error), LABELS, PACK))
    assert 'RaisingLoader (pipeline[0]) cannot load image' in message
    assert 'but not because of the file, which can be read' in message


def test_zero_that_is_void_in_the_loader_only(root):
    loader = dict(type='LoadAnnotations', reduce_zero_label=True)
    message = fails(build(root, IMAGE, loader, PACK))
    assert 'LoadAnnotations (pipeline[1]) cannot load label map' in message
    assert 'which can be read (AssertionError: Initialize dataset' in message


def test_arguments_of_a_loader_that_are_wrong(root):
    backend = dict(type='LoadImageFromFile', imdecode_backend='cv3')
    assert 'ValueError: backend: cv3 is not supported' in fails(build(root, backend, PACK))
    storage = dict(type='LoadImageFromFile', backend_args=dict(backend='no_such'))
    assert 'but not because of the file' in fails(build(root, storage, PACK))


@pytest.mark.parametrize('content', [None, b'', b'no picture at all', 'cut'])
@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'RaisingLoader', 'FreeLoader'])
def test_files_that_cannot_be_read_are_damaged(root, content, loader):
    """Whatever the loader raises of them."""
    settings = dict(error='value') if loader == 'RaisingLoader' else {}
    dataset = build(root, dict(type=loader, **settings))
    file = root / 'img' / '1.png'
    whole = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(whole[:60] if content == 'cut' else content)
    if loader == 'FreeLoader' and content not in (None, b''):
        with pytest.raises(DatasetError, match=r'FreeLoader \(pipeline\[0\]\) fails with image'):
            dataset[1]  # nobody knows what it reads
        return
    with pytest.raises(UnreadableFileError, match=r"cannot read image '.*1\.png'"):
        dataset[1]


def test_a_label_map_that_is_cut_off(root):
    file = root / 'ann' / '1.png'
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(UnreadableFileError, match=r"cannot read label map '.*1\.png'"):
        build(root, IMAGE, LABELS)[1]


def test_the_same_where_files_are_looked_at_before(root):
    sample = dict(seg_map_path=str(root / 'ann' / '1.png'), seg_fields=[])
    with pytest.raises(DatasetError, match=r"LoadAnnotations cannot load.*'reduce_zero_label'"):
        read_with(LoadAnnotations(), sample)
    dataset = build(root, dict(type='RaisingLoader', error='assertion'), LABELS)
    with pytest.raises(DatasetError, match='RaisingLoader cannot load image') as raised:
        survey_samples(Survey(NAMES), dataset, LabelIds(2), 10, max_damaged=3)
    assert not isinstance(raised.value, UnreadableFileError)


def test_the_same_in_samples_that_are_packed_before(root):
    dataset = build(root, IMAGE, LABELS, dict(type='Raises', error='truncated'), PACK)
    with pytest.raises(DatasetError, match=r'Raises \(pipeline\[2\]\) fails'):
        check_packed(dataset, LabelIds(2), 'training', True)


def test_functions_and_nested_transforms_have_their_place(root):
    def explode(sample: Any) -> None:
        raise ValueError('no')

    dataset = build(root, IMAGE)
    dataset.pipeline.transforms.append(explode)
    assert 'explode (pipeline[1]) fails' in fails(dataset)
    nested = dict(type='RandomApply', prob=1.0, transforms=[dict(type='Raises', error='type')])
    assert 'Raises (pipeline[1].transforms[0]) fails' in fails(build(root, IMAGE, nested))
