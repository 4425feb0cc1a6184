"""Spatial prompts: learned in embedding space (SpaPrompt), or as 2-D coordinates (baseline)."""

import logging
import math
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from segment_anything.utils.amg import build_point_grid
from torch import Tensor, nn

from ...plain import is_number
from ..base import ImageFeatures, PromptableSegmenter
from .fusion import build_fusion
from .given_prompts import read_boxes, read_points

__all__ = ['CoordinatePromptLearner', 'SpatialPromptLearner', 'point_grid']

DEFAULT_NUM_PROMPTS = 100


def point_grid(num_points: int, extent: Sequence[float] = (1.0, 1.0)) -> Tensor:
    """A regular grid of points, as ``segment_anything.utils.amg.build_point_grid``.

    Args:
        num_points: A square number, ``N``.
        extent: Width and height that the grid covers, as fractions of the input frame:
            with images of 4:3, padded below to a square, ``(1.0, 0.75)`` keeps all points on
            the image.

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
    """Spatial prompts learned in the embedding space of the prompt encoder (SpaPrompt).

    The default prompts are the encoder's embeddings of handcrafted points (by default a regular
    grid) or boxes, or the base model's own queries; :class:`PromptFusion` mixes each with a learned
    embedding. Each prompt is ``T`` tokens, which share one weight.

    Args:
        segmenter: The base model; used, not kept.
        num_prompts: ``N``, the points of the grid; not with ``points`` or ``boxes``. Defaults to
            None: the base model's own queries where it has any, else 100.
        extent: The part of the input frame that the grid covers, see :func:`point_grid`.
        points: N foreground points (x, y), in fractions of the input frame, from 0 to 1.
        boxes: N boxes (left, top, right, bottom), in fractions of the input frame, from 0 to 1.
        fusion: Arguments of :class:`PromptFusion`.

    Shape:
        Output: (N, T, D), or (B, N, T, D) where the prompt encoder sees the images.

    Raises:
        ValueError: If both points and boxes are given, or one of them has the wrong shape, is not
            finite or lies outside of the frame; with its index.
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
        self.encoder_fingerprint = segmenter.fingerprints().get('prompt_encoder')
        handcrafted, default = None, None
        if boxes is not None:
            handcrafted = read_boxes(boxes)
        elif points is not None:
            handcrafted = read_points(points)
        elif num_prompts is None:
            default = segmenter.default_prompts()
        if default is None:
            if handcrafted is None:
                handcrafted = point_grid(
                    DEFAULT_NUM_PROMPTS if num_prompts is None else num_prompts, extent
                )
            with torch.no_grad():
                default = _encode(segmenter, handcrafted)
        # Needed, and so saved, only where they are encoded again for each image.
        sees_image = handcrafted is not None and segmenter.prompts_see_image
        self.register_buffer('handcrafted', handcrafted if sees_image else None)
        self.fusion = build_fusion(default, fusion)

    @property
    def num_prompts(self) -> int:
        """``N``."""
        return len(self.fusion.default)

    def forward(
        self, segmenter: PromptableSegmenter, features: Optional[ImageFeatures] = None
    ) -> Tensor:
        """The spatial prompts.

        Args:
            segmenter: The base model, which is asked again only if its encoding sees the images.
            features: Of B images.

        Returns:
            (N, T, D), or (B, N, T, D) where the prompt encoder sees the images.
        """
        if self.handcrafted is None:
            default = None
        else:
            with torch.no_grad():
                default = _encode(segmenter, self.handcrafted, features)
        fused: Tensor = self.fusion(default)
        return fused


@MODELS.register_module()
class CoordinatePromptLearner(BaseModule):
    """Vanilla spatial prompt learning: 2-D coordinates, through the frozen prompt encoder.

    The baseline that the paper argues against: two numbers per prompt are searched instead of an
    embedding. Interchangeable with :class:`SpatialPromptLearner`.

    The points stay in the frame: what a step has moved out of it is set back to its border before
    it is used or saved, and so are points of a checkpoint, which the log says.

    Args:
        segmenter: The base model; used, not kept.
        num_prompts: ``N``, the points of the initial grid. Defaults to 100.
        extent: The part of the input frame that the grid covers, see :func:`point_grid`.

    Shape:
        Output: (N, T, D), or (B, N, T, D) where the prompt encoder sees the images.
    """

    def __init__(
        self,
        segmenter: PromptableSegmenter,
        num_prompts: int = DEFAULT_NUM_PROMPTS,
        extent: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        self.encoder_fingerprint = segmenter.fingerprints().get('prompt_encoder')
        self.coordinates = nn.Parameter(point_grid(num_prompts, extent))  # (N, 2) in [0, 1]

    @property
    def num_prompts(self) -> int:
        """``N``."""
        return len(self.coordinates)

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


def _encode(
    segmenter: PromptableSegmenter, handcrafted: Tensor, features: Optional[ImageFeatures] = None
) -> Tensor:
    """Encode points (N, 2) or boxes (N, 4), in fractions of the frame."""
    encode = segmenter.encode_points if handcrafted.shape[1] == 2 else segmenter.encode_boxes
    return encode(handcrafted, features)
