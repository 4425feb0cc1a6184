"""What torch keeps beside the tensors of a state dict: ``_metadata``, a dict for each module."""

from collections import OrderedDict
from typing import Any, Mapping

__all__ = ['get_module_metadata', 'set_module_metadata']

_NAME = '_metadata'


def get_module_metadata(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of each module, by its name, where '' is the model; may be empty."""
    metadata: Mapping[str, Any] = getattr(state_dict, _NAME, {})
    return metadata


def set_module_metadata(state_dict: 'OrderedDict[str, Any]', metadata: Mapping[str, Any]) -> None:
    """Put the metadata of each module, by its name, beside the tensors."""
    # An attribute that torch's own annotations do not know either.
    vars(state_dict)[_NAME] = metadata
