"""The training loss: match predicted masks to the segments of an image, then score both."""

import math
from typing import Dict, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.logging import MessageHub
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...plain import is_number
from ...segments import IGNORED, Segments
from .class_weight import check_class_weight
from .matching import NON_FINITE_LOGITS, NonFiniteLogitsError, PromptMatcher
from .point_sampling import draw_labelled_points, sample_masks

__all__ = ['MaskClassificationLoss']


@MODELS.register_module()
class MaskClassificationLoss(nn.Module):
    """Hungarian matching, cross-entropy on labels, binary cross-entropy and dice on masks.

    The loss of mask-classification models (MaskFormer, Mask2Former, SEEM), with their weights by
    default. Each segment of an image is one target mask with one class: each class present where
    labels are label maps, each object and region where they are (:class:`Segments`). Masks are
    compared at random points, drawn from labelled pixels only: padding and ignored pixels never
    count. A segment of which no pixel was drawn is no target in that step. Computed in float32,
    under autocast too. The device is waited for once, for the costs of matching.

    Pixels that count and belong to no segment are the rest of one class, or the background of
    objects: where an image shows nothing else, all prompts learn "no object".

    Args:
        num_classes: ``C``.
        class_weight: Weights of the C classes in the label's cross-entropy, a list or a file as in
            mmseg. A prompt that is matched to a class counts with the weight of the class, and the
            sum is divided by the sum of all weights, as in Mask2Former; masks and matching know no
            weights of classes. Defaults to None: 1 for each class.
        loss_cls_weight: Of the label's cross-entropy. Defaults to 2.0.
        loss_mask_weight: Of the masks' binary cross-entropy. Defaults to 5.0.
        loss_dice_weight: Of the masks' dice loss. Defaults to 5.0.
        no_object_weight: Of unmatched prompts in the cross-entropy. Defaults to 0.1.
        num_points: ``P``, points drawn in each image. Defaults to 12544.

    Raises:
        ValueError: If ``num_points`` is not a positive integer, a weight is negative or not finite,
            or ``class_weight`` does not fit the classes.
    """

    class_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        class_weight: Optional[Union[Sequence[float], str]] = None,
        loss_cls_weight: float = 2.0,
        loss_mask_weight: float = 5.0,
        loss_dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
    ) -> None:
        super().__init__()
        if type(num_points) is not int or num_points < 1:
            raise ValueError(f'num_points must be a positive integer, got {num_points!r}')
        weights = dict(
            loss_cls_weight=loss_cls_weight,
            loss_mask_weight=loss_mask_weight,
            loss_dice_weight=loss_dice_weight,
            no_object_weight=no_object_weight,
        )
        for key, value in weights.items():
            if not is_number(value) or value < 0:
                raise ValueError(
                    f'decode_head.loss_decode.{key}: expected a number that is finite and not '
                    f'negative, found {value!r}'
                )
        self.num_classes = num_classes
        class_weights = check_class_weight(class_weight, num_classes) or [1.0] * num_classes
        # A buffer, because a copy to the device in each step would wait for it.
        self.register_buffer('class_weight', torch.tensor(class_weights), persistent=False)
        self.loss_cls_weight = loss_cls_weight
        self.loss_mask_weight = loss_mask_weight
        self.loss_dice_weight = loss_dice_weight
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.matcher = PromptMatcher(loss_cls_weight, loss_mask_weight, loss_dice_weight)

    def forward(
        self, class_logits: Tensor, mask_logits: Tensor, segments: Segments
    ) -> Dict[str, Tensor]:
        """Compute the three losses.

        Args:
            class_logits: (B, N, C + 1), the last for "no object".
            mask_logits: (B, N, h, w), over the same frame as the maps of segments.
            segments: Of the B images.

        Returns:
            ``loss_cls``, ``loss_mask`` and ``loss_dice``, weighted scalars. All of them, and their
            gradients, are NaN if class or mask logits are not finite; mmengine's message hub says
            which, under ``NON_FINITE_LOGITS``. ``FiniteGuardHook`` leaves such a step out.

        Raises:
            UnknownSegmentsError: If a pixel has a number that is none of a segment.
        """
        with torch.autocast(mask_logits.device.type, enabled=False):
            class_logits, mask_logits = class_logits.float(), mask_logits.float()
            points, numbers = draw_labelled_points(segments.maps, self.num_points, IGNORED)
            candidates = sample_masks(mask_logits.detach(), points)  # (B, N, P)
            try:
                matches = self.matcher(class_logits.detach(), candidates, numbers, segments.classes)
            except NonFiniteLogitsError as error:
                return self._nan_losses(class_logits, mask_logits, str(error))
            # Only matched masks get gradients, so only they are sampled with them.
            matched_prompts = (matches.images, matches.prompts)
            rows = matches.images * mask_logits.shape[1] + matches.prompts
            matched = mask_logits.flatten(0, 1).index_select(0, rows).unsqueeze(1)
            logits = sample_masks(matched, points[matches.images]).squeeze(1)  # (M, P)
            masks = (numbers[matches.images] == matches.segments[:, None]).float()  # (M, P)

            # An image without labels tells nothing, not even that a prompt finds no object.
            labelled = (numbers != IGNORED).any(dim=1, keepdim=True)  # (B, 1)
            targets = torch.full_like(class_logits[..., 0], self.num_classes, dtype=torch.long)
            targets[matched_prompts] = matches.classes
            weights = torch.full_like(class_logits[..., 0], self.no_object_weight)  # (B, N)
            weights[matched_prompts] = self.class_weight[matches.classes].float()
            weights = weights * labelled
            weight_sum, num_masks = _average(weights.sum(), weights.new_tensor(len(masks)))

            cross_entropy = F.cross_entropy(class_logits.mT, targets, reduction='none')  # (B, N)
            binary = F.binary_cross_entropy_with_logits(logits, masks, reduction='none').mean(dim=1)
            # Keeps every parameter in the graph when no mask is matched: DDP waits for all of them.
            # Sums of nothing, so that an infinite logit does not become NaN.
            anchor = class_logits[:0].sum() + mask_logits[:0].sum()
            loss_cls = self.loss_cls_weight * (cross_entropy * weights).sum() / weight_sum
            return dict(
                loss_cls=loss_cls + anchor,
                loss_mask=self.loss_mask_weight * binary.sum() / num_masks,
                loss_dice=self.loss_dice_weight * _dice_loss(logits, masks).sum() / num_masks,
            )

    def _nan_losses(
        self, class_logits: Tensor, mask_logits: Tensor, problem: str
    ) -> Dict[str, Tensor]:
        """NaN for each loss, as an error would leave other processes waiting for this one."""
        MessageHub.get_current_instance().update_info(NON_FINITE_LOGITS, problem)
        _average(class_logits.new_zeros(()), class_logits.new_zeros(()))  # others wait here
        nan = (class_logits.sum() + mask_logits.sum()) * math.nan
        return dict(loss_cls=nan, loss_mask=nan, loss_dice=nan)


def _average(*normalisers: Tensor) -> Tensor:
    """Average over processes, so that several train as one with all their images."""
    averaged = torch.stack(normalisers)
    all_reduce(averaged, op='mean')
    return averaged.clamp(min=1e-6)


def _dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)`` of each mask (V-Net, arXiv 1606.04797)."""
    probabilities = logits.sigmoid()
    intersection = (probabilities * masks).sum(dim=1)
    return 1 - (2 * intersection + 1) / (probabilities.sum(dim=1) + masks.sum(dim=1) + 1)
