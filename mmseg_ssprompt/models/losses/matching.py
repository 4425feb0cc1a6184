"""Which prompt answers for which class of an image: Hungarian matching of a whole batch."""

from typing import NamedTuple, Optional, Tuple

import torch
from mmengine.structures import InstanceData
from mmseg.registry import TASK_UTILS
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...label_ids import LabelIds

__all__ = ['NON_FINITE_LOGITS', 'Matches', 'NonFiniteLogitsError', 'PromptMatcher']

#: Key of mmengine's message hub that says which logits of the last batch were not finite.
NON_FINITE_LOGITS = 'non_finite_logits'


class NonFiniteLogitsError(ValueError):
    """Class or mask logits are NaN or infinite."""


class Matches(NamedTuple):
    """M pairs of a prompt and a class, each of one image.

    Attributes:
        images: (M,) int64, number of the image within the batch.
        prompts: (M,) int64, number of the prompt.
        classes: (M,) int64, position of the class that the prompt answers for, from 0 to C - 1.
    """

    images: Tensor
    prompts: Tensor
    classes: Tensor


class PromptMatcher:
    """Matches prompts to the classes present in each image at the lowest total cost.

    The costs are mmseg's. Its ``HungarianAssigner`` solves one image at a time, and so waits for
    the device once per image; here the costs of all images come over in one transfer, together
    with what has to be checked of them.

    Args:
        num_classes: ``C``.
        cls_weight: Weight of the label's cost.
        mask_weight: Weight of the masks' binary cross-entropy.
        dice_weight: Weight of the masks' dice cost.
        ignore_index: Number of points that do not count.
        rest_id: With one class, the number of points that do not show it. Defaults to None.
    """

    def __init__(
        self,
        num_classes: int,
        cls_weight: float,
        mask_weight: float,
        dice_weight: float,
        ignore_index: int,
        rest_id: Optional[int] = None,
    ) -> None:
        self.label_ids = LabelIds(num_classes, ignore_index, rest_id)
        costs = (
            dict(type='ClassificationCost', weight=cls_weight),
            dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=mask_weight),
            dict(type='DiceCost', weight=dice_weight, pred_act=True, eps=1.0),
        )
        self.match_costs = [TASK_UTILS.build(cost) for cost in costs]

    @torch.no_grad()
    def __call__(self, class_logits: Tensor, mask_logits: Tensor, labels: Tensor) -> Matches:
        """Match the prompts of each image to the classes among its points.

        Args:
            class_logits: (B, N, C + 1) float.
            mask_logits: (B, N, P) float, masks at the points.
            labels: (B, P) int64, labels of the points.

        Returns:
            The matches, on the device of the logits. An image has as many as it has classes, or
            prompts if these are fewer.

        Raises:
            NonFiniteLogitsError: If logits are not finite.
            ValueError: If label maps may not hold a label that they hold.
        """
        costs = torch.stack(
            [self._cost(*image) for image in zip(class_logits, mask_logits, labels)]
        )
        checks = torch.stack(
            [
                torch.isfinite(class_logits).flatten(1).all(dim=1).float(),
                torch.isfinite(mask_logits).flatten(1).all(dim=1).float(),
                *self._label_range(labels),
            ]
        )  # (4, B)
        transferred = torch.cat([checks.flatten(), costs.flatten()]).cpu()
        self._check(transferred[: checks.numel()].view_as(checks))
        matches = _solve(transferred[checks.numel() :].view(costs.shape))
        return Matches(*matches.to(class_logits.device, non_blocking=True))

    def _cost(self, class_logits: Tensor, mask_logits: Tensor, labels: Tensor) -> Tensor:
        """Cost of each prompt for each class, infinite where the class has no point: (N, C)."""
        classes = torch.arange(self.label_ids.num_classes, device=labels.device)
        masks = labels == classes[:, None] + self.label_ids.classes.start  # (C, P)
        prompts = InstanceData(scores=class_logits, masks=mask_logits)
        targets = InstanceData(labels=classes, masks=masks.float())
        cost: Tensor = sum(match_cost(prompts, targets) for match_cost in self.match_costs)
        return cost.masked_fill(~masks.any(dim=1), torch.inf)

    def _label_range(self, labels: Tensor) -> Tuple[Tensor, Tensor]:
        """The smallest and largest number of a class in each image, (B,) float each."""
        none = labels == self.label_ids.ignore_index
        if self.label_ids.rest_id is not None:
            none |= labels == self.label_ids.rest_id
        low, high = labels.masked_fill(none, self.label_ids.classes.start).aminmax(dim=1)
        return low.float(), high.float()

    def _check(self, checks: Tensor) -> None:
        class_is_finite, mask_is_finite, low, high = checks
        problems = [
            f'the {kind} logits of images {bad} of the batch hold NaN or infinite values'
            for kind, is_finite in (('class', class_is_finite), ('mask', mask_is_finite))
            if (bad := (is_finite == 0).nonzero().flatten().tolist())
        ]
        if problems:
            raise NonFiniteLogitsError('\n'.join(problems))
        classes = self.label_ids.classes
        if low.min() < classes.start or high.max() >= classes.stop:
            raise ValueError(
                f'the label maps of a batch hold ids from {int(low.min())} to {int(high.max())}: '
                f'expected {self.label_ids.describe()}'
            )


def _solve(costs: Tensor) -> Tensor:
    """Assign each image's columns that are finite, (B, N, C) on the CPU: (3, M) int64."""
    matches = []
    for image, cost in enumerate(costs):
        classes = torch.isfinite(cost).all(dim=0).nonzero().flatten()
        prompts, order = map(torch.from_numpy, linear_sum_assignment(cost[:, classes]))
        matches.append(torch.stack([torch.full_like(prompts, image), prompts, classes[order]]))
    return torch.cat(matches, dim=1)
