"""The segmentor: an encoder-decoder of which only the prompts train and are saved."""

import inspect
import logging
from collections import OrderedDict
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor, nn

from ...label_ids import LABEL_IDS_KEY, LabelIds, with_rest
from ...module_metadata import get_module_metadata, set_module_metadata
from ...prompt_files.prompt_metadata import (
    METADATA_KEY,
    compare_defaults,
    compare_metadata,
    describe_prompts,
    find_metadata_problem,
)
from ...weights.model_weights import check_weights_are_there, hand_down_weights
from ...weights.state_dicts import FILE_KEY
from ...weights.tensor_checks import count_non_finite, find_tensor_problem
from ..base.frozen import FrozenModule
from ..base.precomputed import PrecomputedFeatures, check_embedded_by
from ..heads import SSPromptHead
from ..heads.settings import refuse_settings, refuse_unknown_settings
from ..heads.ssprompt_head import enlarge, find_frame
from .label_map import find_best_classes
from .windows import check_test_cfg, predict_windows

__all__ = ['PromptSegmentor', 'PromptStateError']

_MAX_PROBLEMS_SHOWN = 5  # of tensors
_REMEDY = (
    'Use the config and the weights that the prompts were trained with '
    '(mmseg-ssprompt prompts inspect FILE names them), or take the prompts to other '
    'classes with mmseg-ssprompt prompts transfer'
)


class PromptStateError(ValueError):
    """A state dict does not hold the prompts that a model was configured for."""


