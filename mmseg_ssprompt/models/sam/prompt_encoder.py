"""SAM's prompt encoder: points and boxes as the tokens that the mask decoder understands."""

from typing import Optional

import torch
from mmseg.registry import MODELS
from segment_anything.modeling import PromptEncoder
from torch import Tensor

from ...weights.state_dicts import FilePath
from ..base import FrozenModule
from . import sam_file
from .sam_variants import build_prompt_encoder, get_variant

__all__ = ['SAMPromptEncoder']


@MODELS.register_module()
class SAMPromptEncoder(FrozenModule):
    """SAM's prompt encoder: frozen weights, gradients to the coordinates.

    Coordinates are pixels, x before y, in the ``S`` x ``S`` frame that the image encoder sees
    (after resizing and padding). Everything is computed in float32, also under autocast: the
    encoding takes sines of frequencies that half precision does not resolve. Arguments and errors
    are those of :class:`SAMSegmenter`.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='sam')
    part = 'prompt_encoder'
    where_to_get = staticmethod(sam_file.where_to_get)

    def __init__(self, variant: str, checkpoint: Optional[FilePath] = None) -> None:
        super().__init__()
        self.variant = variant
        self.image_size = get_variant(variant).image_size
        self.embed_dim = get_variant(variant).prompt_embed_dim
        self.model = build_prompt_encoder(variant)
        sam_file.load_part(self.model, checkpoint, variant, self.part)
        self.pretrained = checkpoint is not None
        self.freeze()

    def _pretrained_part(self) -> PromptEncoder:
        return self.model  # as fingerprint_part names it

    def encode_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Encode each row of points as one prompt, closed by SAM's not-a-point token.

        Args:
            points: (N, P, 2) x and y in pixels.
            labels: (N, P) 1 for foreground, 0 for background, -1 for no point.

        Returns:
            Sparse embeddings (N, P + 1, D).
        """
        with torch.autocast(points.device.type, enabled=False):
            sparse: Tensor = self.model((points.float(), labels), boxes=None, masks=None)[0]
        return sparse

    def encode_boxes(self, boxes: Tensor) -> Tensor:
        """Encode boxes (N, 4) of left, top, right and bottom, in pixels, by two corners: (N, 2, D).

        Raises:
            ValueError: If a corner is on the wrong side.
        """
        if (boxes[:, :2] > boxes[:, 2:]).any():
            raise ValueError('boxes must be left, top, right, bottom: left <= right, top <= bottom')
        with torch.autocast(boxes.device.type, enabled=False):
            sparse: Tensor = self.model(None, boxes=boxes.float(), masks=None)[0]
        return sparse

    def dense_prompt(self) -> Tensor:
        """SAM's embedding of "no mask given", at every place: (1, D, h, w)."""
        dense: Tensor = self.model(points=None, boxes=None, masks=None)[1]
        return dense

    def image_pe(self) -> Tensor:
        """The positional encoding of the image embedding's grid: (1, D, h, w)."""
        device = self.model.no_mask_embed.weight.device
        with torch.autocast(device.type, enabled=False):
            encoding: Tensor = self.model.get_dense_pe()
        return encoding
