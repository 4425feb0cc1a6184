"""Spatial prompts: learned in embedding space (SpaPrompt), or as 2-D coordinates (baseline)."""

import logging
import math
from typing import Any, Optional, Sequence, Tuple

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from segment_anything.utils.amg import build_point_grid
from torch import Tensor, nn

from ...plain import is_number
from ..sam.prompt_encoder import SAMPromptEncoder
from .fusion import build_fusion
from .given_prompts import read_boxes, read_points

__all__ = ['CoordinatePromptLearner', 'SpatialPromptLearner', 'point_grid']

FOREGROUND = 1  # SAM's label of a point that lies on the object


def point_grid(num_points: int, extent: Sequence[float] = (1.0, 1.0)) -> Tensor:
    """A regular grid of points, as ``segment_anything.utils.amg.build_point_grid``.

    Args:
        num_points: A square number, ``N``.
        extent: Width and height that the grid covers, as fractions of the square input frame:
            with images of 4:3, padded below, ``(1.0, 0.75)`` keeps all points on the image.

    Returns:
        (N, 2) x and y in [0, 1], row by row.

    Raises:
        ValueError: If ``num_points`` is not a positive square number or ``extent`` is not two
            numbers in (0, 1].
    """
    valid = type(num_points) is int and num_points > 0
    if not valid or math.isqrt(num_points) ** 2 != num_points:
        raise ValueError(
            'num_prompts must be a positive square number such as 64 or 100 (the prompts start '
            f'on a square grid), got {num_points!r}'
        )
    sides = tuple(extent) if isinstance(extent, (list, tuple)) else extent
    is_pair = isinstance(sides, tuple) and len(sides) == 2
    if not is_pair or not all(is_number(side) and 0 < side <= 1 for side in sides):
        raise ValueError(f'extent must be two fractions in (0, 1], got {sides}')
    grid = torch.from_numpy(build_point_grid(math.isqrt(num_points))).float()
    return grid * torch.tensor([float(side) for side in sides])


@MODELS.register_module()
class SpatialPromptLearner(BaseModule):
    """Spatial prompts learned in the embedding space of SAM's prompt encoder (SpaPrompt).

    The default prompts are the encoder's embeddings of handcrafted points (by default a regular
    grid) or boxes; :class:`PromptFusion` mixes each with a learned embedding. Each prompt is
    ``T`` tokens, which share one weight.

    Args:
        prompt_encoder: The frozen encoder; used once, not kept.
        num_prompts: ``N``, the points of the grid. Not with ``points`` or ``boxes``.
            Defaults to 100.
        extent: The part of the input frame that the grid covers, see :func:`point_grid`.
        points: N foreground points (x, y), in pixels of the square input frame of side ``S``, from
            0 to S.
        boxes: N boxes (left, top, right, bottom), in pixels of the square input frame, from 0 to
            S.
        fusion: Arguments of :class:`PromptFusion`.

    Shape:
        Output: (N, T, D), T = 2 for points (SAM pads with a not-a-point token) and boxes.

    Raises:
        ValueError: If both points and boxes are given, or one of them has the wrong shape, is not
            finite or lies outside of the frame; with its index.
    """

    def __init__(
        self,
        prompt_encoder: SAMPromptEncoder,
        num_prompts: int = 100,
        extent: Sequence[float] = (1.0, 1.0),
        points: Optional[Sequence[Tuple[float, float]]] = None,
        boxes: Optional[Sequence[Tuple[float, float, float, float]]] = None,
        fusion: Optional[dict] = None,
    ) -> None:
        super().__init__()
        if points is not None and boxes is not None:
            raise ValueError('give the default spatial prompts as points or as boxes, not as both')
        size = prompt_encoder.image_size
        with torch.no_grad():
            if boxes is not None:
                default = prompt_encoder.encode_boxes(read_boxes(boxes, size))
            elif points is not None:
                default = _encode(prompt_encoder, read_points(points, size))
            else:
                grid = point_grid(num_prompts, extent) * size
                default = _encode(prompt_encoder, grid)
        self.fusion = build_fusion(default, fusion)

    @property
    def num_prompts(self) -> int:
        """``N``."""
        return len(self.fusion.default)

    def forward(self, prompt_encoder: SAMPromptEncoder) -> Tensor:
        """The spatial prompts (N, T, D); the encoder has said its part at construction."""
        return self.fusion()


@MODELS.register_module()
class CoordinatePromptLearner(BaseModule):
    """Vanilla spatial prompt learning: 2-D coordinates, through the frozen prompt encoder.

    The baseline that the paper argues against: two numbers per prompt are searched instead of an
    embedding. Interchangeable with :class:`SpatialPromptLearner`.

    The points stay in the frame: what a step has moved out of it is set back to its border before
    it is used or saved, and so are points of a checkpoint, which the log says.

    Args:
        prompt_encoder: The frozen encoder, for the size of its input frame.
        num_prompts: ``N``, the points of the initial grid. Defaults to 100.
        extent: The part of the input frame that the grid covers, see :func:`point_grid`.

    Shape:
        Output: (N, 2, D).
    """

    def __init__(
        self,
        prompt_encoder: SAMPromptEncoder,
        num_prompts: int = 100,
        extent: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        self.image_size = prompt_encoder.image_size
        self.coordinates = nn.Parameter(point_grid(num_prompts, extent))  # (N, 2) in [0, 1]

    @property
    def num_prompts(self) -> int:
        """``N``."""
        return len(self.coordinates)

    def forward(self, prompt_encoder: SAMPromptEncoder) -> Tensor:
        """Encode the points where they are now: (N, 2, D)."""
        self._stay_inside()
        return _encode(prompt_encoder, self.coordinates * self.image_size)

    def _stay_inside(self) -> None:
        # The parameter itself, so that a point at the border has a gradient back to the inside.
        with torch.no_grad():
            self.coordinates.clamp_(0, 1)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._stay_inside()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        outside = ((self.coordinates < 0) | (self.coordinates > 1)).any(dim=1)
        if outside.any():
            indices = outside.nonzero().flatten().tolist()
            print_log(
                f'{prefix}coordinates: {len(indices)} of {self.num_prompts} points lie outside of '
                f'the frame, where x and y are from 0 to 1, and are set to its border: indices '
                f'{indices[:10]}',
                'current',
                logging.WARNING,
            )
            self._stay_inside()


def _encode(prompt_encoder: SAMPromptEncoder, points: Tensor) -> Tensor:
    """One foreground point per prompt: (N, 2) pixels -> (N, 2, D)."""
    labels = points.new_full((len(points), 1), FOREGROUND)
    return prompt_encoder.encode_points(points.unsqueeze(1), labels)
