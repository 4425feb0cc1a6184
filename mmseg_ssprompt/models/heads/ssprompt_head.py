"""The decode head that runs SSPrompt: it wires the parts and trains nothing itself."""

import inspect
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from ...label_ids import LabelIds
from ..base import ImageFeatures, PromptableSegmenter
from ..losses.class_weight import check_class_weight
from .settings import check_num_classes, find_class_names, find_label_ids, refuse_settings

__all__ = ['HeadOutput', 'SSPromptHead', 'enlarge', 'find_frame']

_SETTINGS = (
    'segmenter',
    'spatial_prompts',
    'semantic_prompts',
    'classifier',
    'loss_decode',
    'num_classes',
    'ignore_index',
    'rest_id',
)


class HeadOutput(NamedTuple):
    """Masks with labels.

    Attributes:
        mask_logits: (B, N, h', w') float32, under autocast too.
        class_logits: (B, N, C + 1) float32, under autocast too; the last for "no object".
    """

    mask_logits: Tensor
    class_logits: Tensor


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
        loss_decode: Config of the loss; what label maps hold is filled in.
        num_classes: ``C``. Defaults to None: the number of class names.
        ignore_index: Number of pixels that do not count. Defaults to None: 255, or 65535 where
            255 counts (:func:`resolve_label_ids`).
        rest_id: With one class, the number of all pixels that do not show it: 0, and the class has
            the number 1; or 255, and the class has the number 0. Defaults to None.
        **others: Settings of other heads, which are refused.

    Attributes:
        label_ids: Which numbers label maps and predictions hold.

    Raises:
        ValueError: If ``num_classes`` is not the number of class names, the numbers of label maps
            contradict each other, or a setting is unknown.
    """

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
        **others: Any,
    ) -> None:
        refuse_settings('decode_head (SSPromptHead)', others, _SETTINGS)
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
            loss_decode=_complete_loss(loss_decode, label_ids, names),
            init_cfg=None,
        )
        self.label_ids = label_ids
        self.num_classes = label_ids.num_classes
        del self.conv_seg  # the base class's classifier; ours is the similarity to the prompts
        self.segmenter = base_model
        self.spatial_prompts = MODELS.build(
            spatial_prompts, default_args=dict(segmenter=base_model)
        )
        self.semantic_prompts = MODELS.build(semantic_prompts)
        check_num_classes(self.num_classes, self.semantic_prompts.class_names)
        self.classifier = _build_classifier(
            classifier, base_model, self.semantic_prompts.embed_dims
        )

    @property
    def class_names(self) -> Sequence[str]:
        """The C class names, in the order of the class logits."""
        names: Sequence[str] = self.semantic_prompts.class_names
        return names

    def forward(self, inputs: ImageFeatures) -> HeadOutput:
        """Decode masks and class logits.

        Args:
            inputs: The backbone's features of B images.
        """
        decoded = self.segmenter.decode(inputs, self.spatial_prompts(self.segmenter, inputs))
        class_logits = self.classifier(decoded, self.semantic_prompts(), inputs)
        # Masks leave the decoder in the type of autocast; what follows is float32.
        return HeadOutput(decoded.mask_logits.float(), class_logits)

    def loss(
        self, inputs: ImageFeatures, batch_data_samples: SampleList, train_cfg: Any
    ) -> Dict[str, Tensor]:
        """The losses of a batch: ``loss_cls``, ``loss_mask``, ``loss_dice``."""
        return self.loss_by_feat(self.forward(inputs), batch_data_samples)

    def loss_by_feat(
        self, seg_logits: HeadOutput, batch_data_samples: SampleList
    ) -> Dict[str, Tensor]:
        """Compare masks and labels with the label maps of the batch."""
        label_maps = self._stack_batch_gt(batch_data_samples).squeeze(1)  # (B, H, W)
        losses: Dict[str, Tensor] = self.loss_decode(
            seg_logits.class_logits, seg_logits.mask_logits, label_maps
        )
        return losses

    def predict(
        self, inputs: ImageFeatures, batch_img_metas: List[Dict[str, Any]], test_cfg: Any
    ) -> Tensor:
        """The semantic map of the padded input frame, see :meth:`label_scores`: (B, K, H, W)."""
        return self.predict_by_feat(self.forward(inputs), batch_img_metas)

    def predict_by_feat(
        self, seg_logits: HeadOutput, batch_img_metas: List[Dict[str, Any]]
    ) -> Tensor:
        """:meth:`label_scores`, interpolated to the input frame: (B, K, H, W)."""
        return enlarge(self.label_scores(seg_logits), find_frame(batch_img_metas))

    def label_scores(self, seg_logits: HeadOutput) -> Tensor:
        """What labels are told by: the highest score wins.

        Returns:
            (B, K, h', w'), a channel for each of ``label_ids.channels``: :meth:`semantic_scores`,
            where K is C; with one class, of score ``s``, the rest has ``1 - s`` and the class
            ``s``, so that the class is where its score is above one half.
        """
        scores = self.semantic_scores(seg_logits)
        return scores if self.label_ids.rest_id is None else torch.cat([1 - scores, scores], dim=1)

    @staticmethod
    def semantic_scores(seg_logits: HeadOutput) -> Tensor:
        """``sum_n softmax(class)_n * sigmoid(mask)_n`` (MaskFormer), without "no object".

        The sum is taken at the masks' own resolution: (B, C, h', w'), not negative.
        """
        with torch.autocast(seg_logits.mask_logits.device.type, enabled=False):
            class_scores = seg_logits.class_logits.float().softmax(dim=-1)[..., :-1]  # (B, N, C)
            masks = seg_logits.mask_logits.float().sigmoid()  # (B, N, h', w')
            return torch.einsum('bnc,bnhw->bchw', class_scores, masks)


def find_frame(batch_img_metas: Sequence[Mapping[str, Any]]) -> Tuple[int, int]:
    """The padded input frame (H, W) of a batch, which all of its images share."""
    meta = batch_img_metas[0]
    height, width = tuple(meta.get('pad_shape', meta['img_shape']))[:2]
    return int(height), int(width)


def enlarge(scores: Tensor, frame: Tuple[int, int]) -> Tensor:
    """Interpolate (B, C, h', w') to the padded input frame, (B, C, H, W)."""
    return F.interpolate(scores, size=frame, mode='bilinear', align_corners=False)


def _build_classifier(
    config: Mapping[str, Any], segmenter: PromptableSegmenter, embed_dims: int
) -> nn.Module:
    """Build a classifier, with the widths and, where it takes it, the row of "no object"."""
    given: Dict[str, Any] = dict(token_dims=segmenter.token_dims, embed_dims=embed_dims)
    kind = config['type']
    cls = MODELS.get(kind) if isinstance(kind, str) else kind
    if cls is not None and 'no_object' in inspect.signature(cls).parameters:
        given['no_object'] = segmenter.no_object()
    classifier: nn.Module = MODELS.build(config, default_args=given)
    return classifier


def _check_kind_of_loss(config: Mapping[str, Any]) -> None:
    """Refuse losses of one score for each pixel."""
    kind = config.get('type')
    loss = MODELS.get(kind) if isinstance(kind, str) else kind
    if loss is None or 'num_classes' in inspect.signature(loss).parameters:
        return
    raise ValueError(
        f'decode_head.loss_decode: expected a loss of masks with labels, found {kind!r}, which '
        'compares one score for each class and pixel. Leave it out, or set dict(type='
        "'MaskClassificationLoss', ...), which has class_weight too; LinearEmbeddingHead takes "
        "mmseg's losses"
    )


def _complete_loss(
    config: Any, label_ids: LabelIds, class_names: Optional[Sequence[str]]
) -> Mapping[str, Any]:
    """The config of the loss with what label maps hold."""
    if not isinstance(config, Mapping):
        raise ValueError(
            "decode_head.loss_decode: expected one loss, dict(type='MaskClassificationLoss', "
            f'...), which has a weight for each of its terms, found {config!r}'
        )
    _check_kind_of_loss(config)
    check_class_weight(
        *(config.get('class_weight'), label_ids.num_classes, class_names),
        with_no_object=label_ids.rest_id is None,
    )
    rest = {} if label_ids.rest_id is None else dict(rest_id=label_ids.rest_id)
    return dict(
        config, num_classes=label_ids.num_classes, ignore_index=label_ids.ignore_index, **rest
    )
