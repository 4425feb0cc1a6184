"""What SEEM makes of spatial prompts: its own queries, and tokens of points in the features."""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import FrozenModule, ImageFeatures
from .seem_decoder import NUM_LEVELS
from .seem_variants import SEEMVariant

__all__ = ['SEEMPromptEncoder', 'choose_rows']

#: Rows of object queries that the queries of the first prompts are copies of: those with which the
#: golden files of the official code were made, which draws new ones in every pass.
_FIRST_ROWS = (7, 0, 3, 10, 5, 3, 1, 8, 2)
_GOLDEN_RATIO = 0x9E3779B9  # of 2 ** 32
#: Rows of ``pn_indicator``: on the object, and not on it.
POSITIVE, NEGATIVE = 0, 1


class SEEMPromptEncoder(FrozenModule):
    """SEEM's object queries, and its v1 wiring of spatial prompts, frozen.

    Modules have the names of official files, as keys of ``sem_seg_head.predictor``. The embedding
    of levels is the decoder's too, which has a copy of its own, since that one may train.

    Args:
        variant: The geometry.
    """

    part = 'prompt_encoder'

    def __init__(self, variant: SEEMVariant) -> None:
        super().__init__()
        dims = variant.hidden_dims
        self.queries_per_prompt = variant.queries_per_prompt
        self.query_feat = nn.Embedding(variant.num_queries, dims)
        self.query_embed = nn.Embedding(variant.num_queries, dims)
        self.level_embed = nn.Embedding(NUM_LEVELS, dims)
        self.mask_sptial_embed = nn.ParameterList(  # as SEEM spells it
            nn.Parameter(torch.randn(dims, dims) * dims**-0.5) for _ in range(NUM_LEVELS)
        )
        self.pn_indicator = nn.Embedding(2, dims)
        # Of second clicks, which nothing here makes; official files have them.
        self.spatial_embed = nn.Embedding(variant.num_memories, dims)
        self.spatial_featured = nn.Embedding(variant.num_memories, dims)
        self.freeze()

    def own_queries(self) -> Tensor:
        """SEEM's object queries (Q, 2, D): content and place."""
        return torch.stack([self.query_feat.weight, self.query_embed.weight], dim=1)

    def prompt_queries(self, num_prompts: int) -> Tuple[Tensor, Tensor]:
        """Content and place, (N * R, D) each, of the R queries of each of N prompts."""
        count = num_prompts * self.queries_per_prompt
        rows = choose_rows(count, self.query_feat.num_embeddings).to(self.query_feat.weight.device)
        return self.query_feat.weight[rows], self.query_embed.weight[rows]

    def encode(
        self, points: Tensor, features: Optional[ImageFeatures] = None, sign: int = POSITIVE
    ) -> Tensor:
        """Tokens of points.

        Args:
            points: (N, P, 2), P points of each prompt, x before y, in fractions of the frame.
            features: Of B images. Defaults to None: what tokens are without their features.
            sign: :data:`POSITIVE` or :data:`NEGATIVE`.

        Returns:
            (B, N, 3, P, D), from the coarse level to the fine; without features (N, 3, P, D).
        """
        tokens = []
        levels = zip(self.mask_sptial_embed, self.level_embed.weight)
        for number, (matrix, embed) in enumerate(levels):
            if features is None:
                seen = embed.expand(*points.shape[:2], -1)
            else:
                # Sampling is linear, so the matrix follows on it; SEEM has it before.
                seen = sample(features.levels[-1 - number], points) + embed
            tokens.append(seen @ matrix + self.pn_indicator.weight[sign])
        return torch.stack(tokens, dim=-3)


def sample(level: Tensor, points: Tensor) -> Tensor:
    """A map at points as SEEM reads it, from corner to corner of the map.

    Args:
        level: (B, D, h, w).
        points: (N, P, 2), x before y, in fractions of the frame: 0 is the centre of the first
            pixel and 1 of the last, as SEEM has it.

    Returns:
        (B, N, P, D) float32, also under autocast: lower precisions would move the points.
    """
    with torch.autocast(level.device.type, enabled=False):
        grid = (2 * points - 1).float().expand(level.shape[0], -1, -1, -1)
        seen = F.grid_sample(
            level.float(), grid, mode='bilinear', padding_mode='zeros', align_corners=True
        )
    return seen.permute(0, 2, 3, 1)


def choose_rows(count: int, num_queries: int) -> Tensor:
    """Which object queries those of spatial prompts are copies of.

    SEEM draws them in every pass, with replacement. Here they are fixed, and do not depend on how
    many prompts follow: first those of the golden files, then rows that go round the
    queries by the golden section, so that those of a prompt lie far apart and all are used alike.

    Args:
        count: Queries of all prompts.
        num_queries: Object queries that there are.

    Returns:
        (count,) int64.
    """
    numbers = torch.arange(count, dtype=torch.int64)
    rows = (numbers * _GOLDEN_RATIO % 2**32) * num_queries // 2**32
    first = torch.tensor(_FIRST_ROWS[:count], dtype=torch.int64) % num_queries
    rows[: len(first)] = first
    return rows
