"""Draws of objects, in place of images, for few-shot training sets."""

import hashlib
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence

from mmengine.dataset import BaseDataset

from .checks import read_with
from .steps import each_step, loaded_kind

__all__ = ['FoundObject', 'draw_objects', 'each_object', 'find_loader', 'sort_key']


class FoundObject(NamedTuple):
    """An object, or a region of stuff, in the files of a data set."""

    image: int  # its number
    class_id: int
    segment_id: int  # in the file


def find_loader(dataset: BaseDataset, *kinds: str) -> Any:
    """The first transform of a pipeline that loads one of some kinds; None if there is none."""
    steps = each_step(dataset.pipeline)
    return next((each.transform for each in steps if loaded_kind(each.transform) in kinds), None)


def each_object(
    dataset: BaseDataset, loader: Any, index: int, min_pixels: int = 1
) -> Iterator[FoundObject]:
    """The objects of an image that count: no crowds, none of a class that is no class here.

    Args:
        dataset: A data set with objects.
        loader: Its ``LoadSegments``.
        index: Number of the image.
        min_pixels: Pixels from which on an object counts. Defaults to 1.
    """
    sample = read_with(loader, dataset.get_data_info(index))
    for info in sample['segments_info']:
        if info['category_id'] >= 0 and not info['iscrowd'] and info['pixels'] >= min_pixels:
            yield FoundObject(index, info['category_id'], info['id'])


def draw_objects(
    objects: Sequence[FoundObject], shots: int, seed: int, names: Sequence[str]
) -> Dict[int, List[int]]:
    """Draw ``shots`` objects of each class (ours); of a class that has fewer, all.

    A class's order of its objects is that of ``sha256(seed, class id, name of the image, id)``,
    which is the same on every machine and rank, in any order of the files.

    Args:
        objects: Of all images.
        shots: Objects to be drawn of each class.
        seed: Which draw.
        names: A name for each image, all different.

    Returns:
        The ids of the drawn objects of each image, sorted; the keys are sorted numbers of images.
    """
    by_class: Dict[int, List[FoundObject]] = {}
    for each in objects:
        by_class.setdefault(each.class_id, []).append(each)
    drawn: Dict[int, List[int]] = {}
    for class_id, own in by_class.items():
        own.sort(key=lambda o: sort_key(seed, class_id, names[o.image], o.segment_id))
        for each in own[:shots]:
            drawn.setdefault(each.image, []).append(each.segment_id)
    return {image: sorted(drawn[image]) for image in sorted(drawn)}


def sort_key(seed: int, class_id: int, *names: Any) -> bytes:
    """What orders images or objects in a draw."""
    text = '\n'.join(map(str, (seed, class_id, *names)))
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).digest()