@MODELS.register_module()
class PromptSegmentor(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` around a frozen promptable segmenter.

    The frozen weights are loaded when the model is built, so a checkpoint needs to hold only what
    :meth:`without_frozen` leaves. A state dict says what base model and classes its prompts were
    trained with (:func:`describe_prompts`). Loading one checks that, and that all of it is there
    and fits; frozen weights may be in it, and need not be.

    With ``test_cfg=dict(mode='whole', logits=False)`` predictions hold label maps only
    (:func:`find_best_classes`); ``logits=True``, the default, adds ``seg_logits``, a score of each
    class at each pixel, as mmseg does always. With ``test_cfg=dict(mode='slide', crop_size=(H, W),
    stride=(h, w))`` images may be larger than the frame (:func:`predict_windows`).

    Which numbers label maps hold is said by the head's ``label_ids``: padding gets the number that
    is ignored, predictions have the numbers of the label maps, and each predicted sample's metainfo
    has ``label_ids``.

    Args:
        backbone: See ``EncoderDecoder``.
        decode_head: See ``EncoderDecoder``.
        weights: Files of weights, ``dict(sam=..., clip=...)``, that each part takes unless it has
            a ``checkpoint`` of its own; and ``clip_activation``, where neither CLIP's file nor a
            config beside it says it (``weights.model_weights``). Defaults to None.
        **kwargs: See ``EncoderDecoder``.

    Attributes:
        label_ids: Of the head; None if it has none.
        spatial_prompts_from: The file that the spatial prompts were transferred from, with the
            handcrafted points of its data set; None if they are those of the config.

    Raises:
        FileNotFoundError: If files of weights are not there, with all that are not.
        ValueError: If the model or a part has an unknown setting (:func:`refuse_unknown_settings`),
            ``weights`` has an unknown entry, ``test_cfg`` is not valid
            (:func:`check_test_cfg`), or ``data_preprocessor.seg_pad_val`` is not the number that
            is ignored.
    """

    test_cfg: ConfigDict  # of EncoderDecoder
    spatial_prompts_from: Optional[str] = None

    def __init__(
        self,
        backbone: Dict[str, Any],
        decode_head: Dict[str, Any],
        *args: Any,
        weights: Optional[Dict[str, Any]] = None,
        **kwargs: Any,
    ) -> None:
        parts = dict(backbone=backbone, decode_head=decode_head, **kwargs, weights=weights)
        _refuse_settings(parts)
        check_weights_are_there(parts)
        parts = hand_down_weights(parts)
        super().__init__(parts.pop('backbone'), parts.pop('decode_head'), *args, **parts)
        self.label_ids: Optional[LabelIds] = getattr(self.decode_head, 'label_ids', None)
        self._ignore_padding(kwargs.get('data_preprocessor'))
        self.test_cfg = check_test_cfg(self.test_cfg, self._frame())
        self._register_state_dict_hook(_add_metadata)
        self._register_load_state_dict_pre_hook(_check_prompts, with_module=True)
        self.register_load_state_dict_post_hook(_forgive_frozen_keys)

    def _ignore_padding(self, config: Any) -> None:
        """Let padding have the number that is ignored; it is given at one place, the head."""
        if self.label_ids is None or not hasattr(self.data_preprocessor, 'seg_pad_val'):
            return
        ignored = self.label_ids.ignore_index
        given = config.get('seg_pad_val') if isinstance(config, Mapping) else None
        if given is not None and given != ignored:
            raise ValueError(
                f'model.data_preprocessor.seg_pad_val is {given!r}, but the number of pixels that '
                f'do not count, decode_head.ignore_index, is {ignored}, so that padding would '
                'count. Leave seg_pad_val out: padding gets the number that is ignored'
            )
        self.data_preprocessor.seg_pad_val = ignored

    def _frame(self) -> Optional[int]:
        """The side of the image encoder's square input; None if it takes other frames."""
        if isinstance(self.backbone, PrecomputedFeatures):
            return None
        height, width = getattr(self.backbone, 'frame', None) or (None, None)
        return height if height == width else None

    @property
    def dataset_meta(self) -> Optional[Mapping[str, Any]]:
        """Names and colours by the numbers of predictions, for mmseg's functions that draw."""
        if not hasattr(self, '_dataset_meta'):
            raise AttributeError(f'{type(self).__name__} was not given the metainfo of a data set')
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, value: Optional[Mapping[str, Any]]) -> None:
        if value is not None and self.label_ids is not None:
            value = with_rest(value, self.label_ids)
        self._dataset_meta = value

    def forward(
        self, inputs: Tensor, data_samples: OptSampleList = None, mode: str = 'tensor'
    ) -> Any:
        """As ``EncoderDecoder``, after a look at what embedded samples were made by.

        Args:
            inputs: (B, 3, H, W), or embeddings.
            data_samples: Of the images. Defaults to None.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``. Defaults to 'tensor'.

        Raises:
            ValueError: If samples were embedded with other weights than the model's.
        """
        check_embedded_by(self.backbone, data_samples)
        return super().forward(inputs, data_samples, mode)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict label maps.

        Args:
            inputs: (B, 3, H, W).
            data_samples: Of the images. Defaults to None: the input frame is the image.

        Returns:
            The samples, with ``pred_sem_seg`` (1, H', W') int64 and, where asked for,
            ``seg_logits`` (K, H', W') float, a channel for each of ``label_ids.channels``.
        """
        if data_samples is None or self.test_cfg.get('logits', True) or self.out_channels == 1:
            return super().predict(inputs, data_samples)
        scores, enlarge = self._predict_scores(inputs, data_samples)
        for image, sample in zip(scores, data_samples):
            channels = find_best_classes(image, enlarge, sample, super().postprocess_result)
            self._set_labels(sample, channels)
        return data_samples

    def _predict_scores(
        self, inputs: Tensor, data_samples: SampleList
    ) -> Tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Scores of a batch (B, K, h, w), as small as they come, and what enlarges them."""
        head, metas = self.decode_head, [sample.metainfo for sample in data_samples]
        if self.test_cfg.mode == 'whole' and isinstance(head, SSPromptHead):
            frame = find_frame(metas)
            scores = head.label_scores(head(self.extract_feat(inputs)))
            return scores, lambda part: enlarge(part, frame)
        return self.inference(inputs, metas), _keep

    def slide_inference(self, inputs: Tensor, batch_img_metas: List[Dict[str, Any]]) -> Tensor:
        """Scores of images of any size, in windows: (B, 3, H, W) -> (B, K, H, W)."""
        frame = self._frame()
        assert frame is not None  # without one, check_test_cfg refuses windows
        # mmseg's heads enlarge their scores to this size.
        size = torch.Size((frame, frame))
        metas = [dict(meta, img_shape=size, pad_shape=size) for meta in batch_img_metas]
        return predict_windows(
            *(inputs, self.test_cfg.crop_size, self.test_cfg.stride, frame),
            lambda windows: self.encode_decode(windows, metas),
        )

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: OptSampleList = None
    ) -> SampleList:
        """As mmseg, with the numbers of label maps in place of those of channels.

        Args:
            seg_logits: (B, K, H, W), a channel for each of ``label_ids.channels``.
            data_samples: Of the images. Defaults to None.
        """
        samples = super().postprocess_result(seg_logits, data_samples)
        for sample in samples:
            self._set_labels(sample, sample.pred_sem_seg.data)
        return samples

    def _set_labels(self, sample: SegDataSample, channels: Tensor) -> None:
        """Give a sample its label map, of the numbers of channels (1, H, W)."""
        if self.label_ids is not None:
            sample.set_metainfo({LABEL_IDS_KEY: self.label_ids})
            channels = self.label_ids.from_channels(channels)
        sample.set_data(dict(pred_sem_seg=PixelData(data=channels)))

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
        kept = OrderedDict(
            (key, value) for key, value in state_dict.items() if not key.startswith(frozen)
        )
        metadata = get_module_metadata(state_dict).items()
        not_frozen = ((name, each) for name, each in metadata if not f'{name}.'.startswith(frozen))
        set_module_metadata(kept, OrderedDict(not_frozen))
        return kept


def _refuse_settings(parts: Mapping[str, Any]) -> None:
    """Refuse settings that the model or one of its parts does not have."""
    known = [name for name in inspect.signature(EncoderDecoder).parameters if name != 'pretrained']
    known.append('weights')
    others = {key: value for key, value in parts.items() if key not in known}
    if others.get('pretrained') is None:
        others.pop('pretrained', None)  # as many of mmseg's configs say
    refuse_settings('model (PromptSegmentor)', others, known)
    refuse_unknown_settings(parts)


def _keep(scores: Tensor) -> Tensor:
    return scores


def _add_metadata(
    model: PromptSegmentor, state_dict: Dict[str, Tensor], prefix: str, metadata: Dict[str, Any]
) -> None:
    """Let a state dict say what its prompts are, in what torch keeps of each module."""
    metadata[METADATA_KEY] = describe_prompts(model)


def _frozen_parts(model: nn.Module) -> Dict[str, FrozenModule]:
    """The frozen parts by name."""
    modules = model.named_modules()
    return {name: part for name, part in modules if isinstance(part, FrozenModule) and part.frozen}


def _frozen_prefixes(model: nn.Module, prefix: str = '') -> Tuple[str, ...]:
    """Prefixes of the state-dict keys of all frozen parts."""
    return tuple(f'{prefix}{name}.' for name in _frozen_parts(model))


def _check_prompts(
    model: PromptSegmentor,
    state_dict: Mapping[str, Tensor],
    prefix: str,
    metadata: Mapping[str, Any],
    *_: Any,
) -> None:
    """Raise a :class:`PromptStateError` unless ``state_dict`` holds the model's prompts."""
    found = {
        key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)
    }
    described = metadata.get(METADATA_KEY)
    name = f'checkpoint {metadata[FILE_KEY]!r}' if FILE_KEY in metadata else 'the checkpoint'
    problems, usable = _find_other_tensors(model, found, prefix)
    differences = _find_other_origin(model, usable, described, name)
    if differences or problems:
        hidden = len(problems) - _MAX_PROBLEMS_SHOWN
        more = [f'and {hidden} more'] if hidden > 0 else []
        raise PromptStateError(
            f'{name} does not hold the prompts of the configured model (the base model, the '
            'classes, the number of prompts, their kind or the fusion mode differ):\n  '
            + '\n  '.join(differences + problems[:_MAX_PROBLEMS_SHOWN] + more)
            + f'\n{_REMEDY}'
        )
    for part_name, part in _frozen_parts(model).items():
        if any(key.startswith(f'{part_name}.') for key in found):
            part.replace_weights()
    if described is not None:
        model.spatial_prompts_from = described.get('spatial_prompts', {}).get('taken_from')


def _find_other_origin(
    model: PromptSegmentor, found: Mapping[str, Tensor], metadata: Any, name: str
) -> List[str]:
    """Say whether the prompts were trained with another base model, or for other classes."""
    if metadata is None:
        print_log(
            f'{name} does not say what its prompts were trained with: that the base model, the '
            'class names, their order, the templates and the handcrafted points are those of the '
            'config was not checked',
            'current',
            logging.WARNING,
        )
        return []
    malformed = find_metadata_problem(metadata)
    if malformed is not None:
        return [f'metadata of the prompts, {malformed}']
    own = describe_prompts(model)
    replaced = [
        part.part
        for name, part in _frozen_parts(model).items()
        if any(key.startswith(f'{name}.') for key in found)
    ]
    return [
        *compare_metadata(metadata, own, replaced),
        *compare_defaults(metadata, own, found, dict(model.named_buffers())),
    ]


def _find_other_tensors(
    model: PromptSegmentor, state_dict: Mapping[str, Any], prefix: str
) -> Tuple[List[str], Dict[str, Tensor]]:
    """Say which tensors are missing, too many, of another shape or kind, or not finite.

    Returns:
        A line for each; and those tensors of ``state_dict`` that fit the model's.
    """
    own = model.state_dict()
    expected, found = model.without_frozen(own), model.without_frozen(state_dict)
    problems, usable = [], {}
    for key in own:
        if key in state_dict:
            problem = _find_flaw(state_dict[key], own[key])
            if problem is None:
                usable[key] = state_dict[key]
            else:
                problems.append(f'{prefix}{key}: {problem}')
    problems += [f'{prefix}{key}: missing' for key in expected if key not in found]
    problems += [f'{prefix}{key}: not part of this model' for key in found if key not in expected]
    for part in _frozen_prefixes(model):
        needed = [key for key in own if key.startswith(part)]
        there = sum(key in state_dict for key in needed)
        if 0 < there < len(needed):
            problems.append(
                f'{prefix}{part[:-1]}: expected all of its {len(needed)} tensors or none, '
                f'found {there}'
            )
    return problems, usable


def _find_flaw(value: Any, like: Tensor) -> Optional[str]:
    """Say why a value must not be copied into a tensor of the model; None if it may."""
    problem = find_tensor_problem(value, like)
    if problem is not None:
        return problem
    flawed = count_non_finite(value)
    return f'{flawed} of {value.numel()} numbers are NaN or infinite' if flawed else None


def _forgive_frozen_keys(model: nn.Module, incompatible_keys: Any) -> None:
    """Do not report frozen weights as missing: they were loaded when the model was built."""
    prefixes = _frozen_prefixes(model)
    # With a dot before, because the keys that are missing may have a prefix, which is not given.
    frozen = tuple(f'.{key}' for key in model.state_dict() if key.startswith(prefixes))
    missing: List[str] = incompatible_keys.missing_keys
    missing[:] = [key for key in missing if not f'.{key}'.endswith(frozen)]
