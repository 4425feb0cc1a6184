"""What ``fit`` works with: pictures, their labels, and how they are divided (``data.json``)."""

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np

from ..datasets.checks import DatasetError
from ..files import read_json, write_atomically, write_json
from ..label_ids import LabelIds, resolve_label_ids
from ..plain import DICT, NAMES, Kind, find_problem

__all__ = ['SPLITS', 'TASKS', 'FitData', 'FoundPicture', 'presence_of']

TASKS = ('semantic', 'instance', 'panoptic')
SPLITS = ('train', 'val', 'test')
_LIST = Kind('a list', lambda value: isinstance(value, list))
_TEXT = Kind('a text', lambda value: isinstance(value, str))
_EXPECTED = dict(
    task=Kind(f'one of {TASKS}', lambda value: value in TASKS),
    classes=NAMES,
    images=_TEXT,
    pictures=_LIST,
    left_out=_LIST,
    notes=NAMES,
    arguments=DICT,
    digest=_TEXT,
)


@dataclasses.dataclass
class FoundPicture:
    """A picture that is used.

    Attributes:
        name: Relative to the folder of the pictures, with ``/``.
        height: In pixels, turned upright.
        width: In pixels, turned upright.
        split: 'train', 'val' or 'test'.
        fold: In which fold of a cross-validation it validates, from 0; None without one.
        pixels: How many pixels each class has, by its name; those without any are left out.
        objects: How many objects each class has; None in semantic segmentation.
        ignored: How many pixels do not count.
    """

    name: str
    height: int
    width: int
    split: str
    fold: Optional[int]
    pixels: Dict[str, int]
    objects: Optional[Dict[str, int]]
    ignored: int


