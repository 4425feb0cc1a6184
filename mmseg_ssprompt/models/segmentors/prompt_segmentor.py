"""The segmentor: an encoder-decoder of which only the prompts train and are saved."""

from typing import Any, Dict, List, Mapping, Tuple

from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..frozen import FrozenModule

__all__ = ['PromptSegmentor', 'PromptStateError']

_MAX_PROBLEMS_SHOWN = 5


class PromptStateError(ValueError):
    """A state dict does not hold the prompts that a model was configured for."""


@MODELS.register_module()
class PromptSegmentor(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` around a frozen promptable segmenter.

    The frozen weights are loaded when the model is built, so a checkpoint needs to hold only what
    :meth:`without_frozen` leaves. Loading a state dict checks that all of it is there and fits;
    frozen weights may be in it, and need not be.

    Args:
        *args: See ``EncoderDecoder``.
        **kwargs: See ``EncoderDecoder``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._register_load_state_dict_pre_hook(_check_prompts, with_module=True)
        self.register_load_state_dict_post_hook(_forgive_frozen_keys)

    def without_frozen(
        self, state_dict: Mapping[str, Tensor], prefix: str = ''
    ) -> Dict[str, Tensor]:
        """Leave out of a state dict of this model what belongs to its frozen parts.

        What remains is the prompts, the default prompts they are mixed with, the classifier, and
        a mask decoder that trains.

        Args:
            state_dict: Tensors by name.
            prefix: What the names of this model begin with. Defaults to ''.
        """
        frozen = _frozen_prefixes(self, prefix)
        return {key: value for key, value in state_dict.items() if not key.startswith(frozen)}


def _frozen_prefixes(model: nn.Module, prefix: str = '') -> Tuple[str, ...]:
    """Prefixes of the state-dict keys of all frozen parts."""
    frozen = [name for name, m in model.named_modules() if isinstance(m, FrozenModule) and m.frozen]
    return tuple(f'{prefix}{name}.' for name in frozen)


def _check_prompts(
    model: PromptSegmentor, state_dict: Mapping[str, Tensor], prefix: str, *_: Any
) -> None:
    """Raise a :class:`PromptStateError` unless ``state_dict`` holds the model's prompts."""
    own = model.without_frozen(model.state_dict())
    expected = {prefix + key: tuple(value.shape) for key, value in own.items()}
    frozen = _frozen_prefixes(model, prefix)
    found = {
        key: tuple(value.shape) for key, value in state_dict.items() if not key.startswith(frozen)
    }
    problems = [
        f'{key}: expected shape {shape}, found {found[key]}'
        for key, shape in expected.items()
        if found.get(key, shape) != shape
    ]
    problems += [f'{key}: missing' for key in expected if key not in found]
    problems += [f'{key}: not part of this model' for key in found if key not in expected]
    if problems:
        hidden = len(problems) - _MAX_PROBLEMS_SHOWN
        more = [f'and {hidden} more'] if hidden > 0 else []
        raise PromptStateError(
            'the checkpoint does not hold the prompts of the configured model (the number of '
            'prompts or classes, the fusion mode or the kind of prompts differ):\n  '
            + '\n  '.join(problems[:_MAX_PROBLEMS_SHOWN] + more)
        )


def _forgive_frozen_keys(model: nn.Module, incompatible_keys: Any) -> None:
    """Do not report frozen weights as missing: they were loaded when the model was built."""
    prefixes = _frozen_prefixes(model)
    # With a dot before, because the keys that are missing may have a prefix, which is not given.
    frozen = tuple(f'.{key}' for key in model.state_dict() if key.startswith(prefixes))
    missing: List[str] = incompatible_keys.missing_keys
    missing[:] = [key for key in missing if not f'.{key}'.endswith(frozen)]
