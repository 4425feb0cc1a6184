"""What each spatial prompt is used for, over a data set."""

from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from torch import Tensor

from .segmentation import ImageSegmentation

__all__ = ['MaskUsage', 'find_winners']


def find_winners(masks: Tensor, class_scores: Tensor) -> Tensor:
    """The mask that contributes most to each pixel's label.

    The prediction is ``argmax_c sum_n p_n(c) * m_n(pixel)``. With ``c`` the class that wins a
    pixel, the winner is ``argmax_n p_n(c) * m_n(pixel)``.

    Args:
        masks: (N, mh, mw) probabilities.
        class_scores: (N, C + 1) probabilities, the last for "no object".

    Returns:
        (2, mh, mw) int64: the winning mask, and the class of each pixel.
    """
    scores = class_scores[:, :-1]  # (N, C)
    classes = torch.einsum('nc,nhw->chw', scores, masks).argmax(dim=0)  # (mh, mw)
    winners = (scores[:, classes] * masks).argmax(dim=0)
    return torch.stack([winners, classes])


class MaskUsage:
    """Adds up, image by image, what each mask covers, wins and is labelled.

    Counted at the masks' own resolution in the input frame, without padding.

    Args:
        class_names: The C names.
        masks_per_prompt: Masks that come of each prompt. Defaults to 1.
    """

    def __init__(self, class_names: Sequence[str], masks_per_prompt: int = 1) -> None:
        self.class_names = list(class_names)
        self.masks_per_prompt = masks_per_prompt
        self.num_images = 0
        self._sums: Dict[str, np.ndarray] = {}

    def add(self, image: ImageSegmentation) -> None:
        """Count one image."""
        inside = image.inside
        winners, classes = find_winners(image.masks, image.class_scores)
        num_masks, num_labels = image.class_scores.shape
        pairs = winners[inside] * num_labels + classes[inside]
        won = torch.bincount(pairs, minlength=num_masks * num_labels).view(num_masks, num_labels)
        labels = torch.nn.functional.one_hot(image.class_scores.argmax(dim=-1), num_labels)
        found = dict(
            mask_sum=image.masks * inside, image_count=inside, won_pixels=won, labelled=labels
        )
        for key, value in found.items():
            self._sums[key] = self._sums.get(key, 0) + value.double().cpu().numpy()
        self.num_images += 1

    @property
    def mean_masks(self) -> np.ndarray:
        """(N, mh, mw) mean probability; NaN where every image is padded."""
        count = self._sums['image_count']
        with np.errstate(invalid='ignore'):
            return np.where(count > 0, self._sums['mask_sum'] / count, np.nan)

    def report(self) -> List[Dict[str, Any]]:
        """For each mask what it is used for.

        Returns:
            ``prompt``, ``output`` (of the prompt's masks), ``won_share`` (of all pixels of all
            images), ``won_class`` and ``won_class_share`` (the most frequent class of the pixels
            it wins; None if it wins none), ``label`` and ``label_share`` (the most frequent label
            of the mask itself, "no object" being one), ``mean_area`` (mean probability inside
            the images).
        """
        won, labelled = self._sums['won_pixels'], self._sums['labelled']
        names = [*self.class_names, 'no object']
        area = self._sums['mask_sum'].sum(axis=(1, 2)) / self._sums['image_count'].sum()
        return [
            dict(
                prompt=i // self.masks_per_prompt,
                output=i % self.masks_per_prompt,
                won_share=float(won[i].sum() / won.sum()),
                won_class=names[won[i].argmax()] if won[i].any() else None,
                won_class_share=float(won[i].max() / won[i].sum()) if won[i].any() else None,
                label=names[labelled[i].argmax()],
                label_share=float(labelled[i].max() / self.num_images),
                mean_area=float(area[i]),
            )
            for i in range(len(won))
        ]
