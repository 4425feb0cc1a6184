"""How all pre-training of the miniature is optimised."""

import math
from typing import Any, Dict, Iterable, List

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ['decay_matrices', 'warm_up_and_decay']


def decay_matrices(params: Iterable[nn.Parameter], lr: float) -> List[Dict[str, Any]]:
    """Groups for an optimiser: weight decay for matrices only.

    Rows of the token table that no sentence uses must not decay.
    """
    params = list(params)
    decayed = [p for p in params if p.dim() > 1 and len(p) < 10_000]
    rest = [p for p in params if p.dim() <= 1 or len(p) >= 10_000]
    return [
        dict(params=decayed, lr=lr, weight_decay=0.02),
        dict(params=rest, lr=lr, weight_decay=0.0),
    ]


def warm_up_and_decay(optimizer: Optimizer, iters: int) -> LambdaLR:
    """One linear warm-up and one cosine decay."""
    warmup = min(150, iters // 4 + 1)
    return LambdaLR(
        optimizer,
        lambda i: min((i + 1) / warmup, 0.501 + 0.5 * math.cos(math.pi * min(i / iters, 1))),
    )
