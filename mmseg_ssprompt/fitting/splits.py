"""Which pictures train, validate and test, so that each part shows every class where it can."""

from typing import Dict, List, Sequence

import numpy as np

__all__ = ['divide']

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


def sizes_of(total: int, shares: Sequence[float]) -> List[int]:
    """How many pictures some shares of them are, at least one each where the share is not 0."""
    return [max(1, round(share * total)) if share > 0 else 0 for share in shares]
