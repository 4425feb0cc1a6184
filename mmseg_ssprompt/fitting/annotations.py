"""From the labels that people have to those that are trained on, of each task."""

import os
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
)

import numpy as np
from PIL import Image

from ..datasets.checks import DatasetError
from ..files import replacing
from ..label_ids import IGNORED_16_BITS
from .colours import class_colours
from .label_files import ClassIds, LabelFile, describe_ids, name_ids, read_label_file
from .pairs import LeftOut
from .sources import Source

__all__ = ['Annotations', 'Track', 'describe_unpaired', 'read_label_maps', 'write_label_map']

#: Goes through items, and shows progress: ``track(items, description, count)``.
Track = Callable[[Iterable[Any], str, int], Iterator[Any]]


class Annotations(NamedTuple):
    """Labels that a data set of the package reads, and of which pictures.

    Attributes:
        names: Pictures that have labels without problems of their own, sorted.
        classes: The C classes.
        palette: (C, 3) RGB.
        labels: The folder of label maps or panoptic pictures.
        suffix: What follows a picture's name in that of its label map.
        label_map: Class ids by ids in files.
        rest_id: With one class, the id of the rest.
        coco: A file of annotations; ``select`` writes it.
        thing_classes: Of a task with objects.
        void_classes: Names in ``coco`` whose pixels do not count.
        left_out: Files that cannot be used.
        unlabelled: Pictures without labels.
        notes: Sentences on what was found.
        advice: What may be wrong with the ids of classes, for errors.
        has_wrong_ids: Whether pictures are left out for ids of no class.
        file_ids: Ids in files by class name, for errors.
        select: Is called with the names of the pictures that are used, before they are read.
    """

    names: List[str]
    classes: List[str]
    palette: List[List[int]]
    labels: Optional[Path] = None
    suffix: Optional[str] = None
    label_map: Optional[Dict[int, int]] = None
    rest_id: Optional[int] = None
    coco: Optional[Path] = None
    thing_classes: Optional[List[str]] = None
    void_classes: Optional[List[str]] = None
    left_out: Sequence[LeftOut] = ()
    unlabelled: Sequence[str] = ()
    notes: Sequence[str] = ()
    advice: str = ''
    has_wrong_ids: bool = False
    file_ids: Dict[str, int] = {}
    select: Callable[[Sequence[str]], None] = lambda names: None

    def ids_of(self, classes: Sequence[str]) -> str:
        """Names of classes, with their ids in files where there are any."""
        ids = self.file_ids
        return ', '.join(f'{n!r} (id {ids[n]})' if n in ids else repr(n) for n in classes)


