"""What pre-training minimises: SEEM's losses of masks, of their names and of clicks."""

from typing import Dict, List

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.losses import MaskClassificationLoss
from mmseg_ssprompt.segments import segments_of_label_maps

from ..sam_tiny.losses import Targets, mask_loss
from .model import Clicked, SeemTiny

__all__ = ['class_losses', 'click_losses', 'object_losses']

#: Of a place that shows a thing, where one that shows stuff has 1.
_THING_WEIGHT = 4.0


def object_losses(
    model: SeemTiny,
    features: ImageFeatures,
    labels: Tensor,
    text: Tensor,
    loss: MaskClassificationLoss,
) -> Dict[str, Tensor]:
    """Those of the object queries, before the first layer and after each.

    Args:
        model: What trains.
        features: Of B images.
        labels: (B, H, W), class ids.
        text: (C + 1, E), the last of the background.
        loss: Of one layer's masks and names.
    """
    found = model.find_objects(features)
    masks = torch.cat([model.masks(out, features) for out in found])
    scores = model.classify(torch.cat(found), text)
    label_ids = LabelIds(len(text) - 1, 255, None)
    return loss(scores, masks, segments_of_label_maps(labels.repeat(len(found), 1, 1), label_ids))


def class_losses(
    model: SeemTiny, features: ImageFeatures, labels: Tensor, num_things: int, text: Tensor
) -> Dict[str, Tensor]:
    """Of the classes of single places and of captions, apart from each other.

    By the masks' names alone neither images nor texts tell shapes apart for hundreds of steps,
    since the others do not.

    Args:
        model: What trains.
        features: Of B images.
        labels: (B, H, W), class ids.
        num_things: Classes below it are things, which are small, and count more.
        text: (C + 1, E), the last of the background.
    """
    weight = torch.ones(len(text) - 1)
    weight[:num_things] = _THING_WEIGHT
    losses: List[Tensor] = []
    for logits in model.name_places(features):
        shown = F.interpolate(labels[:, None].float(), logits.shape[-2:], mode='nearest-exact')
        losses.append(F.cross_entropy(logits, shown[:, 0].long(), weight))
    captions = F.cross_entropy(model.name_captions(text), torch.arange(len(text)))
    return dict(place_class=torch.stack(losses).mean(), caption_class=captions)


def click_losses(
    model: SeemTiny, features: ImageFeatures, targets: Targets, num_clicks: int, size: int
) -> Dict[str, Tensor]:
    """Those of clicks upon regions: their masks, and which query answers, but not its name.

    Args:
        model: What trains.
        features: Of B images.
        targets: Their regions.
        num_clicks: Clicks in each image.
        size: Side of an image, in pixels of ``targets``.
    """
    points = targets.sample_points(num_clicks)
    rows = torch.randint(model.num_queries, (num_clicks * model.queries_per_prompt,))
    masks, _, weights = targets.pick(targets.under(points))
    losses: List[Dict[str, Tensor]] = [
        _click_losses(clicked, masks, weights)
        for clicked in model.find_clicked(features, points / size, rows)
    ]
    return {key: sum(each[key] for each in losses) / len(losses) for key in losses[0]}


def _click_losses(clicked: Clicked, masks: Tensor, weights: Tensor) -> Dict[str, Tensor]:
    each = mask_loss(clicked.masks, masks.unsqueeze(2).expand_as(clicked.masks))  # (B, N, R)
    least, best = each.min(dim=-1)
    # A little of the others' too, or one query answers for all clicks from the beginning.
    mixed = weights * (0.8 * least + 0.2 * each.mean(dim=-1))
    answer = F.cross_entropy(clicked.fit.flatten(0, 1), best.flatten())
    return dict(click_mask=mixed.sum() / weights.sum(), click_answer=answer)
