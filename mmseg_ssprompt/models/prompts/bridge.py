"""The bridge from mask tokens to the text space, learned and mixed with the frozen one."""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from ...plain import is_number

__all__ = ['BridgeFusion']


class BridgeFusion(nn.Module):
    """``P = W * Phat + (1 - W) * Pdefault`` with one trust weight for the whole bridge (ours).

    ``Pdefault`` is the frozen linear map from mask tokens to the text space that the base model
    has; ``Phat = Pdefault + A B`` and ``W`` are learned. What is applied is the difference,
    ``e + W * (A B t + b)`` for the embedding ``e`` that ``Pdefault`` made of the token ``t``, so
    that the frozen map itself is not needed here. ``A`` (or, at full rank, the whole difference)
    and ``b`` start at zero: an untrained bridge gives ``e`` to the bit.

    Args:
        token_dims: ``D``, the width of the mask tokens.
        embed_dims: ``E``, the width of the text space.
        rank: Of ``A B``: it has ``rank * (D + E)`` parameters. Defaults to None: full rank, one
            matrix of ``D * E``.
        initial_weight: ``W`` at the start, in (0, 1). Defaults to 0.5.

    Shape:
        Embeddings (..., E) and tokens (..., D) to (..., E).

    Raises:
        ValueError: If ``rank`` is neither None nor an integer from 1 to the smaller width, or
            ``initial_weight`` is out of range.
    """

    def __init__(
        self,
        token_dims: int,
        embed_dims: int,
        rank: Optional[int] = None,
        initial_weight: float = 0.5,
    ) -> None:
        super().__init__()
        largest = min(token_dims, embed_dims)
        if rank is not None and (type(rank) is not int or not 0 < rank <= largest):
            raise ValueError(
                f'bridge.rank must be an integer from 1 to {largest}, the smaller of the widths of '
                f'mask tokens and text space, or None for full rank, got {rank!r}'
            )
        if not is_number(initial_weight) or not 0 < initial_weight < 1:
            raise ValueError(f'bridge.initial_weight must be in (0, 1), got {initial_weight!r}')
        self.rank = rank
        inner = token_dims if rank is None else rank
        self.up = nn.Parameter(torch.zeros(embed_dims, inner))  # A, or the whole difference
        self.down: Optional[nn.Parameter] = None  # B
        if rank is not None:
            self.down = nn.Parameter(torch.randn(rank, token_dims) / math.sqrt(token_dims))
        self.shift = nn.Parameter(torch.zeros(embed_dims))
        logit = math.log(initial_weight / (1 - initial_weight))
        self.weight_logit = nn.Parameter(torch.tensor(logit))

    @property
    def weight(self) -> Tensor:
        """``W``, the trust in the learned bridge: a scalar in [0, 1]."""
        return self.weight_logit.sigmoid()

    def forward(self, default: Tensor, tokens: Tensor) -> Tensor:
        """Mix what the frozen bridge made of the tokens with what the learned one makes."""
        inner = tokens if self.down is None else tokens @ self.down.t()
        mixed: Tensor = default + self.weight * (inner @ self.up.t() + self.shift)
        return mixed

    def describe(self) -> str:
        """What of the arguments counts after training."""
        return 'full rank' if self.rank is None else f'rank {self.rank}'
