"""What the two stages of pre-training minimise."""

from typing import Dict, List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmseg_ssprompt.models.sam.mask_decoder import decode_independent, decode_joint

from .model import SamTiny

__all__ = ['UNKNOWN', 'Targets', 'regular_grid', 'stage1_losses', 'stage2_losses']

UNKNOWN = -100  # F.cross_entropy skips it


class Targets:
    """The regions of a batch at the masks' resolution.

    Args:
        labels: (B, H, W) class ids.
        regions: (B, H, W) region numbers.
        num_things: Class ids below it are things, whose masks weigh more.
        named: (B, C), whether a caption names the class in this image.
        side: Side of the masks.

    Attributes:
        masks: (B, R, side, side), how much of each mask pixel is the region's.
        classes: (B, R), class ids, or ``UNKNOWN`` where the caption says nothing.
        present: (B, R), which of the R slots are regions of the image.
        weights: (B, R), weights of the mask loss.
    """

    def __init__(
        self, labels: Tensor, regions: Tensor, num_things: int, named: Tensor, side: int = 48
    ) -> None:
        self.regions = regions
        one_hot = F.one_hot(regions).permute(0, 3, 1, 2).float()  # (B, R, H, W)
        area = one_hot.sum(dim=(2, 3))
        self.present = area >= 16
        ids = (one_hot * labels[:, None]).amax(dim=(2, 3)).long()
        self.masks = F.interpolate(one_hot, size=(side, side), mode='area')
        self.classes = torch.where(named.gather(1, ids), ids, UNKNOWN)
        self.weights = torch.where(ids < num_things, 2.5, 1.0)
        self._by_region = (self.masks, self.classes, self.weights)
        self.label_map = torch.where(
            named.gather(1, labels.flatten(1)), labels.flatten(1), UNKNOWN
        ).view_as(labels)

    def under(self, points: Tensor) -> Tensor:
        """The region number under each point (B, N, 2): (B, N)."""
        x, y = points.long().unbind(-1)
        return self.regions[torch.arange(len(points))[:, None], y, x]

    def sample_points(self, count: int) -> Tensor:
        """Points (B, count, 2) of regions drawn with equal chances."""
        chosen = torch.multinomial(self.present.float(), count, replacement=True)  # (B, count)
        pixels = self.regions.flatten(1)[:, None] == chosen[..., None]  # (B, count, HW)
        flat = torch.rand(pixels.shape).masked_fill_(~pixels, -1).argmax(-1)
        width = self.regions.shape[-1]
        return torch.stack([flat % width, flat // width], dim=-1) + 0.5

    def pick(self, numbers: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Masks, classes and weights of regions (B, N)."""
        index = torch.arange(len(numbers))[:, None]
        masks, classes, weights = (x[index, numbers] for x in self._by_region)
        return masks, classes, weights


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy and dice of each mask: (..., h, w) twice to (...)."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction='none').mean((-2, -1))
    return 3 * entropy + _dice(logits, masks)


def _dice(logits: Tensor, masks: Tensor) -> Tensor:
    probs = logits.sigmoid()
    overlap = 2 * (probs * masks).sum((-2, -1)) + 1
    return 1 - overlap / (probs.sum((-2, -1)) + masks.sum((-2, -1)) + 1)


def stage1_losses(
    model: SamTiny, images: Tensor, targets: Targets, text: Tensor
) -> Dict[str, Tensor]:
    """The image encoder alone: its embedding at a point says the region's name and extent.

    The embedding takes the place of the mask token, so the read-outs are the decoder's own.
    """
    embedding = model.encode_image(images)  # (B, D, h, w)
    decoder = model.sam.mask_decoder
    points = targets.sample_points(16)
    places = points / images.shape[-1] * 2 - 1
    tokens = F.grid_sample(embedding, places[:, :, None], align_corners=False).squeeze(-1)
    tokens = F.layer_norm(tokens.transpose(1, 2), tokens.shape[1:2])  # (B, N, D)
    masks, classes, weights = targets.pick(targets.under(points))
    filters = decoder.output_hypernetworks_mlps[0](tokens)
    upscaled = decoder.output_upscaling(embedding)
    logits = torch.einsum('bnc,bchw->bnhw', filters, upscaled)
    cells = embedding.flatten(2).transpose(1, 2)  # (B, hw, D)
    centres = targets.label_map[:, 4::8, 4::8].flatten(1)
    return dict(
        mask=(weights * mask_loss(logits, masks)).sum() / weights.sum(),
        name=_name_loss(model, tokens, classes, text),
        dense=_name_loss(model, cells, centres, text),
    )


def stage2_losses(
    model: SamTiny, images: Tensor, targets: Targets, text: Tensor, side: int, points: int
) -> Dict[str, Tensor]:
    """Both uses of the decoder at once: a grid decoded jointly, and points one by one."""
    embedding = model.encode_image(images)
    pe, dense = model.image_inputs()
    args = (model.sam.mask_decoder, embedding, pe)

    grid = jittered_grid(len(images), side, images.shape[-1])
    logits, tokens, _ = decode_joint(*args, model.encode_points(grid), dense)
    losses = joint_losses(model, logits.squeeze(2), tokens.squeeze(2), targets, grid, text)

    single = targets.sample_points(points)
    sparse = model.encode_points(single)
    logits, tokens, iou_single = decode_independent(*args, sparse, dense, range(4))
    masks, classes, weights = targets.pick(targets.under(single))
    each = mask_loss(logits, masks.unsqueeze(2).expand_as(logits))  # (B, N, 4)
    # Tokens 1 to 3 are SAM's ambiguity masks: only the best of them learns from the mask.
    each = each[..., 0] + 0.5 * each[..., 1:].amin(-1) + 0.05 * each[..., 1:].mean(-1)
    losses['point_mask'] = (weights * each).sum() / weights.sum()
    losses['point_name'] = _name_loss(model, tokens[:, :, 0], classes, text)
    losses['multi_name'] = 0.3 * _name_loss(
        model, tokens[:, :, 1:], classes[..., None].expand(-1, -1, 3), text
    )
    losses['iou'] = F.mse_loss(iou_single, _iou(logits, masks.unsqueeze(2)))
    return losses


def joint_losses(
    model: SamTiny, logits: Tensor, tokens: Tensor, targets: Targets, grid: Tensor, text: Tensor
) -> Dict[str, Tensor]:
    """Names by Hungarian matching; masks of what was matched, else of what is under the point."""
    scores = model.classify(tokens, text)
    numbers = targets.under(grid)
    names = torch.full(numbers.shape, text.shape[0])
    weights = torch.full(numbers.shape, 0.1)
    for image, (prompts, regions) in enumerate(match(logits, scores, targets)):
        numbers[image, prompts] = regions
        names[image, prompts] = targets.classes[image, regions]
        weights[image, prompts] = 1.0
    masks, classes, mask_weights = targets.pick(numbers)
    entropy = F.cross_entropy(scores.flatten(0, 1), names.flatten(), reduction='none')
    weights = torch.where(names == UNKNOWN, 0.0, weights).flatten()
    return dict(
        grid_mask=(mask_weights * mask_loss(logits, masks)).sum() / mask_weights.sum(),
        grid_match=(weights * entropy).sum() / weights.sum(),
        # Every token also says what its mask shows, nothing aside: neither decoding is favoured.
        grid_name=_name_loss(model, tokens, classes, text),
    )


@torch.no_grad()
def match(logits: Tensor, scores: Tensor, targets: Targets) -> List[Tuple[Tensor, Tensor]]:
    """For each image, the prompts and the regions that belong together."""
    small = F.avg_pool2d(logits, 2).flatten(2)  # (B, N, P)
    masks = F.avg_pool2d(targets.masks, 2).flatten(2)  # (B, R, P)
    probs = small.sigmoid()
    dice = 1 - (2 * probs @ masks.mT + 1) / (probs.sum(-1)[:, :, None] + masks.sum(-1)[:, None] + 1)
    entropy = (F.softplus(small).sum(-1)[:, :, None] - small @ masks.mT) / small.shape[-1]
    known = targets.classes.clamp(min=0)[:, None].expand(-1, scores.shape[1], -1)
    naming = -scores.softmax(-1).gather(2, known) * (targets.classes != UNKNOWN)[:, None]
    cost = (3 * entropy + 2 * dice + naming).numpy()
    pairs = []
    for image, present in enumerate(targets.present.numpy()):
        regions = np.flatnonzero(present)
        prompts, columns = linear_sum_assignment(cost[image][:, regions])
        pairs.append((torch.from_numpy(prompts), torch.from_numpy(regions[columns])))
    return pairs


def regular_grid(side: int, size: int) -> Tensor:
    """The centres of side x side equal cells: (1, side * side, 2), (x, y) in pixels."""
    steps = (torch.arange(side) + 0.5) * size / side
    y, x = torch.meshgrid(steps, steps, indexing='ij')
    return torch.stack([x, y], dim=-1).view(1, -1, 2)


def jittered_grid(batch: int, side: int, size: int) -> Tensor:
    """A grid whose points are moved within half of its pitch: (B, side * side, 2)."""
    jitter = (torch.rand(batch, side * side, 2) - 0.5) * size / side
    return (regular_grid(side, size) + jitter).clamp(0, size - 1)


def _name_loss(model: SamTiny, tokens: Tensor, classes: Tensor, text: Tensor) -> Tensor:
    """Cross entropy over names alone; 'no object' is learned by the matching."""
    scores = model.classify(tokens, text)[..., :-1]
    entropy = F.cross_entropy(scores.flatten(0, -2), classes.flatten(), ignore_index=UNKNOWN)
    return entropy.nan_to_num()  # no caption of the batch names anything


def _iou(logits: Tensor, masks: Tensor) -> Tensor:
    found, true = logits.detach() > 0, masks > 0.5
    return (found & true).sum((-2, -1)) / (found | true).sum((-2, -1)).clamp(min=1)
