"""SAM's prompt encoder: points and boxes as the tokens that the mask decoder understands."""

from os import PathLike
from typing import Optional, Union

import torch
from mmseg.registry import MODELS
from segment_anything.modeling import PromptEncoder
from torch import Tensor

from ..base import FrozenModule
from .sam_file import load_part, where_to_get
from .sam_variants import build_prompt_encoder, get_variant

__all__ = ['SAMPromptEncoder']

_PADDING, _BACKGROUND, _FOREGROUND = -1, 0, 1


@MODELS.register_module()
class SAMPromptEncoder(FrozenModule):
    """SAM's prompt encoder: frozen weights, gradients to the coordinates.

    Coordinates are pixels, x before y, in the ``S`` x ``S`` frame that the image encoder sees
    (after resizing and padding). Everything is computed in float32, also under autocast: the
    encoding takes sines of frequencies that half precision does not resolve.

    Args:
        variant: A key of ``SAM_VARIANTS``: ``'vit_b'``, ``'vit_l'``, ``'vit_h'`` or ``'tiny'``.
        checkpoint: The official file, or ``mmseg_ssprompt://NAME`` for one of the package. With
            ``None`` the weights are random, and the log says so. Defaults to None.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant.
        ValueError: If the variant is unknown.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='sam')
    part = 'prompt_encoder'

    @staticmethod
    def where_to_get(variant: str) -> str:
        """Say which file a variant needs and where it is published."""
        return where_to_get(variant)

    def __init__(
        self, variant: str, checkpoint: Optional[Union[str, 'PathLike[str]']] = None
    ) -> None:
        super().__init__()
        self.variant = variant
        self.image_size = get_variant(variant).image_size
        self.embed_dim = get_variant(variant).prompt_embed_dim
        self.model = build_prompt_encoder(variant)
        load_part(self.model, checkpoint, variant, 'prompt_encoder')
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
            (N, P + 1, D) sparse embeddings.

        Raises:
            ValueError: If a shape or a label is not one of these.
        """
        if points.ndim != 3 or points.shape[-1] != 2 or points.shape[1] == 0:
            raise ValueError(f'points must have shape (N, P, 2) with P > 0: {tuple(points.shape)}')
        if labels.shape != points.shape[:2]:
            raise ValueError(
                f'labels must have shape {tuple(points.shape[:2])} to go with points '
                f'{tuple(points.shape)}, got {tuple(labels.shape)}'
            )
        known = torch.tensor([_PADDING, _BACKGROUND, _FOREGROUND], device=labels.device)
        if not torch.isin(labels, known.to(labels.dtype)).all():
            raise ValueError(
                'labels must be 1 (foreground), 0 (background) or -1 (no point), got '
                f'{sorted(set(labels.flatten().tolist()))}'
            )
        sparse_embeddings: Tensor
        with torch.autocast(points.device.type, enabled=False):
            sparse_embeddings, _ = self.model((points.float(), labels), boxes=None, masks=None)
        return sparse_embeddings  # (N, P + 1, D)

    def encode_boxes(self, boxes: Tensor) -> Tensor:
        """Encode boxes by their two corners.

        Args:
            boxes: (N, 4) left, top, right and bottom in pixels.

        Returns:
            (N, 2, D) sparse embeddings.

        Raises:
            ValueError: If ``boxes`` has another shape, or a corner is on the wrong side.
        """
        if boxes.ndim != 2 or boxes.shape[-1] != 4:
            raise ValueError(f'boxes must have shape (N, 4), got {tuple(boxes.shape)}')
        if (boxes[:, :2] > boxes[:, 2:]).any():
            raise ValueError('boxes must be left, top, right, bottom: left <= right, top <= bottom')
        sparse_embeddings: Tensor
        with torch.autocast(boxes.device.type, enabled=False):
            sparse_embeddings, _ = self.model(None, boxes=boxes.float(), masks=None)
        return sparse_embeddings  # (N, 2, D)

    def dense_prompt(self) -> Tensor:
        """SAM's embedding of "no mask given", at every place: (1, D, h, w)."""
        dense_embeddings: Tensor
        _, dense_embeddings = self.model(points=None, boxes=None, masks=None)
        return dense_embeddings  # (1, D, h, w)

    def image_pe(self) -> Tensor:
        """The positional encoding of the image embedding's grid: (1, D, h, w)."""
        device = self.model.no_mask_embed.weight.device
        with torch.autocast(device.type, enabled=False):
            encoding: Tensor = self.model.get_dense_pe()
        return encoding  # (1, D, h, w)
