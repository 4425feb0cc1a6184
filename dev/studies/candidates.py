"""What was tried as a part of recipes, and is not in the package, as no study supports it."""

from typing import Any, Dict, List, Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_ssprompt.main_process import unwrap_model
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput, SSPromptHead
from mmseg_ssprompt.models.prompts import PromptFusion, SemanticPromptLearner

__all__ = ['LateStartHook', 'SeveralPromptsHead', 'SeveralPromptsLearner']


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
