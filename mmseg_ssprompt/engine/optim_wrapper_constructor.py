"""An optimiser that knows only what trains."""

import inspect
from typing import Any, List, Optional

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from torch import nn

__all__ = ['PromptOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PromptOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, which passes frozen modules by and refuses a model without others.

    mmengine's own logs a warning for each of the hundreds of frozen tensors, and without
    ``paramwise_cfg`` gives all of them to the optimiser. The arguments are mmengine's.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None) -> None:
        super().__init__(_name_weight_decay(optim_wrapper_cfg), paramwise_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser.

        Raises:
            ValueError: If nothing in ``model`` trains.
        """
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                'nothing in this model trains: expected at least one prompt learner with a '
                "fusion mode other than 'default_only', or a trainable classifier. A model with "
                'handcrafted prompts is only tested (tools/test.py CONFIG)'
            )
        # mmengine looks at tensors one by one only if there is something in it.
        self.paramwise_cfg = self.paramwise_cfg or dict(bypass_duplicate=False)
        return super().__call__(model)

    def add_params(self, params: List[dict], module: nn.Module, **kwargs: Any) -> None:
        """Collect the parameter groups of ``module``, unless all of it is frozen."""
        if any(parameter.requires_grad for parameter in module.parameters()):
            super().add_params(params, module, **kwargs)


def _name_weight_decay(config: dict) -> dict:
    """Write down the weight decay that an optimiser has by default.

    mmengine, which multiplies it for some parameters, asks for it ("base_wd should not be None").
    """
    optimizer = config.get('optimizer') or {}
    kind = optimizer.get('type')
    built = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    if built is None:
        raise ValueError(
            f'optim_wrapper.optimizer.type: expected an optimiser of torch or mmengine, found '
            f'{kind!r}'
        )
    known = inspect.signature(built).parameters
    open_ended = any(each.kind is each.VAR_KEYWORD for each in known.values())
    unknown = [key for key in optimizer if key not in (*known, 'type')]
    if unknown and not open_ended:
        raise ValueError(
            f'optim_wrapper.optimizer: {kind} has no {unknown}, only '
            f'{[key for key in known if key != "params"]}'
        )
    if 'weight_decay' not in known or 'weight_decay' in optimizer:
        return config
    decay = known['weight_decay'].default
    return dict(config, optimizer=dict(optimizer, weight_decay=decay))
