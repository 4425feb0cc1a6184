"""How good the CLIP pair is on held-out scenes."""

from typing import Dict

import torch
from torch import Tensor

from ..sam_tiny.data import Scenes
from ..sam_tiny.losses import Targets
from .data import Photographs, clip_input
from .model import ClipPair

__all__ = ['GATE', 'measure']

#: Least share of regions that one of the read-outs names rightly.
GATE = 0.75
PHOTOGRAPHS = 1000


@torch.no_grad()
def measure(model: ClipPair, scenes: Scenes, text: Tensor, num_things: int) -> Dict[str, float]:
    """Shares of what is named rightly, for photographs and for regions of whole scenes.

    The masks of regions are true ones, so that nothing but CLIP is measured.

    Args:
        model: What is measured.
        scenes: Held-out scenes.
        text: (C, E) class embeddings.
        num_things: Classes below it are things.

    Returns:
        Shares over all, things and stuff: of photographs ('photo'), of regions by the mean of
        their dense features ('dense'), and by a class token that sees the region alone ('token').
    """
    model.eval()
    photographs = Photographs(scenes, num_things, stuff_named=1.0, seed=0)
    images, classes = photographs.sample(PHOTOGRAPHS, model.variant.image_size)
    found = torch.cat([model.encode_image(batch) for batch in images.split(100)])
    hits = dict(photo=[(found @ text.t()).argmax(-1) == classes], dense=[], token=[])
    true = dict(photo=[classes], dense=[], token=[])
    for indices in torch.arange(len(scenes.images)).split(20):
        images = clip_input(scenes.images[indices])
        labels, regions = scenes.labels[indices].long(), scenes.regions[indices].long()
        named = torch.ones(len(indices), len(text), dtype=torch.bool)
        places = images.shape[-1] // model.variant.patch_size
        targets = Targets(labels, regions, num_things, named, side=places)
        found = model.encode_pieces(images, targets.masks.flatten(2))
        for kind, embeddings in found.items():
            rightly = (embeddings @ text.t()).argmax(-1) == targets.classes
            hits[kind].append(rightly[targets.present])
            true[kind].append(targets.classes[targets.present])
    figures = {}
    for kind in hits:
        right, classes = torch.cat(hits[kind]).float(), torch.cat(true[kind])
        figures[kind] = float(right.mean())
        figures[f'{kind}_things'] = float(right[classes < num_things].mean())
        figures[f'{kind}_stuff'] = float(right[classes >= num_things].mean())
    return {name: round(value, 4) for name, value in figures.items()}
