"""What is tried as a part of recipes, and is not in the package."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_ssprompt.main_process import unwrap_model
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.heads.outputs import semantic
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput, SSPromptHead, enlarge
from mmseg_ssprompt.models.prompts import PromptFusion, SemanticPromptLearner

__all__ = ['LateStartHook', 'PixelClassifierHead', 'SeveralPromptsHead', 'SeveralPromptsLearner']


@MODELS.register_module()
class SeveralPromptsLearner(SemanticPromptLearner):
    """K semantic prompts for each class, which share its trust weight.

    They start apart by the fusion's noise alone.

    Args:
        prompts_per_class: ``K``.
        fusion, **learner: As for :class:`SemanticPromptLearner`.
    """

    def __init__(
        self, prompts_per_class: int, fusion: Optional[Dict[str, Any]] = None, **learner: Any
    ) -> None:
        super().__init__(fusion=fusion, **learner)
        self.prompts_per_class = prompts_per_class
        default = self.fusion.default.unsqueeze(1).repeat(1, prompts_per_class, 1)  # (C, K, E)
        self.fusion = PromptFusion(default, **(fusion or {}))

    def forward(self, weight: Optional[float] = None) -> Tensor:
        """The semantic prompts: (C * K, E), of unit length, those of a class in a row."""
        return F.normalize(self.fusion(weight=weight), dim=-1).view(-1, self.embed_dims)


@MODELS.register_module()
class SeveralPromptsHead(SSPromptHead):
    """A class scores as the best of its prompts."""

    def forward(self, inputs: ImageFeatures) -> HeadOutput:
        """Masks and class logits, as :class:`SSPromptHead` gives them."""
        out = super().forward(inputs)
        return out._replace(class_logits=self.pool(out.class_logits))

    def pool(self, logits: Tensor) -> Tensor:
        """The logit of a class from those of its prompts: (..., C * K + 1) -> (..., C + 1)."""
        count = self.semantic_prompts.prompts_per_class
        of_classes = logits[..., :-1].unflatten(-1, (-1, count))
        return torch.cat([of_classes.amax(dim=-1), logits[..., -1:]], dim=-1)


class PixelOutput(NamedTuple):
    """What :class:`HeadOutput` has, and what is said of each pixel without masks."""

    mask_logits: Tensor
    class_logits: Tensor
    quality: Optional[Tensor]
    pixel_logits: Tensor  # (B, C, h, w)
    trust: Tensor  # (), in them

    def image(self, number: int) -> 'PixelOutput':
        """Of one image of the batch, without the dimension of the batch."""
        of_image = HeadOutput(self.mask_logits, self.class_logits, self.quality).image(number)
        return PixelOutput(*of_image, self.pixel_logits[number], self.trust)


@MODELS.register_module()
class PixelClassifierHead(SSPromptHead):
    """Semantic prompts that label pixels too, beside the masks that they label.

    A learned linear map takes the image embedding to the text space, where the semantic prompts
    are compared with each place. A trust weight ``W`` mixes the probabilities: ``W * softmax of
    pixels + (1 - W) * normalised scores of masks``. The cross-entropy of the mixture joins the
    losses of masks, and so teaches masks and their labels, too. For semantic maps alone.

    Args:
        pixels: Whether pixels are labelled; with False the scores of masks are all of the mixture,
            and only the cross-entropy is new.
        pixel_loss_weight: Of the cross-entropy.
        **head: As for :class:`SSPromptHead`.
    """

    def __init__(self, pixels: bool = True, pixel_loss_weight: float = 30.0, **head: Any) -> None:
        super().__init__(**head)
        self.pixel_loss_weight = pixel_loss_weight
        width = self.semantic_prompts.embed_dims
        self.pixel_projection = nn.Conv2d(self.segmenter.token_dims, width, 1)
        self.pixel_scale = nn.Parameter(torch.tensor(10.0).log())
        self.pixel_trust = nn.Parameter(torch.tensor(0.5 if pixels else 0.0))
        if not pixels:
            added = (self.pixel_trust, self.pixel_scale, *self.pixel_projection.parameters())
            for parameter in added:
                parameter.requires_grad_(False)

    def forward(self, inputs: ImageFeatures) -> PixelOutput:
        """Masks and class logits as :class:`SSPromptHead` gives them, and logits of pixels."""
        out = super().forward(inputs)
        places = F.normalize(self.pixel_projection(inputs.embedding.float()), dim=1)
        prompts = self.semantic_prompts()
        logits = self.pixel_scale.exp() * torch.einsum('behw,ce->bchw', places, prompts)
        return PixelOutput(*out, logits, self.pixel_trust)

    @staticmethod
    def semantic_scores(seg_logits: PixelOutput) -> Tensor:
        """The mixture, at the masks' own resolution: (..., C, h', w'), in [0, 1]."""
        of_masks = semantic(seg_logits.mask_logits, seg_logits.class_logits)
        of_masks = of_masks / of_masks.sum(dim=-3, keepdim=True).clamp(min=1e-6)
        logits = seg_logits.pixel_logits
        batch = enlarge(logits if logits.dim() == 4 else logits[None], of_masks.shape[-2:])
        of_pixels = batch.view_as(of_masks).softmax(dim=-3)
        trust = seg_logits.trust.clamp(0, 1)
        return trust * of_pixels + (1 - trust) * of_masks

    def loss_by_feat(
        self, seg_logits: PixelOutput, batch_data_samples: SampleList
    ) -> Dict[str, Tensor]:
        """The losses of masks, and ``loss_pixel``."""
        losses = super().loss_by_feat(seg_logits, batch_data_samples)
        labels = self.label_ids.to_channels(self._stack_batch_gt(batch_data_samples)).squeeze(1)
        scores = enlarge(self.semantic_scores(seg_logits).clamp(min=1e-6).log(), labels.shape[-2:])
        loss = F.cross_entropy(scores, labels.long(), ignore_index=self.ignore_index)
        losses['loss_pixel'] = self.pixel_loss_weight * loss
        return losses


