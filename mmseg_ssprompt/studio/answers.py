"""What a session answers."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..prediction.prediction import FoundObject
from .segmenting import Naming

__all__ = ['AtPoint', 'BaseAnswer', 'Difference', 'LabelView', 'MaskFacts']


class LabelView(NamedTuple):
    """A label map, or objects.

    Attributes:
        labels: (h, w), the label map.
        objects: Objects and regions; None where it is a semantic label map.
        naming: The classes.
        shares: The share of pixels of each class that was found, by number, the largest first.
        title: Whose it is.
    """

    labels: np.ndarray
    objects: Optional[List[FoundObject]]
    naming: Naming
    shares: Dict[int, float]
    title: str


class MaskFacts(NamedTuple):
    """What is known of a mask.

    Attributes:
        number: From 0 on.
        prompt: The number of its prompt, from 0 on.
        label: The index of its class among the names; None for "no object".
        score: Of that class, or of "no object", from 0 to 1.
        quality: The base model's own estimate of its IoU; None if it has none.
        share: Of the picture that it covers.
    """

    number: int
    prompt: int
    label: Optional[int]
    score: float
    quality: Optional[float]
    share: float


class BaseAnswer(NamedTuple):
    """What the base model says of a point.

    Attributes:
        mask: (h, w) float32, probabilities.
        quality: Its own estimate of the mask's IoU; None if it has none.
        label: The index of the class; None for "no object", or without classes.
        score: Of that; None if the base model has no classes.
    """

    mask: np.ndarray
    quality: Optional[float]
    label: Optional[int]
    score: Optional[float]


class AtPoint(NamedTuple):
    """What is said of a point.

    Attributes:
        x, y: The point, as fractions of the picture.
        base: What the base model says.
        label: The number in the label map there.
        score: The share of that class in the scores of all.
        leader: The mask that adds most to the score of the class.
        leader_score: What its prompt gives to that class, from 0 to 1.
        mask: (h, w) float32, its probabilities.
    """

    x: float
    y: float
    base: BaseAnswer
    label: int
    score: float
    leader: MaskFacts
    leader_score: float
    mask: np.ndarray


class Difference(NamedTuple):
    """Two label maps of a picture.

    Attributes:
        first, second: Those that are compared.
        differs: (h, w) bool, where the names of their classes differ.
        share: Of pixels that differ.
        swaps: The pairs of names (first, second) that differ most, with their shares.
    """

    first: LabelView
    second: LabelView
    differs: np.ndarray
    share: float
    swaps: List[Tuple[str, str, float]]
