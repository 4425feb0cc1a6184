"""From folders of photographs and labels to what ``fit`` works with: found, checked, divided."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ..datasets.checks import DatasetError, explain_dataset_errors
from ..datasets.sample_checks import SampleChecks, SampleFindings
from ..datasets.survey import REMARKS
from ..files import check_writable, sha256_of
from ..outputs import Inputs, OutputError, check_folder, check_outputs
from ..plain import find_difference
from .annotations import Annotations, Track, read_label_maps
from .coco_labels import read_coco_labels
from .fit_data import FitData, FoundPicture
from .label_files import check_size
from .pairs import LeftOut
from .sources import AnyPath, Source, find_source
from .splits import SHARE, Share, divide_pictures, read_shares

from mmseg.registry import DATASETS, TRANSFORMS  # isort: skip  (after mmseg_ssprompt, which makes it possible)

__all__ = ['find_photographs', 'refuse_other_arguments']

#: What OUT may hold when there is no data.json yet, because a process was killed.
_OWN = ('data', 'arguments.json', 'fit.log')
#: Which remarks of single pictures are said.
_REMARKS = ('orientation', 'dark', 'lossy labels', 'hidden', 'ignored')


def find_photographs(
    images: AnyPath,
    labels: Optional[AnyPath] = None,
    masks: Optional[AnyPath] = None,
    foreground: Optional[str] = None,
    coco: Optional[AnyPath] = None,
    classes: Optional[Union[AnyPath, Sequence[str], Mapping[int, str]]] = None,
    ignore: Optional[Union[str, Sequence[Any]]] = None,
    val: Share = SHARE,
    test: Share = SHARE,
    shots: Optional[int] = None,
    task: str = 'semantic',
    seed: int = 0,
    *,
    out: AnyPath,
    track: Track = lambda items, what, count: iter(items),
) -> FitData:
    """Find photographs and their labels, check each file, and divide them.

    Files that cannot be used are named in ``left_out``, and the others remain. ``OUT/data.json``
    and ``OUT/data`` are written. If they are there already, of the same arguments, and no file
    has changed since, they are read.

    Args:
        images: Folder of the photographs.
        labels: Folder of label maps; with a panoptic ``coco`` of its pictures.
        masks: Folder of masks of one class, of 0 and 255 or 0 and 1, in place of ``labels``.
        foreground: The name of that class.
        coco: JSON file of objects in COCO's format, or of panoptic segments with ``labels``.
            Semantic label maps are made of objects: the smaller lies on top.
        classes: Names in the order of the ids in label maps, or names by id; a text with commas
            between names or entries ``ID=NAME``, or a text file with one a line. With ``coco``
            some names of its categories. Defaults to None: those of ``coco``; without it the ids
            in the label maps are said in the error.
        ignore: Ids in label maps whose pixels do not count, besides 255; with ``coco`` names of
            categories, or 'background' for what no object covers. Defaults to None.
        val: Share of the pictures for validation, or a folder with them below ``images``. With few
            pictures a cross-validation takes the place of the share. Defaults to 0.2.
        test: As ``val``, for the test. Defaults to 0.2.
        shots: How many training pictures are drawn for each class. Defaults to None: all remain.
        task: 'semantic', 'instance' or 'panoptic'.
        seed: Of all draws.
        out: Folder that is written; new, empty or of an earlier call.
        track: Goes through items and shows progress: ``track(items, what, count)``. Defaults to one
            that says nothing.

    Returns:
        What was found.

    Raises:
        DatasetError: If arguments do not fit together, or there are fewer than two pictures with
            labels, a class has no pixels, or more pictures are wrong than right; with what was
            found and what to do.
        OutputError: If ``out`` meets what is read, or holds other files.
    """
    out = Path(os.path.abspath(Path(out).expanduser()))
    source = find_source(images, labels, masks, foreground, coco, classes, ignore, task)
    shares = read_shares(val, test)
    _check_numbers(shots, seed)
    plain = {
        part: os.path.abspath(Path(share).expanduser()) if isinstance(share, str) else share
        for part, share in shares.items()
    }
    arguments = dict(source.arguments(), **plain, shots=shots, task=task, seed=seed)
    _check_out(out, source, arguments)
    files = source.list_files()
    stamp = _stamp(files)
    known = FitData.read(out) if (out / 'data.json').is_file() else None
    if known is not None and known.stamp == stamp and _is_complete(known):
        return known
    is_new = not out.exists()
    check_writable(out)
    try:
        read = read_label_maps if source.coco is None else read_coco_labels
        annotations = read(source, out, track)
        data = _survey(source, annotations, out, track)
        data.arguments, data.stamp = arguments, stamp
        divide_pictures(data, shares, shots, seed)
        data.digest = _digest(data)
    except DatasetError:
        if is_new:
            shutil.rmtree(out, ignore_errors=True)
        raise
    if known is not None and known.digest != data.digest:
        raise OutputError(
            f'--out {str(out)!r}: expected the pictures and labels that it was made of, found '
            f'others or changed ones in {source.images}. Give another --out'
        )
    data.write()
    return data


def _check_numbers(shots: Optional[int], seed: int) -> None:
    if shots is not None and (type(shots) is not int or shots < 1):
        raise DatasetError(f'--shots: expected a whole number from 1, found {shots!r}')
    if type(seed) is not int or seed < 0:
        raise DatasetError(f'--seed: expected a whole number from 0, found {seed!r}')


def _check_out(out: Path, source: Source, arguments: Dict[str, Any]) -> None:
    """Refuse a folder that is read, has other files, or is of other arguments."""
    inputs = Inputs(source.files(), source.folders())
    if (out / 'data.json').is_file():
        check_outputs({'--out': out}, inputs, ['--out'], overwrite=True)
        refuse_other_arguments(out, FitData.read(out).arguments, arguments)
    else:
        check_folder(out, inputs, _OWN, 'fit')


def refuse_other_arguments(out: Path, known: Dict[str, Any], arguments: Dict[str, Any]) -> None:
    """Refuse a folder that was made with other arguments.

    Args:
        out: The folder.
        known: The arguments that it was made with, by their names.
        arguments: Those of now.

    Raises:
        OutputError: With the first argument that differs, and what to do.
    """
    found = find_difference(known, arguments)
    if found is not None:
        name = re.split(r'[.\[]', found[0])[0].replace('_', '-')
        before, now = (
            f'without --{name}' if each is None else f'with --{name} {each}' for each in found[1:]
        )
        raise OutputError(
            f'--out {str(out)!r} was made {before}, and now it is {now}. Give the same arguments '
            'to go on, or another --out to begin again'
        )


def _stamp(files: Iterable[Path]) -> str:
    """What changes when a file is added, removed or written."""
    rows = []
    for file in files:
        status = file.stat() if file.exists() else None
        rows.append((str(file), status and (status.st_size, status.st_mtime_ns)))
    return hashlib.sha256(repr(sorted(rows)).encode('utf-8', 'surrogateescape')).hexdigest()


def _is_complete(data: FitData) -> bool:
    """Whether the files are there that were made."""
    if not all(data.list_file(name).is_file() for name in data.lists()):
        return False
    made = data.labels is not None and data.out in Path(data.labels).parents
    stems = [os.path.splitext(name)[0] for name in data.names()] if made else []
    if not all(Path(data.labels or '', f'{stem}.png').is_file() for stem in stems):
        return False
    return data.coco is None or Path(data.coco).is_file()


def _survey(source: Source, annotations: Annotations, out: Path, track: Track) -> FitData:
    """Read all pictures with their labels, as training does; those that fit are in the result."""
    data = FitData(
        out=out,
        task=source.task,
        classes=annotations.classes,
        palette=annotations.palette,
        thing_classes=annotations.thing_classes,
        void_classes=annotations.void_classes,
        images=str(source.images),
        labels=None if annotations.labels is None else str(annotations.labels),
        coco=None if annotations.coco is None else str(annotations.coco),
        seg_map_suffix=annotations.suffix,
        label_map=annotations.label_map,
        rest_id=annotations.rest_id,
        notes=list(annotations.notes),
    )
    left_out, names = list(annotations.left_out), []
    for name in annotations.names:
        try:
            check_size(source.images / name)
            names.append(name)
        except DatasetError as error:
            left_out.append(LeftOut(name, str(error)))
    names.sort()
    remarks: Dict[str, List[str]] = {}
    if names:
        pictures = {n: FoundPicture(n, 0, 0, 'train', None, {}, None, 0) for n in names}
        data.pictures = list(pictures.values())
        annotations.select(names)
        data.write_lists()
        for name, findings in _read_all(data, track):
            if findings.errors:
                left_out.append(LeftOut(name, str(findings.errors[0][1])))
                continue
            _note(pictures[name], findings, data.classes)
            for remark in findings.remarks:
                remarks.setdefault(remark, []).append(name)
        data.pictures = [each for each in data.pictures if each.height]
        if len(data.pictures) < len(annotations.names):
            annotations.select(data.names())
    data.left_out = [dict(file=each.file, reason=each.reason) for each in left_out]
    data.notes += [
        f'{len(found)} of {len(data.pictures)} pictures {REMARKS[kind]}; the first is {found[0]!r}'
        for kind, found in remarks.items()
        if kind in _REMARKS
    ]
    _check_enough(data, left_out, annotations)
    total = sum(each.height * each.width for each in data.pictures)
    data.ignored_share = sum(each.ignored for each in data.pictures) / total
    _check_classes(data, annotations)
    return data


def _read_all(data: FitData, track: Track) -> Iterator[Tuple[str, SampleFindings]]:
    """What is found in each picture and its labels, in turn."""
    loaders = (dict(type='LoadImageFromFile'), data.loader())
    pipeline = [TRANSFORMS.build(loader) for loader in loaders]  # in mmseg's scope
    with explain_dataset_errors():
        dataset = DATASETS.build(dict(data.dataset(), pipeline=pipeline, serialize_data=False))
        checks = SampleChecks(dataset, data.label_ids)
        for index in track(range(len(checks)), 'reading pictures and labels', len(checks)):
            path = str(dataset.get_data_info(index)['img_path'])
            yield os.path.relpath(path, data.images).replace(os.sep, '/'), checks[index]


def _note(picture: FoundPicture, findings: SampleFindings, classes: Sequence[str]) -> None:
    """Note in the entry of a picture what was found."""
    assert findings.size is not None and findings.class_pixels is not None
    picture.height, picture.width = findings.size
    picture.pixels = _by_name(classes, findings.class_pixels)
    picture.ignored = findings.ignored
    if findings.class_objects is not None:
        picture.objects = _by_name(classes, findings.class_objects)


def _by_name(classes: Sequence[str], counts: np.ndarray) -> Dict[str, int]:
    return {name: int(count) for name, count in zip(classes, counts.tolist()) if count}


def _check_enough(data: FitData, left_out: Sequence[LeftOut], annotations: Annotations) -> None:
    """Refuse fewer than two pictures, and more that are wrong than right."""
    found = len(data.pictures)
    if found >= 2 and found >= len(left_out):
        return
    listed = '\n'.join(f'  {each.file}: {each.reason}' for each in left_out[:5])
    if len(left_out) > 5:
        listed += f'\n  and {len(left_out) - 5} more'
    text = f'expected at least two pictures with labels in {data.images!r}, found {found}'
    if found >= 2:
        text = (
            f'{found} of {found + len(left_out)} pictures with labels can be used: expected more '
            'than half. Mend the others, or take them away'
        )
    if annotations.unlabelled:
        text += f', besides {len(annotations.unlabelled)} without labels, such as '
        text += repr(annotations.unlabelled[0])
    advice = f'\n{annotations.advice}' if annotations.has_wrong_ids else ''
    raise DatasetError(f'{text}{f":{chr(10)}{listed}" if listed else ""}{advice}')


def _check_classes(data: FitData, annotations: Annotations) -> None:
    """Refuse classes that no pixel has."""
    empty = [name for name, row in data.count().items() if not row['pixels']]
    if empty:
        ids = annotations.ids_of(empty)
        advice = f'\n{annotations.advice}' if annotations.advice else ''
        raise DatasetError(
            f'the classes {ids} have no pixels in {len(data.pictures)} pictures: expected some of '
            f'each. Leave them out of --classes, or label pictures that show them{advice}'
        )


def _digest(data: FitData) -> str:
    """What changes with the content of a file that is used, or a setting; copies are noted."""
    content = dataclasses.asdict(data)
    for key in ('out', 'stamp', 'digest', 'notes', 'left_out', 'arguments'):
        del content[key]
    for key in ('images', 'labels', 'coco'):  # they may be moved
        del content[key]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    dataset = DATASETS.build(dict(data.dataset(), pipeline=[], serialize_data=False))
    records = [dataset.get_data_info(index) for index in range(len(dataset))]
    paths = [record.get(key) for record in records for key in ('img_path', 'seg_map_path')]
    hashes = {path: sha256_of(Path(path)) for path in dict.fromkeys(filter(None, paths))}
    for each in hashes.values():
        digest.update(each.encode())
    pictures = [hashes[record['img_path']] for record in records]
    copies = [name for name, each in zip(data.names(), pictures) if pictures.count(each) > 1]
    if copies:
        data.notes.append(
            f'Pictures of which there is a copy: {len(copies)}, such as {copies[0]!r}. What is '
            'found in the test part is too good if it has copies of training pictures'
        )
    return digest.hexdigest()
