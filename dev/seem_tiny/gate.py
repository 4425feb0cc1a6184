"""How good seem-tiny is on held-out scenes: the figures that decide whether it may be used."""

from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.seem.seem_prompt_encoder import choose_rows

from ..sam_tiny.data import Scenes
from ..sam_tiny.gate import class_ious, point_iou
from ..sam_tiny.losses import Targets, regular_grid
from .model import SeemTiny, answers

__all__ = ['GATE', 'measure']

#: Least zero-shot mIoU (%).
GATE = dict(miou=75.0)


@torch.no_grad()
def measure(
    model: SeemTiny, scenes: Scenes, text: Tensor, num_things: int, side: int = 8
) -> Dict[str, float]:
    """Zero-shot segmentation with class names, by SEEM's own queries and by a grid of clicks.

    Args:
        model: What is measured.
        scenes: Held-out scenes.
        text: (C + 1, E) embeddings of the classes and the background.
        num_things: Classes below it are things.
        side: Side of the grid. Defaults to 8.

    Returns:
        Percentages of mIoU by the own queries (all, things, stuff) and by the grid, and the mean
        IoU between a click's mask and the region under it, for regions drawn with equal chances.
    """
    classes = len(text) - 1
    counts = {kind: torch.zeros(classes * classes) for kind in ('', 'grid_')}
    ious = []
    for indices in torch.arange(len(scenes.images)).split(10):
        images, labels, regions = scenes.batch(indices, flip=False)
        size = images.shape[-1]
        features = model.encode_image(images)
        out = model.find_objects(features)[-1]
        found = {'': (model.masks(out, features), out)}
        grid = regular_grid(side, size).expand(len(images), -1, -1)
        found['grid_'] = _click(model, features, grid / size)
        for kind, (masks, tokens) in found.items():
            pairs = (labels * classes + _segment(model, masks, tokens, text, size)).flatten()
            counts[kind] += torch.bincount(pairs, minlength=classes**2)
        targets = Targets(labels, regions, num_things, torch.ones(len(images), classes) > 0)
        points = targets.sample_points(8)
        masks, _ = _click(model, features, points / size)
        ious.append(point_iou(masks, regions, points))
    figures = dict(click_iou=float(torch.cat(ious).mean()))
    for kind, confusion in counts.items():
        per_class = class_ious(confusion.view(classes, classes))
        figures[f'{kind}miou'] = float(per_class.mean())
        figures[f'{kind}things'] = float(per_class[:num_things].mean())
        figures[f'{kind}stuff'] = float(per_class[num_things:].mean())
    return {name: round(value, 4) for name, value in figures.items()}


def _click(model: SeemTiny, features: ImageFeatures, points: Tensor) -> Tuple[Tensor, Tensor]:
    """Masks and tokens of the answers, with the queries that the package has for clicks."""
    rows = choose_rows(points.shape[1] * model.queries_per_prompt, model.num_queries)
    return answers(model.find_clicked(features, points, rows)[-1])


def _segment(model: SeemTiny, masks: Tensor, tokens: Tensor, text: Tensor, size: int) -> Tensor:
    """Class ids (B, H, W) from mask logits (B, N, h, w) and queries (B, N, D)."""
    scores = model.classify(tokens, text).softmax(-1)[..., :-1]
    masks = F.interpolate(masks, size=(size, size), mode='bilinear', align_corners=False).sigmoid()
    return torch.einsum('bnc,bnhw->bchw', scores, masks).argmax(1)