@HOOKS.register_module()
class LateStartHook(Hook):
    """A schedule of two stages: some parts of the head wait before they train.

    Learning rates follow the one schedule of the training; a part that waits has no gradient, and
    the optimiser leaves it out. A training that is resumed goes on in the stage where it was. For
    one process: in several, DDP expects the same parameters in each step.

    Args:
        parts: Modules of the decode head, such as ``['spatial_prompts']``.
        begin: The iteration from which they train, counted from 0.

    Raises:
        ValueError: If no parts are named, or ``begin`` is not a positive integer; and before
            training if the head has no such part, or nothing in it trains.
    """

    def __init__(self, parts: Sequence[str], begin: int) -> None:
        if isinstance(parts, str) or not parts:
            raise ValueError(
                f"LateStartHook: expected parts such as ['spatial_prompts'], got {parts!r}"
            )
        if type(begin) is not int or begin < 1:
            raise ValueError(f'LateStartHook: begin must be a positive integer, got {begin!r}')
        self.parts, self.begin = tuple(parts), begin
        self._waiting: List[nn.Parameter] = []

    def before_train(self, runner: Runner) -> None:
        """Find what waits."""
        head = unwrap_model(runner.model).decode_head
        self._waiting = []
        for name in self.parts:
            part = getattr(head, name, None)
            found = [p for p in part.parameters() if p.requires_grad] if part is not None else []
            if not found:
                trains = [key for key, child in head.named_children() if _trains(child)]
                raise ValueError(
                    f'LateStartHook: expected parts that train, some of {trains}, found {name!r}'
                )
            self._waiting += found

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Let the parts wait, or train."""
        for parameter in self._waiting:
            parameter.requires_grad_(runner.iter >= self.begin)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        for parameter in self._waiting:
            parameter.requires_grad_(True)


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
