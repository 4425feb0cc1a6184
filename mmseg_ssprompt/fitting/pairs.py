"""Pictures in folders, and the label map that belongs to each, by their names."""

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

from ..datasets.checks import DatasetError
from ..datasets.left_out import SUFFIXES, walk_files

__all__ = ['LeftOut', 'Pairs', 'find_pairs', 'find_pictures', 'find_problems']


class LeftOut(NamedTuple):
    """A file that is not used, and why."""

    file: str
    reason: str


class Pairs(NamedTuple):
    """What was found.

    Attributes:
        labels: Names of label maps by those of their pictures, relative to their folders.
        suffix: What follows a picture's name in the name of its label map; None if that is any
            suffix of a picture.
        unlabelled: Names of pictures that have no label map.
        unused: Names of label maps that have no picture.
        left_out: Pictures that cannot be told apart from others, or whose names lists cannot hold.
    """

    labels: Dict[str, str]
    suffix: Optional[str]
    unlabelled: List[str]
    unused: List[str]
    left_out: List[LeftOut]


def find_pictures(folder: Path, what: str, without: Sequence[Path] = ()) -> List[str]:
    """Names of the pictures in a folder and below it, sorted, without hidden files.

    Args:
        folder: Where to look.
        what: The argument that names it, for errors.
        without: Folders below it that are passed over.

    Raises:
        DatasetError: If it is no folder, or has no pictures, with what lies there.
    """
    if not folder.is_dir():
        state = 'is a file' if folder.exists() else 'does not exist'
        raise DatasetError(
            f'{what}: expected a folder of pictures, but {str(folder)!r} {state}. Give the path of '
            'the folder'
        )
    real = _real(folder)
    passed_over = tuple(path for path in map(_real, without) if path.startswith(real))
    names: List[str] = []
    others: Counter[str] = Counter()
    for file in walk_files(str(folder)):
        suffix = os.path.splitext(file)[1]
        if _real(os.path.dirname(file)).startswith(passed_over):
            continue
        if suffix.lower() in SUFFIXES:
            names.append(os.path.relpath(file, folder))
        else:
            others[suffix or 'without suffix'] += 1
    if not names:
        found = ', '.join(f'{count} {suffix}' for suffix, count in sorted(others.items()))
        raise DatasetError(
            f'{what}: expected pictures ({", ".join(SUFFIXES)}) in {str(folder)!r}, found '
            f'{f"other files only: {found}" if found else "no files"}. Give the folder in which '
            'they lie'
        )
    return sorted(name.replace(os.sep, '/') for name in names)


def _real(folder: Union[str, Path]) -> str:
    """The path of a folder behind all links, with what separates it from names."""
    return os.path.join(os.path.realpath(folder), '')


def find_problems(names: Sequence[str]) -> Dict[str, str]:
    """Say which names of pictures cannot be used, and why.

    Lists of pictures have one a line, and results have their names without suffix.
    """
    stems = Counter(os.path.splitext(name)[0] for name in names)
    problems = {}
    for name in names:
        problem = _find_name_problem(name)
        if problem is None and stems[os.path.splitext(name)[0]] > 1:
            problem = 'there are several pictures of this name with different suffixes: keep one'
        if problem is not None:
            problems[name] = problem
    return problems


def _find_name_problem(name: str) -> Optional[str]:
    """Say why lists of pictures, a line each, cannot hold a name; None if they can."""
    problem = None
    if any(len(part.splitlines()) > 1 for part in (name, f'{name}.')):
        problem = 'a line break in it'
    elif name != name.strip():
        problem = 'white space at its begin or end'
    elif '\\' in name:
        problem = 'a backslash in it'
    elif any('\ud800' <= character <= '\udfff' for character in name):
        problem = 'bytes in it that are not UTF-8'
    return problem and f'its name has {problem}, which lists of pictures cannot hold: rename it'