@dataclasses.dataclass
class FitData:
    """Pictures and their labels, as ``OUT/data.json`` has them.

    Attributes:
        out: The folder OUT.
        task: 'semantic', 'instance' or 'panoptic'.
        classes: Names of the C classes.
        palette: (C, 3) RGB.
        thing_classes: Those of objects; None in semantic segmentation.
        void_classes: Names in ``coco`` whose pixels do not count.
        images: The folder of the pictures.
        labels: The folder of the label maps, or of panoptic pictures; None where there is none.
        coco: A file in COCO's format of this task; None in semantic segmentation.
        seg_map_suffix: What follows a picture's name in that of its label map; None: any suffix.
        label_map: Class ids by the ids in label maps; None: they are the same.
        rest_id: With one class, the id of the other pixels in what is loaded.
        pictures: Those that are used, sorted by name.
        left_out: Files that are not, each with ``file`` and ``reason``.
        notes: Sentences on what was found.
        ignored_share: Of all pixels, those that do not count.
        arguments: What :func:`find_photographs` was called with.
        stamp: Of the names, sizes and times of all files that were found.
        digest: Of the content of all files that are used, and of all settings above.
    """

    out: Path
    task: str
    classes: List[str]
    palette: List[List[int]]
    thing_classes: Optional[List[str]]
    void_classes: Optional[List[str]]
    images: str
    labels: Optional[str]
    coco: Optional[str]
    seg_map_suffix: Optional[str]
    label_map: Optional[Dict[int, int]]
    rest_id: Optional[int]
    pictures: List[FoundPicture] = dataclasses.field(default_factory=list)
    left_out: List[Dict[str, str]] = dataclasses.field(default_factory=list)
    notes: List[str] = dataclasses.field(default_factory=list)
    ignored_share: float = 0.0
    arguments: Dict[str, Any] = dataclasses.field(default_factory=dict)
    stamp: str = ''
    digest: str = ''

    @property
    def label_ids(self) -> LabelIds:
        """The ids in label maps as they are loaded."""
        return resolve_label_ids(len(self.classes), rest_id=self.rest_id)

    @property
    def num_folds(self) -> int:
        """How many folds a cross-validation has; 0 without one."""
        return 1 + max((each.fold for each in self.pictures if each.fold is not None), default=-1)

    def part(self, split: str) -> List[FoundPicture]:
        """The pictures of a split."""
        return [each for each in self.pictures if each.split == split]

    def names(self, split: Optional[str] = None) -> List[str]:
        """Names of the pictures of a split, or of all."""
        return [each.name for each in (self.pictures if split is None else self.part(split))]

    def lists(self) -> Dict[str, List[str]]:
        """The lists of pictures in ``OUT/data``: names of files without ``.txt``, and pictures."""
        found = {'pictures': self.names(), **{split: self.names(split) for split in SPLITS}}
        for fold in range(self.num_folds):
            for part, is_val in (('train', False), ('val', True)):
                own = [each for each in self.part('train') if (each.fold == fold) == is_val]
                found[f'fold_{fold}_{part}'] = [each.name for each in own]
        return {name: listed for name, listed in found.items() if listed}

    def list_file(self, name: str) -> Path:
        """The file of one of :meth:`lists`."""
        return self.out / 'data' / f'{name}.txt'

    def metainfo(self) -> Dict[str, Any]:
        """``metainfo`` of the data set."""
        meta: Dict[str, Any] = dict(classes=tuple(self.classes), palette=self.palette)
        if self.thing_classes is not None:
            meta['thing_classes'] = tuple(self.thing_classes)
        if self.void_classes is not None:
            meta['void_classes'] = tuple(self.void_classes)
        if self.rest_id is not None:
            meta['rest_id'] = self.rest_id
        return meta

    def dataset(self, part: str = 'pictures') -> Dict[str, Any]:
        """The config of the data set of all pictures, without its pipeline.

        Args:
            part: One of :meth:`lists`; of data sets with objects only 'pictures', which are all.
                Defaults to 'pictures'.
        """
        prefix = dict(img_path=self.images)
        if self.labels is not None:
            prefix['seg_map_path'] = self.labels
        config: Dict[str, Any]
        if self.task != 'semantic':
            if part != 'pictures':
                raise ValueError(f"part: expected 'pictures' with the task {self.task}: {part!r}")
            kind = 'COCOInstanceDataset' if self.task == 'instance' else 'COCOPanopticDataset'
            config = dict(type=kind, ann_file=self.coco, metainfo=self.metainfo())
        else:
            config = dict(
                type='ImageFolderDataset',
                ann_file=str(self.list_file(part)),
                metainfo=self.metainfo(),
                label_map=self.label_map,
                seg_map_suffix=self.seg_map_suffix,
                ignore_index=self.label_ids.ignore_index,
            )
        return dict(config, data_prefix=prefix)

    def loader(self) -> Dict[str, Any]:
        """The config of what loads the labels in a pipeline."""
        if self.task != 'semantic':
            return dict(type='LoadSegments')
        return dict(type='LoadLabelMap', ignore_index=self.label_ids.ignore_index)

    def write_lists(self) -> None:
        """Write the lists of pictures."""
        for name, listed in self.lists().items():
            self.list_file(name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.list_file(name), ''.join(f'{n}\n' for n in listed).encode())

    def write(self) -> None:
        """Write the lists, and then ``OUT/data.json``."""
        self.write_lists()
        content = dataclasses.asdict(self)
        del content['out']
        if self.label_map is not None:
            content['label_map'] = {str(old): new for old, new in self.label_map.items()}
        write_json(content, self.out / 'data.json')

    @classmethod
    def read(cls, out: Union[str, Path]) -> 'FitData':
        """Read what :meth:`write` has written.

        Raises:
            DatasetError: If there is no such file, or it is another one.
        """
        file = Path(out) / 'data.json'
        try:
            content = read_json(file)
        except ValueError as error:
            raise DatasetError(f'{error}. Give fit another --out') from error
        if content is None:
            raise DatasetError(
                f'{str(file)!r} does not exist: expected a folder that fit has written'
            )
        problem = find_problem(content, _EXPECTED, needed=tuple(_EXPECTED))
        known = {field.name for field in dataclasses.fields(cls)} - {'out'}
        if problem is None and set(content) != known:
            problem = f'expected the entries {sorted(known)}, found {sorted(content)}'
        if problem is not None:
            raise DatasetError(f'{str(file)!r}: {problem}. Give fit another --out')
        if content['label_map'] is not None:
            content['label_map'] = {int(old): new for old, new in content['label_map'].items()}
        content['pictures'] = [FoundPicture(**each) for each in content['pictures']]
        return cls(out=Path(out), **content)

    def count(self) -> Dict[str, Dict[str, int]]:
        """Pixels and pictures of each class: ``{name: dict(pixels=, pictures=, train=, ...)}``.

        Besides ``pixels`` there are numbers of pictures: all (``pictures``), and of each split.
        """
        found = {}
        for name in self.classes:
            own = [each for each in self.pictures if each.pixels.get(name, 0)]
            found[name] = dict(pixels=sum(each.pixels[name] for each in own), pictures=len(own))
            found[name].update((s, sum(each.split == s for each in own)) for s in SPLITS)
            if self.task != 'semantic':
                found[name]['objects'] = sum((each.objects or {}).get(name, 0) for each in own)
        return found

    def describe_sizes(self) -> str:
        """The sizes of the pictures, width x height, the smallest and the largest of them."""
        sizes = sorted({(each.width, each.height) for each in self.pictures})
        sizes.sort(key=lambda size: size[0] * size[1])
        first, last = (f'{width} x {height}' for width, height in (sizes[0], sizes[-1]))
        return f'{f"{len(sizes)} sizes from {first} to " if len(sizes) > 1 else ""}{last} pixels'

    def describe(self) -> List[str]:
        """Lines that say what was found, for the terminal."""
        parts = [f'{len(self.names(s))} {w}' for s, w in _USES if self.names(s)]
        if self.num_folds:
            parts[0] += f' and validation ({self.num_folds} folds)'
        lines = [f'{len(self.pictures)} pictures, {self.describe_sizes()}: {", ".join(parts)}']
        total = max(1, sum(each.height * each.width for each in self.pictures))
        counts, width = self.count(), max(map(len, [*self.classes, 'class']))
        head = f'  {"class":{width}}  {"pixels":>8}  {"pictures":>8}'
        lines.append(head + ('  objects' if self.task != 'semantic' else ''))
        for name, row in counts.items():
            line = f'  {name:{width}}  {100 * row["pixels"] / total:6.2f} %  {row["pictures"]:>8}'
            lines.append(line + (f'  {row["objects"]:>7}' if 'objects' in row else ''))
        lines.append(f'{100 * self.ignored_share:.1f} % of the pixels are ignored')
        if self.left_out:
            lines.append(f'left out: {len(self.left_out)}')
            lines += [f'  {each["file"]}: {each["reason"]}' for each in self.left_out[:10]]
            if len(self.left_out) > 10:
                lines.append(f'  and {len(self.left_out) - 10} more, see data.json')
        return [*lines, *self.notes]


_USES = (('train', 'for training'), ('val', 'for validation'), ('test', 'for the test'))


def presence_of(pictures: Sequence[FoundPicture], classes: Sequence[str]) -> np.ndarray:
    """Which picture shows which class, (P, C) bool."""
    rows = [[each.pixels.get(name, 0) > 0 for name in classes] for each in pictures]
    return np.array(rows, bool).reshape(len(pictures), len(classes))
