"""Test-time augmentation of a segmentor that otherwise predicts labels only."""

from typing import Any

from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS

__all__ = ['PromptTTAModel']


@MODELS.register_module()
class PromptTTAModel(SegTTAModel):
    """mmseg's ``SegTTAModel``, which averages ``seg_logits`` and so has to ask for them.

    Args:
        *args: See ``BaseTTAModel``.
        **kwargs: See ``BaseTTAModel``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.module.test_cfg['logits'] = True
