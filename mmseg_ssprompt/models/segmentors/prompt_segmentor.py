"""The segmentor: an encoder-decoder of which only the prompts train and are saved."""

from typing import Any, Dict, List, Mapping, Tuple

from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor, nn

from ..frozen import FrozenModule
from ..heads import SSPromptHead
from .label_map import find_best_classes

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

    With ``test_cfg=dict(mode='whole', logits=False)`` predictions hold label maps only
    (:func:`find_best_classes`); ``logits=True``, the default, adds ``seg_logits``, a score of each
    class at each pixel, as mmseg does always.

    Args:
        *args: See ``EncoderDecoder``.
        **kwargs: See ``EncoderDecoder``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._register_load_state_dict_pre_hook(_check_prompts, with_module=True)
        self.register_load_state_dict_post_hook(_forgive_frozen_keys)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict label maps.

        Args:
            inputs: (B, 3, H, W).
            data_samples: Of the images. Defaults to None: the input frame is the image.

        Returns:
            The samples, with ``pred_sem_seg`` (1, H', W') int64 and, where asked for,
            ``seg_logits`` (C, H', W') float.
        """
        if data_samples is None or not self._predicts_labels_only():
            return super().predict(inputs, data_samples)
        head = self.decode_head
        scores = head.semantic_scores(head(self.extract_feat(inputs)))  # (B, C, 4h, 4w)
        for image, sample in zip(scores, data_samples):
            labels = find_best_classes(image, head.enlarge, sample, self.postprocess_result)
            sample.set_data(dict(pred_sem_seg=PixelData(data=labels)))
        return data_samples

    def _predicts_labels_only(self) -> bool:
        wanted = self.test_cfg.get('logits', True) or self.test_cfg.mode != 'whole'
        return not wanted and isinstance(self.decode_head, SSPromptHead) and self.num_classes > 1

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
