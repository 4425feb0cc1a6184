"""Labels from files in COCO's formats: objects, segments, or label maps made of objects."""

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from ..class_names import normalize_class_name
from ..datasets.checks import DatasetError
from ..datasets.coco_json import CocoFile, find_instance_problem, read_coco_file
from ..datasets.file_checks import find_orientation, open_picture
from ..datasets.segment_maps import VOID, draw_instances
from ..files import write_json
from ..label_ids import resolve_label_ids
from ..segments import IGNORED, NO_CLASS
from .annotations import Annotations, Track, describe_unpaired, write_label_map
from .colours import class_colours
from .label_files import check_size
from .pairs import LeftOut, find_pictures, find_problems
from .sources import Source

__all__ = ['BACKGROUND', 'read_coco_labels']

#: What no object covers, in semantic label maps.
BACKGROUND = 'background'
#: Below this share of all pixels, what no object covers is taken for gaps between objects.
_GAPS = 0.05


class _Entries(NamedTuple):
    """The entries of a file that have a picture, and can be used.

    Attributes:
        images: Entries of ``images`` by names of pictures, sorted.
        unlabelled: Pictures that the file does not list.
        left_out: Pictures that cannot be used.
        notes: Sentences on what was found.
    """

    images: Dict[str, Dict[str, Any]]
    unlabelled: List[str]
    left_out: List[LeftOut]
    notes: List[str]


class _Classes(NamedTuple):
    """What the categories of a file are.

    Attributes:
        names: Of the classes.
        numbers: By ids of categories, the class, ``VOID`` or ``NO_CLASS``.
        has_background: Whether what no object covers is a class; None: as the pixels say.
        left_out: Names of categories without annotations.
    """

    names: List[str]
    numbers: Dict[int, int]
    has_background: Optional[bool]
    left_out: List[str]


def read_coco_labels(source: Source, out: Path, track: Track) -> Annotations:
    """Read a file of annotations; what is made of it goes into ``OUT/data``.

    The file of objects or segments that training reads has those of the pictures that are used.

    Args:
        source: With ``coco``.
        out: The folder OUT.
        track: Shows progress.

    Raises:
        DatasetError: If the file is not in the format of the task, has no picture of those that
            there are, or lacks a class.
    """
    assert source.coco is not None
    file = read_coco_file(str(source.coco))
    if not file.is_labelled or not file.categories:
        what = 'annotations' if file.categories else 'categories'
        raise DatasetError(f'--coco {file.path!r}: expected images with labels, found no {what}')
    if file.is_panoptic != (source.task == 'panoptic'):
        found = "COCO's panoptic format" if file.is_panoptic else "COCO's format of objects"
        advice = (
            'give --task panoptic, and --labels DIR with its pictures'
            if file.is_panoptic
            else 'give --task instance or semantic'
        )
        raise DatasetError(
            f'--coco {file.path!r}: expected a file for --task {source.task}, found {found}: '
            f'{advice}'
        )
    classes = _choose_classes(source, file)
    entries = _find_entries(source, file)
    if classes.left_out:
        names = ', '.join(classes.left_out)
        entries.notes.append(f'Categories without any annotation are no classes: {names}')
    if source.task == 'semantic':
        return _paint(classes, entries, out, track)
    return _keep_objects(source, file, classes, entries, out)


def _choose_classes(source: Source, file: CocoFile) -> _Classes:
    """Which categories are classes; those that nothing was labelled with are left out."""
    names = {number: normalize_class_name(name) for number, name in file.categories.items()}
    found = list(dict.fromkeys(names.values()))
    unknown = [name for name in source.ignored if name not in (*found, BACKGROUND)]
    given = source.classes
    if isinstance(given, dict):
        raise DatasetError(
            f'--classes: expected names of categories, as --coco has them: {found}; found ids'
        )
    unknown += [name for name in given or () if name not in (*found, BACKGROUND)]
    if unknown or (given and set(given) & set(source.ignored)):
        raise DatasetError(
            f'--classes and --ignore: expected different categories of {file.path!r}, which are '
            f'{found}, found {unknown or sorted(set(given or ()) & set(source.ignored))}'
        )
    used: Counter[str] = Counter()
    for image in file.images:
        for each in image['annotations']:
            for info in each['segments_info'] if file.is_panoptic else [each]:
                used[names.get(info['category_id'], '')] += 1
    chosen = given
    if chosen is None:
        chosen = [name for name in found if used[name] and name not in source.ignored]
    if not chosen:
        raise DatasetError(f'--coco {file.path!r}: expected objects of a class, found none')
    background: Optional[bool] = None
    if BACKGROUND in source.ignored and BACKGROUND not in found:
        background = False
    elif BACKGROUND in chosen and BACKGROUND not in found:
        background = True
        chosen = [name for name in chosen if name != BACKGROUND]
    other = VOID if file.is_panoptic else NO_CLASS
    by_name = {name: index for index, name in enumerate(chosen)}
    by_name.update((name, VOID) for name in source.ignored)
    return _Classes(
        list(chosen),
        {number: by_name.get(name, other) for number, name in names.items()},
        background,
        [name for name in found if not used[name]] if given is None else [],
    )