def write_label_map(labels: np.ndarray, file: Path) -> None:
    """Write ids, (H, W) uint8 or uint16, as a PNG; folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        Image.fromarray(labels).save(temporary)


def describe_unpaired(what: str, unlabelled: Sequence[str], unused: Sequence[str]) -> List[str]:
    """Sentences on pictures without labels, and on label maps without picture."""
    notes = []
    if unlabelled:
        notes.append(
            f'Pictures without {what}, which are not used: {len(unlabelled)}, such as '
            f'{unlabelled[0]!r}'
        )
    if unused:
        notes.append(f'Label maps without picture: {len(unused)}, such as {unused[0]!r}')
    return notes


def read_label_maps(source: Source, out: Path, track: Track) -> Annotations:
    """Read the label maps or masks of a source; those that have to be made go into ``OUT/data``.

    Args:
        source: With ``labels``.
        out: The folder OUT.
        track: Shows progress.

    Raises:
        DatasetError: If classes are missing, with the ids that there are.
    """
    pairs = source.find_pairs()
    assert source.labels is not None
    left_out = [*pairs.left_out]
    notes = describe_unpaired('label map', pairs.unlabelled, pairs.unused)
    files: Dict[str, LabelFile] = {}
    for name, label in track(pairs.labels.items(), 'reading label maps', len(pairs.labels)):
        try:
            files[name] = read_label_file(source.labels / label)[1]
        except DatasetError as error:
            left_out.append(LeftOut(name, _name_label_map(label, str(error))))
    ids = _choose_ids(source, files)
    advice = _advise(source, ids, files.values())
    problems = {name: ids.find_problem(file) for name, file in files.items()}
    wrong = [name for name, problem in problems.items() if problem is not None]
    notes += _find_shift(ids, files, wrong)
    for name, problem in problems.items():
        if problem is not None:
            left_out.append(LeftOut(name, _name_label_map(pairs.labels[name], problem)))
            del files[name]
    palette = _choose_palette(ids, files.values())
    shared: Dict[str, Any] = dict(
        names=sorted(files),
        classes=ids.names,
        palette=palette,
        rest_id=ids.rest_id,
        left_out=left_out,
        unlabelled=pairs.unlabelled,
        notes=notes,
        advice=advice,
        has_wrong_ids=bool(wrong),
        file_ids={} if ids.is_mask else _ids_in_files(ids),
    )
    if all(file.is_exact and _is_exact_mask(ids, file) for file in files.values()):
        label_map = ids.needed_map
        return Annotations(labels=source.labels, suffix=pairs.suffix, label_map=label_map, **shared)
    folder = out / 'data' / 'labels'
    for name in track(sorted(files), 'making label maps', len(files)):
        labels, _ = read_label_file(source.labels / pairs.labels[name])
        write_label_map(ids.convert(labels), folder / f'{os.path.splitext(name)[0]}.png')
    odd = [name for name, file in files.items() if not file.is_exact]
    notes.append(
        f'Label maps were made in {str(folder)!r}, because {len(odd) or "some"} of those in '
        f'{str(source.labels)!r} are not read as they are (JPEG, several channels, or values '
        'between those of a mask)'
    )
    return Annotations(labels=folder, **shared)


def _name_label_map(name: str, problem: str) -> str:
    return problem if 'label map' in problem else f'label map {name!r}: {problem}'


def _choose_ids(source: Source, files: Dict[str, LabelFile]) -> ClassIds:
    """Which ids are which class, or an error that says which ids there are."""
    ignored = _read_ignored(source.ignored)
    if source.foreground is not None:
        assert isinstance(source.classes, list)
        return ClassIds(source.classes, {0: 0, 1: 1, 255: 1}, 0, is_mask=True)
    if source.classes is None:
        seen = {number for file in files.values() for number in file.pixels}
        seen -= {255 if len(seen) <= 256 else IGNORED_16_BITS, *ignored}
        order = sorted(seen)
        entries = [f'{number}=NAME' for number in order[:6]]
        if order == list(range(len(order))):
            entries = [f'NAME{number}' for number in order[:6]]
        more = ',...' if len(order) > 6 else ''
        raise DatasetError(
            f'--classes: expected the name of each class, found none. {len(files)} label maps have '
            f'these ids:\n{describe_ids(files.values())}\n'
            f'Give the names in the order of the ids, or by id: --classes '
            f'"{",".join(entries)}{more}"; 255 is ignored, and so are ids after --ignore'
        )
    return name_ids(source.classes, ignored)


def _read_ignored(ignored: Sequence[str]) -> List[int]:
    wrong = [entry for entry in ignored if not (entry.isdecimal() and int(entry) <= 65535)]
    if wrong:
        raise DatasetError(
            f'--ignore: expected ids in label maps with commas between, such as 0,255, found '
            f'{wrong}'
        )
    return [int(entry) for entry in ignored]


def _advise(source: Source, ids: ClassIds, files: Iterable[LabelFile]) -> str:
    """What may be wrong with the label maps as a whole; empty if there are none."""
    files = list(files)
    if not files or ids.is_mask:
        return ''
    seen = {number for file in files for number in file.pixels}
    unseen = [old for old, new in ids.label_map.items() if new in ids.ids.counted]
    unseen = [number for number in unseen if number not in seen]
    text = f'The label maps have these ids:\n{describe_ids(files)}'
    if seen <= {0, 255} and 255 in seen and len(ids.names) == 1:
        return f'{text}\nMasks of 0 and 255 are given as --masks DIR --foreground {ids.names[0]!r}'
    unknown = seen - set(ids.label_map)
    if unknown or unseen:
        text += (
            '\nNames of classes are in the order of the ids from 0; or give --classes '
            '"ID=NAME,...". Ids that do not count go to --ignore; 255 never counts'
        )
        text += _propose_ids(ids, sorted(seen))
    return text


def _propose_ids(ids: ClassIds, seen: Sequence[int]) -> str:
    """Arguments with which as many ids as there are names are their classes; else empty."""
    counted = [number for number in seen if number != ids.ids.ignore_index]
    if len(seen) == len(ids.names) + 1:
        seen = counted
    if len(ids.names) > 2 and counted == list(range(len(ids.names) - 1)):
        return ''  # the last class is in no label map
    ignored, numbers = '', list(seen)
    if len(numbers) == len(ids.names) + 1 and numbers[0] == 0:
        ignored, numbers = ' --ignore 0', numbers[1:]
    if len(numbers) != len(ids.names) or numbers == list(ids.ids.classes):
        return ''
    entries = ','.join(f'{number}={name}' for number, name in zip(numbers, ids.names))
    return f'. Perhaps this is meant: --classes "{entries}"{ignored}'


def _find_shift(ids: ClassIds, files: Mapping[str, LabelFile], wrong: Sequence[str]) -> List[str]:
    """A sentence where label maps may begin with 1, so that all names are those of others."""
    last = len(ids.names)
    unknown = {number for name in wrong for number in files[name].pixels} - set(ids.label_map)
    if ids.is_mask or unknown != {last} or list(ids.label_map)[:last] != list(range(last)):
        return []
    entries = ','.join(f'{number}={name}' for number, name in enumerate(ids.names[:2], start=1))
    return [
        f'Only the id {last} belongs to no class, in label maps that are left out: {len(wrong)}. '
        f'If ids begin with 1 in these files, all names are shifted by one, and this is meant: '
        f'--classes "{entries},..." --ignore 0'
    ]


def _is_exact_mask(ids: ClassIds, file: LabelFile) -> bool:
    """Whether ids are found by a table: 1 stands for 0 in a mask that has 255 too."""
    return not ids.is_mask or set(file.pixels) <= {0, 1} or set(file.pixels) <= {0, 255}


def _ids_in_files(ids: ClassIds) -> Dict[str, int]:
    by_new = {new: old for old, new in ids.label_map.items()}
    return {name: by_new[new] for name, new in zip(ids.names, ids.ids.classes)}


def _choose_palette(ids: ClassIds, files: Iterable[LabelFile]) -> List[List[int]]:
    """The colours in the files, if they have different ones for all classes."""
    for file in files:
        if file.colours is not None and not ids.is_mask:
            numbers = _ids_in_files(ids).values()
            colours = [file.colours.get(number, []) for number in numbers]
            if all(colours) and len({tuple(colour) for colour in colours}) == len(colours):
                return colours
    return class_colours(len(ids.names))
