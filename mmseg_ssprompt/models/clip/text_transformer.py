"""CLIP's text transformer for learned tokens."""

import torch
import torch.nn.functional as F
from mmseg.models.text_encoder import CLIPTextEncoder
from torch import Tensor

from ..base import FrozenModule
from .clip_file import fingerprint_with_activation

__all__ = ['TextTransformer']


class TextTransformer(FrozenModule):
    """CLIP's frozen text transformer, with gradients to the embedded tokens that go in.

    ``CLIPTextEncoder.encode_text`` of mmseg takes token ids, under ``no_grad``. This is the same
    computation on the same modules, without the table of tokens.

    Args:
        text_encoder: What :func:`build_text_encoder` returns, whose modules are taken over.

    Shape:
        Input: embedded tokens (C, L, W) of width W, and the index of each text's end (C,).
        Output: (C, E), of unit length.
    """

    part = 'text_transformer'

    def __init__(self, text_encoder: CLIPTextEncoder) -> None:
        super().__init__()
        self.blocks = text_encoder.transformer
        self.norm = text_encoder.ln_final
        self.positional_embedding = text_encoder.positional_embedding  # (77, W)
        self.projection = text_encoder.text_projection  # (W, E)
        self.register_buffer('attn_mask', text_encoder.attn_mask, persistent=False)
        self.activation: str = text_encoder.activation
        self.freeze()

    def _describe_weights(self, weights: str) -> str:
        return fingerprint_with_activation(weights, self.activation)

    def forward(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """Encode C texts: (C, E)."""
        length = embedded.shape[1]  # attention is causal: places behind have no influence
        mask = self.attn_mask[:length, :length]
        x = (embedded + self.positional_embedding[:length]).transpose(0, 1)  # (L, C, W)
        for block in self.blocks:
            x = block(query=x, attn_masks=[mask])
        x = self.norm(x)[ends, torch.arange(len(ends), device=ends.device)]  # (C, W)
        return F.normalize(x @ self.projection, dim=-1)
