"""What the CLIP pair sees: photographs of single pieces, and the pieces of whole scenes."""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.clip.clip_variants import PIXEL_MEAN, PIXEL_STD

from ..sam_tiny.data import Scenes, normalise
from ..sam_tiny.losses import UNKNOWN, Targets

__all__ = ['Photographs', 'clip_input']

#: Fewest pixels of a piece that is worth a photograph.
MIN_AREA = 16
#: Smallest and largest side of a photograph: of a thing, as a multiple of its extent; of stuff, as
#: a fraction of the scene.
THING_SIDE = (1.0, 2.2)
STUFF_SIDE = (0.2, 0.7)


class Photographs:
    """Draws pictures with captions: of things always, of stuff now and then.

    A photograph is a square crop around a thing or of a patch of stuff, as CLIP's show mostly one
    thing. Whole scenes are for captions of their pieces.

    Args:
        scenes: Where the pieces come from.
        num_things: Class ids below it are things.
        stuff_named: How often a piece of stuff has a caption, as compared with a thing.
        seed: Of all draws.

    Attributes:
        generator: Where all draws come from.
    """

    def __init__(self, scenes: Scenes, num_things: int, stuff_named: float, seed: int) -> None:
        self.scenes, self.num_things, self.stuff_named = scenes, num_things, stuff_named
        self.generator = torch.Generator().manual_seed(seed)
        numbers = range(int(scenes.regions.max()) + 1)
        tables = [_tabulate(scenes, number) for number in numbers]
        self._pieces, self._boxes = (torch.cat(table) for table in zip(*tables))
        self._chances = torch.where(self._pieces[:, 2] < num_things, 1.0, stuff_named)

    def sample(self, count: int, size: int) -> Tuple[Tensor, Tensor]:
        """Photographs (B, 3, size, size) and the classes (B,) that they were taken for."""
        drawn = torch.multinomial(self._chances, count, True, generator=self.generator)
        scene, _, classes = self._pieces[drawn].unbind(-1)
        centre, side = self._frame(drawn)
        mirror = torch.where(self._rand(count) < 0.5, -1.0, 1.0)
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0], theta[:, 1, 1] = side[:, 0] * mirror, side[:, 0]
        theta[:, :, 2] = 2 * centre - 1
        grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
        scenes = self.scenes.images[scene].permute(0, 3, 1, 2).float()
        crops = F.grid_sample(scenes, grid, padding_mode='border', align_corners=False)
        return clip_input(crops.permute(0, 2, 3, 1)), classes

    def sample_pieces(self, num_scenes: int, places: int) -> Tuple[Tensor, Tensor, Tensor]:
        """Show whole scenes, and say what their pieces are.

        Args:
            num_scenes: ``B``, how many scenes.
            places: Side of the masks.

        Returns:
            Scenes (B, 3, H, W); masks of R pieces of each, (B, R, places * places), between 0 and
            1; and their classes (B, R), or ``UNKNOWN`` where no caption names the piece.
        """
        chosen = torch.randint(len(self.scenes.images), (num_scenes,), generator=self.generator)
        flip = bool(self._rand(1) < 0.5)
        images, labels, regions = [x[chosen].flip(2) if flip else x[chosen] for x in self.scenes]
        named = self._rand(num_scenes, int(self._pieces[:, 2].max()) + 1) < self.stuff_named
        named[:, : self.num_things] = True
        targets = Targets(labels.long(), regions.long(), self.num_things, named, places)
        classes = torch.where(targets.present, targets.classes, UNKNOWN)
        return clip_input(images), targets.masks.flatten(2), classes

    def _frame(self, drawn: Tensor) -> Tuple[Tensor, Tensor]:
        """Centres (B, 2) and sides (B, 1) of photographs, as fractions of the scene."""
        scene, region, classes = self._pieces[drawn].unbind(-1)
        low, high = self._boxes[drawn].unflatten(1, (2, 2)).unbind(1)
        extent = (high - low).amax(-1, keepdim=True)
        stuff = (classes >= self.num_things).nonzero().squeeze(1)
        zoom = self._rand(len(drawn), 1)
        side = extent * _between(THING_SIDE, zoom)
        side[stuff] = _between(STUFF_SIDE, zoom[stuff])
        side = side.clamp(max=1)
        # A thing may lie anywhere in its photograph, and lose a tenth of its extent at an edge.
        shift = (self._rand(len(drawn), 2) - 0.5) * (side - 0.8 * extent)
        centre = (low + high) / 2 + shift
        if len(stuff):
            inside = self.scenes.regions[scene[stuff]] == region[stuff, None, None]
            centre[stuff] = self._pick_pixel(inside)
        return torch.minimum(torch.maximum(centre, side / 2), 1 - side / 2), side

    def _pick_pixel(self, inside: Tensor) -> Tensor:
        """The centre (B, 2), as fractions, of a random pixel of each map (B, H, W)."""
        _, height, width = inside.shape
        chances = inside.flatten(1).float()
        flat = torch.multinomial(chances, 1, generator=self.generator).squeeze(1)
        x, y = flat % width, torch.div(flat, width, rounding_mode='floor')
        return torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=-1)

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)


def _between(ends: Tuple[float, float], share: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * share


def clip_input(images: Tensor) -> Tensor:
    """(B, H, W, 3) RGB between 0 and 255 to CLIP's input, (B, 3, H, W)."""
    return normalise(images, PIXEL_MEAN, PIXEL_STD)


def _tabulate(scenes: Scenes, number: int) -> Tuple[Tensor, Tensor]:
    """The regions of one number that are large enough.

    Returns:
        Scene, region number and class of each, (R, 3); and its box as fractions of the scene,
        (R, 4), left, top, right and bottom.
    """
    inside = scenes.regions == number
    kept = (inside.sum((1, 2)) >= MIN_AREA).nonzero().squeeze(1)
    inside = inside[kept]
    classes = (scenes.labels[kept] * inside).amax((1, 2)).long()
    edges = []
    for line in (inside.any(1).float(), inside.any(2).float()):  # columns, then rows
        length = line.shape[1]
        first, last = line.argmax(1), length - line.flip(1).argmax(1)
        edges.append(torch.stack([first, last], dim=1) / length)
    pieces = torch.stack([kept, torch.full_like(kept, number), classes], dim=1)
    return pieces, torch.stack(edges, dim=2).flatten(1)
