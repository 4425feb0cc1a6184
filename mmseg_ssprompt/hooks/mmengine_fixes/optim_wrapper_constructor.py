"""An optimiser that knows only what trains."""

import inspect
from typing import Any, Dict, List, Mapping, Optional

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from torch import nn

from ...config_entries import ConfigDict
from ...plain import is_number

__all__ = ['PromptOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PromptOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, which passes frozen modules by and refuses a model without others.

    mmengine's own (up to 0.10.7 and OneDL's 0.12; no release mends it) logs a warning for each of
    the hundreds of frozen tensors, without ``paramwise_cfg`` gives all of them to the optimiser,
    and asserts a weight decay that optimisers have by default. The arguments are mmengine's.

    Raises:
        ValueError: With the key of a setting that is a text in the place of a number, or that the
            optimiser does not have.
    """

    paramwise_cfg: ConfigDict  # mmengine's own

    def __init__(
        self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Optional[ConfigDict] = None
    ) -> None:
        optimizer = optim_wrapper_cfg.get('optimizer') or {}
        _check_numbers(optimizer, 'optim_wrapper.optimizer')
        _check_numbers(paramwise_cfg, 'optim_wrapper.paramwise_cfg')
        optimizer = {**_find_weight_decay(optimizer), **optimizer}
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


def _find_weight_decay(optimizer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weight decay that an optimiser has by default, which mmengine multiplies for some.

    Raises:
        ValueError: If there is no such optimiser, or it does not have one of the settings.
    """
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
    for key in ('lr', 'weight_decay'):
        value = optimizer.get(key, 0)
        is_default = value is None and key in known and known[key].default is None
        # torch takes a tensor as lr.
        if not is_default and not is_number(value) and not hasattr(value, 'item'):
            raise ValueError(f'optim_wrapper.optimizer.{key}: expected a number, found {value!r}')
    return dict(weight_decay=known['weight_decay'].default) if 'weight_decay' in known else {}


def _check_numbers(settings: Any, key: str) -> None:
    """Refuse numbers that are texts, which YAML makes of 1e-3, where 1.0e-3 is a number."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            _check_numbers(value, f'{key}.{name}')
    elif isinstance(settings, (list, tuple)):
        for index, value in enumerate(settings):
            _check_numbers(value, f'{key}[{index}]')
    elif isinstance(settings, str):
        try:
            number = float(settings)
        except ValueError:  # a text that is meant as one
            return
        raise ValueError(
            f'{key}: expected a number, found the text {settings!r}. Write {number!r} without '
            'quotes; in YAML with a point, as in 1.0e-3, because 1e-3 is a text there'
        )
