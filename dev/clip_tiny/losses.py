"""What pre-training of the CLIP pair minimises."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ['contrastive_loss']


def contrastive_loss(images: Tensor, texts: Tensor, classes: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE in both directions, where captions of one class share the target.

    With 17 classes a batch has many pictures of each. Pushing the caption of one away from the
    next, as if it were wrong, would teach nothing but noise.

    Args:
        images: (B, E) unit vectors.
        texts: (B, E) unit vectors, of the caption of each image.
        classes: (B,), what each caption names.
        scale: Factor on cosines.

    Returns:
        The mean of both directions' cross entropies.
    """
    logits = scale * images @ texts.t()
    same = (classes[:, None] == classes).float()
    targets = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.t(), targets)) / 2
