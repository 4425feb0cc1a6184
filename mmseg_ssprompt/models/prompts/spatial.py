"""Spatial prompts: learned in embedding space (SpaPrompt), or as 2-D coordinates (baseline)."""

import math
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from segment_anything.utils.amg import build_point_grid
from torch import Tensor, nn

from ...plain import is_number, shorten
from ..base import ImageFeatures, PromptableSegmenter
from .fusion import PromptFusion

__all__ = ['CoordinatePromptLearner', 'SpatialPromptLearner', 'point_grid', 'read_prompts']

DEFAULT_NUM_PROMPTS = 100
#: What handcrafted prompts are given by.
_NUMBERS = dict(points=('x', 'y'), boxes=('left', 'top', 'right', 'bottom'))


def point_grid(num_points: int, extent: Sequence[float] = (1.0, 1.0)) -> Tensor:
    """A regular grid of points, as ``segment_anything.utils.amg.build_point_grid``.

    Args:
        num_points: A square number, ``N``.
        extent: Width and height that the grid covers, as fractions of the frame: with images of
            4:3, padded below to a square, ``(1.0, 0.75)`` keeps all points on the image.

    Returns:
        (N, 2) x and y in [0, 1], row by row.

    Raises:
        ValueError: If ``num_points`` is not a positive square number or ``extent`` is not two
            numbers in (0, 1].
    """
    is_count = type(num_points) is int and num_points > 0
    if not is_count or math.isqrt(num_points) ** 2 != num_points:
        raise ValueError(
            'num_prompts must be a positive square number such as 64 or 100 (the prompts start '
            f'on a square grid), got {num_points!r}'
        )
    is_pair = isinstance(extent, (list, tuple)) and len(extent) == 2
    if not is_pair or not all(is_number(side) and 0 < side <= 1 for side in extent):
        raise ValueError(f'extent must be two fractions in (0, 1], got {extent!r}')
    grid = torch.from_numpy(build_point_grid(math.isqrt(num_points))).float()
    return grid * torch.tensor([float(side) for side in extent])


def read_prompts(kind: str, values: Any) -> Tensor:
    """Check handcrafted prompts of a config.

    Args:
        kind: ``'points'`` (x, y) or ``'boxes'`` (left, top, right, bottom).
        values: (N, 2) or (N, 4) numbers, fractions of the frame from 0 to 1; lists, an array or a
            tensor.

    Returns:
        The same as float32.

    Raises:
        ValueError: If there is no prompt, or a prompt has other numbers, or a box no width or
            height; with its index.
    """
    names = _NUMBERS[kind]
    rows = values.tolist() if hasattr(values, 'tolist') else values
    rows = rows if isinstance(rows, (list, tuple)) else ()
    wrong = [index for index, row in enumerate(rows) if not _is_prompt(row, len(names))]
    if wrong or not rows:
        where = f'[{wrong[0]}]' if wrong else ''
        others = f' (and {len(wrong) - 1} more, at indices {wrong[1:11]})' if wrong[1:] else ''
        corners = ', with left < right and top < bottom' if kind == 'boxes' else ''
        raise ValueError(
            f'spatial_prompts.{kind}{where}: expected {len(names)} numbers ({", ".join(names)}) '
            f'from 0 to 1, fractions of the frame{corners}, for each prompt, found '
            f'{shorten(rows[wrong[0]] if wrong else values)}{others}. Divide pixels by the width '
            'and height of the frame, to whose size photographs are scaled and padded'
        )
    return torch.tensor(rows, dtype=torch.float)


def _is_prompt(row: Any, length: int) -> bool:
    if not isinstance(row, (list, tuple)) or len(row) != length:
        return False
    inside = all(is_number(value) and 0 <= value <= 1 for value in row)
    return inside and all(start < end for start, end in zip(row, row[2:]))


