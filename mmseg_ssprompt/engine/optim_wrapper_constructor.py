"""An optimiser that knows only what trains."""

from typing import Any, List

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

__all__ = ['PromptOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PromptOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, which passes frozen modules by and refuses a model without others.

    mmengine's own logs a warning for each of the hundreds of frozen tensors, and without
    ``paramwise_cfg`` gives all of them to the optimiser. The arguments are mmengine's.
    """

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
