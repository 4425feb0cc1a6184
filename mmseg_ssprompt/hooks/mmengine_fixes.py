"""Replacements for parts of mmengine that fail on CPUs, or where only prompts train.

Besides, what mmengine does not offer to who runs several trainings in one process. mmengine up to
0.10.7 and OneDL's 0.10.12 need all of it; no release mends it.
"""

import inspect
import logging
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, TextIO, Union

import mmengine.device.utils as device_utils
import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import LoggerHook
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import (
    HOOKS,
    MODEL_WRAPPERS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
)
from mmengine.runner import Runner
from torch import nn

from ..config_entries import ConfigDict

__all__ = [
    'MainProcessLoggerHook',
    'PromptAmpOptimWrapper',
    'PromptDistributedDataParallel',
    'PromptOptimWrapperConstructor',
    'close_runner',
    'remove_log_stream',
    'runners_on',
]

_DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16)


@OPTIM_WRAPPERS.register_module()
class PromptAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, which refuses CPUs, made to work there.

    On other devices it is mmengine's own. Gradients are scaled in float16 only: bfloat16 has the
    range of float32. Parameters, their gradients and the optimiser's state stay float32.

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
        if dtype is None:
            dtype = 'bfloat16' if self.on_cpu else 'float16'
        if dtype not in (*_DTYPES, *_DTYPES.values()):
            raise ValueError(
                f'dtype of mixed precision must be one of {tuple(_DTYPES)}, got {dtype!r}'
            )
        dtype = _DTYPES[dtype] if isinstance(dtype, str) else dtype
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


def _make_cpu_scaler(loss_scale: Union[str, float, Dict[str, Any]]) -> Any:
    """A gradient scaler for CPUs, with mmengine's forms of ``loss_scale``."""
    if isinstance(loss_scale, dict):
        options = loss_scale
    elif loss_scale == 'dynamic' or isinstance(loss_scale, float):
        options = {} if loss_scale == 'dynamic' else dict(init_scale=loss_scale)
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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PromptOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, which passes frozen modules by and refuses a model without others.

    mmengine's own logs a warning for each of the hundreds of frozen tensors, without
    ``paramwise_cfg`` gives all of them to the optimiser, and asserts a weight decay that optimisers
    have by default. The arguments are mmengine's.
    """

    paramwise_cfg: ConfigDict  # mmengine's own

    def __init__(
        self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Optional[ConfigDict] = None
    ) -> None:
        optimizer = dict(optim_wrapper_cfg['optimizer'])
        kind = optimizer.get('type')
        built = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
        known = inspect.signature(built).parameters if built is not None else {}
        if 'weight_decay' in known:
            optimizer.setdefault('weight_decay', known['weight_decay'].default)
        super().__init__(dict(optim_wrapper_cfg, optimizer=optimizer), paramwise_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser.

        Raises:
            ValueError: If nothing in ``model`` trains.
        """
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                'nothing in this model trains: expected at least one prompt learner with a '
                "fusion mode other than 'default_only', or a trainable classifier. A model with "
                'handcrafted prompts is only tested'
            )
        # mmengine looks at tensors one by one only if there is something in it.
        self.paramwise_cfg = self.paramwise_cfg or dict(bypass_duplicate=False)
        return super().__call__(model)

    def add_params(self, params: List[Dict[str, Any]], module: nn.Module, **kwargs: Any) -> None:
        """Collect the parameter groups of ``module``, unless all of it is frozen."""
        if any(parameter.requires_grad for parameter in module.parameters()):
            super().add_params(params, module, **kwargs)


@MODEL_WRAPPERS.register_module()
class PromptDistributedDataParallel(MMDistributedDataParallel):
    """As mmengine's ``MMDistributedDataParallel``; a model in which nothing trains stays as it is.

    torch refuses to wrap one, and mmengine does not ask, so that several processes could not test
    zero-shot configs. There is nothing to synchronise in it.
    """

    def __new__(cls, module: Optional[nn.Module] = None, **kwargs: Any) -> Any:
        """The model itself, if no parameter of it requires a gradient."""
        if module is not None and not any(p.requires_grad for p in module.parameters()):
            return module
        return super().__new__(cls)


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """mmengine's ``LoggerHook``, which writes the JSON file of a test in the main process only.

    mmengine lets all processes write the same file at once, which can leave it damaged.
    """

    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Log the figures, and write them as JSON."""
        if is_main_process():
            super().after_test_epoch(runner, metrics)


@contextmanager
def runners_on(device: Optional[str]) -> Iterator[None]:
    """Let runners take a device, which mmengine takes from a constant of its own.

    Args:
        device: Such as 'cpu' or 'cuda:1'; None: the one that mmengine finds.
    """
    before = device_utils.DEVICE
    if device is not None:
        device_utils.DEVICE = device
    try:
        yield
    finally:
        device_utils.DEVICE = before


def close_runner(runner: Runner) -> None:
    """Close the log of a runner, and forget its logger, message hub and visualizer.

    mmengine keeps them by name as long as the process runs.
    """
    logger = runner.logger
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            handler.close()
        logger.removeHandler(handler)
    for each in (logger, runner.message_hub, runner.visualizer):
        for kind in type(each).__mro__:  # visualizers are kept by two of their classes
            getattr(kind, '_instance_dict', {}).pop(each.instance_name, None)


def remove_log_stream(stream: TextIO) -> None:
    """Let loggers no longer write into a stream, which mmengine's keep for good."""
    for logger in list(MMLogger._instance_dict.values()):
        for handler in list(logger.handlers):
            if getattr(handler, 'stream', None) is stream:
                logger.removeHandler(handler)
