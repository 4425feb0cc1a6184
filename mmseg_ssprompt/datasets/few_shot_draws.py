"""Few-shot draws of images, from which image shows which class."""

from collections import Counter
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from .few_shot_objects import sort_key

__all__ = ['check_different', 'check_positive', 'draw_few_shot']


def draw_few_shot(
    presence: np.ndarray, shots: int, seed: int, names: Optional[Sequence[str]] = None
) -> Dict[int, int]:
    """Draw ``shots`` images for each class, each image for one class (ours).

    Classes are served in turn, those with the fewest images first. Each is credited with the
    first of its images, in an order of its own, that are credited to no other class. Where it has
    no such image left, classes before it change to others of their images if they can, and keep
    their number. So every class is credited with exactly ``shots`` images where the data allow
    it; of a class that gets fewer, *all* images are drawn, some of them for other classes.

    A class's order of the images is that of ``sha256(seed, class id, name)``, which is the same on
    every machine and rank, in any order of the files.

    Args:
        presence: (images, C) bool, which image contains which class.
        shots: Images to be credited to each class.
        seed: Which draw.
        names: A name for each image, all different. Defaults to None: their numbers.

    Returns:
        The class id that each drawn image is credited to; the keys are sorted indices of images.

    Raises:
        ValueError: If two names are the same, or ``shots`` is not positive.
    """
    names = [str(i) for i in range(len(presence))] if names is None else list(names)
    check_positive(shots=shots)
    check_different(names)
    credited: Dict[int, int] = {}
    orders = [
        sorted(np.flatnonzero(present).tolist(), key=lambda i: sort_key(seed, class_id, names[i]))
        for class_id, present in enumerate(presence.T)
    ]
    for class_id in sorted(range(len(orders)), key=lambda c: (len(orders[c]), c)):
        for _ in range(shots):
            if not _credit_one(class_id, orders, credited):
                break
    return dict(sorted(credited.items()))


def _credit_one(class_id: int, orders: List[List[int]], credited: Dict[int, int]) -> bool:
    """Credit one more image to a class, in place; False if no exchange makes one free.

    A search along augmenting paths, as in Kuhn's algorithm for bipartite matching.
    """
    given_up: Dict[int, Tuple[int, int]] = {class_id: (-1, -1)}  # class: (its image, to whom)
    queue = [class_id]
    for taker in queue:
        for image in orders[taker]:
            owner = credited.get(image)
            if owner is None:
                while taker >= 0:
                    credited[image] = taker
                    image, taker = given_up[taker]
                return True
            if owner not in given_up:
                given_up[owner] = (image, taker)
                queue.append(owner)
    return False


def check_different(names: Sequence[str]) -> None:
    """Refuse two images of one name, with a ValueError."""
    name, count = Counter(names).most_common(1)[0] if names else ('', 0)
    if count > 1:
        raise ValueError(
            f'image {name!r} is there {count} times: expected different names, because images are '
            'drawn by name. Remove the copies from the annotation file'
        )


def check_positive(**numbers: int) -> None:
    """Refuse anything but whole numbers from 1, with a ValueError."""
    for key, value in numbers.items():
        if type(value) is not int or value < 1:
            raise ValueError(f'{key} must be a whole number from 1, found {value!r}')
