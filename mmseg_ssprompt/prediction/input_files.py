"""What is to be predicted: pictures and videos in folders, by patterns or one by one."""

import glob
import os
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

from ..datasets.checks import DatasetError
from ..datasets.left_out import SUFFIXES
from ..extras import lacks
from .geotiff import TIFF_SUFFIXES, can_read_windows, read_tiff_facts

__all__ = ['VIDEO_SUFFIXES', 'InputFile', 'InputFiles', 'find_input_files']

#: Ends of the names of videos, in lower case.
VIDEO_SUFFIXES = (
    *('.avi', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.mts', '.ogv', '.webm'),
    '.wmv',
)
_WILDCARDS = '*?['


class InputFile(NamedTuple):
    """A picture or a video.

    Attributes:
        path: Where it is.
        name: Its path in what all inputs have in common, with ``/`` and its suffix.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def is_tiff(self) -> bool:
        """Whether it may be read by windows."""
        return self.path.suffix.lower() in TIFF_SUFFIXES

    @property
    def result(self) -> str:
        """The name of its results, without their suffix."""
        return self.name if self.is_video else os.path.splitext(self.name)[0]


class InputFiles(NamedTuple):
    """All pictures and videos.

    Attributes:
        files: In the order of the arguments, those of a folder sorted by path.
        folders: What was looked through, with what is below.
        left_out: How many other files there are, by suffix.
    """

    files: List[InputFile]
    folders: List[Path]
    left_out: Dict[str, int]


def find_input_files(arguments: Sequence[str]) -> InputFiles:
    """List pictures and videos.

    Args:
        arguments: Folders, which are looked through with those below them; files; and patterns
            with ``*``, ``?``, ``**`` or ``[...]``. A file that is named is taken whatever its
            suffix; of folders those with the suffix of a picture or a video are.

    Raises:
        FileNotFoundError: If nothing is there, with the argument.
        DatasetError: If there are no pictures, two of them would have the same name of results,
            or a GeoTIFF is among them and rasterio is not installed.
    """
    found: Dict[str, str] = {}  # the base of each file, by its absolute path
    folders: Dict[str, None] = {}
    left_out: Counter[str] = Counter()
    for argument in arguments:
        for path, base in _expand(str(argument)):
            if '**' in argument and not os.path.exists(argument):
                folders.setdefault(base)
            if not os.path.isdir(path):
                found.setdefault(path, base)
                continue
            folders.setdefault(path)
            for file in _walk(path):
                if file.lower().endswith((*SUFFIXES, *VIDEO_SUFFIXES)):
                    found.setdefault(file, base)
                else:
                    left_out[os.path.splitext(file)[1] or 'without suffix'] += 1
    if not found:
        others = ', '.join(f'{count} {suffix}' for suffix, count in sorted(left_out.items()))
        raise DatasetError(
            f'no pictures to predict: expected files that end with {", ".join(SUFFIXES)}, or '
            f'videos, in {", ".join(repr(str(each)) for each in arguments)}, found '
            f'{others or "no file"}'
        )
    root = os.path.commonpath(list(found.values()))
    files = [
        InputFile(Path(path), os.path.relpath(path, root).replace(os.sep, '/')) for path in found
    ]
    _check_names(files)
    _check_geotiffs(files)
    return InputFiles(files, [Path(folder) for folder in folders], dict(left_out))


def _expand(argument: str) -> Iterator[Tuple[str, str]]:
    """The files and folders that an argument names, and the folder that names are relative to."""
    path = os.path.abspath(os.path.expanduser(argument))
    if os.path.isdir(path):
        yield path, path
        return
    if os.path.exists(path):
        yield path, os.path.dirname(path)
        return
    matches = sorted(glob.glob(path, recursive=True)) if set(argument) & set(_WILDCARDS) else []
    if not matches:
        is_pattern = bool(set(argument) & set(_WILDCARDS))
        raise FileNotFoundError(
            f'input {argument!r} {"matches nothing" if is_pattern else "does not exist"}: give '
            'folders, files or patterns of pictures or videos'
        )
    base = path
    while set(base) & set(_WILDCARDS):
        base = os.path.dirname(base)
    yield from ((match, base) for match in matches)


def _walk(folder: str) -> Iterator[str]:
    """Paths of the files in a folder and below it, sorted, without hidden ones."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from (os.path.join(where, name) for name in sorted(names) if name[:1] != '.')


def _check_names(files: Sequence[InputFile]) -> None:
    """Refuse files that would share a file of results."""
    seen: Dict[str, InputFile] = {}
    for file in files:
        other = seen.setdefault(file.result, file)
        if other is not file:
            raise DatasetError(
                f'{str(other.path)!r} and {str(file.path)!r} would share a file of results, '
                f'{file.result!r}: rename one, or predict them one after the other into two folders'
            )


def _check_geotiffs(files: Sequence[InputFile]) -> None:
    """Refuse GeoTIFFs where rasterio is missing: what is written would have no place."""
    for file in files if not can_read_windows() else ():
        facts = read_tiff_facts(file.path) if file.is_tiff else None
        if facts is not None and facts.is_georeferenced:
            raise lacks('rasterio', f'{str(file.path)!r}: to keep the place of a GeoTIFF')
