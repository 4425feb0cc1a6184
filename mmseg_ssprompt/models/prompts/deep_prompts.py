"""Deep prompts: each spatial prompt is prompted again behind each layer of the frozen decoder."""

import math
from typing import Any, Sequence, Tuple

import torch
from torch import Tensor, nn

from ...plain import is_number

__all__ = ['DeepPrompts']


class DeepPrompts(nn.ModuleList):
    """``z <- W * zhat + (1 - W) * z`` for the tokens of each prompt behind each layer (ours).

    ``zhat = z + v`` with an embedding ``v`` and a trust weight ``W`` for each prompt and layer,
    both learned; all tokens of a prompt share them. This is deep prompt tuning (VPT, arXiv
    2203.12119) by addition, so that untrained prompts change nothing. Forward hooks, as
    :class:`DecoderBridges` has.

    Args:
        norms: The last layer norm of each of the decoder's layers, through which all tokens go,
            those of a prompt in a row: (B, N * G, D).
        num_prompts: ``N``.
        initial_weight: ``W`` at the start, in (0, 1). Defaults to 0.5.

    Raises:
        ValueError: If ``initial_weight`` is out of range.
    """

    def __init__(
        self, norms: Sequence[nn.LayerNorm], num_prompts: int, initial_weight: float = 0.5
    ) -> None:
        if not is_number(initial_weight) or not 0 < initial_weight < 1:
            raise ValueError(
                f'deep_prompts.initial_weight must be in (0, 1), got {initial_weight!r}'
            )
        widths = [int(norm.normalized_shape[0]) for norm in norms]
        layers = [_Layer(num_prompts, dims, initial_weight) for dims in widths]
        super().__init__(layers)
        for norm, layer in zip(norms, layers):
            norm.register_forward_hook(layer.change)


class _Layer(nn.Module):
    """What is added behind one layer."""

    def __init__(self, num_prompts: int, dims: int, initial_weight: float) -> None:
        super().__init__()
        self.learned = nn.Parameter(torch.zeros(num_prompts, dims))  # v
        logit = math.log(initial_weight / (1 - initial_weight))
        self.weight_logit = nn.Parameter(torch.full((num_prompts,), logit))

    def change(self, norm: nn.Module, inputs: Tuple[Any, ...], z: Tensor) -> Tensor:
        """As a forward hook: (B, N * G, D) to the same."""
        added = self.weight_logit.sigmoid()[:, None] * self.learned  # (N, D)
        return z + added.repeat_interleave(z.shape[-2] // len(added), dim=0)
