"""What one process does for all."""

from typing import Any, Callable, List

from mmengine.dist import broadcast_object_list, is_main_process

__all__ = ['on_main_process']


def on_main_process(make: Callable[[], Any]) -> Any:
    """Call a function on the main process, and let all processes have what comes of it.

    Args:
        make: What the main process calls.

    Returns:
        What ``make`` returned, on all processes.

    Raises:
        Exception: What ``make`` raised, on all processes: none waits for one that has ended.
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
