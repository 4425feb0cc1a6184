"""The training loss: match predicted masks to the classes of an image, then score both."""

from typing import Dict, NamedTuple, Optional

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.structures import InstanceData
from mmseg.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

__all__ = ['MaskClassificationLoss']


class _Target(NamedTuple):
    """One image's share of the loss.

    Attributes:
        labels: (N,) int64, the class of each prompt's mask; C for "no object".
        class_weights: (N,) float.
        mask_logits: (K, P) float, matched masks at the sampled points.
        masks: (K, P) float, 0 or 1.
    """

    labels: Tensor
    class_weights: Tensor
    mask_logits: Tensor
    masks: Tensor


@MODELS.register_module()
class MaskClassificationLoss(nn.Module):
    """Hungarian matching, cross-entropy on labels, binary cross-entropy and dice on masks.

    The loss of mask-classification models (MaskFormer, Mask2Former, SEEM), with their weights by
    default. Each class present in an image is one target mask. Masks are compared at random
    points, drawn from labelled pixels only: padding and ignored pixels never count. A class of
    which no pixel was drawn is no target in that step. Computed in float32, under autocast too.

    Args:
        num_classes: ``C``.
        class_weight: Weight of the label's cross-entropy. Defaults to 2.0.
        mask_weight: Weight of the masks' binary cross-entropy. Defaults to 5.0.
        dice_weight: Weight of the masks' dice loss. Defaults to 5.0.
        no_object_weight: Weight of unmatched prompts in the cross-entropy. Defaults to 0.1.
        num_points: Points drawn in each image. Defaults to 12544.
        ignore_index: Label of pixels that do not count. Defaults to 255.
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
        self.num_classes = num_classes
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.ignore_index = ignore_index
        self.assigner = TASK_UTILS.build(
            dict(
                type='HungarianAssigner',
                match_costs=[
                    dict(type='ClassificationCost', weight=class_weight),
                    dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=mask_weight),
                    dict(type='DiceCost', weight=dice_weight, pred_act=True, eps=1.0),
                ],
            )
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
        """
        with torch.autocast(mask_logits.device.type, enabled=False):
            class_logits, mask_logits = class_logits.float(), mask_logits.float()
            _check_finite('class', class_logits)
            _check_finite('mask', mask_logits)
            targets = [self._target(*image) for image in zip(class_logits, mask_logits, label_maps)]
            return self._losses(class_logits, mask_logits, targets)

    def _target(self, class_logits: Tensor, mask_logits: Tensor, label_map: Tensor) -> _Target:
        """Match the prompts of one image to the classes in it."""
        labels = torch.full((len(class_logits),), self.num_classes, device=class_logits.device)
        points = self._sample_points(label_map)
        if points is None:  # nothing is labelled, so nothing is known of any prompt
            empty = mask_logits.new_zeros((0, self.num_points))
            return _Target(labels, mask_logits.new_zeros(len(labels)), empty, empty)
        coordinates, point_labels = points
        logits = _sample_masks(mask_logits, coordinates)  # (N, P)
        classes = point_labels.unique()
        masks = (point_labels == classes[:, None]).float()  # (K, P)
        with torch.no_grad():
            matched, order = self.assigner.assign(
                InstanceData(scores=class_logits, masks=logits),
                InstanceData(labels=classes, masks=masks),
            )
        labels[matched] = classes[order]
        class_weights = torch.full_like(mask_logits[:, 0, 0], self.no_object_weight)
        class_weights[matched] = 1.0
        return _Target(labels, class_weights, logits[matched], masks[order])

    def _sample_points(self, label_map: Tensor) -> Optional[tuple]:
        """Draw labelled pixels: x, y in [0, 1] (P, 2), and their labels (P,)."""
        height, width = label_map.shape[-2:]
        flat = label_map.reshape(-1).long()
        labelled = (flat != self.ignore_index).nonzero().squeeze(1)
        if len(labelled) == 0:
            return None
        low, high = (int(x) for x in flat[labelled].aminmax())
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f'the label maps of a batch hold ids from {low} to {high}: expected those of '
                f'{self.num_classes} classes (0 to {self.num_classes - 1}) and {self.ignore_index} '
                '(ignored)'
            )
        drawn = labelled[torch.randint(len(labelled), (self.num_points,), device=flat.device)]
        x = (drawn % width + 0.5) / width
        y = (torch.div(drawn, width, rounding_mode='floor') + 0.5) / height
        return torch.stack([x, y], dim=-1), flat[drawn]

    def _losses(
        self, class_logits: Tensor, mask_logits: Tensor, targets: list
    ) -> Dict[str, Tensor]:
        labels = torch.stack([target.labels for target in targets])
        weights = torch.stack([target.class_weights for target in targets])
        logits = torch.cat([target.mask_logits for target in targets])
        masks = torch.cat([target.masks for target in targets])
        # Averaged over ranks, so that several processes train as one with all their images.
        normalisers = torch.stack([weights.sum(), weights.new_tensor(len(masks))])
        all_reduce(normalisers, op='mean')
        weight_sum, num_masks = normalisers.clamp(min=1e-6)

        cross_entropy = F.cross_entropy(
            class_logits.flatten(0, 1), labels.flatten(), reduction='none'
        )
        binary = F.binary_cross_entropy_with_logits(logits, masks, reduction='none').mean(dim=1)
        # Keeps every parameter in the graph when no mask is matched: DDP waits for all of them.
        # Sums of nothing, so that an infinite logit does not become NaN.
        anchor = class_logits[:0].sum() + mask_logits[:0].sum()
        return dict(
            loss_cls=self.class_weight * (cross_entropy * weights.flatten()).sum() / weight_sum
            + anchor,
            loss_mask=self.mask_weight * binary.sum() / num_masks,
            loss_dice=self.dice_weight * _dice_loss(logits, masks).sum() / num_masks,
        )


def _sample_masks(masks: Tensor, coordinates: Tensor) -> Tensor:
    """Read (N, h, w) at P points, x and y in [0, 1], as ``F.interpolate`` would: (N, P)."""
    grid = (2 * coordinates - 1)[None, :, None]  # (1, P, 1, 2)
    sampled = F.grid_sample(masks[None], grid, padding_mode='border', align_corners=False)
    return sampled[0, :, :, 0]


def _check_finite(kind: str, logits: Tensor) -> None:
    """Name the images whose logits no matching can be made of."""
    bad = (~torch.isfinite(logits)).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f'the {kind} logits of images {bad} of the batch hold NaN or infinite values: a lower '
            'learning rate, or bfloat16 in place of float16, may help'
        )


def _dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)`` of each mask (V-Net, arXiv 1606.04797)."""
    probabilities = logits.sigmoid()
    intersection = (probabilities * masks).sum(dim=1)
    return 1 - (2 * intersection + 1) / (probabilities.sum(dim=1) + masks.sum(dim=1) + 1)
