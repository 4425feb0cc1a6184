"""Which numbers label maps hold: those of classes, of "the rest", and the one that is ignored."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

__all__ = ['IGNORED_8_BITS', 'IGNORED_16_BITS', 'LabelIds', 'resolve_label_ids']

#: The usual number of ignored pixels in label maps of 8 bits, and ours in those of 16.
IGNORED_8_BITS = 255
IGNORED_16_BITS = 65535
_REST_IDS = (0, 255)


class LabelIds(NamedTuple):
    """The numbers in a label map, as the loss, the metric and the written files have them.

    Attributes:
        num_classes: ``C``.
        ignore_index: The number of pixels that do not count; no class has it.
        rest_id: With one class, the number of all pixels that do not show it; else None.
    """

    num_classes: int
    ignore_index: int = IGNORED_8_BITS
    rest_id: Optional[int] = None

    @property
    def classes(self) -> range:
        """The numbers of the classes, in their order."""
        return range(1, 2) if self.rest_id == 0 else range(self.num_classes)

    @property
    def counted(self) -> Tuple[int, ...]:
        """The numbers that count: those of the classes, and of the rest."""
        return (*self.classes, *(() if self.rest_id is None else (self.rest_id,)))

    @property
    def dtype(self) -> type:
        """What a file of such a label map holds: uint8, or uint16 above 255 classes."""
        return np.uint8 if max(self.counted) <= 255 and self.num_classes <= 255 else np.uint16

    def find_unknown(self, labels: np.ndarray) -> np.ndarray:
        """Where a label map has a number that is neither counted nor ignored.

        Args:
            labels: Integers of any shape.

        Returns:
            Booleans of the same shape.
        """
        known = (labels >= self.classes.start) & (labels < self.classes.stop)
        known |= labels == self.ignore_index
        if self.rest_id is not None:
            known |= labels == self.rest_id
        return ~known

    def describe(self) -> str:
        """The numbers in words, for errors: ``'0 to 18 (the 19 classes) and 255 (ignored)'``."""
        if self.rest_id is not None:
            ids = f'{self.classes.start} (the class) and {self.rest_id} (the rest)'
            return f'{ids}, or {self.ignore_index} (ignored)'
        last = self.num_classes - 1
        return f'0 to {last} (the {self.num_classes} classes) and {self.ignore_index} (ignored)'


def resolve_label_ids(
    num_classes: int, ignore_index: Optional[int] = None, rest_id: Optional[int] = None
) -> LabelIds:
    """Check the settings of a head, and fill in what follows from them.

    Args:
        num_classes: ``C``, from 1 on.
        ignore_index: The number of pixels that do not count. Defaults to None: 255, or 65535
            where 255 is the number of a class (above 255 classes) or of the rest.
        rest_id: With one class, the number of all other pixels: 0, and the class has the number 1;
            or 255, and the class has the number 0. Defaults to None.

    Raises:
        ValueError: If the numbers contradict each other, with what to set.
    """
    if num_classes == 1 and rest_id is None:
        raise ValueError(
            'decode_head.num_classes is 1, but nothing says what the other pixels are. Set '
            'decode_head.rest_id=0 if label maps hold 1 for the class and 0 for the rest, or '
            'decode_head.rest_id=255 if they hold 0 for the class and 255 for the rest; or name '
            'two classes, such as "background" and your own'
        )
    if rest_id is not None and num_classes != 1:
        raise ValueError(
            f'decode_head.rest_id is {rest_id!r}, but num_classes is {num_classes}: expected '
            'rest_id with num_classes=1 alone. With several classes, name the rest as one of '
            'them, such as "background"'
        )
    if rest_id is not None and rest_id not in _REST_IDS:
        raise ValueError(
            f'decode_head.rest_id: expected 0 (the class has the number 1) or 255 (the class has '
            f'the number 0), found {rest_id!r}'
        )
    if ignore_index is None:
        taken = num_classes > IGNORED_8_BITS or rest_id == IGNORED_8_BITS
        ignore_index = IGNORED_16_BITS if taken else IGNORED_8_BITS
    ids = LabelIds(num_classes, ignore_index, rest_id)
    if ignore_index in ids.counted:
        raise ValueError(
            f'decode_head.ignore_index is {ignore_index}, which label maps also use for '
            f'{"the rest" if ignore_index == rest_id else "a class"}: expected a number that '
            f'none of {", ".join(map(str, ids.counted[:3]))}{", ..." * (len(ids.counted) > 3)} '
            f'has. Leave ignore_index out, and it is '
            f'{resolve_label_ids(num_classes, None, rest_id).ignore_index}; where 0 is void in '
            'the files and classes begin at 1, set reduce_zero_label=True'
        )
    return ids
