"""The perceptron of SAM's blocks at the speed of the processor's better library."""

from segment_anything.modeling.common import MLPBlock
from torch import Tensor

from ..base.linear import project

__all__ = ['apply_mlp']


def apply_mlp(mlp: MLPBlock, x: Tensor) -> Tensor:
    """``mlp(x)`` with its two layers as :func:`project` computes them: (..., D) -> (..., D)."""
    return project(mlp.lin2, mlp.act(project(mlp.lin1, x)))
