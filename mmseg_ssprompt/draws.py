"""Random draws that depend on numbers, and on nothing that was drawn before."""

import contextlib
import random
from typing import Iterator

import numpy as np
import torch

__all__ = ['draws_of_their_own', 'seed_draws']


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


@contextlib.contextmanager
def draws_of_their_own() -> Iterator[None]:
    """Put the generators of Python, numpy and torch (CPU) back to where they were before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
