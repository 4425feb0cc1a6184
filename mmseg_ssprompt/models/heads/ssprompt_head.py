"""The decode head that runs SSPrompt: it wires the parts and trains nothing itself."""

from typing import List, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor

__all__ = ['HeadOutput', 'SSPromptHead']


class HeadOutput(NamedTuple):
    """Masks with labels.

    Attributes:
        mask_logits: (B, N, 4h, 4w) float32, under autocast too.
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
        prompt_encoder: Config of the frozen :class:`SAMPromptEncoder`.
        mask_decoder: Config of the frozen :class:`SAMMaskDecoder`.
        spatial_prompts: Config of a spatial prompt learner.
        semantic_prompts: Config of a semantic prompt learner.
        classifier: Config of a classifier; widths are filled in.
        loss_decode: Config of the loss; the number of classes is filled in.
        num_classes: ``C``, which must be the number of semantic prompts.
        ignore_index: Label of pixels that do not count. Defaults to 255.

    Raises:
        ValueError: If ``num_classes`` is not the number of semantic prompts.
    """

    def __init__(
        self,
        prompt_encoder: dict,
        mask_decoder: dict,
        spatial_prompts: dict,
        semantic_prompts: dict,
        classifier: dict,
        loss_decode: dict,
        num_classes: int,
        ignore_index: int = 255,
    ) -> None:
        encoder = MODELS.build(prompt_encoder)
        super().__init__(
            in_channels=encoder.embed_dim,
            channels=encoder.embed_dim,
            num_classes=num_classes,
            dropout_ratio=0,
            ignore_index=ignore_index,
            loss_decode=dict(loss_decode, num_classes=num_classes, ignore_index=ignore_index),
            init_cfg=None,
        )
        del self.conv_seg  # the base class's classifier; ours is the similarity to the prompts
        self.prompt_encoder = encoder
        self.mask_decoder = MODELS.build(mask_decoder)
        self.spatial_prompts = MODELS.build(
            spatial_prompts, default_args=dict(prompt_encoder=encoder)
        )
        self.semantic_prompts = MODELS.build(semantic_prompts)
        _check_num_classes(num_classes, self.semantic_prompts.class_names)
        widths = dict(token_dims=encoder.embed_dim, embed_dims=self.semantic_prompts.embed_dims)
        self.classifier = MODELS.build(classifier, default_args=widths)

    @property
    def class_names(self) -> Sequence[str]:
        """The C class names, in the order of the class logits."""
        return self.semantic_prompts.class_names

    def forward(self, inputs: Sequence[Tensor]) -> HeadOutput:
        """Decode masks and class logits.

        Args:
            inputs: The backbone's features, whose last is the image embedding (B, D, h, w); those
                before it are for the classifier.
        """
        decoded = self.mask_decoder(
            inputs[-1],
            self.prompt_encoder.image_pe(),
            self.spatial_prompts(self.prompt_encoder),
            self.prompt_encoder.dense_prompt(),
        )
        class_logits = self.classifier(decoded, self.semantic_prompts(), inputs[:-1])
        # Masks leave the decoder in the type of autocast; what follows is float32.
        return HeadOutput(decoded.mask_logits.float(), class_logits)

    def loss(
        self, inputs: Sequence[Tensor], batch_data_samples: SampleList, train_cfg: dict
    ) -> dict:
        """The losses of a batch: ``loss_cls``, ``loss_mask``, ``loss_dice``."""
        return self.loss_by_feat(self.forward(inputs), batch_data_samples)

    def loss_by_feat(self, seg_logits: HeadOutput, batch_data_samples: SampleList) -> dict:
        """Compare masks and labels with the label maps of the batch."""
        label_maps = self._stack_batch_gt(batch_data_samples).squeeze(1)  # (B, H, W)
        return self.loss_decode(seg_logits.class_logits, seg_logits.mask_logits, label_maps)

    def predict(
        self, inputs: Sequence[Tensor], batch_img_metas: List[dict], test_cfg: dict
    ) -> Tensor:
        """The semantic map of the padded input frame: (B, C, H, W), not negative."""
        return self.predict_by_feat(self.forward(inputs), batch_img_metas)

    def predict_by_feat(self, seg_logits: HeadOutput, batch_img_metas: List[dict]) -> Tensor:
        """:meth:`semantic_scores`, interpolated to the input frame: (B, C, H, W)."""
        return self.enlarge(self.semantic_scores(seg_logits))

    @staticmethod
    def semantic_scores(seg_logits: HeadOutput) -> Tensor:
        """``sum_n softmax(class)_n * sigmoid(mask)_n`` (MaskFormer), without "no object".

        The sum is taken at the masks' own resolution: (B, C, 4h, 4w), not negative.
        """
        with torch.autocast(seg_logits.mask_logits.device.type, enabled=False):
            class_scores = seg_logits.class_logits.float().softmax(dim=-1)[..., :-1]  # (B, N, C)
            masks = seg_logits.mask_logits.float().sigmoid()  # (B, N, 4h, 4w)
            return torch.einsum('bnc,bnhw->bchw', class_scores, masks)

    def enlarge(self, scores: Tensor) -> Tensor:
        """Interpolate (B, C, 4h, 4w) to the padded input frame, (B, C, H, W)."""
        frame = (self.prompt_encoder.image_size,) * 2
        return F.interpolate(scores, size=frame, mode='bilinear', align_corners=False)


def _check_num_classes(num_classes: int, class_names: Sequence[str]) -> None:
    if num_classes != len(class_names):
        raise ValueError(
            f'decode_head.num_classes is {num_classes}, but there are {len(class_names)} semantic '
            f'prompts: {list(class_names)}. Set num_classes to the number of class names.'
        )
