"""Linear layers at the speed of the processor's better library."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .exporting import is_exporting

__all__ = ['is_autocast', 'project', 'project_by']

#: Multiplications from which the detour pays: layers of the image encoder, and of independent
#: decoding. Smaller ones made joint decoding slower, forward and backward (0.36 against 0.27 s).
_MIN_MULTIPLICATIONS = 2**30


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """``linear(x)``, up to rounding.

    On CPUs torch gives float32 matrices to MKL, which runs at half of oneDNN's speed on AMD's
    processors (182 to 221 against 355 to 497 GFLOPS on two cores with the encoder's layers), but
    it gives convolutions to oneDNN; a linear layer is a convolution of 1 x 1.
    """
    return project_by(x, linear.weight, linear.bias)


def project_by(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """:func:`project` by a weight (E, D) and a bias (E,): (..., D) -> (..., E)."""
    if not _is_faster_as_convolution(weight, x):
        return F.linear(x, weight, bias)
    channels_last = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(channels_last, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def _is_faster_as_convolution(weight: Tensor, x: Tensor) -> bool:
    return (
        not is_exporting()  # the choice is that of who runs the export
        and x.device.type == 'cpu'
        and x.dtype == torch.float32
        and not is_autocast('cpu')  # lower precisions are oneDNN's anyway
        and x.numel() * len(weight) >= _MIN_MULTIPLICATIONS
        and torch.backends.mkldnn.is_available()  # last: torch.compile cannot trace it
    )


def is_autocast(device_type: str) -> bool:
    """Whether ``torch.autocast`` is on for ``'cpu'`` or ``'cuda'``."""
    if hasattr(torch, 'get_autocast_dtype'):  # since torch 2.4, which deprecates the others
        return torch.is_autocast_enabled(device_type)
    return torch.is_autocast_cpu_enabled() if device_type == 'cpu' else torch.is_autocast_enabled()
