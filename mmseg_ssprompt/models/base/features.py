"""What passes between the parts: from the image encoder, and from the base model's decoder."""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from torch import Tensor

__all__ = ['Decoded', 'ImageFeatures']

_EMBEDDING, _COMPANION, _LEVEL = 'embedding', 'companion', 'level_'


class ImageFeatures(NamedTuple):
    """What a backbone returns.

    A tuple whose last entry is the image embedding, so that mmseg's ``extract_feat`` and its heads
    with ``in_index=-1`` take it as it is.

    Attributes:
        levels: Further feature maps, (B, D_l, h_l, w_l) each, from fine to coarse; empty for SAM.
        companion: What a second encoder sees, for the classifier; of CLIP its tokens
            (B, 1 + h' w', width). None without one.
        embedding: (B, D, h, w), the image embedding.
    """

    levels: Tuple[Tensor, ...]
    companion: Optional[Tensor]
    embedding: Tensor

    def named(self) -> Dict[str, Tensor]:
        """The tensors by name: ``embedding``, ``companion``, ``level_0``, ``level_1``, ..."""
        named = {_EMBEDDING: self.embedding}
        if self.companion is not None:
            named[_COMPANION] = self.companion
        named.update({f'{_LEVEL}{number}': level for number, level in enumerate(self.levels)})
        return named

    @classmethod
    def from_named(cls, tensors: Mapping[str, Any]) -> 'ImageFeatures':
        """What :meth:`named` was called on.

        Args:
            tensors: At least ``embedding``; other names are not looked at.
        """
        count = sum(name.startswith(_LEVEL) for name in tensors)
        levels = tuple(tensors[f'{_LEVEL}{number}'] for number in range(count))
        return cls(levels, tensors.get(_COMPANION), tensors[_EMBEDDING])


class Decoded(NamedTuple):
    """What a base model makes of N spatial prompts.

    Attributes:
        mask_logits: (B, N, h', w') float, over the padded frame.
        tokens: (B, N, D) float, the output tokens that made the masks.
        quality: (B, N) float, the base model's own estimate of each mask's IoU; None if it has
            none.
        class_embeddings: (B, N, E) float in the text space. Their product with unit-length text
            embeddings is the logit of a class, so the base model's scale is in them. None if the
            base model gives its masks no classes.
    """

    mask_logits: Tensor
    tokens: Tensor
    quality: Optional[Tensor] = None
    class_embeddings: Optional[Tensor] = None
