"""Large pictures in windows, each of which is a frame of its own."""

from typing import Any, Callable, Iterator, Mapping, Optional, Tuple

import torch.nn.functional as F
from mmengine.config import ConfigDict
from torch import Tensor

__all__ = ['check_test_cfg', 'predict_windows']

_MODES = ('whole', 'slide')


def check_test_cfg(test_cfg: Any, frame: Optional[int]) -> ConfigDict:
    """Fill in how a model predicts, and refuse windows that cannot be predicted.

    Args:
        test_cfg: ``model.test_cfg``, or None.
        frame: ``S``, the side of the image encoder's square input; None without such an encoder.

    Returns:
        A copy that has a mode.

    Raises:
        ValueError: If the mode is unknown, or windows are larger than the frame, leave gaps or
            have no pixel.
    """
    test_cfg = ConfigDict(test_cfg or {})
    mode = test_cfg.setdefault('mode', 'whole')
    if mode not in _MODES:
        raise ValueError(f'model.test_cfg.mode: expected one of {list(_MODES)}, found {mode!r}')
    if mode == 'slide':
        _check_windows(test_cfg, frame)
    return test_cfg


def _check_windows(test_cfg: Mapping[str, Any], frame: Optional[int]) -> None:
    if frame is None:
        raise ValueError(
            "model.test_cfg.mode is 'slide', but this model has no image encoder, and embedded "
            "samples are whole frames: set mode='whole', or give the config without `_cached`"
        )
    example = (
        f"dict(mode='slide', crop_size=({frame}, {frame}), stride=({frame * 2 // 3}, "
        f'{frame * 2 // 3}))'
    )
    for key in ('crop_size', 'stride'):
        pair: Any = test_cfg.get(key)
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not is_pair or not all(type(side) is int and side > 0 for side in pair):
            raise ValueError(
                f'model.test_cfg.{key}: expected height and width in pixels, as in {example}, '
                f'found {pair!r}'
            )
    crop, stride = test_cfg['crop_size'], test_cfg['stride']
    if max(crop) > frame:
        raise ValueError(
            f'model.test_cfg.crop_size is {tuple(crop)}, but the image encoder takes a frame of '
            f'{frame} x {frame} pixels: expected windows that are not larger, as in {example}'
        )
    if any(step > side for step, side in zip(stride, crop)):
        raise ValueError(
            f'model.test_cfg.stride is {tuple(stride)}, which leaves gaps between windows of '
            f'crop_size={tuple(crop)}: expected steps that are not larger, as in {example}'
        )


def predict_windows(
    images: Tensor,
    crop_size: Tuple[int, int],
    stride: Tuple[int, int],
    frame: int,
    predict: Callable[[Tensor], Tensor],
) -> Tensor:
    """Scores of images that may be larger than the frame: the mean over all windows of a place.

    Windows lie as in mmseg: the last of a row or column is moved back into the image. One that is
    smaller than the frame is padded with zeros at the right and below, as whole images are.

    Args:
        images: (B, 3, H, W), normalised.
        crop_size: Height and width of a window, at most S.
        stride: Steps down and to the right, at most those.
        frame: ``S``.
        predict: Takes (B, 3, S, S) to scores (B, K, S, S).

    Returns:
        (B, K, H, W): beside ``images`` the only thing in memory that is as large as they are.
    """
    height, width = images.shape[-2:]
    total = None
    count = images.new_zeros(height, width)
    for top in _starts(height, crop_size[0], stride[0]):
        for left in _starts(width, crop_size[1], stride[1]):
            place = (..., slice(top, top + crop_size[0]), slice(left, left + crop_size[1]))
            window = images[place]
            rows, columns = window.shape[-2:]
            padded = F.pad(window, (0, frame - columns, 0, frame - rows))
            scores = predict(padded)[..., :rows, :columns]
            if total is None:
                total = scores.new_zeros(*scores.shape[:2], height, width)
            total[place] += scores
            count[place] += 1
    assert total is not None  # there is at least one window
    return total.div_(count)


def _starts(size: int, crop: int, stride: int) -> Iterator[int]:
    """Where windows begin, so that they cover a side of ``size`` pixels."""
    last = max(size - crop, 0)
    yield from range(0, last, stride)
    yield last
