"""How good sam-tiny is on held-out scenes: the figures that decide whether it may be used."""

from typing import Dict

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.sam.mask_decoder import decode_independent, decode_joint

from .data import Scenes
from .losses import Targets, regular_grid
from .model import SamTiny

__all__ = ['GATE', 'measure']

#: Least zero-shot mIoU (%) and least mean IoU of the mask of a point.
GATE = dict(joint_miou=58.0, point_iou=0.73)


@torch.no_grad()
def measure(
    model: SamTiny, scenes: Scenes, text: Tensor, num_things: int, side: int = 8
) -> Dict[str, float]:
    """Zero-shot segmentation with a grid of points and class names, and masks of single points.

    Args:
        model: What is measured.
        scenes: Held-out scenes.
        text: (C, E) class embeddings.
        num_things: Classes below it are things.
        side: Side of the grid. Defaults to 8.

    Returns:
        Percentages of mIoU under joint decoding (all, things, stuff) and under independent
        decoding, and the mean IoU between a point's mask and the region under it, for points of
        a grid and for points of regions drawn with equal chances.
    """
    model.eval()
    classes = len(text)
    counts = {kind: torch.zeros(classes * classes) for kind in ('joint', 'independent')}
    ious = dict(point_iou=[], point_iou_by_region=[])
    for indices in torch.arange(len(scenes.images)).split(10):
        images, labels, regions = scenes.batch(indices, flip=False)
        embedding = model.encode_image(images)
        pe, dense = model.image_inputs()
        image = (model.sam.mask_decoder, embedding, pe)
        grid = regular_grid(side, images.shape[-1]).expand(len(images), -1, -1)
        sparse = model.encode_points(grid)
        for kind, decode in (('joint', decode_joint), ('independent', decode_independent)):
            logits, tokens, _ = decode(*image, sparse, dense)
            found = _segment(model, logits[:, :, 0], tokens[:, :, 0], text, images.shape[-1])
            pairs = (labels * classes + found).flatten()
            counts[kind] += torch.bincount(pairs, minlength=classes**2)
            if kind == 'independent':
                ious['point_iou'].append(point_iou(logits[:, :, 0], regions, grid))
        points = Targets(labels, regions, num_things, torch.ones(len(images), classes) > 0)
        points = points.sample_points(8)
        logits, _, _ = decode_independent(*image, model.encode_points(points), dense)
        ious['point_iou_by_region'].append(point_iou(logits[:, :, 0], regions, points))
    figures = {name: float(torch.cat(values).mean()) for name, values in ious.items()}
    for kind, confusion in counts.items():
        per_class = class_ious(confusion.view(classes, classes))
        figures[f'{kind}_miou'] = float(per_class.mean())
        figures[f'{kind}_things'] = float(per_class[:num_things].mean())
        figures[f'{kind}_stuff'] = float(per_class[num_things:].mean())
    return {name: round(value, 4) for name, value in figures.items()}


def _segment(model: SamTiny, logits: Tensor, tokens: Tensor, text: Tensor, size: int) -> Tensor:
    """Class ids (B, H, W) from mask logits (B, N, 4h, 4w) and mask tokens (B, N, D)."""
    scores = model.classify(tokens, text).softmax(-1)[..., :-1]
    masks = _upsample(logits, size).sigmoid()
    return torch.einsum('bnc,bnhw->bchw', scores, masks).argmax(1)


def point_iou(logits: Tensor, regions: Tensor, points: Tensor) -> Tensor:
    """IoU of each mask (B, N, 4h, 4w) with the region under its point (B, N, 2): (B * N,)."""
    x, y = points.long().unbind(-1)
    numbers = regions[torch.arange(len(points))[:, None], y, x]
    true = regions[:, None] == numbers[..., None, None]
    found = _upsample(logits, regions.shape[-1]) > 0
    return ((found & true).sum((-2, -1)) / (found | true).sum((-2, -1))).flatten()


def class_ious(confusion: Tensor) -> Tensor:
    """Percentages (C,) from a matrix of true against found."""
    hits = confusion.diag()
    return 100 * hits / (confusion.sum(0) + confusion.sum(1) - hits).clamp(min=1)


def _upsample(logits: Tensor, size: int) -> Tensor:
    return F.interpolate(logits, size=(size, size), mode='bilinear', align_corners=False)
