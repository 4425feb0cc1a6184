"""Random draws that depend on numbers, and on nothing that was drawn before."""

import random

import numpy as np
import torch

__all__ = ['seed_draws']


def seed_draws(*numbers: int) -> None:
    """Seed the generators of Python, numpy and torch (CPU) from some numbers.

    Args:
        *numbers: Not negative. Other numbers, or the same in another order, give other draws.
    """
    for_python, for_numpy, for_torch = np.random.SeedSequence(numbers).generate_state(3).tolist()
    random.seed(for_python)
    np.random.seed(for_numpy)
    # Unlike torch.manual_seed it leaves the generators of GPUs alone.
    torch.default_generator.manual_seed(for_torch)
