"""SEEM's decoder: queries look at the levels by turns, each where its last mask is."""

from typing import List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import FrozenModule, ImageFeatures
from .multihead_attention import attend
from .seem_text_tower import to_unit_length
from .seem_variants import SEEMVariant
from .sine_position import encode_places

__all__ = ['NUM_LEVELS', 'SEEMDecoder']

#: Feature levels that layers look at by turns, from coarse to fine.
NUM_LEVELS = 3


class _Level(NamedTuple):
    """What queries look at."""

    keys: Tensor  # (B, hw, D), with their places; the embedding of the level would change nothing
    values: Tensor  # (B, hw, D), without the embedding, so that they need no memory of their own
    embed: Tensor  # (D,), of the level
    mask_features: Tensor  # (B, D, hw), from which masks at this level's size are made


class SEEMDecoder(FrozenModule):
    """SEEM's decoder layers and heads, frozen, with gradients to the queries that go in.

    Modules have the names of official files, as keys of ``sem_seg_head.predictor``, to which
    ``logit_scale`` comes from the text tower.

    A layer looks at one level of features where the mask of the layer before is, then lets queries
    see each other. The masks between are made at the size of that level, from mask features of
    that size: resizing is linear, so these are SEEM's resized masks up to rounding, for a tenth of
    the work.

    Args:
        variant: The geometry.
        trainable: Whether the weights train, as a baseline, from those that are loaded on; but for
            the logit scale. Defaults to False.
    """

    part = 'mask_decoder'

    def __init__(self, variant: SEEMVariant, trainable: bool = False) -> None:
        super().__init__()
        dims, heads, layers = variant.hidden_dims, variant.num_heads, variant.decoder_layers
        self.transformer_cross_attention_layers = nn.ModuleList(
            _CrossAttention(dims, heads) for _ in range(layers)
        )
        self.transformer_self_attention_layers = nn.ModuleList(
            _SelfAttention(dims, heads) for _ in range(layers)
        )
        self.transformer_ffn_layers = nn.ModuleList(
            _FFN(dims, variant.feedforward_dims) for _ in range(layers)
        )
        self.decoder_norm = nn.LayerNorm(dims)
        self.level_embed = nn.Embedding(NUM_LEVELS, dims)
        self.mask_embed = _MaskEmbedding(dims)
        self.class_embed = nn.Parameter(torch.randn(dims, dims) * dims**-0.5)
        self.logit_scale = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.frozen = not trainable
        if not trainable:
            self.freeze()

    def forward(
        self,
        features: ImageFeatures,
        content: Tensor,
        place: Tensor,
        tokens: Optional[Tensor] = None,
    ) -> Tensor:
        """Run the layers.

        Args:
            features: Of B images.
            content: (1 or B, Q, D), what queries are at the start.
            place: (1 or B, Q, D), what stands for their places in every layer.
            tokens: (B, N, 3, P, D), P tokens of each of N spatial prompts for each level, from
                coarse to fine. Q / N queries in a row belong to a prompt; they see each other and
                the prompt's tokens of the layer's level. Defaults to None: all queries see each
                other.

        Returns:
            (B, Q, D), normalised, for the heads.
        """
        levels = self._read_levels(features)
        x = content.expand(features.embedding.shape[0], -1, -1)
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
        )
        for index, (cross, among, ffn) in enumerate(layers):
            number = index % NUM_LEVELS
            level = levels[number]
            x = cross(x, place, level, self._find_allowed(x, level))
            x = among(x, place, None if tokens is None else tokens[:, :, number])
            x = ffn(x)
        out: Tensor = self.decoder_norm(x)
        return out

    def mask_logits(self, mask_embeddings: Tensor, features: ImageFeatures) -> Tensor:
        """Masks (B, Q, h, w) of what :attr:`mask_embed` makes of :meth:`forward`'s output."""
        size = features.embedding.shape[-2:]
        logits: Tensor = (mask_embeddings @ features.embedding.flatten(2)).unflatten(2, size)
        return logits

    def class_embeddings(self, out: Tensor) -> Tensor:
        """Embeddings (B, Q, E) float32 in the text space, with SEEM's logit scale in them."""
        with torch.autocast(out.device.type, enabled=False):
            captions = to_unit_length(out.float() @ self.class_embed)
            return self.logit_scale.exp() * captions

    def _read_levels(self, features: ImageFeatures) -> List[_Level]:
        """From coarse to fine."""
        levels = []
        for level, embed in zip(features.levels[::-1], self.level_embed.weight):
            values = level.flatten(2).transpose(1, 2)
            keys = values + encode_places(level).flatten(1).t()
            shrunk = _shrink(features.embedding, (level.shape[-2], level.shape[-1]))
            levels.append(_Level(keys, values, embed, shrunk.flatten(2)))
        return levels

    @torch.no_grad()
    def _find_allowed(self, x: Tensor, level: _Level) -> Tensor:
        """Where each query may look (B, Q, hw): in its mask, or everywhere if that is empty."""
        logits: Tensor = self.mask_embed(self.decoder_norm(x)) @ level.mask_features
        is_empty = logits.amax(dim=-1, keepdim=True) < 0
        return logits >= is_empty.to(logits.dtype).mul_(torch.finfo(logits.dtype).min)


