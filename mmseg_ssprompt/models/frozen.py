"""The base of every part of the pre-trained model: it never trains, unless a part is asked to."""

from mmengine.model import BaseModule
from typing_extensions import Self

__all__ = ['FrozenModule']


class FrozenModule(BaseModule):
    """A module that stays in eval mode and whose parameters require no gradient.

    Sub-classes build their parts, load their weights and call :meth:`freeze` at the end of
    ``__init__``. Gradients still flow through to whatever goes in. One that is to train, as a
    baseline, sets :attr:`frozen` to False instead: then it follows ``train()``, and its weights
    are saved with the prompts.

    Attributes:
        frozen: Whether this module is frozen. Defaults to True.
    """

    frozen: bool = True

    def freeze(self) -> None:
        """Exclude every parameter from training and enter eval mode for good."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever ``mode`` says, while frozen."""
        return super().train(mode and not self.frozen)

    def init_weights(self) -> None:
        """Do nothing: the weights were loaded when the module was built."""
