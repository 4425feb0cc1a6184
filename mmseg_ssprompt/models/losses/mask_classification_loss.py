"""The training loss: match predicted masks to the classes of an image, then score both."""

from typing import Dict

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmseg.registry import MODELS
from torch import Tensor, nn

from .matching import Matches, PromptMatcher
from .point_sampling import draw_labelled_points, sample_masks

__all__ = ['MaskClassificationLoss']


@MODELS.register_module()
class MaskClassificationLoss(nn.Module):
    """Hungarian matching, cross-entropy on labels, binary cross-entropy and dice on masks.

    The loss of mask-classification models (MaskFormer, Mask2Former, SEEM), with their weights by
    default. Each class present in an image is one target mask. Masks are compared at random
    points, drawn from labelled pixels only: padding and ignored pixels never count. A class of
    which no pixel was drawn is no target in that step. Computed in float32, under autocast too.
    The device is waited for once, for the costs of matching.

    Args:
        num_classes: ``C``.
        class_weight: Weight of the label's cross-entropy. Defaults to 2.0.
        mask_weight: Weight of the masks' binary cross-entropy. Defaults to 5.0.
        dice_weight: Weight of the masks' dice loss. Defaults to 5.0.
        no_object_weight: Weight of unmatched prompts in the cross-entropy. Defaults to 0.1.
        num_points: ``P``, points drawn in each image. Defaults to 12544.
        ignore_index: Label of pixels that do not count. Defaults to 255.

    Raises:
        ValueError: If ``num_points`` is not a positive integer.
    """

    def __init__(
        self,
        num_classes: int,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        if isinstance(num_points, bool) or not isinstance(num_points, int) or num_points < 1:
            raise ValueError(f'num_points must be a positive integer, got {num_points!r}')
        self.num_classes = num_classes
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.ignore_index = ignore_index
        self.matcher = PromptMatcher(
            num_classes, class_weight, mask_weight, dice_weight, ignore_index
        )

    def forward(
        self, class_logits: Tensor, mask_logits: Tensor, label_maps: Tensor
    ) -> Dict[str, Tensor]:
        """Compute the three losses.

        Args:
            class_logits: (B, N, C + 1), the last for "no object".
            mask_logits: (B, N, h, w), over the same frame as the label maps.
            label_maps: (B, H, W) integer, classes 0 to C - 1 or ``ignore_index``.

        Returns:
            ``loss_cls``, ``loss_mask`` and ``loss_dice``, weighted scalars.

        Raises:
            ValueError: If logits are not finite, or a label is neither a class nor ignored.
        """
        with torch.autocast(mask_logits.device.type, enabled=False):
            class_logits, mask_logits = class_logits.float(), mask_logits.float()
            points, labels = draw_labelled_points(label_maps, self.num_points, self.ignore_index)
            candidates = sample_masks(mask_logits.detach(), points)  # (B, N, P)
            matches = self.matcher(class_logits.detach(), candidates, labels)
            # Only matched masks get gradients, so only they are sampled with them.
            matched = mask_logits[matches.images, matches.prompts].unsqueeze(1)
            logits = sample_masks(matched, points[matches.images]).squeeze(1)  # (M, P)
            masks = (labels[matches.images] == matches.classes[:, None]).float()  # (M, P)
            # Of an image without labels nothing is known, not even that a prompt finds no object.
            labelled = (labels != self.ignore_index).any(dim=1)  # (B,)
            return self._losses(class_logits, mask_logits, matches, logits, masks, labelled)

    def _losses(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        matches: Matches,
        logits: Tensor,
        masks: Tensor,
        labelled: Tensor,
    ) -> Dict[str, Tensor]:
        """Score all labels, and the masks that are matched.

        Args:
            class_logits: (B, N, C + 1).
            mask_logits: (B, N, h, w).
            matches: M pairs of prompts and classes.
            logits: (M, P), matched masks at the points.
            masks: (M, P), 0 or 1, what they should be.
            labelled: (B,) bool, whether an image has any label.
        """
        targets = torch.full_like(
            class_logits[..., 0], self.num_classes, dtype=torch.long
        )  # (B, N)
        targets[matches.images, matches.prompts] = matches.classes
        weights = torch.full_like(class_logits[..., 0], self.no_object_weight)
        weights[matches.images, matches.prompts] = 1.0
        weights = weights * labelled[:, None]
        # Averaged over ranks, so that several processes train as one with all their images.
        normalisers = torch.stack([weights.sum(), weights.new_tensor(len(masks))])
        all_reduce(normalisers, op='mean')
        weight_sum, num_masks = normalisers.clamp(min=1e-6)

        cross_entropy = F.cross_entropy(class_logits.mT, targets, reduction='none')  # (B, N)
        binary = F.binary_cross_entropy_with_logits(logits, masks, reduction='none').mean(dim=1)
        # Keeps every parameter in the graph when no mask is matched: DDP waits for all of them.
        # Sums of nothing, so that an infinite logit does not become NaN.
        anchor = class_logits[:0].sum() + mask_logits[:0].sum()
        return dict(
            loss_cls=self.class_weight * (cross_entropy * weights).sum() / weight_sum + anchor,
            loss_mask=self.mask_weight * binary.sum() / num_masks,
            loss_dice=self.dice_weight * _dice_loss(logits, masks).sum() / num_masks,
        )


def _dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)`` of each mask (V-Net, arXiv 1606.04797)."""
    probabilities = logits.sigmoid()
    intersection = (probabilities * masks).sum(dim=1)
    return 1 - (2 * intersection + 1) / (probabilities.sum(dim=1) + masks.sum(dim=1) + 1)
