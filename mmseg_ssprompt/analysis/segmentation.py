"""One image through the model, with the candidate masks that its prediction is made of."""

from typing import Any, Dict, Iterator, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from ..models.heads.ssprompt_head import find_frame

__all__ = ['ImageSegmentation', 'segment_image']

_CHUNK = 16  # masks brought to the image's own size at a time


class ImageSegmentation(NamedTuple):
    """Candidate masks with labels, and the prediction made of them.

    N here counts masks: those of prompt ``n`` are ``n * k`` to ``n * k + k - 1``, with ``k`` the
    decoder's masks per prompt (1, or 3 with ``mask_output='all'``).

    Attributes:
        masks: (N, mh, mw) float, probabilities in the padded input frame.
        class_scores: (N, C + 1) float, softmax over classes, the last for "no object".
        prediction: (H, W) int64, mmseg's prediction at the image's own size.
        frame: Height and width of the padded input frame, in pixels.
        image_shape: Height and width of the image in that frame, without padding; it begins at
            the upper left corner.
    """

    masks: Tensor
    class_scores: Tensor
    prediction: Tensor
    frame: Tuple[int, int]
    image_shape: Tuple[int, int]

    @property
    def inside(self) -> Tensor:
        """(mh, mw) bool: which places of the masks have their centre in the image."""
        sides = [
            (torch.arange(count, device=self.masks.device) + 0.5) * side / count < end
            for count, side, end in zip(self.masks.shape[-2:], self.frame, self.image_shape)
        ]
        return sides[0][:, None] & sides[1][None]

    def masks_at_image_size(self) -> Iterator[Tensor]:
        """The masks as mmseg brings predictions to the image's size, a few at a time.

        Yields:
            (n, H, W) float, probabilities.
        """
        height, width = self.image_shape
        for chunk in self.masks.split(_CHUNK):
            frame = _resize(chunk, self.frame)
            yield _resize(frame[:, :height, :width], tuple(self.prediction.shape))


def _resize(masks: Tensor, size: Tuple[int, ...]) -> Tensor:
    return F.interpolate(masks[None], size=size, mode='bilinear', align_corners=False)[0]


@torch.no_grad()
def segment_image(model: BaseSegmentor, data: Dict[str, Any]) -> ImageSegmentation:
    """Segment one image, as ``model.test_step`` does.

    Args:
        model: A segmentor with an ``SSPromptHead``, in eval mode.
        data: A sample of a data set's test pipeline.

    Raises:
        ValueError: If the pipeline flips the image: its masks would not lie on the image.
    """
    batch = model.data_preprocessor(pseudo_collate([data]), False)
    (sample,) = batch['data_samples']
    if sample.metainfo.get('flip'):
        raise ValueError('the pipeline flips images: analyse the test or validation split')
    output = model.decode_head(model.extract_feat(batch['inputs']))
    scores = model.decode_head.predict_by_feat(output, [sample.metainfo])
    model.postprocess_result(scores, [sample])
    return ImageSegmentation(
        masks=output.mask_logits[0].float().sigmoid(),
        class_scores=output.class_logits[0].float().softmax(dim=-1),
        prediction=sample.pred_sem_seg.data[0],
        frame=find_frame([sample.metainfo]),
        image_shape=tuple(sample.metainfo['img_shape'][:2]),
    )