def _find_entries(source: Source, file: CocoFile) -> _Entries:
    """Entries by names of pictures: the path in the file, or the name alone where it is unique."""
    pictures = find_pictures(source.images, '--images')
    known, by_base = set(pictures), defaultdict(list)
    for name in pictures:
        by_base[os.path.basename(name)].append(name)
    found: Dict[str, List[Dict[str, Any]]] = defaultdict(list)
    unused = []  # names in the file that no picture has
    for image in file.images:
        path = str(image['file_name']).replace('\\', '/')
        candidates = [path] if path in known else by_base[path.rpartition('/')[2]]
        if len(candidates) == 1:
            found[candidates[0]].append(image)
        else:
            unused.append(path)
    if not found:
        raise DatasetError(
            f'--coco {file.path!r}: expected images of the {len(pictures)} pictures in '
            f'{str(source.images)!r}, such as {pictures[0]!r}, found none among '
            f'{len(file.images)}, such as {file.images[0]["file_name"]!r}. Give the folder of '
            'these as --images'
        )
    problems = find_problems(list(found))
    for name, entries in found.items():
        if len(entries) > 1:
            problems[name] = f'{len(entries)} images in {file.path!r} have its name: keep one'
    images = {name: entries[0] for name, entries in sorted(found.items()) if name not in problems}
    for name, image in images.items():
        problem = _find_problem(source, file, name, image)
        if problem:
            problems[name] = problem
    images = {name: image for name, image in images.items() if name not in problems}
    unlabelled = [name for name in pictures if name not in found]
    notes = describe_unpaired('label', unlabelled, [])
    if unused:
        notes.append(
            f'Images in {file.path!r} without picture in {str(source.images)!r}: {len(unused)}, '
            f'such as {unused[0]!r}'
        )
    empty = [name for name, image in images.items() if not image['annotations']]
    if empty:
        notes.append(
            f'Pictures that are listed without any object, and taken to show none: {len(empty)}, '
            f'such as {empty[0]!r}'
        )
    return _Entries(images, unlabelled, [LeftOut(*each) for each in problems.items()], notes)


def _find_problem(source: Source, file: CocoFile, name: str, image: Mapping[str, Any]) -> str:
    """Say what is wrong with the entry of a picture; empty if nothing is."""
    path = source.images / name
    try:
        check_size(path)
        picture = open_picture(path.read_bytes())
    except (DatasetError, OSError) as error:
        return str(error)
    size = (image['height'], image['width'])
    if picture is not None:
        orientation = find_orientation(picture)
        real = picture.size[::-1] if orientation < 5 else picture.size
        if real != size:
            turned = f' with EXIF orientation {orientation}' if orientation > 1 else ''
            return (
                f'{file.path!r} has it with {size[0]} x {size[1]} pixels (height x width), but it '
                f'has {real[0]} x {real[1]}{turned}'
            )
    for each in image['annotations']:
        number = each.get('category_id')
        if not file.is_panoptic and number not in file.categories:
            return (
                f'annotation {each["id"]!r} has category_id {number}, which {file.path!r} does '
                'not name'
            )
        problem = None if file.is_panoptic else find_instance_problem(file, image, each)
        if problem is not None:
            return problem
    return ''


