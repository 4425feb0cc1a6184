"""An optimiser that knows only what trains."""

import inspect
from typing import Any, Iterator, List, Mapping, Optional, Tuple

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
        for name, multipliers in _each_multipliers(paramwise_cfg or {}):
            _check_numbers(multipliers, name)
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
                'handcrafted prompts is only tested'
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
    _check_numbers(optimizer, 'optimizer')
    _check_rates(optimizer, known)
    if 'weight_decay' not in known or 'weight_decay' in optimizer:
        return config
    decay = known['weight_decay'].default
    return dict(config, optimizer=dict(optimizer, weight_decay=decay))


def _each_multipliers(paramwise: Mapping[str, Any]) -> Iterator[Tuple[str, Mapping[str, Any]]]:
    """The settings of ``paramwise_cfg`` and of the modules that it names, with their keys."""
    if isinstance(paramwise, Mapping):  # what is none is refused by mmengine
        yield 'paramwise_cfg', paramwise
        custom = paramwise.get('custom_keys') or {}
        for module, multipliers in custom.items() if isinstance(custom, Mapping) else ():
            if isinstance(multipliers, Mapping):
                yield f'paramwise_cfg.custom_keys[{module!r}]', multipliers


def _check_numbers(settings: Mapping[str, Any], name: str) -> None:
    """Refuse numbers that are texts, which YAML makes of 1e-3, where 1.0e-3 is a number.

    Raises:
        ValueError: With the key and what to write.
    """
    for key, value in _each_setting(settings):
        number = _read_number(value)
        if number is not None:
            raise ValueError(
                f'optim_wrapper.{name}.{key}: expected a number, found the text {value!r}. '
                f'Write {number!r} without quotes; in YAML with a point, as in 1.0e-3, because '
                '1e-3 is a text there'
            )


def _check_rates(settings: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> None:
    """Refuse what mmengine cannot multiply, unless it is what an optimiser has by default."""
    for key in ('lr', 'weight_decay'):
        value = settings.get(key, 0)
        if value is None and key in known and known[key].default is None:
            continue
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number and not hasattr(value, 'item'):  # torch takes a tensor as lr
            raise ValueError(f'optim_wrapper.optimizer.{key}: expected a number, found {value!r}')


def _each_setting(settings: Mapping[str, Any]) -> Iterator[Tuple[str, Any]]:
    """Settings with their keys, and those in lists such as ``betas``."""
    for key, value in settings.items():
        if isinstance(value, (list, tuple)):
            yield from ((f'{key}[{index}]', each) for index, each in enumerate(value))
        else:
            yield key, value


def _read_number(value: Any) -> Optional[float]:
    """The number that a text says; None if it says none."""
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None
