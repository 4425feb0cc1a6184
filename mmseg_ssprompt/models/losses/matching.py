"""Which prompt answers for which segment of an image: Hungarian matching of a whole batch."""

from typing import List, NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...segments import IGNORED, NO_CLASS, UNKNOWN

__all__ = [
    'NON_FINITE_LOGITS',
    'Matches',
    'NonFiniteLogitsError',
    'PromptMatcher',
    'UnknownSegmentsError',
]

#: Key of mmengine's message hub that says which logits of the last batch were not finite.
NON_FINITE_LOGITS = 'non_finite_logits'


class NonFiniteLogitsError(ValueError):
    """Class or mask logits are NaN or infinite."""


class UnknownSegmentsError(ValueError):
    """Maps hold numbers that are none of a segment.

    Attributes:
        numbers: Those of the file: of a label map, labels.
    """

    def __init__(self, numbers: List[int]) -> None:
        super().__init__(f'maps of segments hold {numbers}, which are the numbers of no segment')
        self.numbers = numbers


class Matches(NamedTuple):
    """M pairs of a prompt and a segment, each of one image; (M,) int64 each."""

    images: Tensor  # numbers within the batch
    prompts: Tensor
    segments: Tensor  # numbers within the image
    classes: Tensor  # of the segments, from 0 to C - 1


class PromptMatcher:
    """Matches prompts to the segments of each image at the lowest total cost.

    The costs are those of mmseg's ``ClassificationCost``, ``CrossEntropyLossCost`` and ``DiceCost``
    with ``eps=1``, written so that all images take few operators. mmseg's ``HungarianAssigner``
    waits for the device once per image; here the costs of all images come over in one transfer,
    together with what has to be checked of them.

    Args:
        cls_weight: Weight of the label's cost.
        mask_weight: Weight of the masks' binary cross-entropy.
        dice_weight: Weight of the masks' dice cost.
    """

    def __init__(self, cls_weight: float, mask_weight: float, dice_weight: float) -> None:
        self.cls_weight, self.mask_weight, self.dice_weight = cls_weight, mask_weight, dice_weight

    @torch.no_grad()
    def __call__(
        self, class_logits: Tensor, mask_logits: Tensor, numbers: Tensor, classes: Tensor
    ) -> Matches:
        """Match the prompts of each image to the segments among its points.

        An image has as many matches as it has segments, or prompts if these are fewer.

        Args:
            class_logits: (B, N, C + 1) float.
            mask_logits: (B, N, P) float, masks at the points.
            numbers: (B, P) int64, the number of the segment at each point, or ``IGNORED``.
            classes: (B, S) int64, the class of each segment; those of ``NO_CLASS`` are not matched.

        Raises:
            NonFiniteLogitsError: If logits are not finite.
            UnknownSegmentsError: If a point has another number.
        """
        costs = self.costs(class_logits, mask_logits, numbers, classes)  # (B, N, S)
        unknown = (numbers < IGNORED) | (numbers >= classes.shape[1])
        faults = (
            *(_find_non_finite(logits) for logits in (class_logits, mask_logits)),
            unknown.any(dim=1),
        )
        checks = torch.stack(faults).float()  # (3, B)
        transferred = torch.cat([checks.flatten(), costs.flatten()]).cpu()
        in_class, in_mask, in_numbers = transferred[: checks.numel()].view_as(checks)
        problems = [
            f'the {kind} logits of images {bad} of the batch hold NaN or infinite values'
            for kind, fault in (('class', in_class), ('mask', in_mask))
            if (bad := fault.nonzero().flatten().tolist())
        ]
        if problems:
            raise NonFiniteLogitsError('\n'.join(problems))
        if in_numbers.any():
            found = numbers[unknown].unique()
            raise UnknownSegmentsError(
                torch.where(found < IGNORED, found + UNKNOWN, found).tolist()
            )
        pairs = _solve(transferred[checks.numel() :].view(costs.shape))
        image, prompt, segment = pairs.to(class_logits.device, non_blocking=True)
        return Matches(image, prompt, segment, classes[image, segment])

    def costs(
        self, class_logits: Tensor, mask_logits: Tensor, numbers: Tensor, classes: Tensor
    ) -> Tensor:
        """Costs of prompts for segments, infinite where a segment is no target: (B, N, S)."""
        masks = _one_hot(numbers, classes.shape[1])  # (B, S, P)
        area = masks.sum(dim=2).unsqueeze(1)  # (B, 1, S), in points
        probabilities = mask_logits.sigmoid()
        # BCE of x is softplus(x) - x t, so that one product serves points in the mask and others.
        total = F.softplus(mask_logits).sum(dim=2, keepdim=True)
        binary = (total - mask_logits @ masks.mT) / mask_logits.shape[2]
        size = probabilities.sum(dim=2, keepdim=True)
        dice = 1 - (2 * (probabilities @ masks.mT) + 1) / (size + area + 1)
        columns = classes.clamp(min=0).unsqueeze(1).expand(-1, class_logits.shape[1], -1)
        label = class_logits.softmax(dim=2).gather(2, columns)
        cost = self.mask_weight * binary + self.dice_weight * dice - self.cls_weight * label
        return cost.masked_fill((area == 0) | (classes == NO_CLASS).unsqueeze(1), torch.inf)


def _one_hot(numbers: Tensor, count: int) -> Tensor:
    """The mask of each segment, 1 where it is: (B, P) int64 to (B, S, P) float.

    Numbers that are none from 0 to S - 1 are in no mask.
    """
    is_known = (numbers >= 0) & (numbers < count)
    rows = torch.where(is_known, numbers, count).unsqueeze(1)
    masks = torch.zeros(len(numbers), count + 1, numbers.shape[1], device=numbers.device)
    return masks.scatter_(1, rows, 1.0)[:, :count]


def _find_non_finite(logits: Tensor) -> Tensor:
    """Which images have logits that are NaN or infinite: (B, ...) to (B,) bool."""
    return (0 * logits).flatten(1).sum(dim=1) != 0  # 0 times infinity is NaN


def _solve(costs: Tensor) -> Tensor:
    """Assign each image's columns that are finite, (B, N, S) on the CPU: (3, M) int64."""
    matches = []
    for image, cost in enumerate(costs):
        segments = torch.isfinite(cost).all(dim=0).nonzero().flatten()
        prompts, order = map(torch.from_numpy, linear_sum_assignment(cost[:, segments]))
        matches.append(torch.stack([torch.full_like(prompts, image), prompts, segments[order]]))
    return torch.cat(matches, dim=1)
