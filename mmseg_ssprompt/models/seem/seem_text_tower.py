"""SEEM's text tower: CLIP's, with another epsilon, trained by SEEM's authors."""

import torch
from torch import Tensor, nn

from ..base import FrozenModule
from .multihead_attention import attend
from .seem_variants import SEEMVariant

__all__ = ['SEEMTextTower', 'SEEMTextTransformer', 'to_unit_length']

_NORM_EPS = 1e-12  # of its LayerNorms; CLIP's have 1e-5, which is another function of these weights
_LENGTH_EPS = 1e-7


class SEEMTextTower(nn.Module):
    """The weights of the text tower, drawn as CLIP draws them before training.

    Modules have the names of official files, as keys of ``sem_seg_head.predictor.lang_encoder``.

    Args:
        variant: The geometry.
    """

    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__()
        width = variant.text_dims
        self.lang_encoder = _Transformer(variant)
        self.lang_proj = nn.Parameter(torch.randn(width, variant.hidden_dims) * width**-0.5)
        self.logit_scale = nn.Parameter(torch.zeros(()))  # the decoder uses it


class SEEMTextTransformer(FrozenModule):
    """SEEM's frozen text transformer, with gradients to the embedded tokens that go in.

    Args:
        tower: The tower, whose modules are taken over, but for the table of tokens.

    Shape:
        Input: embedded tokens (C, L, W) of width W, and the index of each text's end (C,).
        Output: (C, E), of unit length.
    """

    part = 'text_transformer'

    def __init__(self, tower: SEEMTextTower) -> None:
        super().__init__()
        self.positional_embedding = tower.lang_encoder.positional_embedding
        self.resblocks = tower.lang_encoder.resblocks
        self.ln_final = tower.lang_encoder.ln_final
        self.lang_proj = tower.lang_proj
        self.freeze()

    def forward(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """Encode C texts: (C, E)."""
        # Attention is causal, so places behind the longest text have no influence.
        x = embedded + self.positional_embedding[: embedded.shape[1]]
        for block in self.resblocks:
            x = block(x)
        at_ends = self.ln_final(x[torch.arange(len(ends), device=ends.device), ends])
        return to_unit_length(at_ends @ self.lang_proj)


def to_unit_length(embedding: Tensor) -> Tensor:
    """Unit length as SEEM makes it, with an epsilon beside the length."""
    unit: Tensor = embedding / (embedding.norm(dim=-1, keepdim=True) + _LENGTH_EPS)
    return unit


class _Transformer(nn.Module):
    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__()
        width = variant.text_dims
        self.token_embedding = nn.Embedding(variant.vocab_size, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(variant.context_length, width))
        self.resblocks = nn.ModuleList(
            _Block(width, variant.text_heads) for _ in range(variant.text_layers)
        )
        self.ln_final = nn.LayerNorm(width, eps=_NORM_EPS)


class _Block(nn.Module):
    """Causal self-attention and MLP, each behind its normalisation."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = nn.MultiheadAttention(width, num_heads)
        self.ln_2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = _MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        normalised = self.ln_1(x)
        x = x + attend(self.attn, normalised, normalised, normalised, is_causal=True)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.c_fc(x)
        out: Tensor = self.c_proj(hidden * torch.sigmoid(1.702 * hidden))  # QuickGELU
        return out
