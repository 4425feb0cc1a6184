"""Which numbers label maps hold: those of classes, of "the rest", and the one that is ignored."""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

__all__ = [
    'IGNORED_8_BITS',
    'IGNORED_16_BITS',
    'LABEL_IDS_KEY',
    'LabelIds',
    'name_rest',
    'resolve_label_ids',
    'with_rest',
]

#: The usual number of ignored pixels in label maps of 8 bits, and ours in those of 16.
IGNORED_8_BITS = 255
IGNORED_16_BITS = 65535
#: Where a predicted sample's metainfo says which numbers its label maps hold.
LABEL_IDS_KEY = 'label_ids'
_REST_COLOUR = (96, 96, 96)


class LabelIds(NamedTuple):
    """The numbers in a label map, as the loss, the metric and the written files have them."""

    num_classes: int
    ignore_index: int = IGNORED_8_BITS  # of pixels that do not count; no class has it
    rest_id: Optional[int] = None  # with one class, that of all pixels that do not show it

    @property
    def classes(self) -> range:
        """The numbers of the classes, in their order."""
        return range(1, 2) if self.rest_id == 0 else range(self.num_classes)

    @property
    def counted(self) -> Tuple[int, ...]:
        """The numbers that count: those of the classes, and of the rest."""
        return (*self.classes, *(() if self.rest_id is None else (self.rest_id,)))

    @property
    def channels(self) -> Tuple[int, ...]:
        """The number that each channel of predicted scores stands for.

        With one class the rest comes first, because ``argmax`` takes the first of equal scores.
        """
        return tuple(self.classes) if self.rest_id is None else (self.rest_id, *self.classes)

    def from_channels(self, channels: Tensor) -> Tensor:
        """The numbers in label maps, of the positions of channels of any shape, int64."""
        if self.rest_id is None:
            return channels
        return torch.tensor(self.channels, device=channels.device)[channels]

    def to_channels(self, labels: Tensor) -> Tensor:
        """The positions of channels, of the numbers in label maps of any shape, int64.

        What is neither a class nor the rest becomes ``ignore_index``.
        """
        if self.rest_id is None:
            return labels
        channels = torch.full_like(labels, self.ignore_index)
        for channel, label in enumerate(self.channels):
            channels[labels == label] = channel
        return channels

    @property
    def dtype(self) -> type:
        """What a file of such a label map holds: uint8, or uint16 above 255 classes."""
        return np.uint8 if max(self.counted) <= 255 and self.num_classes <= 255 else np.uint16

    def find_unknown(self, labels: Any) -> Any:
        """Where a label map, an array or a tensor, has a number neither counted nor ignored."""
        known = (labels >= self.classes.start) & (labels < self.classes.stop)
        rest_id = self.ignore_index if self.rest_id is None else self.rest_id
        known |= (labels == self.ignore_index) | (labels == rest_id)
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
    """
    for key, value, first in (('num_classes', num_classes, 1), ('ignore_index', ignore_index, 0)):
        if value is not None and (type(value) is not int or not first <= value <= IGNORED_16_BITS):
            raise ValueError(
                f'decode_head.{key}: expected a whole number from {first} to {IGNORED_16_BITS}, '
                f'which is what label maps of 16 bits can tell apart, found {value!r}'
            )
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
    if rest_id is not None and (type(rest_id) is not int or rest_id not in (0, 255)):
        raise ValueError(
            f'decode_head.rest_id: expected 0 (the class has the number 1) or 255 (the class has '
            f'the number 0), found {rest_id!r}'
        )
    if ignore_index is None:
        taken = num_classes > IGNORED_8_BITS or rest_id == IGNORED_8_BITS
        ignore_index = IGNORED_16_BITS if taken else IGNORED_8_BITS
    ids = LabelIds(num_classes, ignore_index, rest_id)
    # With one class, 0 and 1 are also the positions of its score and that of the rest.
    if ignore_index in ids.counted or ignore_index in range(len(ids.channels)):
        raise ValueError(
            f'decode_head.ignore_index is {ignore_index}, which label maps also use for '
            f'{"the rest" if ignore_index == rest_id else "a class"}. Leave ignore_index out, and '
            f'it is {resolve_label_ids(num_classes, None, rest_id).ignore_index}; where 0 is void '
            'in the files and classes begin at 1, set reduce_zero_label=True'
        )
    return ids


def name_rest(classes: Any) -> str:
    """What all pixels that do not show the one class are called, in tables and pictures."""
    return 'the rest' if 'rest' in classes else 'rest'


def with_rest(dataset_meta: Mapping[str, Any], label_ids: LabelIds) -> Dict[str, Any]:
    """A copy of a data set's metainfo with a name and a colour at the position of each number.

    What draws label maps looks names and colours up by number. With one class the numbers are not
    the positions of the class names; numbers that nothing has are empty and black.
    """
    meta, rest, own = dict(dataset_meta), label_ids.rest_id, label_ids.classes.start
    if rest is None or len(meta.get('classes') or ()) != 1:
        return meta
    names = {rest: name_rest(meta['classes']), own: meta['classes'][0]}
    meta['classes'] = tuple(names.get(number, '') for number in range(max(names) + 1))
    if meta.get('palette') is not None:
        colours = {rest: _REST_COLOUR, own: meta['palette'][0]}
        meta['palette'] = [list(colours.get(i, (0, 0, 0))) for i in range(max(names) + 1)]
    return meta
