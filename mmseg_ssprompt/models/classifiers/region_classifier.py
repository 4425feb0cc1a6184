"""Labels for masks from CLIP's image encoder: what a mask shows, compared with class names."""

from typing import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ..sam.mask_decoder import DecoderOutput

__all__ = ['CLIPRegionClassifier', 'pool_regions']

#: Of OpenAI's models after training: the bound of arXiv 2103.00020, section 2.5.
CLIP_LOGIT_SCALE = 100.0
_CERTAIN = 1e-3  # how near to 0 and 1 an estimate of IoU is believed


@MODELS.register_module()
class CLIPRegionClassifier(BaseModule):
    """Class logits from CLIP's dense features under each mask (ours, not the paper's).

    ``logits = scale * cos(mean of the features under the mask, semantic prompts)``. CLIP's image
    encoder already lives in the text space, so nothing here trains, and handcrafted class names
    label the masks of a SAM that was never told any. Gradients reach the semantic prompts and,
    through the masks, the spatial prompts.

    A mask is "no object" with the probability that SAM gives to its being wrong, one minus its
    predicted IoU. Everything is computed in float32, under autocast too.

    Args:
        token_dims: Of the mask tokens, which are not looked at.
        embed_dims: ``E``, the width of the text space.
        logit_scale: Factor on cosines. Defaults to 100, as CLIP ends up with.

    Shape:
        Input: the decoder's output, semantic prompts (C, E) of unit length, and the features of
        the backbone beside SAM's, of which the first are CLIP's (B, E, h, w).
        Output: (B, N, C + 1), the last for "no object".
    """

    def __init__(
        self, token_dims: int, embed_dims: int, logit_scale: float = CLIP_LOGIT_SCALE
    ) -> None:
        super().__init__()
        self.embed_dims, self.logit_scale = embed_dims, logit_scale

    def forward(
        self, decoded: DecoderOutput, semantic_prompts: Tensor, features: Sequence[Tensor]
    ) -> Tensor:
        """Class logits of each mask: (B, N, C + 1).

        Raises:
            ValueError: If there are no features in the text space.
        """
        if len(features) == 0 or features[0].shape[1] != self.embed_dims:
            found = [tuple(each.shape) for each in features]
            raise ValueError(
                f'{type(self).__name__}: expected features of CLIP (B, {self.embed_dims}, h, w) '
                f'from the backbone beside the image embedding, found {found}. Use '
                "backbone=dict(type='SAMCLIPImageEncoder', sam=..., clip=...) with the image tower "
                'of the same CLIP as the text encoder'
            )
        with torch.autocast(semantic_prompts.device.type, enabled=False):
            masks = decoded.mask_logits.float().sigmoid()
            regions = F.normalize(pool_regions(features[0].float(), masks), dim=-1)
            logits = self.logit_scale * regions @ semantic_prompts.float().t()  # (B, N, C)
            iou = decoded.iou_predictions.float().clamp(_CERTAIN, 1 - _CERTAIN)
            no_object = logits.logsumexp(dim=-1) - iou.logit()
            return torch.cat([logits, no_object.unsqueeze(-1)], dim=-1)


def pool_regions(features: Tensor, masks: Tensor) -> Tensor:
    """The mean of features under each soft mask.

    Masks are averaged over each place of the features first, so a mask smaller than a place
    counts with its share of it.

    Args:
        features: (B, E, h, w).
        masks: (B, N, H, W), not negative, over the same frame.

    Returns:
        (B, N, E).
    """
    weights = F.adaptive_avg_pool2d(masks, features.shape[-2:]).flatten(2)  # (B, N, h w)
    total = weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return weights / total @ features.flatten(2).mT
