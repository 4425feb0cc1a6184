"""Which prompt answers for which class of an image: Hungarian matching of a whole batch."""

from typing import NamedTuple

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
    """M pairs of a prompt and a class, each of one image; (M,) int64 each."""

    images: Tensor  # numbers within the batch
    prompts: Tensor
    classes: Tensor  # from 0 to C - 1


class PromptMatcher:
    """Matches prompts to the classes present in each image at the lowest total cost.

    The costs are mmseg's. Its ``HungarianAssigner`` waits for the device once per image; here the
    costs of all images come over in one transfer, together with what has to be checked of them.

    Args:
        label_ids: Which numbers points have.
        cls_weight: Weight of the label's cost.
        mask_weight: Weight of the masks' binary cross-entropy.
        dice_weight: Weight of the masks' dice cost.
    """

    def __init__(
        self, label_ids: LabelIds, cls_weight: float, mask_weight: float, dice_weight: float
    ) -> None:
        self.label_ids = label_ids
        costs = (
            dict(type='ClassificationCost', weight=cls_weight),
            dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=mask_weight),
            dict(type='DiceCost', weight=dice_weight, pred_act=True, eps=1.0),
        )
        self.match_costs = [TASK_UTILS.build(cost) for cost in costs]

    @torch.no_grad()
    def __call__(self, class_logits: Tensor, mask_logits: Tensor, labels: Tensor) -> Matches:
        """Match the prompts of each image to the classes among its points.

        An image has as many matches as it has classes, or prompts if these are fewer.

        Args:
            class_logits: (B, N, C + 1) float.
            mask_logits: (B, N, P) float, masks at the points.
            labels: (B, P) int64, labels of the points.

        Raises:
            NonFiniteLogitsError: If logits are not finite.
            ValueError: If label maps may not hold a label that they hold.
        """
        images = zip(class_logits, mask_logits, labels)
        costs = torch.stack([self._cost(*image) for image in images])  # (B, N, C)
        unknown = self.label_ids.find_unknown(labels)
        faults = (~torch.isfinite(class_logits), ~torch.isfinite(mask_logits), unknown)
        checks = torch.stack([fault.flatten(1).any(dim=1).float() for fault in faults])  # (3, B)
        transferred = torch.cat([checks.flatten(), costs.flatten()]).cpu()
        in_class, in_mask, in_labels = transferred[: checks.numel()].view_as(checks)
        problems = [
            f'the {kind} logits of images {bad} of the batch hold NaN or infinite values'
            for kind, fault in (('class', in_class), ('mask', in_mask))
            if (bad := fault.nonzero().flatten().tolist())
        ]
        if problems:
            raise NonFiniteLogitsError('\n'.join(problems))
        if in_labels.any():
            raise ValueError(
                f'the label maps of a batch hold {labels[unknown].unique().tolist()}: expected '
                f'{self.label_ids.describe()}'
            )
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


def _solve(costs: Tensor) -> Tensor:
    """Assign each image's columns that are finite, (B, N, C) on the CPU: (3, M) int64."""
    matches = []
    for image, cost in enumerate(costs):
        classes = torch.isfinite(cost).all(dim=0).nonzero().flatten()
        prompts, order = map(torch.from_numpy, linear_sum_assignment(cost[:, classes]))
        matches.append(torch.stack([torch.full_like(prompts, image), prompts, classes[order]]))
    return torch.cat(matches, dim=1)
