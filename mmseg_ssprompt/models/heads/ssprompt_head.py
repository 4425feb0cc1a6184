"""The decode head that runs SSPrompt: it wires the parts and trains nothing itself."""

import inspect
import logging
from typing import (
    Any,
    Collection,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from ...label_ids import LabelIds
from ...segments import IGNORED
from ..base import ImageFeatures, PromptableSegmenter
from ..losses.matching import UnknownSegmentsError
from ..prompts import DecoderBridges, DeepPrompts
from .compiled import CompiledForward
from .outputs import semantic
from .settings import find_class_names, find_label_ids, find_things
from .targets import count_targets, stack_segments

__all__ = ['HeadOutput', 'SSPromptHead', 'enlarge', 'find_frame']


class HeadOutput(NamedTuple):
    """Masks with labels, float32, under autocast too."""

    mask_logits: Tensor  # (B, N, h', w')
    class_logits: Tensor  # (B, N, C + 1), the last for "no object"
    quality: Optional[Tensor] = None  # (B, N), the base model's own estimate of each mask's IoU

    def image(self, number: int) -> 'HeadOutput':
        """Of one image of the batch, without the dimension of the batch."""
        quality = None if self.quality is None else self.quality[number]
        return HeadOutput(self.mask_logits[number], self.class_logits[number], quality)


@MODELS.register_module()
class SSPromptHead(BaseDecodeHead):
    """SSPrompt as a decode head of mmseg (arXiv 2401.04651).

    ``(m, c) = F_dec(image embedding | spatial prompts, semantic prompts)``: the frozen mask
    decoder makes a mask and a mask token of each spatial prompt, and the classifier compares each
    of them with the semantic prompts.

    Args:
        segmenter: Config of the frozen base model, such as :class:`SAMSegmenter`.
        spatial_prompts: Config of a spatial prompt learner.
        semantic_prompts: Config of a semantic prompt learner.
        classifier: Config of a classifier; widths are filled in.
        loss_decode: Config of the loss; the number of classes is filled in.
        num_classes: ``C``. Defaults to None: the number of class names.
        ignore_index: Number of pixels that do not count. Defaults to None: 255, or 65535 where
            255 counts (:func:`resolve_label_ids`).
        rest_id: With one class, the number of all pixels that do not show it: 0, and the class has
            the number 1; or 255, and the class has the number 0. Defaults to None.
        thing_classes: Names of the classes of which objects are told apart, which the outputs
            ``'instances'`` and ``'panoptic'`` need. Defaults to None: those of the data set whose
            class names the semantic prompts have, if they are known.
        decoder_bridges: Arguments of :class:`DecoderBridges` in the mask decoder, such as
            ``dict(rank=4)``; ``masks=True`` among them lets mask embeddings have some, too.
            Defaults to None: there are none.
        deep_prompts: Arguments of :class:`DeepPrompts`, such as ``dict()``; for joint decoding,
            with one mask for each prompt. Defaults to None: there are none.
        compile: Whether the forward and backward pass of training are compiled
            (:class:`CompiledForward`): True, on GPUs alone, or the arguments of ``torch.compile``.
            Defaults to False.

    Attributes:
        label_ids: Which numbers label maps and predictions hold.
        things: The numbers of ``thing_classes`` among the class logits; None without them.
        class_names: The C class names, in the order of the class logits.

    Raises:
        ValueError: If ``num_classes`` is not the number of class names, the numbers of label maps
            contradict each other, the loss does not compare masks with labels, or a thing class is
            none of the classes; or as :class:`DecoderBridges`, or if decoded images are kept
            (``segmenter.remember_bytes``) beside bridges, which change what is decoded; or as
            :class:`DeepPrompts`, or if prompts are not decoded jointly beside them; or as
            :class:`CompiledForward`.
    """

    _warned = False  # of too few prompts

    def __init__(
        self,
        segmenter: Dict[str, Any],
        spatial_prompts: Dict[str, Any],
        semantic_prompts: Dict[str, Any],
        classifier: Dict[str, Any],
        loss_decode: Dict[str, Any],
        num_classes: Optional[int] = None,
        ignore_index: Optional[int] = None,
        rest_id: Optional[int] = None,
        thing_classes: Optional[Sequence[str]] = None,
        decoder_bridges: Optional[Dict[str, Any]] = None,
        deep_prompts: Optional[Dict[str, Any]] = None,
        compile: Union[bool, Dict[str, Any]] = False,
    ) -> None:
        compiled = None if compile is False else CompiledForward(_decode, compile)
        names = find_class_names(semantic_prompts)
        label_ids = find_label_ids(num_classes, names, ignore_index, rest_id)
        base_model = MODELS.build(segmenter)
        super().__init__(
            in_channels=base_model.token_dims,
            channels=base_model.token_dims,
            # Given, because mmseg otherwise advises one output for two classes.
            num_classes=len(label_ids.channels),
            out_channels=len(label_ids.channels),
            dropout_ratio=0,
            ignore_index=label_ids.ignore_index,
            loss_decode=_complete_loss(loss_decode, label_ids),
            init_cfg=None,
        )
        self._compiled = compiled
        self.label_ids = label_ids
        self.num_classes = label_ids.num_classes
        del self.conv_seg  # the base class's classifier; ours is the similarity to the prompts
        self.segmenter = base_model
        given = dict(segmenter=base_model)
        self.spatial_prompts = MODELS.build(spatial_prompts, default_args=given)
        self.semantic_prompts = MODELS.build(semantic_prompts)
        self.class_names: Sequence[str] = self.semantic_prompts.class_names
        find_label_ids(num_classes, self.class_names, ignore_index, rest_id)  # if names was None
        self.things = find_things(thing_classes, self.class_names, semantic_prompts)
        widths = dict(token_dims=base_model.token_dims, embed_dims=self.semantic_prompts.embed_dims)
        if 'no_object' in _parameters(classifier):
            widths['no_object'] = base_model.no_object()
        self.classifier = MODELS.build(classifier, default_args=widths)
        if decoder_bridges is not None:
            self.decoder_bridges = _build_bridges(base_model, decoder_bridges)
        if deep_prompts is not None:
            self.deep_prompts = _build_deep_prompts(
                base_model, self.spatial_prompts.num_prompts, deep_prompts
            )

    def forward(self, inputs: ImageFeatures) -> HeadOutput:
        """Decode masks and class logits of B images."""
        run = _decode if self._compiled is None else self._compiled
        output: HeadOutput = run(self, inputs)
        return output

    def loss_by_feat(
        self, seg_logits: HeadOutput, batch_data_samples: SampleList
    ) -> Dict[str, Tensor]:
        """The losses of a batch: ``loss_cls``, ``loss_mask``, ``loss_dice``."""
        self._warn_of_too_few_prompts(seg_logits.mask_logits.shape[1], batch_data_samples)
        segments = stack_segments(batch_data_samples, self.label_ids)
        try:
            losses: Dict[str, Tensor] = self.loss_decode(
                seg_logits.class_logits, seg_logits.mask_logits, segments
            )
        except UnknownSegmentsError as error:
            expected = self.label_ids.describe()
            if any('gt_segments' in sample for sample in batch_data_samples):
                expected += f', or indices of segments_info and {IGNORED} (ignored) in gt_segments'
            raise ValueError(
                f'the label maps of a batch hold {error.numbers}: expected {expected}'
            ) from error
        return losses

    def _warn_of_too_few_prompts(self, prompts: int, samples: SampleList) -> None:
        """Say once that an image has more objects than there are prompts."""
        counts = [] if self._warned else [count_targets(sample) for sample in samples]
        if max(counts, default=0) <= prompts:
            return
        self._warned = True
        sample = samples[counts.index(max(counts))]
        print_log(
            f'image {str(sample.metainfo.get("img_path"))!r} has {max(counts)} segments (objects '
            f'and regions of stuff), but there are {prompts} prompts: those that suit the prompts '
            'least are left out of the loss, and no prediction has more than one segment for each '
            'prompt. More prompts are a matter of decode_head.spatial_prompts. This is said once',
            'current',
            logging.WARNING,
        )

    def predict_by_feat(
        self, seg_logits: HeadOutput, batch_img_metas: List[Dict[str, Any]]
    ) -> Tensor:
        """:meth:`label_scores`, interpolated to the padded input frame: (B, K, H, W)."""
        return enlarge(self.label_scores(seg_logits), find_frame(batch_img_metas))

    def label_scores(self, seg_logits: HeadOutput) -> Tensor:
        """What labels are told by, the highest score: a channel for each of ``label_ids.channels``.

        (B, K, h', w'), of :meth:`semantic_scores`. With one class, of score ``s``, the rest has
        ``1 - s``, so that the class is where its score is above one half.
        """
        return self.add_rest(self.semantic_scores(seg_logits), dim=1)

    def add_rest(self, scores: Tensor, dim: int) -> Tensor:
        """Add the score of the rest to those of classes, which lie along ``dim``."""
        return scores if self.label_ids.rest_id is None else torch.cat([1 - scores, scores], dim)

    @staticmethod
    def semantic_scores(seg_logits: HeadOutput) -> Tensor:
        """:func:`semantic` at the masks' own resolution: (B, C, h', w')."""
        return semantic(seg_logits.mask_logits, seg_logits.class_logits)


def _decode(head: SSPromptHead, inputs: ImageFeatures) -> HeadOutput:
    """The forward pass."""
    decoded = head.segmenter.decode(inputs, head.spatial_prompts(head.segmenter, inputs))
    class_logits = head.classifier(decoded, head.semantic_prompts(), inputs)
    # Masks leave the decoder in the type of autocast; what follows is float32.
    return HeadOutput(decoded.mask_logits.float(), class_logits, decoded.quality)


def find_frame(batch_img_metas: Sequence[Mapping[str, Any]]) -> Tuple[int, int]:
    """The padded input frame (H, W) of a batch, which all of its images share."""
    meta = batch_img_metas[0]
    height, width = tuple(meta.get('pad_shape', meta['img_shape']))[:2]
    return int(height), int(width)


def enlarge(scores: Tensor, frame: Tuple[int, int]) -> Tensor:
    """Interpolate (B, C, h', w') to the padded input frame, (B, C, H, W)."""
    return F.interpolate(scores, size=frame, mode='bilinear', align_corners=False)


def _build_bridges(segmenter: PromptableSegmenter, config: Dict[str, Any]) -> DecoderBridges:
    remembered = getattr(segmenter, 'remember_bytes', 0)
    if remembered:
        raise ValueError(
            'decode_head.decoder_bridges change what the decoder makes of the same prompts: '
            f'expected segmenter.remember_bytes=0 beside them, found {remembered}'
        )
    decoder = getattr(segmenter, 'mask_decoder', nn.Module())
    settings = dict(config)
    if settings.pop('masks', False):
        if not hasattr(segmenter, 'mask_heads'):
            raise ValueError(
                'decode_head.decoder_bridges: masks=True expects a segmenter with mask_heads, such '
                f'as SAMSegmenter, found {type(segmenter).__name__}'
            )
        settings['mask_heads'] = segmenter.mask_heads()
    return DecoderBridges(decoder, **settings)


def _build_deep_prompts(
    segmenter: PromptableSegmenter, num_prompts: int, config: Dict[str, Any]
) -> DeepPrompts:
    for name, expected in (('remember_bytes', 0), ('decoding', 'joint')):
        decoder = getattr(segmenter, 'mask_decoder', segmenter)
        found = getattr(segmenter, name, getattr(decoder, name, expected))
        if found != expected:
            raise ValueError(
                f'decode_head.deep_prompts: expected segmenter.{name}={expected!r} beside them, '
                f'found {found!r}'
            )
    if not hasattr(segmenter, 'layer_ends'):
        raise ValueError(
            f'decode_head.deep_prompts: expected a segmenter with layer_ends, such as '
            f'SAMSegmenter, found {type(segmenter).__name__}'
        )
    return DeepPrompts(segmenter.layer_ends(), num_prompts, **config)


def _parameters(config: Mapping[str, Any]) -> Collection[str]:
    """The names of what the class of a config takes; empty if it is not registered."""
    kind = config.get('type')
    cls = MODELS.get(kind) if isinstance(kind, str) else kind
    return () if cls is None else inspect.signature(cls).parameters


def _complete_loss(config: Any, label_ids: LabelIds) -> Dict[str, Any]:
    """The config of the loss with the number of classes."""
    if not isinstance(config, Mapping) or 'num_classes' not in _parameters(config):
        raise ValueError(
            'decode_head.loss_decode: expected one loss of masks with labels, such as dict(type='
            "'MaskClassificationLoss', ...), which has a weight for each of its terms and "
            f"class_weight, found {config!r}. LinearEmbeddingHead takes mmseg's losses"
        )
    return dict(config, num_classes=label_ids.num_classes)
