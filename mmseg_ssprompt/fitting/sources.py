"""What the arguments of ``fit`` say of pictures and labels, before a file is opened."""

import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from ..datasets.checks import DatasetError
from .fit_data import TASKS
from .label_files import read_classes
from .pairs import Pairs, find_pairs, find_pictures

__all__ = ['AnyPath', 'Source', 'find_source']

AnyPath = Union[str, 'os.PathLike[str]']


class Source(NamedTuple):
    """Where pictures and labels lie.

    Attributes:
        images: The folder of the pictures.
        labels: The folder of label maps, masks or panoptic pictures.
        foreground: The class of masks; None where ``labels`` are no masks.
        coco: A file in a format of COCO.
        classes: Names, or names by id; None where files say them.
        ignored: Ids, or names of categories, whose pixels do not count.
        task: 'semantic', 'instance' or 'panoptic'.
    """

    images: Path
    labels: Optional[Path]
    foreground: Optional[str]
    coco: Optional[Path]
    classes: Optional[Union[List[str], Dict[int, str]]]
    ignored: List[str]
    task: str

    @property
    def label_argument(self) -> str:
        """The argument that names the folder of the labels."""
        return '--labels' if self.foreground is None else '--masks'

    def arguments(self) -> Dict[str, Any]:
        """What was given, as plain values."""
        classes = self.classes
        if isinstance(classes, dict):
            classes = [f'{number}={name}' for number, name in classes.items()]
        return dict(
            images=str(self.images),
            **{self.label_argument[2:]: None if self.labels is None else str(self.labels)},
            foreground=self.foreground,
            coco=None if self.coco is None else str(self.coco),
            classes=classes,
            ignore=self.ignored,
        )

    def folders(self) -> Dict[Path, str]:
        """The folders that are read, and what they are."""
        folders = {self.images: '--images'}
        if self.labels is not None:
            folders[self.labels] = self.label_argument
        return folders

    def files(self) -> Dict[Path, str]:
        """The files that are read besides, and what they are."""
        return {} if self.coco is None else {self.coco: '--coco'}

    def find_pairs(self) -> Pairs:
        """The label map of each picture."""
        assert self.labels is not None
        return find_pairs(self.images, self.labels, self.label_argument)

    def list_files(self) -> List[Path]:
        """All pictures that lie in the folders, and the other files.

        Raises:
            DatasetError: If there is no such folder or file, or a folder has no pictures.
        """
        if self.coco is not None and not self.coco.is_file():
            state = 'is a folder' if self.coco.exists() else 'does not exist'
            raise DatasetError(f'--coco: expected a JSON file, but {str(self.coco)!r} {state}')
        found = [*self.files()]
        for folder, what in self.folders().items():
            found += [folder / name for name in find_pictures(folder, what)]
        return found


def find_source(
    images: AnyPath,
    labels: Optional[AnyPath] = None,
    masks: Optional[AnyPath] = None,
    foreground: Optional[str] = None,
    coco: Optional[AnyPath] = None,
    classes: Optional[Union[AnyPath, Sequence[str], Mapping[Any, str]]] = None,
    ignore: Optional[Union[str, int, Sequence[Any]]] = None,
    task: str = 'semantic',
) -> Source:
    """Compare the arguments with each other; see ``find_photographs`` for them.

    Raises:
        DatasetError: If they do not fit together.
    """
    if task not in TASKS:
        raise DatasetError(f'--task: expected one of {", ".join(TASKS)}, found {task!r}')
    _check_combination(labels, masks, foreground, coco, classes, task)
    folder = labels if masks is None else masks
    if isinstance(ignore, str):
        ignore = ignore.split(',')
    elif isinstance(ignore, int):
        ignore = [ignore]
    return Source(
        _absolute(images),
        None if folder is None else _absolute(folder),
        foreground,
        None if coco is None else _absolute(coco),
        read_classes([foreground] if foreground is not None else classes),
        [str(entry).strip() for entry in ignore or () if str(entry).strip()],
        task,
    )


def _check_combination(
    labels: Optional[AnyPath],
    masks: Optional[AnyPath],
    foreground: Optional[str],
    coco: Optional[AnyPath],
    classes: Any,
    task: str,
) -> None:
    given = [f'--{n}' for n, v in (('labels', labels), ('masks', masks), ('coco', coco)) if v]
    problem = None
    if not given:
        problem = (
            'found none of them. Label some pictures first: with label maps (--labels DIR), with '
            'masks of one class (--masks DIR --foreground NAME), or with objects (--coco FILE)'
        )
    elif task == 'instance' and given != ['--coco']:
        problem = f'found {" and ".join(given)}, but --task instance needs --coco FILE alone'
    elif task == 'panoptic' and given != ['--labels', '--coco']:
        problem = (
            f"found {' and '.join(given)}, but --task panoptic needs --coco FILE in COCO's "
            'panoptic format, and --labels DIR with its pictures'
        )
    elif task == 'semantic' and len(given) > 1:
        problem = f'found {" and ".join(given)}: give one of them'
    elif masks and (foreground is None or classes is not None):
        problem = (
            'found --masks, which needs the name of its class as --foreground NAME, and no '
            '--classes'
        )
    elif foreground is not None and not masks:
        problem = 'found --foreground, which names the class of --masks DIR alone'
    if problem is not None:
        raise DatasetError(f'expected --labels, --masks or --coco, {problem}')


def _absolute(path: AnyPath) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))
