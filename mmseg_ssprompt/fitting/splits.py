"""Which pictures train, validate and test, so that each part shows every class where it can."""

import os
from pathlib import Path
from typing import Dict, List, Optional, Union

import numpy as np

from ..datasets.checks import DatasetError
from ..datasets.few_shot import draw_few_shot
from .fit_data import FitData, presence_of
from .sources import AnyPath

__all__ = ['SHARE', 'Share', 'divide', 'divide_pictures', 'read_shares']

#: What is said of a part: its share of the pictures, or a folder with them.
Share = Union[float, AnyPath]

#: The share of a part, where nothing is said.
SHARE = 0.2
#: Below this number of pictures that are not for the test, choices are made by cross-validation.
_FEW = 20
_FOLDS = 3
#: Below this number of pictures none is set aside for the test, where the share is the default.
_ENOUGH_TO_TEST = 5
#: How many exchanges are tried for a class that a part lacks.
_TRIED = 50


def divide(presence: np.ndarray, sizes: Dict[str, int], seed: int) -> List[str]:
    """Divide pictures into parts of given sizes.

    Rare classes come first: each part in turn gets a picture of the class while it has none, and
    then the part whose share of the class is furthest from the share of its pictures. Exchanges of
    two pictures mend what is left.

    Args:
        presence: (P, C) bool, which picture shows which class.
        sizes: How many pictures each part gets, P together, by its name. Where a class is in too
            few pictures for all parts, those that are named first have it.
        seed: Which draw.

    Returns:
        The name of the part of each picture.
    """
    total, random = len(presence), np.random.default_rng(seed)
    names, counts = list(sizes), presence.sum(0)
    part_of = np.full(total, -1)
    room = np.array([sizes[name] for name in names])
    shares = room / max(total, 1)
    has = np.zeros((len(names), presence.shape[1]), np.int64)
    rare_first = sorted(np.flatnonzero(counts).tolist(), key=lambda c: (counts[c], c))
    for class_id in rare_first:
        for picture in random.permutation(np.flatnonzero(presence[:, class_id])).tolist():
            if part_of[picture] < 0:
                wanted = shares * counts[class_id] - has[:, class_id]
                part = min(
                    np.flatnonzero(room).tolist(),
                    key=lambda p: (
                        (1, -wanted[p], -room[p], p) if has[p, class_id] else (0, p, 0, 0)
                    ),
                )
                part_of[picture] = part
                room[part] -= 1
                has[part] += presence[picture]
    rest = random.permutation(np.flatnonzero(part_of < 0))  # pictures without any class
    part_of[rest] = np.repeat(np.arange(len(names)), room)
    _exchange(presence, part_of, has, random)
    return [names[part] for part in part_of.tolist()]


def _exchange(
    presence: np.ndarray, part_of: np.ndarray, has: np.ndarray, random: np.random.Generator
) -> None:
    """Exchange pictures, in place, where a part gains a class and none of more weight is lost."""
    weights = np.where(np.arange(len(has)) == 0, 1000, 1)[:, None]  # the first part counts most
    for part, class_id in np.argwhere(has == 0).tolist():
        others = np.flatnonzero(presence[:, class_id] & (part_of != part))
        own = np.flatnonzero(part_of == part)
        for picture in random.permutation(others)[:_TRIED].tolist():
            if has[part, class_id] or len(own) == 0:
                break
            other = part_of[picture]
            tried = random.permutation(own)[:_TRIED]
            change = presence[picture].astype(np.int64) - presence[tried]
            gained = (has[part] + change > 0).sum(1) * weights[part]
            gained = gained + (has[other] - change > 0).sum(1) * weights[other]
            before = (has[part] > 0).sum() * weights[part] + (has[other] > 0).sum() * weights[other]
            best = int(gained.argmax())
            if gained[best] > before[0]:
                part_of[picture], part_of[tried[best]] = part, other
                has[part] += change[best]
                has[other] -= change[best]


def read_shares(val: Share, test: Share) -> Dict[str, Union[float, str]]:
    """What is said of the parts 'val' and 'test': a share of the pictures, or a folder.

    Raises:
        DatasetError: If it is neither, or shares leave nothing for training.
    """
    found = dict(val=_read_share('val', val), test=_read_share('test', test))
    total = sum(share for share in found.values() if isinstance(share, float))
    if total >= 1:
        raise DatasetError(
            f'--val and --test: expected shares that leave pictures for training, found {total:g} '
            'together'
        )
    return found


def _read_share(name: str, value: Share) -> Union[float, str]:
    try:
        share = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        if isinstance(value, (str, os.PathLike)):
            return str(value)
        raise DatasetError(f'--{name}: expected a share or a folder, found {value!r}') from None
    if not 0 <= share < 1:
        raise DatasetError(
            f'--{name}: expected a share from 0 to less than 1, or a folder, found {value!r}'
        )
    return share


