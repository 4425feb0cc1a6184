"""The segmentor: an encoder-decoder that trains and saves nothing but its prompts."""

import logging
from collections import OrderedDict
from functools import partial
from typing import Any, Dict, List, Mapping, Optional, Tuple

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
from ..base import FrozenModule, PrecomputedFeatures
from ..heads import SSPromptHead
from ..heads.outputs import Resize, instances, panoptic, semantic
from ..heads.ssprompt_head import HeadOutput, enlarge, find_frame
from .label_map import find_best_classes
from .output_settings import check_outputs
from .padding import check_padding
from .resized_masks import resize_masks
from .windows import check_test_cfg, predict_windows

__all__ = ['PromptSegmentor', 'PromptStateError']

_MAX_PROBLEMS_SHOWN = 5  # of tensors


class PromptStateError(ValueError):
    """A state dict does not hold the prompts that a model was configured for."""


@MODELS.register_module()
class PromptSegmentor(EncoderDecoder):
    """mmseg's ``EncoderDecoder`` around a frozen promptable segmenter.

    The frozen weights are loaded when the model is built, so a checkpoint needs to hold only what
    :meth:`without_frozen` leaves. A state dict says what base model and classes its prompts were
    trained with (:func:`describe_prompts`). Loading one checks that, and that all of it is there
    and fits; frozen weights may be in it, and need not be.

    With ``test_cfg=dict(logits=False)`` predictions hold label maps only
    (:func:`find_best_classes`); ``logits=True``, the default, adds ``seg_logits``, as mmseg does.
    With ``test_cfg=dict(mode='slide', crop_size=(H, W), stride=(h, w))`` images may be larger than
    the frame (:func:`predict_windows`). With ``test_cfg=dict(resize='masks')`` masks are resized to
    the photograph before scores are made of them, as SEEM does (:func:`resize_masks`); with
    ``'scores'``, the default, scores are, as mmseg does. ``test_cfg=dict(outputs=('semantic',
    'panoptic', 'instances'))`` says what masks are made into (:func:`check_outputs`); the default
    is ``('semantic',)``. The head's ``label_ids`` says which
    numbers label maps and predictions hold; padding gets the one that is ignored.

    Args:
        backbone, decode_head, **kwargs: See ``EncoderDecoder``.
        weights: Files of weights, ``dict(sam=..., clip=...)``, that each part takes unless it has
            a ``checkpoint`` of its own; and ``clip_activation``, where neither CLIP's file nor a
            config beside it says it (``weights.model_weights``). Defaults to None.

    Attributes:
        label_ids: Of the head; None if it has none.
        spatial_prompts_from: The file that the spatial prompts were transferred from, with the
            handcrafted points of its data set; None if they are those of the config.

    Raises:
        FileNotFoundError: If files of weights are not there, with all that are not.
        ValueError: If ``weights`` has an unknown entry, or ``test_cfg`` is not valid
            (:func:`check_test_cfg`, :func:`check_outputs`) or asks for masks of a head that has
            none, or the spatial prompts do not say how many they are, or images are padded to a
            size that the image encoder refuses.
    """

    test_cfg: ConfigDict  # of EncoderDecoder
    spatial_prompts_from: Optional[str] = None

    def __init__(
        self,
        backbone: Dict[str, Any],
        decode_head: Dict[str, Any],
        weights: Optional[Dict[str, Any]] = None,
        **kwargs: Any,
    ) -> None:
        parts = dict(backbone=backbone, decode_head=decode_head, weights=weights, **kwargs)
        check_weights_are_there(parts)
        super().__init__(**hand_down_weights(parts))
        self.label_ids: Optional[LabelIds] = getattr(self.decode_head, 'label_ids', None)
        if self.label_ids is not None:  # given at one place, the head
            self.data_preprocessor.seg_pad_val = self.label_ids.ignore_index
        frame = getattr(self.backbone, 'frame', None)
        self.test_cfg = check_test_cfg(self.test_cfg, frame)
        divisor = getattr(self.backbone, 'divisor', 1)
        check_padding(self.data_preprocessor, frame, divisor, self.test_cfg.mode)
        has_masks = isinstance(self.decode_head, SSPromptHead)
        if has_masks and not hasattr(self.decode_head.spatial_prompts, 'num_prompts'):
            raise ValueError(
                'model.decode_head.spatial_prompts: expected a learner with num_prompts, how many '
                f'prompts it has, found {type(self.decode_head.spatial_prompts).__name__} without. '
                'Set it where the learner is built'
            )
        if self.test_cfg.get('resize') == 'masks' and not has_masks:
            raise ValueError(
                "model.test_cfg.resize is 'masks': expected a head with masks, SSPromptHead, found "
                f'{type(self.decode_head).__name__}. Leave resize out'
            )
        self.outputs = check_outputs(self.test_cfg, self.decode_head)
        if self.test_cfg.mode == 'slide' and isinstance(self.backbone, PrecomputedFeatures):
            raise ValueError(
                "model.test_cfg.mode is 'slide', but this model has no image encoder, and embedded "
                "samples are whole frames: set mode='whole', or give the config without `_cached`"
            )
        self._register_state_dict_hook(_add_metadata)
        self._register_load_state_dict_pre_hook(_check_prompts, with_module=True)
        self.register_load_state_dict_post_hook(_forgive_frozen_keys)

    @property
    def dataset_meta(self) -> Optional[Mapping[str, Any]]:
        """Names and colours by the numbers of predictions, for mmseg's functions that draw."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, value: Optional[Mapping[str, Any]]) -> None:
        if value is not None and self.label_ids is not None:
            value = with_rest(value, self.label_ids)
        self._dataset_meta = value

    def forward(
        self, inputs: Tensor, data_samples: OptSampleList = None, mode: str = 'tensor'
    ) -> Any:
        """As ``EncoderDecoder``, after :meth:`PrecomputedFeatures.check_samples`."""
        if isinstance(self.backbone, PrecomputedFeatures):
            self.backbone.check_samples(data_samples)
        return super().forward(inputs, data_samples, mode)

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Predict what ``test_cfg.outputs`` names, at the size of the original image.

        Returns:
            The samples, with what was asked for of:

            - ``pred_sem_seg`` (1, H', W') int64 and, with ``test_cfg.logits``, ``seg_logits``
              (K, H', W') float, a channel for each of ``label_ids.channels``;
            - ``pred_panoptic_seg`` (1, H', W') int32 with ``segments_info``;
            - ``pred_instances``, with ``labels``, ``scores``, ``masks`` and ``bboxes``
              (``mmseg_ssprompt.segments``). Classes are counted from 0 there.
        """
        if self.outputs != ('semantic',) or self.test_cfg.get('resize') == 'masks':
            if data_samples is None:
                size = tuple(inputs.shape[-2:])
                meta = dict(ori_shape=size, img_shape=size)
                data_samples = [SegDataSample(metainfo=meta) for _ in inputs]
            return self._predict_of_masks(inputs, data_samples)
        # mmseg takes a single channel for a binary problem.
        if data_samples is None or self.test_cfg.get('logits', True) or self.out_channels == 1:
            return super().predict(inputs, data_samples)
        head, metas = self.decode_head, [sample.metainfo for sample in data_samples]
        if self.test_cfg.mode == 'whole' and isinstance(head, SSPromptHead):
            scores, frame = head.label_scores(head(self.extract_feat(inputs))), find_frame(metas)
        else:
            scores = self.inference(inputs, metas)
            frame = (scores.shape[-2], scores.shape[-1])
        for image, sample in zip(scores, data_samples):
            channels = find_best_classes(image, frame, sample.metainfo, self.align_corners)
            self._set_labels(sample, channels)
        return data_samples

    def _predict_of_masks(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """As :meth:`predict`, one image after another, of masks that are resized themselves."""
        output: HeadOutput = self.decode_head(self.extract_feat(inputs))
        frame = find_frame([sample.metainfo for sample in data_samples])
        settings, things = self.test_cfg, self.decode_head.things
        as_seem = settings.get('resize') == 'masks'
        for number, sample in enumerate(data_samples):
            own = output.image(number)
            resize = partial(resize_masks, frame=frame, metainfo=sample.metainfo, bicubic=as_seem)
            if 'semantic' in self.outputs:
                self._set_semantic(sample, own, frame, resize if as_seem else None)
            quality = own.quality if settings.predicted_iou else None
            if 'panoptic' in self.outputs:
                panoptic_map = panoptic(
                    *(own.mask_logits, own.class_logits, things),
                    *(settings.object_mask_threshold, settings.overlap_threshold),
                    *(quality, resize),
                )
                info = dict(segments_info=panoptic_map.segments_info)
                data = PixelData(metainfo=info, data=panoptic_map.data)
                sample.set_data(dict(pred_panoptic_seg=data))
            if 'instances' in self.outputs:
                found = instances(
                    *(own.mask_logits, own.class_logits, things),
                    *(settings.max_per_image, quality, resize),
                )
                sample.set_data(dict(pred_instances=found))
        return data_samples

    def _set_semantic(
        self,
        sample: SegDataSample,
        output: HeadOutput,
        frame: Tuple[int, int],
        resize: Optional[Resize],
    ) -> None:
        """Give a sample its label map, and its scores, of one image's masks (N, h, w).

        Masks are resized before they are added up, or their sum is, without ``resize``.
        """
        head = self.decode_head
        if resize is None:
            whole = HeadOutput(output.mask_logits[None], output.class_logits[None])
            (scores,) = head.label_scores(whole)
            if not self.test_cfg.get('logits', True):
                channels = find_best_classes(scores, frame, sample.metainfo, self.align_corners)
                self._set_labels(sample, channels)
                return
            self.postprocess_result(enlarge(scores[None], frame), [sample])
            return
        scores = head.add_rest(semantic(output.mask_logits, output.class_logits, resize), dim=0)
        if self.test_cfg.get('logits', True):
            sample.set_data(dict(seg_logits=PixelData(data=scores)))
        self._set_labels(sample, scores.argmax(dim=0, keepdim=True))

    def slide_inference(self, inputs: Tensor, batch_img_metas: List[Dict[str, Any]]) -> Tensor:
        """Scores of images of any size, in windows: (B, 3, H, W) -> (B, K, H, W)."""
        frame = getattr(self.backbone, 'frame', None) or self.test_cfg.crop_size
        # mmseg's heads enlarge their scores to this size.
        size = torch.Size(frame)
        metas = [dict(meta, img_shape=size, pad_shape=size) for meta in batch_img_metas]
        return predict_windows(
            *(inputs, self.test_cfg.crop_size, self.test_cfg.stride, frame),
            lambda windows: self.encode_decode(windows, metas),
        )

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: OptSampleList = None
    ) -> SampleList:
        """As mmseg, with the numbers of label maps in place of those of channels."""
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

        Args:
            state_dict: Tensors by name.
            prefix: What the names of this model begin with. Defaults to ''.
        """
        frozen = tuple(f'{prefix}{name}' for name in _frozen_parts(self))
        kept = OrderedDict(
            (key, value) for key, value in state_dict.items() if not key.startswith(frozen)
        )
        metadata = get_module_metadata(state_dict).items()
        not_frozen = ((name, each) for name, each in metadata if not f'{name}.'.startswith(frozen))
        set_module_metadata(kept, OrderedDict(not_frozen))
        return kept


def _frozen_parts(model: nn.Module) -> Dict[str, FrozenModule]:
    """The frozen parts, by what the names of their tensors begin with."""
    modules = model.named_modules()
    frozen = ((name, part) for name, part in modules if isinstance(part, FrozenModule))
    return {f'{name}.': part for name, part in frozen if part.frozen}


def _add_metadata(
    model: PromptSegmentor, state_dict: Dict[str, Tensor], prefix: str, metadata: Dict[str, Any]
) -> None:
    """Let a state dict say what its prompts are, in what torch keeps of each module."""
    metadata[METADATA_KEY] = describe_prompts(model)


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
    replaced = {
        start: part
        for start, part in _frozen_parts(model).items()
        if any(key.startswith(start) for key in found)
    }
    problems, usable = _find_other_tensors(model, found, tuple(replaced))
    if described is None:
        print_log(
            f'{name} does not say what its prompts were trained with: that the base model, the '
            'class names, their order, the templates and the handcrafted points are those of the '
            'config was not checked',
            'current',
            logging.WARNING,
        )
        differences = []
    elif (malformed := find_metadata_problem(described)) is not None:
        differences = [f'metadata of the prompts, {malformed}']
    else:
        own = describe_prompts(model)
        differences = [
            *compare_metadata(described, own, [part.part for part in replaced.values()]),
            *compare_defaults(described, own, usable, dict(model.named_buffers())),
        ]
    if differences or problems:
        hidden = len(problems) - _MAX_PROBLEMS_SHOWN
        lines = [
            *differences,
            *(f'{prefix}{problem}' for problem in problems[:_MAX_PROBLEMS_SHOWN]),
            *([f'and {hidden} more'] if hidden > 0 else []),
        ]
        raise PromptStateError(
            f'{name} does not hold the prompts of the configured model (the base model, the '
            'classes, the number of prompts, their kind or the fusion mode differ):\n  '
            + '\n  '.join(lines)
            + '\nUse the config and the weights that the prompts were trained with (mmseg-ssprompt '
            'prompts inspect FILE names them), or take the prompts to other classes with '
            'mmseg-ssprompt prompts transfer'
        )
    for part in replaced.values():
        part.replace_weights()
    if described is not None:
        model.spatial_prompts_from = described.get('spatial_prompts', {}).get('taken_from')


def _find_other_tensors(
    model: PromptSegmentor, found: Mapping[str, Any], replaced: Tuple[str, ...]
) -> Tuple[List[str], Dict[str, Tensor]]:
    """Say which tensors are missing, too many, of another shape or kind, or not finite.

    Frozen parts are expected where one of their tensors was found (``replaced``).

    Returns:
        A line for each; and those tensors of ``found`` that fit the model's.
    """
    frozen = tuple(_frozen_parts(model))
    own = model.state_dict()
    expected = [key for key in own if key.startswith(replaced) or not key.startswith(frozen)]
    flaws = {key: _find_flaw(found[key], own[key]) for key in expected if key in found}
    problems = [
        *(f'{key}: {flaw}' for key, flaw in flaws.items() if flaw is not None),
        *(f'{key}: missing' for key in expected if key not in found),
        *(
            f'{key}: not part of this model'
            for key in found
            if key not in own and not key.startswith(frozen)
        ),
    ]
    return problems, {key: found[key] for key, flaw in flaws.items() if flaw is None}


def _find_flaw(value: Any, like: Tensor) -> Optional[str]:
    """Say why a value must not be copied into a tensor of the model; None if it may."""
    problem = find_tensor_problem(value, like)
    if problem is not None:
        return problem
    flawed = count_non_finite(value)
    return f'{flawed} of {value.numel()} numbers are NaN or infinite' if flawed else None


def _forgive_frozen_keys(model: nn.Module, incompatible_keys: Any) -> None:
    """Do not report frozen weights as missing: they were loaded when the model was built."""
    prefixes = tuple(_frozen_parts(model))
    # With a dot before, because the keys that are missing may have a prefix, which is not given.
    frozen = tuple(f'.{key}' for key in model.state_dict() if key.startswith(prefixes))
    missing: List[str] = incompatible_keys.missing_keys
    missing[:] = [key for key in missing if not f'.{key}'.endswith(frozen)]
