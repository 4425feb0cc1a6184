"""From the texts of class names to one embedding for each class."""

from typing import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ['average_templates']


def average_templates(texts: Tensor, class_names: Sequence[str], encoder: str) -> Tensor:
    """The embedding of each class: the mean over its templates, made unit length again.

    Args:
        texts: (templates, C, E) float, of unit length each.
        class_names: The C class names, for the error.
        encoder: What has encoded the texts, for the error.

    Returns:
        (C, E) of unit length.

    Raises:
        ValueError: If an embedding is zero or not finite.
    """
    embeddings = F.normalize(texts.mean(dim=0), dim=-1)
    good = (embeddings.norm(dim=-1) - 1).abs() < 1e-3  # also False where it is NaN
    if not good.all():
        bad = (~good).nonzero().flatten().tolist()
        raise ValueError(
            f'the embedding of class name {class_names[bad[0]]!r} (index {bad[0]}; {len(bad)} of '
            f'{len(class_names)}) is zero or not finite: the weights of {encoder} are damaged'
        )
    return embeddings
