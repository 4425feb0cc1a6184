"""Label maps as people have them: which ids they hold, and which of these are classes."""

import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image

from ..class_names import check_class_names
from ..datasets.checks import DatasetError
from ..datasets.file_checks import check_labels, find_damage, open_picture
from ..datasets.label_maps import LoadLabelMap
from ..label_ids import IGNORED_16_BITS, LabelIds, resolve_label_ids

__all__ = [
    'LARGEST',
    'ClassIds',
    'LabelFile',
    'check_size',
    'describe_ids',
    'name_ids',
    'read_classes',
    'read_label_file',
]

#: How many pixels a picture may have.
LARGEST = 100_000_000
#: Values of a mask that is not exact, such as a JPEG, are this near to 0 or 255 in most pixels.
_NEAR, _MOST = 48, 0.98
#: What Pillow calls pictures of several channels.
_CHANNELS = ('LA', 'RGB', 'RGBA')


class LabelFile(NamedTuple):
    """What a label map holds.

    Attributes:
        pixels: How many pixels each id has.
        is_exact: Whether the package's loaders read these ids from the file.
        colours: RGB by id, of a file that has a palette.
    """

    pixels: Dict[int, int]
    is_exact: bool
    colours: Optional[Dict[int, List[int]]] = None


class ClassIds(NamedTuple):
    """Which ids in files are classes.

    Attributes:
        names: Of the C classes.
        label_map: New ids by those in files; ids without an entry are of no class.
        rest_id: With one class, the new id of all other pixels.
        is_mask: Whether files are masks of one class, of 0 and 1 or 0 and 255, perhaps lossy.
    """

    names: List[str]
    label_map: Dict[int, int]
    rest_id: Optional[int] = None
    is_mask: bool = False

    @property
    def ids(self) -> LabelIds:
        """The new ids."""
        return resolve_label_ids(len(self.names), rest_id=self.rest_id)

    def find_problem(self, label_file: LabelFile) -> Optional[str]:
        """Say which ids of a file are not among these, or None."""
        if self.is_mask:
            return _find_mask_problem(label_file)
        unknown = [number for number in label_file.pixels if number not in self.label_map]
        if not unknown:
            return None
        pixels = sum(label_file.pixels[number] for number in unknown)
        return (
            f'expected ids {self.describe()}, found {sorted(unknown)[:10]} in {pixels} of '
            f'{sum(label_file.pixels.values())} pixels'
        )

    def describe(self) -> str:
        """The ids in files: ``'0 to 3 (the 4 classes) and 255 (ignored)'``."""
        ignored = [old for old, new in self.label_map.items() if new == self.ids.ignore_index]
        counted, ignored = sorted(set(self.label_map) - set(ignored)), sorted(ignored)
        first, last = counted[0], counted[-1]
        is_range = len(counted) > 2 and counted == list(range(first, last + 1))
        listed = f'{first} to {last}' if is_range else ', '.join(map(str, counted))
        return f'{listed} (the classes) and {", ".join(map(str, ignored))} (ignored)'

    def convert(self, labels: np.ndarray) -> np.ndarray:
        """New ids of the ids in a file."""
        if self.is_mask:
            values = set(np.unique(labels).tolist())
            limit = 1 if values <= {0, 1} else 128
            return (labels >= limit).astype(np.uint8)
        table: np.ndarray = np.zeros(1 + IGNORED_16_BITS, self.ids.dtype)
        table[list(self.label_map)] = list(self.label_map.values())
        return np.asarray(table[labels])

    @property
    def needed_map(self) -> Optional[Dict[int, int]]:
        """The new ids by those in files; None if no id changes."""
        changes = any(old != new for old, new in self.label_map.items())
        return dict(sorted(self.label_map.items())) if changes else None


