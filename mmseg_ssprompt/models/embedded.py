"""What takes the place of the image encoder when samples are embedded already."""

from typing import Any, Dict, Optional, Tuple

import torch
from mmengine.model import BaseDataPreprocessor
from mmseg.registry import MODELS
from torch import Tensor

from ..cache.fingerprint import fingerprint_weights
from .checkpoint import resolve_checkpoint_path
from .frozen import FrozenModule
from .sam.variants import get_variant

__all__ = ['EmbeddingPreProcessor', 'PrecomputedEmbedding']


@MODELS.register_module()
class EmbeddingPreProcessor(BaseDataPreprocessor):
    """Stacks the embeddings of a batch, in float32; they were normalised and padded as images.

    Args:
        non_blocking: As for ``BaseDataPreprocessor``. Defaults to False.
    """

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """Make a batch of what the data loader gives.

        Args:
            data: ``inputs``, a list of B embeddings (D, h, w), and ``data_samples``.
            training: The same is done in training and testing. Defaults to False.

        Returns:
            ``inputs``, (B, D, h, w) float32 on the model's device, and ``data_samples``.
        """
        data = self.cast_data(data)
        inputs = torch.stack([embedding.float() for embedding in data['inputs']])
        return dict(inputs=inputs, data_samples=data.get('data_samples'))


@MODELS.register_module()
class PrecomputedEmbedding(FrozenModule):
    """A backbone without weights that passes image embeddings on.

    It is a frozen part like the image encoder whose embeddings it gets, so checkpoints of prompts
    fit models with either.

    Args:
        variant: A key of ``SAM_VARIANTS``: of the image encoder.
        checkpoint: The file of the image encoder, of which only the fingerprint is taken, so that
            checkpoints say which encoder the prompts were trained with. Defaults to None.

    Shape:
        - Input: (B, D, h, w).
        - Output: a tuple of the same tensor.
    """

    def __init__(self, variant: str, checkpoint: Optional[str] = None) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        geometry = get_variant(variant)
        self.variant = variant
        self.shape = (geometry.prompt_embed_dim, *[geometry.embedding_size] * 2)
        self.freeze()

    @property
    def fingerprint(self) -> Optional[str]:
        """That of the image encoder; None if its file is not given, or not there."""
        if self.checkpoint is None or not resolve_checkpoint_path(self.checkpoint).is_file():
            return None
        return fingerprint_weights(self.checkpoint)

    def forward(self, x: Tensor) -> Tuple[Tensor]:
        """Pass ``x`` on.

        Raises:
            ValueError: If ``x`` is no embedding of this variant.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f'expected image embeddings of SAM {self.variant}, (B, {str(self.shape)[1:]}, got '
                f'{tuple(x.shape)}: this model has no image encoder and takes the samples of an '
                'EmbeddedDataset; images need the config without `_cached`'
            )
        return (x,)