def _shrink(x: Tensor, size: Tuple[int, int]) -> Tensor:
    """Bilinear interpolation (B, D, H, W) -> (B, D, h, w), without antialiasing."""
    step = x.shape[-1] // size[1]
    if step > 2 and step % 2 == 0 and x.shape[-2:] == (size[0] * step, size[1] * step):
        # It reads the four pixels in the middle of each block; torch's would copy the whole map.
        first, second = step // 2 - 1, step // 2
        x = x[:, :, first::step] + x[:, :, second::step]
        return (x[..., first::step] + x[..., second::step]) / 4
    return F.interpolate(x, size=size, mode='bilinear', align_corners=False)


class _CrossAttention(nn.Module):
    """Queries look at one level."""

    def __init__(self, dims: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dims, num_heads)
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor, place: Tensor, level: _Level, allowed: Tensor) -> Tensor:
        attended = attend(
            *(self.multihead_attn, x + place, level.keys, level.values, allowed),
            shift=level.embed,
        )
        normalised: Tensor = self.norm(x + attended)
        return normalised


class _SelfAttention(nn.Module):
    """Queries look at each other; those of a spatial prompt at themselves and its tokens."""

    def __init__(self, dims: int, num_heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dims, num_heads)
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor, place: Tensor, tokens: Optional[Tensor]) -> Tensor:
        """Attend.

        Args:
            x: (B, Q, D).
            place: (1 or B, Q, D).
            tokens: (B, N, P, D), or None.
        """
        keys, values = x + place, x
        query = keys
        if tokens is not None:
            query, keys, values = (_group(each, tokens) for each in (query, keys, values))
            flat = tokens.flatten(0, 1)  # (B * N, P, D)
            # A token's place is its own value, through which no gradient flows in SEEM.
            keys = torch.cat([keys, flat + flat.detach()], dim=1)
            values = torch.cat([values, flat], dim=1)
        attended = attend(self.self_attn, query, keys, values).reshape(x.shape)
        normalised: Tensor = self.norm(x + attended)
        return normalised


def _group(x: Tensor, tokens: Tensor) -> Tensor:
    """The queries of each prompt apart: (B, N * R, D) -> (B * N, R, D)."""
    groups: Tensor = x.unflatten(1, (tokens.shape[1], -1))
    return groups.flatten(0, 1)


class _FFN(nn.Module):
    def __init__(self, dims: int, feedforward_dims: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dims, feedforward_dims)
        self.linear2 = nn.Linear(feedforward_dims, dims)
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(x + self.linear2(F.relu(self.linear1(x))))
        return normalised


class _MaskEmbedding(nn.Module):
    """Three linear layers."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dims, dims) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.layers
        embedding: Tensor = third(F.relu(second(F.relu(first(x)))))
        return embedding
