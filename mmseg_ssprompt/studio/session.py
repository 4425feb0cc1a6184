"""What one tab of a browser looks at: questions about a picture that is embedded once."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ..class_names import normalize_class_name
from ..models.heads.ssprompt_head import HeadOutput
from .answers import AtPoint, BaseAnswer, Difference, LabelView, MaskFacts
from .look import Look, StudioError, check_number, check_share
from .opened import OpenPicture, PictureStore, open_picture
from .segmenting import (
    Naming,
    Segmented,
    crop_masks,
    place_in_frame,
    sample_masks,
    segment,
    show_mask,
)
from .studio_model import HANDCRAFTED, OTHER, OWN, StudioModel

__all__ = ['StudioSession']

#: Pairs of classes that a comparison names.
_SWAPS = 4


class StudioSession:
    """One tab. It has a picture, and answers from what was embedded and decoded of it.

    Args:
        model: The model.
        store: Where pictures are kept, which tabs share.

    Attributes:
        model: As given.
        key: Of the picture that is open; None if none is.
        point: The point that is looked at, as fractions (x, y) of the picture; None if none is.
    """

    def __init__(self, model: StudioModel, store: PictureStore) -> None:
        self.model, self._store = model, store
        self.key: Optional[str] = None
        self.point: Optional[Tuple[float, float]] = None

    # ---- the picture

    def open(self, file: Path, name: str) -> OpenPicture:
        """Open a picture: the only thing that runs the image encoder.

        Raises:
            StudioError: If it cannot be opened; the one that was open stays.
        """
        picture = open_picture(file, name, self.model.predictor)
        self.show(picture)
        return picture

    def show(self, picture: OpenPicture) -> None:
        """Look at a picture that is open already."""
        self._store.put(picture)
        self.key, self.point = picture.key, None

    def set_point(self, x: Any, y: Any) -> None:
        """Look at a point, in fractions of the picture.

        Raises:
            StudioError: If it does not lie in the picture.
        """
        self.point = check_share(x, 'place from the left'), check_share(y, 'place from above')

    @property
    def picture(self) -> OpenPicture:
        """The picture that is open.

        Raises:
            StudioError: If none is, or it had to make room for others.
        """
        if self.key is None:
            raise StudioError('No picture is open: choose one first.')
        picture = self._store.find(self.key)
        if picture is None:
            raise StudioError(
                'This picture is no longer in memory, where others needed room: choose it again.'
            )
        return picture

    # ---- what is asked of it

    def label_map(
        self,
        look: Look,
        view: str = 'semantic',
        which: str = OWN,
        size: Optional[Tuple[int, int]] = None,
    ) -> LabelView:
        """The label map, or objects, of a set of prompts.

        Args:
            look: Weights and names.
            view: One of ``model.views``. Defaults to 'semantic'.
            which: :data:`OWN`, :data:`OTHER`, or :data:`HANDCRAFTED`, for which all weights are 0.
            size: (H, W) of the label map. Defaults to None: as it is shown.

        Raises:
            StudioError: If there is no such view or set, or names cannot be changed.
        """
        if view not in self.model.views:
            raise StudioError(
                f'This model has no view {str(view)[:40]!r}: it has {", ".join(self.model.views)}.'
            )
        picture = self.picture
        if which == HANDCRAFTED:
            look, which, title = Look(0.0, 0.0, look.names), OWN, 'handcrafted prompts'
        else:
            title = self._set(which).name
        output, naming = self._output(look, which)
        found = segment(
            self.model.model, output, naming, picture.metainfo, size or picture.shown_size, view
        )
        return LabelView(*found, naming, _shares(found), title)

    def masks(self, look: Look) -> List[MaskFacts]:
        """What is known of each mask."""
        return self.picture.facts(look, lambda: self._find_facts(look))

    def best_mask(self, look: Look) -> int:
        """The number of the mask that has a class with the highest score; 0 if none has one."""
        named = [each for each in self.masks(look) if each.label is not None]
        return max(named, key=lambda each: each.score).number if named else 0

    def mask(self, number: Any, look: Look) -> Tuple[np.ndarray, MaskFacts]:
        """One mask, (h, w) float32 probabilities, and what is known of it.

        Raises:
            StudioError: If there is no such mask.
        """
        number = check_number(number, self.model.num_masks, 'number of a mask')
        output, _ = self._output(look)
        return self._show(output.mask_logits[number]), self.masks(look)[number]

    def small_masks(self, look: Look, side: int = 48) -> np.ndarray:
        """All masks at a small size: (N, h, w) float32 probabilities, for a sheet of them."""
        output, _ = self._output(look)
        height, width = self.picture.shown_size
        factor = side / max(height, width)
        size = max(round(height * factor), 1), max(round(width * factor), 1)
        inside = crop_masks(output.mask_logits, self.picture.metainfo).float().sigmoid()
        small = torch.nn.functional.interpolate(inside[None], size=size, mode='area')[0]
        shown: np.ndarray = small.cpu().numpy()
        return shown

    def at_point(self, x: Any, y: Any, look: Look) -> AtPoint:
        """What the base model and the prompts say of a point.

        Args:
            x: From the left edge of the picture, as a fraction of it.
            y: From its upper edge.
            look: Weights and names.

        Raises:
            StudioError: If it does not lie in the picture.
        """
        self.set_point(x, y)
        picture = self.picture
        place = place_in_frame((x, y), picture.metainfo)
        view = self.label_map(look)
        height, width = view.labels.shape
        label = int(view.labels[min(int(y * height), height - 1), min(int(x * width), width - 1)])
        output, naming = self._output(look)
        there = sample_masks(output.mask_logits, place).sigmoid()
        scores = output.class_logits.softmax(dim=-1)[:, :-1]
        added = there[:, None] * scores  # (N, C), the terms of the sum that label maps are made of
        ids = naming.label_ids
        if label in ids.classes:
            index = ids.classes.index(label)
            leader = int(added[:, index].argmax())
            score = float(added[:, index].sum()) / max(float(added.sum()), 1e-12)
            leader_score = float(scores[leader, index])
        else:  # the rest of a single class
            leader = int(added.sum(dim=1).argmin())
            score = min(max(1 - float(added.sum()), 0.0), 1.0)
            leader_score = 1 - float(scores[leader].sum())
        mask, facts = self.mask(leader, look)
        base = self._ask_base(place, look)
        return AtPoint(x, y, base, label, score, facts, leader_score, mask)

    def compare(self, look: Look, second: str = HANDCRAFTED) -> Difference:
        """The label maps of the model's prompts and of others, and where they differ.

        Args:
            look: Weights and names of the first; the names count for the second too, whose weights
                are those that were learned.
            second: :data:`OTHER` or :data:`HANDCRAFTED`. Defaults to the latter.

        Raises:
            StudioError: If there is no such set.
        """
        if second not in (OTHER, HANDCRAFTED):
            raise StudioError(f'There are no prompts {str(second)[:40]!r} to compare with.')
        mine = self.label_map(look)
        theirs = self.label_map(Look(names=look.names), which=second)
        names = (_names_of(mine.naming), _names_of(theirs.naming))
        index = {name: i for i, name in enumerate(dict.fromkeys([*names[0], *names[1]]))}
        tables = [np.array([index[name] for name in each]) for each in names]
        a, b = tables[0][mine.labels], tables[1][theirs.labels]
        differs = a != b
        pairs = Counter((a[differs].astype(np.int64) * len(index) + b[differs]).tolist())
        shown = list(index)
        swaps = [
            (shown[pair // len(index)], shown[pair % len(index)], count / differs.size)
            for pair, count in pairs.most_common(_SWAPS)
        ]
        return Difference(mine, theirs, differs, float(differs.mean()), swaps)

    # ---- parts

    def _find_facts(self, look: Look) -> List[MaskFacts]:
        output, _ = self._output(look)
        scores, labels = output.class_logits.softmax(dim=-1).max(dim=-1)
        no_object = output.class_logits.shape[-1] - 1
        inside = crop_masks(output.mask_logits, self.picture.metainfo) > 0
        shares = inside.flatten(1).float().mean(dim=1).tolist()
        quality = [None] * len(scores) if output.quality is None else output.quality.tolist()
        each = self.model.head.segmenter.masks_per_prompt
        return [
            MaskFacts(
                *(n, n // each, None if label == no_object else label),
                *(score, quality[n], shares[n]),
            )
            for n, (label, score) in enumerate(zip(labels.tolist(), scores.tolist()))
        ]

    def _set(self, which: str) -> Any:
        if which not in self.model.sets:
            raise StudioError('There are no other prompts: start the studio with --compare FILE.')
        return self.model.sets[which]

    def _output(self, look: Look, which: str = OWN) -> Tuple[HeadOutput, Naming]:
        naming = self.model.naming(look, which)
        output = self.model.output(self.picture, look, which)
        self._store.trim()  # what was decoded takes room
        return output, naming

    def _ask_base(self, place: Tuple[float, float], look: Look) -> BaseAnswer:
        said = self.model.ask_base(self.picture, place, look)
        quality = None if said.quality is None else float(said.quality[0])
        label = score = None
        if said.class_logits.shape[-1]:
            best, index = said.class_logits[0].softmax(dim=-1).max(dim=-1)
            score = float(best)
            label = int(index) if int(index) < said.class_logits.shape[-1] - 1 else None
        return BaseAnswer(self._show(said.mask_logits[0]), quality, label, score)

    def _show(self, logits: Tensor) -> np.ndarray:
        picture = self.picture
        return show_mask(self.model.model, logits, picture.metainfo, picture.shown_size)


def _shares(found: Segmented) -> Dict[int, float]:
    counts = np.bincount(found.labels.ravel())
    order = np.argsort(-counts, kind='stable')
    return {int(n): float(counts[n]) / found.labels.size for n in order if counts[n]}


def _names_of(naming: Naming) -> List[str]:
    """What the numbers in label maps are called, in lower case."""
    return [normalize_class_name(name).lower() for name in naming.classes]
