"""Several processes: what one of them does for all, and the model that each has."""

from typing import Any, Callable, List

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.model import BaseModel, is_model_wrapper
from torch import nn

__all__ = ['on_main_process', 'unwrap_model']


def on_main_process(make: Callable[[], Any]) -> Any:
    """Call a function on the main process; all processes return or raise what it does.

    So no process waits for one that has ended.
    """
    message: List[Any] = [None]
    if is_main_process():
        try:
            message = [make()]
        except Exception as error:
            message = [error]
    broadcast_object_list(message)
    if isinstance(message[0], Exception):
        raise message[0]
    return message[0]


def unwrap_model(model: nn.Module) -> BaseModel:
    """The model inside of what lets several processes train it, such as DDP."""
    return model.module if is_model_wrapper(model) else model
