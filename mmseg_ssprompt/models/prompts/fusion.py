"""The heart of SSPrompt: a learned prompt mixed with the frozen default by a learned weight."""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from ...plain import is_number

__all__ = ['FUSION_MODES', 'PromptFusion']

#: How learned and default prompts are mixed; :class:`PromptFusion` says what each does.
FUSION_MODES = ('learned_weight', 'fixed_weight', 'learned_only', 'default_only')


class PromptFusion(nn.Module):
    """``Z = W * Zhat + (1 - W) * Zdefault`` with one scalar weight per prompt.

    ``Zdefault`` is what the frozen pre-trained prompt encoder says of the handcrafted prompt;
    ``Zhat`` and ``W`` are learned (SSPrompt, arXiv 2401.04651, the fusion of both spatial and
    semantic prompts). Ours, because the paper's text was not at hand: ``W`` is the sigmoid of a
    free scalar, and ``Zhat`` starts as the default plus noise. Without noise ``W`` has no
    gradient at the first step.

    Args:
        default: (P, ...) float, the default embedding of each of P prompts; kept as a buffer.
        mode: ``'learned_weight'`` (the method), ``'fixed_weight'`` (``W`` stays at
            ``initial_weight``), ``'learned_only'`` (``W = 1``) or ``'default_only'`` (``W = 0``:
            nothing trains, handcrafted prompts). Defaults to 'learned_weight'.
        initial_weight: ``W`` at the start, in (0, 1). Defaults to 0.5.
        noise: Norm of the initial noise on ``Zhat``, relative to the norm of each embedding
            vector of the default. Defaults to 0.02.

    Raises:
        ValueError: If ``mode``, ``initial_weight`` or ``noise`` is out of range, or ``default``
            is not finite.
    """

    default: Tensor

    def __init__(
        self,
        default: Tensor,
        mode: str = 'learned_weight',
        initial_weight: float = 0.5,
        noise: float = 0.02,
    ) -> None:
        super().__init__()
        if mode not in FUSION_MODES:
            raise ValueError(f'unknown fusion mode {mode!r}: expected one of {FUSION_MODES}')
        if not is_number(initial_weight) or not 0 < initial_weight < 1:
            raise ValueError(f'initial_weight must be in (0, 1), got {initial_weight!r}')
        if not is_number(noise) or noise < 0:
            raise ValueError(f'noise must be finite and not negative, got {noise!r}')
        if not torch.isfinite(default).all():
            raise ValueError('the default prompts hold NaN or infinite values')
        self.mode = mode
        self.initial_weight = initial_weight
        self.register_buffer('default', default.detach().clone())
        if mode != 'default_only':
            # The norm of the noise is about `noise` times that of each vector.
            size = noise * self.default.norm(dim=-1, keepdim=True) / math.sqrt(default.shape[-1])
            self.learned = nn.Parameter(self.default + size * torch.randn_like(self.default))
        if mode == 'learned_weight':
            logit = math.log(initial_weight / (1 - initial_weight))
            self.weight_logit = nn.Parameter(self.default.new_full((len(default),), logit))

    @property
    def weight(self) -> Tensor:
        """``W``, the trust in each learned prompt: (P,), in [0, 1]."""
        if self.mode == 'learned_weight':
            return self.weight_logit.sigmoid()
        constant = dict(fixed_weight=self.initial_weight, learned_only=1.0, default_only=0.0)
        return self.default.new_full((len(self.default),), constant[self.mode])

    def forward(self, default: Optional[Tensor] = None, weight: Optional[float] = None) -> Tensor:
        """Mix learned and default prompts: of the shape of the default.

        Args:
            default: (..., P, ...) that takes the place of :attr:`default`, such as (B, P, T, D)
                where the prompt encoder sees the images. Defaults to None.
            weight: Takes the place of :attr:`weight` for all prompts, to see what another trust
                would give; without effect where nothing is learned. Defaults to None.
        """
        default = self.default if default is None else default
        if self.mode == 'default_only':
            return default
        if weight is not None:
            return torch.lerp(default, self.learned.expand_as(default), weight)
        if self.mode == 'learned_only':
            return self.learned.expand_as(default)
        weights = self.weight.view(-1, *[1] * (self.default.dim() - 1))
        # Written as a step from the default, so that Zhat = Zdefault gives Zdefault to the bit.
        return default + weights * (self.learned - default)

    def describe(self) -> str:
        """What of the arguments counts after training, where ``noise`` does not."""
        fixed = self.mode == 'fixed_weight'
        return f'{self.mode} of {self.initial_weight:g}' if fixed else self.mode
