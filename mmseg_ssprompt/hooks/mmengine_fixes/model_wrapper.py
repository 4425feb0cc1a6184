"""Models in several processes, also those in which nothing trains."""

from typing import Any, Optional

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

__all__ = ['PromptDistributedDataParallel']


@MODEL_WRAPPERS.register_module()
class PromptDistributedDataParallel(MMDistributedDataParallel):
    """As mmengine's ``MMDistributedDataParallel``; a model in which nothing trains stays as it is.

    torch refuses to wrap one, and mmengine (up to 0.10.7 and OneDL's 0.12; no release mends it)
    does not ask, so that several processes could not test zero-shot configs. There is nothing to
    synchronise in it.

    Args:
        module: The model.
        broadcast_buffers: Whether to copy the buffers of rank 0 before each forward pass, as
            mmengine does not. Defaults to False.
        kwargs: See ``torch.nn.parallel.DistributedDataParallel``.
    """

    def __new__(cls, module: Optional[nn.Module] = None, **kwargs: Any) -> Any:
        """The model itself, if no parameter of it requires a gradient."""
        if module is not None and not any(p.requires_grad for p in module.parameters()):
            return module
        return super().__new__(cls)

    def __init__(self, module: nn.Module, broadcast_buffers: bool = False, **kwargs: Any) -> None:
        super().__init__(module=module, broadcast_buffers=broadcast_buffers, **kwargs)
