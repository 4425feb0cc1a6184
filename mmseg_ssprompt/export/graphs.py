"""The two graphs of an exported model: pictures to features, and features to label maps."""

import math
from typing import Any, Dict, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..models.base import ImageFeatures
from ..models.heads.ssprompt_head import HeadOutput, enlarge
from ..models.segmentors import PromptSegmentor

__all__ = ['DecoderGraph', 'EncoderGraph', 'output_names']

#: As in ``label_map`` and ``heads.outputs``: so many classes or masks are large at a time.
_AT_A_TIME = 8
#: What the decoder gives, by what ``test_cfg.outputs`` names.
_OUTPUTS: Dict[str, Tuple[str, ...]] = dict(
    semantic=('label_map', 'score'),
    panoptic=('winner', 'inside', 'labels', 'scores', 'kept', 'areas'),
    instances=('pair_labels', 'pair_prompts', 'pair_scores', 'masks', 'confidences'),
)


def output_names(outputs: Sequence[str]) -> List[str]:
    """The names of what the decoder gives, for ``test_cfg.outputs``."""
    return [name for each in outputs for name in _OUTPUTS[each]]


class EncoderGraph(nn.Module):
    """Resized pictures to features.

    Args:
        model: Its data preprocessor and its image encoder are used.

    Shape:
        - pixels: (B, H, W, 3) uint8, red first, the frame; below and to the right of the pictures
          it holds anything.
        - size: (2,) int64, height and width of the pictures in the frame.
        - Output: the tensors of :meth:`ImageFeatures.named`, in their order.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: PromptSegmentor) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        self.backbone = model.backbone
        self.register_buffer('mean', preprocessor.mean.clone())
        self.register_buffer('std', preprocessor.std.clone())
        self.pad_value = float(preprocessor.pad_val)
        # The preprocessor turns what is loaded with blue first; here red comes first.
        self.is_turned = not _turns_channels(preprocessor)

    def forward(self, pixels: Tensor, size: Tensor) -> Tuple[Tensor, ...]:
        """The tensors of :meth:`encode`."""
        return tuple(self.encode(pixels, size).values())

    def encode(self, pixels: Tensor, size: Tensor) -> Dict[str, Tensor]:
        """Normalise, pad and encode: features by their names."""
        if self.is_turned:
            pixels = pixels.flip(-1)
        images = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        rows = torch.arange(images.shape[2], device=pixels.device)[:, None] < size[0]
        columns = torch.arange(images.shape[3], device=pixels.device) < size[1]
        images = torch.where(rows & columns, images, self.pad_value)
        features: Dict[str, Tensor] = self.backbone(images).named()
        return features


def _turns_channels(preprocessor: Any) -> bool:
    """Whether a data preprocessor changes the order of channels.

    It is seen on a pixel, because the attribute has another name in each of mmseg and its fork.
    """
    pixel = torch.tensor([0.0, 100.0, 200.0]).view(3, 1, 1)
    (done,) = preprocessor(dict(inputs=[pixel], data_samples=[SegDataSample()]))['inputs']
    first = done[0, 0, 0] * preprocessor.std.flatten()[0] + preprocessor.mean.flatten()[0]
    return bool(first > 100)


class DecoderGraph(nn.Module):
    """Features to what ``test_cfg.outputs`` names, at the size of the pictures.

    Args:
        model: Its head and its ``test_cfg`` are used.
        names: Of the features, as the encoder gives them.
        strides: Pixels of the frame to one of the embedding, down and to the right.

    Shape:
        - features: as :class:`EncoderGraph` gives them.
        - size: (2,) int64, height and width of the pictures in the frame.
        - output_size: (2,) int64, (H', W'), those of the label maps.
        - Output: the tensors of :func:`output_names`. ``label_map`` is (B, H', W') uint8, or int32
          where numbers are larger, and ``score`` (B, H', W') float32 that of its class.

          ``winner`` (B, H', W') int32 is the prompt that gets a pixel and ``inside`` whether its
          mask is there; ``labels`` int64, ``scores`` float32, ``kept`` bool and ``areas`` int64, of
          the masks in pixels, are (B, N).

          ``pair_labels``, ``pair_prompts`` int64 and ``pair_scores`` are (B, P), the best pairs of
          a class and a prompt; ``masks`` is (B, N, H', W') bool and ``confidences`` (B, N).
    """

    numbers: Tensor

    def __init__(
        self, model: PromptSegmentor, names: Sequence[str], strides: Tuple[int, int]
    ) -> None:
        super().__init__()
        self.head = model.decode_head
        self.names, self.strides = tuple(names), strides
        self.outputs, self.settings = model.outputs, dict(model.test_cfg)
        ids = model.label_ids
        assert ids is not None  # the head has masks
        self.is_wide = ids.dtype().itemsize > 1
        self.register_buffer('numbers', torch.tensor(ids.channels))

    def forward(self, *inputs: Tensor) -> Tuple[Tensor, ...]:
        """Decode; inputs are the features, ``size`` and ``output_size``."""
        *features, size, output_size = inputs
        found = ImageFeatures.from_named(dict(zip(self.names, features)))
        output: HeadOutput = self.head(found)
        height, width = found.embedding.shape[-2:]
        frame = height * self.strides[0], width * self.strides[1]
        resize = _Resize(frame, _read_size(size, frame), _read_size(output_size))
        results: List[Tensor] = []
        for name in self.outputs:
            results += getattr(self, f'_{name}')(output, resize)
        return tuple(results)

    def _semantic(self, output: HeadOutput, resize: '_Resize') -> List[Tensor]:
        if self.settings.get('resize') == 'masks':
            score, channels = self._scores_of_masks(output, resize).max(dim=1)
        else:
            score, channels = _best_channels(self.head.label_scores(output), resize)
        labels = self.numbers[channels]
        return [labels.to(torch.int32 if self.is_wide else torch.uint8), score]

    def _scores_of_masks(self, output: HeadOutput, resize: '_Resize') -> Tensor:
        """Scores of classes (B, K, H', W'), of masks that are resized themselves."""
        class_scores = output.class_logits.softmax(dim=-1)[..., :-1]
        total: Any = 0
        for masks, own in zip(
            output.mask_logits.split(_AT_A_TIME, dim=1), class_scores.split(_AT_A_TIME, dim=1)
        ):
            total = total + torch.einsum('bnc,bnhw->bchw', own, resize(masks, True).sigmoid())
        scores: Tensor = self.head.add_rest(total, dim=1)
        return scores

    def _panoptic(self, output: HeadOutput, resize: '_Resize') -> List[Tensor]:
        as_seem = self.settings.get('resize') == 'masks'
        class_scores = output.class_logits.softmax(dim=-1)
        scores, labels = class_scores.max(dim=-1)
        if self.settings['predicted_iou'] and output.quality is not None:
            scores = scores * output.quality
        threshold = self.settings['object_mask_threshold']
        kept = (labels != class_scores.shape[-1] - 1) & (scores > threshold)
        # Prompts that are not kept lose everywhere.
        weights = torch.where(kept, scores, -1.0)
        areas, best = [], None
        chunks = zip(output.mask_logits.split(_AT_A_TIME, dim=1), weights.split(_AT_A_TIME, dim=1))
        for number, (logits, own) in enumerate(chunks):
            masks = resize(logits, as_seem).sigmoid()
            inside = masks >= 0.5
            areas.append(inside.sum(dim=(2, 3)))
            value, prompt = torch.where(
                own[..., None, None] < 0, -1.0, masks * own[..., None, None]
            ).max(dim=1)
            is_inside = inside.gather(1, prompt[:, None])[:, 0]
            # One number of both, because onnxruntime chooses between no booleans.
            code = 2 * (prompt + number * _AT_A_TIME).int() + is_inside.int()
            best = (value, code) if best is None else _take_better((value, code), best)
        assert best is not None
        winner = torch.div(best[1], 2, rounding_mode='floor')
        inside = best[1] > 2 * winner
        return [winner, inside, labels, scores, kept, torch.cat(areas, dim=1)]

    def _instances(self, output: HeadOutput, resize: '_Resize') -> List[Tensor]:
        as_seem = self.settings.get('resize') == 'masks'
        class_scores = output.class_logits.softmax(dim=-1)[..., :-1]
        count = class_scores.shape[-1]
        flat = class_scores.flatten(1)
        most = min(self.settings['max_per_image'], flat.shape[1])
        scores, pairs = flat.topk(most, dim=1)
        prompts = torch.div(pairs, count, rounding_mode='floor')
        if self.settings['predicted_iou'] and output.quality is not None:
            scores = scores * output.quality.gather(1, prompts)
        masks, confidences = [], []
        for chunk in output.mask_logits.split(_AT_A_TIME, dim=1):
            logits = resize(chunk, as_seem)
            inside = logits > 0
            total = torch.where(inside, logits.sigmoid(), 0.0).sum(dim=(2, 3))
            confidences.append(total / (inside.sum(dim=(2, 3)) + 1e-6))
            masks.append(inside)
        return [
            *(pairs % count, prompts, scores),
            *(torch.cat(masks, dim=1), torch.cat(confidences, dim=1)),
        ]


class _Resize:
    """Maps over the frame at the size of the pictures, as ``resize_masks`` makes them.

    Args:
        frame: (H, W).
        size: Of the pictures in the frame.
        output_size: Of the label maps.
    """

    def __init__(
        self, frame: Tuple[int, int], size: Tuple[int, int], output_size: Tuple[int, int]
    ) -> None:
        self.frame, self.size, self.output_size = frame, size, output_size

    def __call__(self, maps: Tensor, bicubic: bool = False) -> Tensor:
        """From (B, n, h, w) to (B, n, H', W')."""
        cropped = enlarge(maps, self.frame)[..., : self.size[0], : self.size[1]]
        return F.interpolate(
            *(cropped, self.output_size),
            mode='bicubic' if bicubic else 'bilinear',
            align_corners=False,
            antialias=bicubic,
        )


def _read_size(size: Tensor, limits: Sequence[Any] = ()) -> Tuple[int, int]:
    """Two numbers of a tensor, which are unknown where the graph is made."""
    sides: List[Any] = [side.item() for side in size.unbind()]
    for side in sides:
        torch._check(side >= 1)
    for side, limit in zip(sides, limits):
        torch._check(side <= limit)
    return sides[0], sides[1]


def _best_channels(scores: Tensor, resize: _Resize) -> Tuple[Tensor, Tensor]:
    """The highest score at each pixel and its channel: (B, K, h, w) to (B, H', W') twice.

    What ``find_best_classes`` computes, a few channels at a time.
    """
    best: Any = None
    offset = 0
    for chunk in scores.tensor_split(math.ceil(scores.shape[1] / _AT_A_TIME), dim=1):
        value, channel = resize(chunk).max(dim=1)
        channel = channel + offset
        offset += chunk.shape[1]
        best = (value, channel) if best is None else _take_better((value, channel), best)
    return best[0], best[1]


def _take_better(new: Tuple[Tensor, Tensor], old: Tuple[Tensor, Tensor]) -> Tuple[Tensor, Tensor]:
    """Values and what has them, where they are larger; of equal ones the first stays."""
    better = new[0] > old[0]
    return torch.where(better, new[0], old[0]), torch.where(better, new[1], old[1])