def divide_pictures(
    data: FitData, shares: Dict[str, Union[float, str]], shots: Optional[int], seed: int
) -> None:
    """Say in each picture what it is for; pictures that are not drawn are taken out.

    Args:
        data: What was found; each picture is for training.
        shares: Of :func:`read_shares`.
        shots: How many training pictures are drawn for each class; None: all remain.
        seed: Of all draws.

    Raises:
        DatasetError: If a folder has no pictures, or a part would have none that it needs.
    """
    total, sizes = len(data.pictures), dict(val=0, test=0)
    for part, share in shares.items():
        if isinstance(share, str):
            _take_folder(data, part, share)
        elif share > 0:
            sizes[part] = max(1, round(share * total))
    if total < _ENOUGH_TO_TEST and sizes['test'] and shares['test'] == SHARE:
        sizes['test'] = 0
        data.notes.append(f'{total} pictures are too few to set some aside for the test')
    free = data.part('train')
    num_untested = total - sizes['test'] - len(data.part('test'))
    in_folds = not isinstance(shares['val'], str) and num_untested < _FEW
    if in_folds:
        sizes['val'] = 0
    elif shares['val'] == 0:
        raise DatasetError(
            f'--val 0: expected pictures for validation, because there are {num_untested} '
            f'that are not for the test; below {_FEW}, a cross-validation does without'
        )
    sizes['train'] = len(free) - sum(sizes.values())
    if sizes['train'] < 1 + in_folds:
        raise DatasetError(
            f'--val and --test: expected pictures for training, but of {total} pictures '
            f'{max(0, sizes["train"])} remain. Lower the shares, or add pictures'
        )
    parts = {part: sizes[part] for part in ('train', 'val', 'test') if sizes[part]}
    for picture, part in zip(free, divide(presence_of(free, data.classes), parts, seed)):
        picture.split = part
    if shots is not None:
        _draw(data, shots, seed)
    if in_folds:
        _fold(data, seed)
    _note_missing(data)


def _take_folder(data: FitData, part: str, folder: str) -> None:
    """Let the pictures in a folder be those of a part."""
    names = set(_names_below(data, part, folder))
    for picture in data.pictures:
        if picture.name in names:
            if picture.split != 'train':
                raise DatasetError(f'--val and --test: both have the picture {picture.name!r}')
            picture.split = part


def _names_below(data: FitData, part: str, folder: str) -> List[str]:
    """Names of the pictures in a folder that an argument names."""
    images = Path(data.images)
    for path in (Path(folder).expanduser(), images / folder):
        if not path.is_dir():
            continue
        for real in (os.path.abspath, os.path.realpath):
            below = os.path.relpath(real(path), real(images)).replace(os.sep, '/')
            names = [name for name in data.names() if name.startswith(f'{below}/')]
            if names:
                return names
    raise DatasetError(
        f'--{part} {folder!r}: expected a share such as 0.2, or a folder of pictures below '
        f'that of --images ({data.images!r}), found none with pictures that have labels'
    )


def _draw(data: FitData, shots: int, seed: int) -> None:
    """Let the pictures of a few-shot draw remain for training."""
    training = data.part('train')
    names = [each.name for each in training]
    presence = presence_of(training, data.classes)
    drawn = {names[i] for i in draw_few_shot(presence, shots, seed, names)}
    data.pictures = [p for p in data.pictures if p.split != 'train' or p.name in drawn]
    data.notes.append(
        f'--shots {shots}: {len(drawn)} of {len(names)} training pictures were drawn; the others '
        'are not used'
    )


def _fold(data: FitData, seed: int) -> None:
    """Number the folds of a cross-validation."""
    training = data.part('train')
    count, total = min(_FOLDS, len(training)), len(training)
    if count < 2:
        raise DatasetError(
            f'expected at least two pictures for training and validation, found {count}. Add '
            'pictures, or take a larger --shots'
        )
    sizes = {str(fold): total // count + (fold < total % count) for fold in range(count)}
    folds = divide(presence_of(training, data.classes), sizes, seed)
    for picture, fold in zip(training, folds):
        picture.fold = int(fold)
    data.notes.append(
        f'{total} pictures are few: choices are made by a cross-validation of {count} folds'
    )


def _note_missing(data: FitData) -> None:
    """Note which classes a part does not show."""
    for split, what in (('train', 'training'), ('val', 'validation'), ('test', 'test')):
        own = data.part(split)
        missing = [name for name in data.classes if not any(each.pixels.get(name) for each in own)]
        if own and missing:
            data.notes.append(f'No picture of the {what} part shows {", ".join(missing)}')
