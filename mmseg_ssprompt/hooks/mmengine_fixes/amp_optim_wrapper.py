"""Automatic mixed precision, on CPUs too."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Union

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

__all__ = ['PromptAmpOptimWrapper']

_DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16)


@OPTIM_WRAPPERS.register_module()
class PromptAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, which refuses CPUs, made to work there.

    mmengine up to 0.10.7 and OneDL's 0.12 need it; no release mends it. On other devices it is
    mmengine's own. Gradients are scaled in float16 only: bfloat16 has the range of float32.
    Parameters, their gradients and the optimiser's state stay float32.

    Args:
        loss_scale: ``'dynamic'``, a constant, or arguments of ``torch.amp.GradScaler``; without
            effect in bfloat16. Defaults to 'dynamic'.
        dtype: ``'float16'`` or ``'bfloat16'``. Defaults to None: torch's own of the device, which
            is float16 on GPUs and bfloat16 on CPUs.
        **kwargs: Further arguments of ``AmpOptimWrapper``.

    Raises:
        ValueError: If ``dtype`` is neither.
        TypeError: If ``loss_scale`` is not one of the above.
        RuntimeError: On CPUs in float16, if torch is older than 2.3.
    """

    def __init__(
        self,
        loss_scale: Union[str, float, Dict[str, Any]] = 'dynamic',
        dtype: Optional[Union[str, torch.dtype]] = None,
        **kwargs: Any,
    ) -> None:
        self.on_cpu = get_device() == 'cpu'
        dtype = _resolve_dtype(dtype, torch.bfloat16 if self.on_cpu else torch.float16)
        if dtype == torch.bfloat16:
            loss_scale = dict(enabled=False)
        if not self.on_cpu:
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
            return
        OptimWrapper.__init__(self, **kwargs)  # not AmpOptimWrapper's, which asserts a GPU
        self.cast_dtype = dtype
        self.loss_scaler = _make_cpu_scaler(loss_scale)
        # What mmengine's step() sets the scale to; None leaves it to the scaler.
        self._scale_update_param = loss_scale if isinstance(loss_scale, float) else None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass, and hold back DDP's synchronisation while accumulating."""
        if not self.on_cpu:
            with super().optim_context(model):
                yield
            return
        # mmengine's autocast has no float16 on CPUs.
        with OptimWrapper.optim_context(self, model), torch.autocast('cpu', self.cast_dtype):
            yield


def _resolve_dtype(dtype: Optional[Union[str, torch.dtype]], default: torch.dtype) -> torch.dtype:
    if dtype is None:
        return default
    if dtype not in (*_DTYPES, *_DTYPES.values()):
        raise ValueError(f'dtype of mixed precision must be one of {tuple(_DTYPES)}, got {dtype!r}')
    return _DTYPES[dtype] if isinstance(dtype, str) else dtype


def _make_cpu_scaler(loss_scale: Union[str, float, Dict[str, Any]]) -> Any:
    """A gradient scaler for CPUs, with mmengine's forms of ``loss_scale``."""
    if loss_scale == 'dynamic':
        options: Dict[str, Any] = {}
    elif isinstance(loss_scale, float):
        options = dict(init_scale=loss_scale)
    elif isinstance(loss_scale, dict):
        options = loss_scale
    else:
        raise TypeError(f"loss_scale must be 'dynamic', a float or a dict, got {loss_scale!r}")
    if hasattr(torch.amp, 'GradScaler'):
        return torch.amp.GradScaler('cpu', **options)
    if options.get('enabled', True):
        raise RuntimeError(
            'mixed precision in float16 on CPUs needs torch 2.3 or newer, which scales gradients '
            f"there, found torch {torch.__version__}; use dtype='bfloat16' or train without --amp"
        )
    return torch.cuda.amp.GradScaler(enabled=False)
