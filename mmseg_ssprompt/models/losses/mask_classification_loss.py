"""The training loss: match predicted masks to the classes of an image, then score both."""

import math
from numbers import Real
from typing import Any, Dict, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.logging import MessageHub
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...label_ids import LabelIds
from .class_weight import check_class_weight
from .matching import NON_FINITE_LOGITS, Matches, NonFiniteLogitsError, PromptMatcher
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

    With one class, pixels of the rest are labelled and belong to no mask: where an image shows
    nothing else, all prompts learn "no object".

    Args:
        num_classes: ``C``.
        class_weight: Weights of the classes in the label's cross-entropy, (C,), or (C + 1,) with
            that of "no object" as the last: a list, or a file as in mmseg. A prompt that is matched
            to a class counts with the weight of the class, and the sum is divided by the sum of
            all weights, as in Mask2Former; masks and matching know no weights of classes. Defaults
            to None: 1 for each class.
        loss_cls_weight: Weight of the label's cross-entropy, 0 or more. Defaults to 2.0.
        loss_mask_weight: Weight of the masks' binary cross-entropy, 0 or more. Defaults to 5.0.
        loss_dice_weight: Weight of the masks' dice loss, 0 or more. Defaults to 5.0.
        no_object_weight: Weight of unmatched prompts in the cross-entropy, 0 or more. Defaults to
            None: the last of ``class_weight`` where that has C + 1 numbers, else 0.1.
        num_points: ``P``, points drawn in each image. Defaults to 12544.
        ignore_index: Number of pixels that do not count. Defaults to 255.
        rest_id: With one class, the number of the pixels that do not show it, see
            :func:`resolve_label_ids`. Defaults to None.
        **others: Settings of other losses, which are refused.

    Raises:
        ValueError: If ``num_points`` is not a positive integer, a weight is negative or not finite,
            ``class_weight`` does not fit the classes, or a setting is unknown.
    """

    def __init__(
        self,
        num_classes: int,
        class_weight: Optional[Union[Sequence[float], str]] = None,
        loss_cls_weight: float = 2.0,
        loss_mask_weight: float = 5.0,
        loss_dice_weight: float = 5.0,
        no_object_weight: Optional[float] = None,
        num_points: int = 12544,
        ignore_index: int = 255,
        rest_id: Optional[int] = None,
        **others: Any,
    ) -> None:
        super().__init__()
        _refuse_settings(others)
        if isinstance(num_points, bool) or not isinstance(num_points, int) or num_points < 1:
            raise ValueError(f'num_points must be a positive integer, got {num_points!r}')
        self.num_classes = num_classes
        weights = check_class_weight(class_weight, num_classes, with_no_object=rest_id is None)
        self.class_weight = None if weights is None else weights[:num_classes]
        self.loss_cls_weight = _check_weight('loss_cls_weight', loss_cls_weight)
        self.loss_mask_weight = _check_weight('loss_mask_weight', loss_mask_weight)
        self.loss_dice_weight = _check_weight('loss_dice_weight', loss_dice_weight)
        self.no_object_weight = _find_no_object_weight(no_object_weight, weights, num_classes)
        self.num_points = num_points
        self.label_ids = LabelIds(num_classes, ignore_index, rest_id)
        self.ignore_index = ignore_index
        self.matcher = PromptMatcher(
            *(num_classes, loss_cls_weight, loss_mask_weight, loss_dice_weight, ignore_index),
            rest_id,
        )

    def forward(
        self, class_logits: Tensor, mask_logits: Tensor, label_maps: Tensor
    ) -> Dict[str, Tensor]:
        """Compute the three losses.

        Args:
            class_logits: (B, N, C + 1), the last for "no object".
            mask_logits: (B, N, h, w), over the same frame as the label maps.
            label_maps: (B, H, W) integer, the numbers of classes, of the rest, or ``ignore_index``.

        Returns:
            ``loss_cls``, ``loss_mask`` and ``loss_dice``, weighted scalars. All of them, and their
            gradients, are NaN if class or mask logits are not finite, also where the formulas
            would give a number; which logits those are is in mmengine's message hub, under
            ``NON_FINITE_LOGITS``. ``FiniteGuardHook`` leaves such a step out.

        Raises:
            ValueError: If a label is neither a class nor ignored.
        """
        with torch.autocast(mask_logits.device.type, enabled=False):
            class_logits, mask_logits = class_logits.float(), mask_logits.float()
            points, labels = draw_labelled_points(label_maps, self.num_points, self.ignore_index)
            candidates = sample_masks(mask_logits.detach(), points)  # (B, N, P)
            try:
                matches = self.matcher(class_logits.detach(), candidates, labels)
            except NonFiniteLogitsError as error:
                return self._nan_losses(class_logits, mask_logits, str(error))
            # Only matched masks get gradients, so only they are sampled with them.
            matched = mask_logits[matches.images, matches.prompts].unsqueeze(1)
            logits = sample_masks(matched, points[matches.images]).squeeze(1)  # (M, P)
            ids = matches.classes[:, None] + self.label_ids.classes.start
            masks = (labels[matches.images] == ids).float()  # (M, P)
            # An image without labels tells nothing, not even that a prompt finds no object.
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
        weights[matches.images, matches.prompts] = self._weights_of(matches.classes)
        weights = weights * labelled[:, None]
        weight_sum, num_masks = _average([weights.sum(), weights.new_tensor(len(masks))])

        cross_entropy = F.cross_entropy(class_logits.mT, targets, reduction='none')  # (B, N)
        binary = F.binary_cross_entropy_with_logits(logits, masks, reduction='none').mean(dim=1)
        # Keeps every parameter in the graph when no mask is matched: DDP waits for all of them.
        # Sums of nothing, so that an infinite logit does not become NaN.
        anchor = class_logits[:0].sum() + mask_logits[:0].sum()
        return dict(
            loss_cls=self.loss_cls_weight * (cross_entropy * weights).sum() / weight_sum + anchor,
            loss_mask=self.loss_mask_weight * binary.sum() / num_masks,
            loss_dice=self.loss_dice_weight * _dice_loss(logits, masks).sum() / num_masks,
        )

    def _nan_losses(
        self, class_logits: Tensor, mask_logits: Tensor, problem: str
    ) -> Dict[str, Tensor]:
        """NaN for each loss, as an error would leave other processes waiting for this one."""
        MessageHub.get_current_instance().update_info(NON_FINITE_LOGITS, problem)
        _average([class_logits.new_zeros(()), class_logits.new_zeros(())])  # others wait here
        nan = (class_logits.sum() + mask_logits.sum()) * math.nan
        return dict(loss_cls=nan, loss_mask=nan, loss_dice=nan)

    def _weights_of(self, classes: Tensor) -> Union[Tensor, float]:
        """What prompts that are matched to classes (M,) count: (M,) float, or one for all."""
        if self.class_weight is None:
            return 1.0
        return torch.tensor(self.class_weight, device=classes.device)[classes]


def _average(normalisers: Sequence[Tensor]) -> Tensor:
    """Average over processes, so that several train as one with all their images."""
    averaged = torch.stack(list(normalisers))
    all_reduce(averaged, op='mean')
    return averaged.clamp(min=1e-6)


def _refuse_settings(settings: Dict[str, Any]) -> None:
    for key, value in settings.items():
        terms = ', '.join(f'{term}_weight' for term in ('loss_cls', 'loss_mask', 'loss_dice'))
        raise ValueError(
            f'decode_head.loss_decode (MaskClassificationLoss) has no setting {key!r}, found '
            f'{key}={value!r}. Its terms have a weight each, {terms}; classes have class_weight, '
            'and "no object" has no_object_weight'
        )


def _check_weight(key: str, value: Any) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ValueError(
            f'decode_head.loss_decode.{key}: expected a number that is finite and not negative, '
            f'found {value!r}'
        )
    weight: float = value
    return weight


def _find_no_object_weight(
    given: Optional[float], class_weight: Optional[Sequence[float]], num_classes: int
) -> float:
    last = None if class_weight is None else (*class_weight, None)[num_classes]
    if given is None:
        return 0.1 if last is None else last
    if last is not None and last != given:
        raise ValueError(
            f'decode_head.loss_decode: no_object_weight is {given!r}, but class_weight has '
            f'{num_classes + 1} numbers, of which the last, {last!r}, is also that of "no object". '
            f'Leave no_object_weight out, or give {num_classes} numbers'
        )
    return _check_weight('no_object_weight', given)


def _dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)`` of each mask (V-Net, arXiv 1606.04797)."""
    probabilities = logits.sigmoid()
    intersection = (probabilities * masks).sum(dim=1)
    return 1 - (2 * intersection + 1) / (probabilities.sum(dim=1) + masks.sum(dim=1) + 1)
