"""Large pictures in windows, each of which is a frame of its own."""

import itertools
from typing import Any, Callable, Iterator, Optional, Tuple

import torch.nn.functional as F
from mmengine.config import ConfigDict
from torch import Tensor

__all__ = ['check_test_cfg', 'predict_windows']

Size = Tuple[int, int]


def check_test_cfg(test_cfg: Any, frame: Optional[Size]) -> ConfigDict:
    """Fill in ``test_cfg.mode`` in a copy, and refuse windows that cannot be predicted.

    Args:
        test_cfg: ``model.test_cfg``, or None.
        frame: (H, W) of the image encoder's input; None if it takes others, too.

    Raises:
        ValueError: If the mode is unknown, or windows are larger than the frame, leave gaps or
            have no pixel; or if ``resize`` is unknown, or ``'masks'`` with windows.
    """
    test_cfg = ConfigDict(test_cfg or {})
    mode = test_cfg.setdefault('mode', 'whole')
    if mode not in ('whole', 'slide'):
        raise ValueError(f"model.test_cfg.mode: expected 'whole' or 'slide', found {mode!r}")
    resize = test_cfg.get('resize', 'scores')
    if resize not in ('scores', 'masks'):
        raise ValueError(f"model.test_cfg.resize: expected 'scores' or 'masks', found {resize!r}")
    if resize == 'masks' and mode == 'slide':
        raise ValueError(
            "model.test_cfg.resize is 'masks' and its mode 'slide': windows have masks of their "
            "own, and what is averaged are scores. Leave resize out, or set mode='whole'"
        )
    crop, stride = test_cfg.get('crop_size'), test_cfg.get('stride')
    sizes = (stride, crop) if frame is None else (stride, crop, frame)
    if mode == 'slide' and not (
        all(_is_size(size) for size in sizes)
        and all(list(sides) == sorted(sides) for sides in zip(*sizes))
    ):
        side, limit = (96, '') if frame is None else (frame[0], f', at most {frame}, the frame')
        raise ValueError(
            f'model.test_cfg: expected crop_size, (height, width) in pixels{limit}, and a stride '
            f"that is not larger, such as dict(mode='slide', crop_size=({side}, {side}), stride="
            f'({side * 2 // 3}, {side * 2 // 3})), found crop_size={crop!r}, stride={stride!r}'
        )
    return test_cfg


def _is_size(size: Any) -> bool:
    is_pair = isinstance(size, (list, tuple)) and len(size) == 2
    return is_pair and all(type(side) is int and side > 0 for side in size)


def predict_windows(
    images: Tensor, crop_size: Size, stride: Size, frame: Size, predict: Callable[[Tensor], Tensor]
) -> Tensor:
    """Scores of images that may be larger than the frame: the mean over all windows of a place.

    Windows lie as in mmseg: the last of a row or column is moved back into the image. One that is
    smaller than the frame is padded with zeros at the right and below, as whole images are.

    Args:
        images: (B, 3, H, W), normalised.
        crop_size: Height and width of a window.
        stride: Steps down and to the right.
        frame: (h, w).
        predict: Takes (B, 3, h, w) to scores (B, K, h, w).

    Returns:
        (B, K, H, W): beside ``images`` the only thing in memory that is as large as they are.
    """
    height, width = images.shape[-2:]
    total: Any = None
    count = images.new_zeros(height, width)
    for top, left in itertools.product(*map(_starts, (height, width), crop_size, stride)):
        place = (..., slice(top, top + crop_size[0]), slice(left, left + crop_size[1]))
        window = images[place]
        rows, columns = window.shape[-2:]
        padded = F.pad(window, (0, frame[1] - columns, 0, frame[0] - rows))
        scores = predict(padded)[..., :rows, :columns]
        if total is None:
            total = scores.new_zeros(*scores.shape[:2], height, width)
        total[place] += scores
        count[place] += 1
    result: Tensor = total.div_(count)
    return result


def _starts(size: int, crop: int, stride: int) -> Iterator[int]:
    """Where windows begin, so that they cover a side of ``size`` pixels."""
    last = max(size - crop, 0)
    yield from range(0, last, stride)
    yield last