def find_pairs(images: Path, labels: Path, what: str) -> Pairs:
    """Find the label map of each picture.

    A label map has the name of its picture, in the same sub-folder, with any suffix of a picture;
    or something follows the picture's name, the same in all names, such as ``_mask.png``. So both
    can lie in one folder.

    Args:
        images: The folder of the pictures.
        labels: The folder of the label maps; it may be that of the pictures, or below it.
        what: The argument that names it, for errors.

    Raises:
        DatasetError: If a folder is missing or empty, or no picture has a label map, with
            examples of names.
    """
    is_same = os.path.realpath(images) == os.path.realpath(labels)
    pictures = find_pictures(images, '--images', () if is_same else [labels])
    maps = pictures if is_same else find_pictures(labels, what, [images])
    suffix = _find_suffix(pictures, maps, is_same)
    found = {} if is_same and suffix is None else _match(maps, suffix)
    if is_same and suffix is not None:
        pictures = [name for name in pictures if not name.endswith(suffix)]
    pairs: Dict[str, str] = {}
    unlabelled, left_out = [], []
    problems = find_problems(pictures)
    for name in pictures:
        candidates = found.get(os.path.splitext(name)[0], [])
        problem = problems.get(name)
        if problem is None and len(candidates) > 1:
            listed = ', '.join(map(repr, candidates))
            problem = f'there are several label maps of its name ({listed}): keep one'
        if problem is not None:
            left_out.append(LeftOut(name, problem))
        elif candidates:
            pairs[name] = candidates[0]
        else:
            unlabelled.append(name)
    if not pairs and not left_out:
        stem = os.path.splitext(pictures[0])[0] if pictures else 'NAME'
        shown = f'such as {maps[0]!r}' if maps and not is_same else 'all of them pictures'
        raise DatasetError(
            f'{what}: expected label maps of the names of the {len(pictures)} pictures in '
            f'{str(images)!r}, such as {f"{stem}.png"!r} or {f"{stem}_mask.png"!r} in '
            f'{str(labels)!r}, found {len(maps)} files there, {shown}, and none that belongs to '
            'a picture. Rename them, or give the other folder'
        )
    stems = {os.path.splitext(name)[0] for name in pictures}
    unused = sorted(label for stem, own in found.items() if stem not in stems for label in own)
    return Pairs(pairs, suffix, unlabelled, unused, left_out)


def _match(maps: Sequence[str], suffix: Optional[str]) -> Dict[str, List[str]]:
    """Label maps by the names of their pictures without suffix; of several of a name the PNGs."""
    found: Dict[str, List[str]] = defaultdict(list)
    for name in maps:
        if suffix is None:
            found[os.path.splitext(name)[0]].append(name)
        elif name.endswith(suffix):
            found[name[: len(name) - len(suffix)]].append(name)
    return {
        stem: [name for name in names if name.lower().endswith('.png')] or names
        for stem, names in found.items()
    }


def _find_suffix(pictures: Sequence[str], maps: Sequence[str], is_same: bool) -> Optional[str]:
    """What follows pictures' names in the names of most label maps; None if only a suffix does."""
    by_stem: Dict[str, List[str]] = defaultdict(list)
    for name in pictures:
        by_stem[os.path.splitext(name)[0]].append(name)
    ends: Counter[str] = Counter()
    for name in maps:
        # Cut from behind, because of 'a.png' and 'a_b.png' the latter is that of 'a_b_mask.png'.
        for end in range(len(name) - 1, len(os.path.dirname(name)), -1):
            others = [other for other in by_stem.get(name[:end], ()) if other != name]
            if (others or (not is_same and name[:end] in by_stem)) and not name[end].isalnum():
                ends[name[end:]] += 1
                break
    if not ends:
        return None
    suffix = max(ends, key=lambda end: (ends[end], end.lower().endswith('.png'), end))
    matched = sum(os.path.splitext(name)[0] in by_stem for name in maps)
    if not is_same and (suffix.lower() in SUFFIXES or matched >= ends[suffix]):
        return None
    return suffix