@MODELS.register_module()
class SpatialPromptLearner(BaseModule):
    """Spatial prompts learned in the embedding space of the prompt encoder (SpaPrompt).

    The default prompts are the encoder's embeddings of handcrafted points (by default a regular
    grid) or boxes, or the base model's own queries; :class:`PromptFusion` mixes each with a learned
    embedding. Each prompt is ``T`` tokens, which share one weight.

    Args:
        segmenter: The base model; used, not kept.
        num_prompts: ``N``, the points of the grid; not with ``points`` or ``boxes``. Defaults to
            None: the base model's own queries where it has any, else 100.
        extent: The part of the input frame that the grid covers, see :func:`point_grid`.
        points, boxes: N foreground points, or N boxes, see :func:`read_prompts`.
        fusion: Arguments of :class:`PromptFusion`.

    Attributes:
        num_prompts: ``N``.
        handcrafted: The points (N, 2) or boxes (N, 4) that the default prompts are encoded from, in
            fractions of the frame; None for the base model's own queries.

    Shape:
        Output: (N, T, D), or (B, N, T, D) where the prompt encoder sees the images.

    Raises:
        ValueError: If both points and boxes are given, or as :func:`read_prompts` and
            :func:`point_grid`.
    """

    handcrafted: Optional[Tensor]

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        num_prompts: Optional[int] = None,
        extent: Sequence[float] = (1.0, 1.0),
        points: Optional[Sequence[Tuple[float, float]]] = None,
        boxes: Optional[Sequence[Tuple[float, float, float, float]]] = None,
        fusion: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        if points is not None and boxes is not None:
            raise ValueError('give the default spatial prompts as points or as boxes, not as both')
        has_own = points is None and boxes is None and num_prompts is None
        default = segmenter.default_prompts() if has_own else None
        handcrafted = None
        if default is None:
            if boxes is not None:
                handcrafted = read_prompts('boxes', boxes)
            elif points is not None:
                handcrafted = read_prompts('points', points)
            else:
                count = DEFAULT_NUM_PROMPTS if num_prompts is None else num_prompts
                handcrafted = point_grid(count, extent)
            default = _encode(segmenter, handcrafted)
        # Saved only where they are encoded again for each image.
        self._sees_image = segmenter.prompts_see_image
        self.register_buffer('handcrafted', handcrafted, persistent=self._sees_image)
        self.num_prompts = len(default)
        self.fusion = PromptFusion(default, **(fusion or {}))

    def forward(
        self,
        segmenter: PromptableSegmenter,
        features: Optional[ImageFeatures] = None,
        weight: Optional[float] = None,
    ) -> Tensor:
        """The spatial prompts; the segmenter is asked again only if it sees the images.

        Args:
            segmenter: The base model.
            features: Of the images.
            weight: As for :class:`PromptFusion`.
        """
        default = None
        if self._sees_image and self.handcrafted is not None:
            default = _encode(segmenter, self.handcrafted, features)
        fused: Tensor = self.fusion(default, weight)
        return fused


@MODELS.register_module()
class CoordinatePromptLearner(BaseModule):
    """Vanilla spatial prompt learning: 2-D coordinates, through the frozen prompt encoder.

    The baseline that the paper argues against: two numbers per prompt are searched instead of an
    embedding. Interchangeable with :class:`SpatialPromptLearner`. What a step has moved out of the
    frame is set back to its border before it is used or saved.

    Args:
        segmenter: As for :class:`SpatialPromptLearner`.
        num_prompts: ``N``, the points of the initial grid. Defaults to 100.
        extent: As for :class:`SpatialPromptLearner`.

    Attributes:
        num_prompts: ``N``.
        coordinates: (N, 2), the points where they are now, in fractions of the frame.
        handcrafted: (N, 2), where they started.
    """

    handcrafted: Tensor

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        num_prompts: int = DEFAULT_NUM_PROMPTS,
        extent: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        grid = point_grid(num_prompts, extent)
        self.coordinates = nn.Parameter(grid.clone())
        self.register_buffer('handcrafted', grid, persistent=False)
        self.num_prompts = num_prompts

    def forward(
        self, segmenter: PromptableSegmenter, features: Optional[ImageFeatures] = None
    ) -> Tensor:
        """Encode the points where they are now: (N, T, D)."""
        self._stay_inside()
        return segmenter.encode_points(self.coordinates, features)

    def _stay_inside(self) -> None:
        # The parameter itself, so that a point at the border has a gradient back to the inside.
        with torch.no_grad():
            self.coordinates.clamp_(0, 1)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._stay_inside()
        super()._save_to_state_dict(*args, **kwargs)


@torch.no_grad()
def _encode(
    segmenter: PromptableSegmenter, handcrafted: Tensor, features: Optional[ImageFeatures] = None
) -> Tensor:
    """Encode points (N, 2) or boxes (N, 4), in fractions of the frame."""
    encode = segmenter.encode_points if handcrafted.shape[1] == 2 else segmenter.encode_boxes
    return encode(handcrafted, features)
