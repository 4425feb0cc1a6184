"""Test-time augmentation of a segmentor that otherwise predicts labels only."""

from typing import Any, List

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.utils import SampleList

from ..heads import SSPromptHead

__all__ = ['PromptTTAModel']


@MODELS.register_module()
class PromptTTAModel(SegTTAModel):
    """mmseg's ``SegTTAModel``, which averages ``seg_logits`` and so has to ask for them.

    Raises:
        ValueError: If other outputs than the semantic map are asked for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        outputs = getattr(self.module, 'outputs', ('semantic',))
        if outputs != ('semantic',):
            raise ValueError(
                f"model.test_cfg.outputs is {outputs}: expected ('semantic',) with test-time "
                'augmentation. A prompt finds other objects in each view of an image, so '
                'that their masks cannot be averaged. Test without --tta, or set '
                "model.test_cfg.outputs=('semantic',)"
            )
        self.module.test_cfg['logits'] = True

    def merge_preds(self, data_samples_list: List[SampleList]) -> SampleList:
        """As mmseg, with the numbers of label maps: a sample of each image from all its views."""
        label_ids = self.module.label_ids
        if label_ids is None or label_ids.rest_id is None:
            return super().merge_preds(data_samples_list)
        for views in data_samples_list:
            scores = torch.stack([view.seg_logits.data for view in views])  # (V, 2, H, W)
            # The two scores of one class add up to one as they are: a softmax of them, which mmseg
            # takes of all, would let views that are sure count less.
            if not isinstance(self.module.decode_head, SSPromptHead):
                scores = scores.softmax(dim=1)
            labels = label_ids.from_channels(scores.mean(dim=0).argmax(dim=0, keepdim=True))
            views[0].set_data(dict(pred_sem_seg=PixelData(data=labels)))
        return [views[0] for views in data_samples_list]
