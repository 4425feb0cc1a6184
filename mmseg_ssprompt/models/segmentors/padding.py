"""Whether images are padded to what the image encoder takes, before the first of them comes."""

from typing import Any, Optional, Tuple

__all__ = ['check_padding']


def check_padding(
    preprocessor: Any, frame: Optional[Tuple[int, int]], divisor: int, mode: str
) -> None:
    """Refuse a data preprocessor whose frames the image encoder would refuse.

    Those of tests would otherwise be refused in the first validation, after hours of training.

    Args:
        preprocessor: mmseg's ``SegDataPreProcessor``; others, and one that does not pad, pass.
        frame: (H, W) of the image encoder's input; None if it takes others, too.
        divisor: What the sides of its input are multiples of, in pixels.
        mode: ``model.test_cfg.mode``: with ``'slide'``, images of tests may have any size.

    Raises:
        ValueError: If images are padded to another size.
    """
    test_cfg = getattr(preprocessor, 'test_cfg', None) or {}
    paddings = {
        '': (getattr(preprocessor, 'size', None), getattr(preprocessor, 'size_divisor', None)),
        '.test_cfg': (test_cfg.get('size'), test_cfg.get('size_divisor')),
    }
    if mode == 'slide':
        del paddings['.test_cfg']
    for where, (size, size_divisor) in paddings.items():
        key = 'size_divisor' if size is None else 'size'
        if size is not None:
            sides = tuple(size)[-2:]
            fits = sides == tuple(frame) if frame else not any(side % divisor for side in sides)
        elif size_divisor is not None:
            # A smaller one pads to the frame only what has its size already.
            fits = {size_divisor} == set(frame) if frame else not size_divisor % divisor
        else:
            continue
        if fits:
            continue
        found = size_divisor if size is None else size
        expected, remedy = f'multiples of {divisor} pixels', f'size_divisor={divisor}'
        if frame:
            expected, remedy = f'size={tuple(frame)}, the frame', f'size={tuple(frame)}'
        raise ValueError(
            f'model.data_preprocessor{where}.{key}: the image encoder expects {expected}, found '
            f'{found}. Set data_preprocessor=dict({remedy}, test_cfg=dict({remedy})), and delete '
            'what it has in its place (_delete_=True)'
        )
