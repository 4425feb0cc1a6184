"""A training step with few launches: the forward and backward pass of a head, compiled."""

from typing import Any, Callable, Dict, Optional, Tuple, Union

import torch
from torch import nn

from ..base import ImageFeatures

__all__ = ['CompiledForward']

#: What ``compile=True`` stands for: a CUDA graph of each pass, launched at once.
_ON_GPUS = dict(mode='reduce-overhead')
_Forward = Callable[[Any, ImageFeatures], Any]


class CompiledForward:
    """Runs the forward pass of a head by ``torch.compile``, in training.

    What is compiled is for one size, and takes a minute or so. So the first batch is compiled for;
    batches of another size or type, such as a smaller one at the end of an epoch, and whatever
    needs no gradients run as without it. Gradients may be accumulated: CUDA graphs write those of
    each batch to the same place, so those of the batch before are copied first.

    Args:
        forward: What makes the output of features, a function of a head and features. It is not
            bound to a head, so that a copy of the head does not run the one it was copied from.
        setting: True, on GPUs alone, or the arguments of ``torch.compile``, on CPUs as well.

    Raises:
        ValueError: If ``setting`` is neither; when it is called, if compiling fails.
    """

    def __init__(self, forward: _Forward, setting: Union[bool, Dict[str, Any]]) -> None:
        if setting is not True and not isinstance(setting, dict):
            raise ValueError(
                'decode_head.compile: expected True, False or the arguments of torch.compile, such '
                f"as dict(mode='reduce-overhead'), found {setting!r}"
            )
        self.forward, self.setting = forward, setting
        self._compiled: Optional[_Forward] = None
        self._kind: Any = None

    def __reduce__(self) -> Tuple[Any, ...]:
        """Without what is compiled, which can be neither copied nor pickled."""
        return type(self), (self.forward, self.setting)

    def __call__(self, head: nn.Module, features: ImageFeatures) -> Any:
        """The output of a head."""
        is_meant = features.embedding.is_cuda or self.setting is not True
        if not (is_meant and head.training and torch.is_grad_enabled()):
            return self.forward(head, features)
        kind = [(name, x.shape, x.dtype, x.device) for name, x in features.named().items()]
        if self._compiled is None:
            self._kind = kind
            return self._compile(head, features)
        if kind != self._kind:
            return self.forward(head, features)
        for parameter in head.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()
        return self._compiled(head, features)

    def _compile(self, head: nn.Module, features: ImageFeatures) -> Any:
        """The output of the first batch, after compiling."""
        settings = _ON_GPUS if self.setting is True else dict(self.setting)
        from torch._dynamo.exc import TorchDynamoException  # which takes seconds

        try:
            self._compiled = torch.compile(self.forward, **{'dynamic': False, **settings})
        except (RuntimeError, TypeError) as error:
            raise self._problem(settings, error) from error
        try:
            return self._compiled(head, features)
        except TorchDynamoException as error:
            raise self._problem(settings, error) from error

    def _problem(self, settings: Dict[str, Any], error: Exception) -> ValueError:
        reason = str(error).strip().partition('\n')[0]
        return ValueError(
            f'decode_head.compile={self.setting!r}: expected arguments that torch.compile can work '
            f'with, found {settings}, with which it fails by {type(error).__name__}: {reason}. '
            'Leave compile out, or see what is missing: on GPUs Triton and a C compiler are needed'
        )
