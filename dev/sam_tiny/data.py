"""Scenes and words of the pre-training world, as tensors."""

from concurrent.futures import ProcessPoolExecutor
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from mmseg_ssprompt.miniature.shapes_world import ShapesWorld, get_world, render_scene, scene_seed
from mmseg_ssprompt.models.sam.sam_variants import PIXEL_MEAN, PIXEL_STD

__all__ = ['TEMPLATES', 'Scenes', 'Vocabulary', 'normalise', 'render_scenes']

#: The first is the plain one that the gate is measured with.
TEMPLATES = (
    'a photo of a {}.',
    'a picture of the {}.',
    'there is a {} in the scene.',
    'a {}.',
    'an image with some {}.',
    '{}',
)


class Scenes(NamedTuple):
    """Rendered scenes.

    Attributes:
        images: (S, H, W, 3) uint8, RGB.
        labels: (S, H, W) uint8, class ids.
        regions: (S, H, W) uint8, region numbers.
    """

    images: Tensor
    labels: Tensor
    regions: Tensor

    def batch(self, indices: Tensor, flip: bool) -> Tuple[Tensor, Tensor, Tensor]:
        """Normalised images (B, 3, H, W), labels (B, H, W) and regions (B, H, W), int64."""
        maps = [x[indices].flip(2) if flip else x[indices] for x in self]
        return normalise(maps[0]), maps[1].long(), maps[2].long()


class Vocabulary:
    """Token ids of every name, synonym and template of a world.

    Args:
        world: The world.
        templates: Texts with ``{}`` where the name goes. Defaults to :data:`TEMPLATES`.
        others: Names beside those of the classes, which come after them. Defaults to none.

    The context is cut to the longest sentence: attention is causal and the sentence is read at
    its last token, so what follows makes no difference.

    Attributes:
        tokens: (C, S, P, L) int64 for classes, synonyms and templates.
    """

    def __init__(
        self,
        world: ShapesWorld,
        templates: Sequence[str] = TEMPLATES,
        others: Sequence[str] = (),
    ) -> None:
        from mmseg.utils.tokenizer import tokenize

        names = [(c.name, *c.synonyms) for c in (*world.things, *world.stuff)]
        names += [(name,) * len(names[0]) for name in others]
        tokens = [[tokenize([t.format(n) for t in templates]) for n in row] for row in names]
        stacked = torch.stack([torch.stack(row) for row in tokens]).long()
        self.tokens = stacked[..., : int((stacked > 0).sum(-1).max())]

    def sample(self, generator: torch.Generator) -> Tensor:
        """One sentence for each class, with a random synonym and template: (C, L)."""
        return self.caption(torch.arange(len(self.tokens)), generator)

    def caption(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """A sentence for each of the classes (B,), with random synonyms and templates: (B, L)."""
        _, synonyms, templates, _ = self.tokens.shape
        synonym = torch.randint(synonyms, classes.shape, generator=generator)
        template = torch.randint(templates, classes.shape, generator=generator)
        return self.tokens[classes, synonym, template]

    def sample_alike(self, generator: torch.Generator) -> Tensor:
        """As :meth:`sample`, with one template for all, so that only names differ."""
        count, synonyms, templates, _ = self.tokens.shape
        synonym = torch.randint(synonyms, (count,), generator=generator)
        template = int(torch.randint(templates, (), generator=generator))
        return self.tokens[torch.arange(count), synonym, template]

    def plain(self) -> Tensor:
        """Each class's own name in the first template: (C, L)."""
        return self.tokens[:, 0, 0]


def normalise(
    images: Tensor, mean: Sequence[float] = PIXEL_MEAN, std: Sequence[float] = PIXEL_STD
) -> Tensor:
    """(B, H, W, 3) uint8 RGB to a model's input, (B, 3, H, W); by default SAM's."""
    return ((images.float() - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2)


def render_scenes(world: str, split: str, count: int, workers: int = 2, seed: int = 0) -> Scenes:
    """Render the first scenes of a split."""
    jobs = [(world, scene_seed(split, index, seed)) for index in range(count)]
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            scenes = list(pool.map(_render, jobs, chunksize=50))
    else:
        scenes = [_render(job) for job in jobs]
    columns: List[Tensor] = [torch.from_numpy(np.stack(column)) for column in zip(*scenes)]
    return Scenes(*columns)


def _render(job: Tuple[str, int]) -> Tuple[np.ndarray, ...]:
    return tuple(render_scene(get_world(job[0]), job[1]))
