"""Which prompt answers for which segment of an image: Hungarian matching of a whole batch."""

from typing import List, NamedTuple

import torch
from mmengine.structures import InstanceData
from mmseg.registry import TASK_UTILS
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

    The costs are mmseg's. Its ``HungarianAssigner`` waits for the device once per image; here the
    costs of all images come over in one transfer, together with what has to be checked of them.

    Args:
        cls_weight: Weight of the label's cost.
        mask_weight: Weight of the masks' binary cross-entropy.
        dice_weight: Weight of the masks' dice cost.
    """

    def __init__(self, cls_weight: float, mask_weight: float, dice_weight: float) -> None:
        costs = (
            dict(type='ClassificationCost', weight=cls_weight),
            dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=mask_weight),
            dict(type='DiceCost', weight=dice_weight, pred_act=True, eps=1.0),
        )
        self.match_costs = [TASK_UTILS.build(cost) for cost in costs]

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
        images = zip(class_logits, mask_logits, numbers, classes)
        costs = torch.stack([self._cost(*image) for image in images])  # (B, N, S)
        unknown = (numbers < IGNORED) | (numbers >= classes.shape[1])
        faults = (~torch.isfinite(class_logits), ~torch.isfinite(mask_logits), unknown)
        checks = torch.stack([fault.flatten(1).any(dim=1).float() for fault in faults])  # (3, B)
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

    def _cost(
        self, class_logits: Tensor, mask_logits: Tensor, numbers: Tensor, classes: Tensor
    ) -> Tensor:
        """Cost of each prompt for each segment, infinite where it is no target: (N, S)."""
        segments = torch.arange(len(classes), device=numbers.device)
        masks = numbers == segments[:, None]  # (S, P)
        prompts = InstanceData(scores=class_logits, masks=mask_logits)
        targets = InstanceData(labels=classes.clamp(min=0), masks=masks.float())
        cost: Tensor = sum(match_cost(prompts, targets) for match_cost in self.match_costs)
        return cost.masked_fill(~masks.any(dim=1) | (classes == NO_CLASS), torch.inf)


def _solve(costs: Tensor) -> Tensor:
    """Assign each image's columns that are finite, (B, N, S) on the CPU: (3, M) int64."""
    matches = []
    for image, cost in enumerate(costs):
        segments = torch.isfinite(cost).all(dim=0).nonzero().flatten()
        prompts, order = map(torch.from_numpy, linear_sum_assignment(cost[:, segments]))
        matches.append(torch.stack([torch.full_like(prompts, image), prompts, segments[order]]))
    return torch.cat(matches, dim=1)
