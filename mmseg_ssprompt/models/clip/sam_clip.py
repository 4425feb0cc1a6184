"""SAM's image encoder and CLIP's, side by side."""

from typing import Tuple, Union

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

__all__ = ['SAMCLIPImageEncoder']


@MODELS.register_module()
class SAMCLIPImageEncoder(BaseModule):
    """Two frozen image encoders as one backbone: masks need SAM's, region labels need CLIP's.

    Args:
        sam: Config of SAM's image encoder, such as ``dict(type='SAMImageEncoder', ...)``.
        clip: Config of CLIP's, such as ``dict(type='CLIPImageEncoder', ...)``.

    Shape:
        - Input: what the two take; or a pair, SAM's and CLIP's, of outputs that are there
          already, for :class:`PrecomputedEmbedding` and :class:`PrecomputedCLIPTokens`.
        - Output: CLIP's tokens (B, 1 + h' w', width) and, as the last, SAM's image embedding
          (B, D, h, w).
    """

    def __init__(self, sam: dict, clip: dict) -> None:
        super().__init__()
        self.sam = MODELS.build(sam)
        self.clip = MODELS.build(clip)
        self.output_shapes = (*self.clip.output_shapes, *self.sam.output_shapes)

    def forward(self, x: Union[Tensor, Tuple[Tensor, Tensor]]) -> Tuple[Tensor, Tensor]:
        """Features of both encoders."""
        for_sam, for_clip = (x, x) if isinstance(x, Tensor) else x
        return self.clip(for_clip)[-1], self.sam(for_sam)[-1]

    def init_weights(self) -> None:
        """Do nothing: the weights were loaded when the encoders were built."""