def _paint(classes: _Classes, entries: _Entries, out: Path, track: Track) -> Annotations:
    """Make label maps of objects; what no object covers is a class, the rest, or ignored."""
    names, folder = list(classes.names), out / 'data' / 'labels'
    is_single = len(names) == 1 and not classes.has_background
    # The rest is the class that is called so, or has the number after the last class.
    rest = names.index(BACKGROUND) if BACKGROUND in names else len(names)
    ids = resolve_label_ids(max(2, len(names) + 1))
    assert (VOID, NO_CLASS) == (-2, -1)  # which find the last entries
    numbers = (
        [1, ids.ignore_index, 0] if is_single else [*range(len(names)), ids.ignore_index, rest]
    )
    table: np.ndarray = np.array(numbers, ids.dtype)
    covered = total = 0
    for name, image in track(entries.images.items(), 'making label maps', len(entries.images)):
        drawn = _draw(image, classes)
        covered += int((drawn != NO_CLASS).sum())
        total += drawn.size
        write_label_map(table[drawn], folder / f'{os.path.splitext(name)[0]}.png')
    shared: Dict[str, Any] = dict(
        names=list(entries.images),
        labels=folder,
        left_out=entries.left_out,
        unlabelled=entries.unlabelled,
        notes=entries.notes,
    )
    if is_single:
        return Annotations(classes=names, palette=class_colours(1), rest_id=0, **shared)
    label_map: Optional[Dict[int, int]] = None
    if rest == len(names) and (covered < total or classes.has_background):
        share, has_background = 1 - covered / max(1, total), classes.has_background
        if has_background is None:
            has_background = share >= _GAPS
        said = f'{100 * share:.1f} % of the pixels belong to no object: they are'
        if has_background:
            names.append(BACKGROUND)
            said += f' the class {BACKGROUND!r} (--ignore {BACKGROUND} leaves them out)'
        else:
            ignored = resolve_label_ids(len(names)).ignore_index
            label_map = {index: index for index in range(len(names))}
            label_map.update({rest: ignored, ids.ignore_index: ignored})
            said += f' ignored (--classes with {BACKGROUND!r} makes a class of them)'
        entries.notes.append(said)
    return Annotations(
        classes=names, palette=class_colours(len(names)), label_map=label_map, **shared
    )


def _draw(image: Mapping[str, Any], classes: _Classes) -> np.ndarray:
    """The class of each pixel, (H, W), with ``NO_CLASS`` and ``VOID``."""
    instances = [
        dict(each, category_id=classes.numbers[each['category_id']], iscrowd=0)
        for each in image['annotations']
        if classes.numbers[each['category_id']] != NO_CLASS
    ]
    found = draw_instances(dict(size=(image['height'], image['width']), instances=instances))
    table = np.array([*(info['category_id'] for info in found.infos), VOID])
    assert IGNORED == -1  # which finds the last entry
    return np.asarray(table[found.numbers])


def _keep_objects(
    source: Source, file: CocoFile, classes: _Classes, entries: _Entries, out: Path
) -> Annotations:
    """The same file with the pictures, classes and names that are used."""
    images, left_out, things = dict(entries.images), [*entries.left_out], classes.names
    if file.is_panoptic:
        if file.things is None:
            raise DatasetError(
                f'--coco {file.path!r}: expected isthing in each of its categories, which says '
                'what is an object, found it not in all'
            )
        own = {classes.numbers[number] for number in file.things}
        things = [name for index, name in enumerate(classes.names) if index in own]
        assert source.labels is not None
        for name, image in entries.images.items():
            picture = image['annotations'][0]['file_name']
            if not (source.labels / picture).is_file():
                left_out.append(LeftOut(name, f'its picture of segments {picture!r} is not there'))
                del images[name]
    kept = {number: index for number, index in classes.numbers.items() if index != NO_CLASS}
    own_names = {number: normalize_class_name(file.categories[number]) for number in kept}
    all_things = file.categories if file.things is None else file.things
    categories: List[Dict[str, Any]] = [
        dict(
            id=number,
            name=own_names[number] if index < 0 else classes.names[index],
            isthing=int(number in all_things),
        )
        for number, index in sorted(kept.items())
    ]
    path = out / 'data' / 'annotations.json'

    def select(names: Sequence[str]) -> None:
        listed, annotations = [], []
        for name in names:
            image = dict(images[name], file_name=name)
            annotations += [
                each
                for each in image.pop('annotations')
                if file.is_panoptic or each['category_id'] in kept
            ]
            listed.append(image)
        write_json(dict(images=listed, annotations=annotations, categories=categories), path)

    return Annotations(
        names=list(images),
        classes=classes.names,
        palette=class_colours(len(classes.names)),
        labels=source.labels,
        coco=path,
        rest_id=0 if len(classes.names) == 1 else None,
        thing_classes=things,
        void_classes=sorted({own_names[n] for n, index in kept.items() if index == VOID}) or None,
        left_out=left_out,
        unlabelled=entries.unlabelled,
        notes=entries.notes,
        select=select,
    )