def check_size(file: Path) -> None:
    """Refuse a picture of more than :data:`LARGEST` pixels; only its header is read.

    Raises:
        DatasetError: With its size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                width, height = picture.size
    except Image.DecompressionBombError as error:
        found = re.search(r'\((\d+) pixels\)', str(error))
        pixels = int(found[1]) if found else 2 * LARGEST
        size = f'{pixels / 1e6:.0f} megapixels'
    except Exception:  # what is no picture is said where it is read
        return
    else:
        if width * height <= LARGEST:
            return
        size = f'{width * height / 1e6:.0f} megapixels ({width} x {height})'
    raise DatasetError(
        f'expected at most {LARGEST / 1e6:.0f} megapixels, found {size}. Cut it into tiles; '
        'predict takes it as it is'
    )


def read_label_file(file: Path) -> Tuple[np.ndarray, LabelFile]:
    """Read a label map, (H, W), and say what it holds.

    Pictures of several channels that are all the same are grey.

    Raises:
        DatasetError: If it cannot be read, or has no ids.
    """
    check_size(file)
    content = file.read_bytes() if file.is_file() else b''
    picture = open_picture(content)
    colours, is_exact = None, True
    if picture is not None and picture.mode in _CHANNELS and find_damage(content) is None:
        picture = open_picture(content)  # verifying has closed it
        assert picture is not None
        labels, is_exact = _read_grey(np.asarray(picture), picture.mode), False
    else:
        loader = LoadLabelMap(ignore_index=IGNORED_16_BITS)
        sample, is_lossy = check_labels(loader, dict(seg_map_path=str(file)))
        labels, is_exact = sample['gt_seg_map'], not is_lossy
        colours = _read_palette(picture) if picture is not None and picture.mode == 'P' else None
    ids, counts = np.unique(labels, return_counts=True)
    return labels, LabelFile(dict(zip(ids.tolist(), counts.tolist())), is_exact, colours)


def _read_grey(values: np.ndarray, mode: str) -> np.ndarray:
    colours = values[..., :1] if mode == 'LA' else values[..., :3]
    if (colours != colours[..., :1]).any():
        flat = colours.reshape(-1, 3).astype(np.int64)
        count = len(np.unique(flat @ [65536, 256, 1]))
        raise DatasetError(
            f'expected one channel of class ids, found {count} colours ({mode}). Convert each '
            'colour to an id, and save the ids as a grey PNG'
        )
    return np.asarray(colours[..., 0])


def _read_palette(picture: Any) -> Optional[Dict[int, List[int]]]:
    values = picture.getpalette()
    if not values:
        return None
    return {number: values[3 * number : 3 * number + 3] for number in range(len(values) // 3)}


def _find_mask_problem(label_file: LabelFile) -> Optional[str]:
    """Say why a file is no mask of 0 and 1 or of 0 and 255, or None."""
    values = label_file.pixels
    if set(values) <= {0, 1, 255}:
        return None
    total = sum(values.values())
    near = sum(n for value, n in values.items() if value <= _NEAR or value >= 255 - _NEAR)
    if max(values) <= 255 and near >= _MOST * total:
        return None
    return (
        f'expected a mask of 0 and 255 or of 0 and 1, found {len(values)} values '
        f'{sorted(values)[:10]}. Label maps of several classes go to --labels'
    )


def read_classes(
    classes: Optional[Union[str, 'os.PathLike[str]', Sequence[str], Mapping[Any, str]]],
) -> Optional[Union[List[str], Dict[int, str]]]:
    """Class names as they are given, checked: in the order of the ids, or by id.

    Args:
        classes: Names, or names by id; a text with commas between names, or a text file of names,
            one a line. Each name may be ``ID=NAME``.

    Raises:
        DatasetError: If there is no such file, or names are blank or there twice.
    """
    if classes is None:
        return None
    if isinstance(classes, Mapping):
        entries = [f'{number}={name}' for number, name in classes.items()]
    elif isinstance(classes, (str, os.PathLike)):
        entries = _read_entries(classes)
    else:
        entries = list(classes)
    matches = [re.fullmatch(r'\s*(\d+)\s*=(.*)', str(entry), re.DOTALL) for entry in entries]
    names = [match[2] if match else entry for match, entry in zip(matches, entries)]
    try:
        names = check_class_names(names)
    except ValueError as error:
        raise DatasetError(f'--classes: {error}') from error
    found = [match for match in matches if match]
    if not found:
        return names
    numbers = [int(match[1]) for match in found]
    if len(found) < len(entries) or len(set(numbers)) < len(numbers):
        raise DatasetError(
            f'--classes: expected ID=NAME of each class, with different ids, or names alone, found '
            f'{entries}'
        )
    if max(numbers) > IGNORED_16_BITS:
        raise DatasetError(f'--classes: expected ids up to {IGNORED_16_BITS}, found {max(numbers)}')
    return dict(sorted(zip(numbers, names)))


def _read_entries(classes: Union[str, 'os.PathLike[str]']) -> List[str]:
    file = Path(classes)
    try:
        is_file = file.is_file()
    except (OSError, ValueError):  # no path: too long, a null byte
        is_file = False
    is_path = not isinstance(classes, str) or file.suffix.lower() in ('.txt', '.csv', '.names')
    if is_path and not is_file:
        raise DatasetError(
            '--classes: expected names with commas between, or a text file of names, one a line, '
            f'but {str(classes)!r} does not exist'
        )
    if not is_file:
        return str(classes).split(',')
    try:
        lines = file.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(
            f'--classes: expected a text file (UTF-8) of names, one a line, found {str(file)!r}, '
            f'which is in another encoding ({error})'
        ) from error
    return [line for line in lines if line.strip()]


def name_ids(classes: Union[List[str], Dict[int, str]], ignored: Sequence[int] = ()) -> ClassIds:
    """Say which ids in files are which class.

    Names alone have the ids 0, 1, ... in their order; with one name, 1 is the class, and 0 the
    rest. The usual ignored id (255; 65535 for more than 255 classes) needs no mention.

    Args:
        classes: Of :func:`read_classes`.
        ignored: Ids in files whose pixels do not count.

    Raises:
        DatasetError: If an ignored id is that of a class.
    """
    names = list(classes.values()) if isinstance(classes, dict) else list(classes)
    rest_id = 0 if len(names) == 1 else None
    ids = resolve_label_ids(len(names), rest_id=rest_id)
    if isinstance(classes, dict):
        label_map = dict(zip(classes, ids.classes))
    else:
        label_map = {number: number for number in ids.classes}
    taken = [number for number in ignored if number in label_map]
    if taken:
        raise DatasetError(f'--ignore: expected ids of no class, found {taken}')
    if rest_id is not None:
        label_map.setdefault(0, rest_id)
    label_map.update((number, ids.ignore_index) for number in ignored)
    label_map.setdefault(ids.ignore_index, ids.ignore_index)
    return ClassIds(names, label_map, rest_id)


def describe_ids(files: Iterable[LabelFile]) -> str:
    """A table of the ids in label maps: of how many pixels, and of how many pictures."""
    pixels: Counter[int] = Counter()
    pictures: Counter[int] = Counter()
    for each in files:
        pixels.update(each.pixels)
        pictures.update(each.pixels.keys())
    total = max(1, sum(pixels.values()))
    shown = sorted(pixels, key=lambda number: -pixels[number])[:40]
    lines = [f'{"id":>7}  {"pixels":>8}  pictures']
    for number in sorted(shown):
        lines.append(f'{number:>7}  {100 * pixels[number] / total:6.2f} %  {pictures[number]:>8}')
    if len(shown) < len(pixels):
        lines.append(f'  and {len(pixels) - len(shown)} more ids')
    return '\n'.join(lines)
