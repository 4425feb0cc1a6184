"""The base of every part of the pre-trained model: it never trains, unless a part is asked to."""

from typing import Dict, Optional

from mmengine.model import BaseModule
from torch import nn
from typing_extensions import Self

from ...fingerprint import fingerprint_tensors

__all__ = ['FrozenModule', 'fingerprint_parts']


class FrozenModule(BaseModule):
    """A module that stays in eval mode and whose parameters require no gradient.

    Sub-classes build their parts, load their weights and call :meth:`freeze` at the end of
    ``__init__``. Gradients still flow through to whatever goes in. One that is to train, as a
    baseline, sets :attr:`frozen` to False instead: then it follows ``train()``, and its weights
    are saved with the prompts.

    Attributes:
        part: Name of the part of the base model, by which its fingerprint is known.
        frozen: Whether this module is frozen. Defaults to True.
        pretrained: Whether its weights came from a file, and are not random. Defaults to False.
    """

    part: str = ''
    frozen: bool = True
    pretrained: bool = False
    _fingerprint: Optional[str] = None

    @property
    def trainable(self) -> bool:
        """Whether it is meant to train."""
        return not self.frozen

    def fingerprints(self) -> Dict[str, Optional[str]]:
        """SHA-256 of the frozen weights by :attr:`part`; None if they are random, or train.

        It is computed when it is asked for first: 2.5 GB take a few seconds.
        """
        if not (self.frozen and self.pretrained):
            return {self.part: None}
        if self._fingerprint is None:
            weights = fingerprint_tensors(self._pretrained_part().state_dict())
            self._fingerprint = self._describe_weights(weights)
        return {self.part: self._fingerprint}

    def replace_weights(self) -> None:
        """Take note that other weights are loaded into this module."""
        self.pretrained = True
        self._fingerprint = None

    def _describe_weights(self, weights: str) -> str:
        """The fingerprint, of that of the weights and whatever else changes what is computed."""
        return weights

    def _pretrained_part(self) -> nn.Module:
        """The module whose weights, by its own names, have the fingerprint."""
        return self

    def freeze(self) -> None:
        """Exclude every parameter from training and enter eval mode for good."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever ``mode`` says, while frozen."""
        super().train(mode and not self.frozen)
        return self

    def init_weights(self) -> None:
        """Do nothing: the weights were loaded when the module was built."""


def fingerprint_parts(module: nn.Module) -> Dict[str, Optional[str]]:
    """The fingerprints of all frozen parts of a module, by their names."""
    found: Dict[str, Optional[str]] = {}
    for part in module.modules():
        if isinstance(part, FrozenModule) and part.frozen:
            found.update(part.fingerprints())
    return found
