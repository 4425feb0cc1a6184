"""What takes the place of the image encoder when samples are embedded already."""

from typing import Any, Dict, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...weights.state_dicts import resolve_checkpoint_path
from ..clip.activation import check_activation
from ..clip.clip_variants import get_image_variant
from ..sam.sam_variants import get_variant
from .frozen import FrozenModule

__all__ = [
    'EmbeddingPreProcessor',
    'PrecomputedCLIPTokens',
    'PrecomputedEmbedding',
    'PrecomputedFeatures',
    'check_encoder',
]


#: Where an embedded sample says, in its metainfo, what weights it was made with: a SHA-256, or one
#: of each encoder of a pair.
ENCODER_KEY = 'encoder_weights'


@MODELS.register_module()
class EmbeddingPreProcessor(BaseDataPreprocessor):
    """Stacks the embeddings of a batch, in float32; they were normalised and padded as images.

    Label maps of training data are padded as their images were.

    Args:
        non_blocking: As for ``BaseDataPreprocessor``. Defaults to False.

    Attributes:
        seg_pad_val: The number of padding in label maps. ``PromptSegmentor`` sets it to the one
            that is ignored.
    """

    seg_pad_val = 255

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """Make a batch of what the data loader gives.

        Args:
            data: ``inputs``, a list of B embeddings (D, h, w), or a pair of lists, of embeddings
                and of CLIP's tokens (1 + h' w', width); and ``data_samples``.
            training: The same is done in training and testing. Defaults to False.

        Returns:
            ``inputs``, (B, D, h, w) float32 on the model's device, or a pair of such, and
            ``data_samples``.
        """
        data = self.cast_data(data)
        inputs = data['inputs']
        is_pair = not isinstance(inputs[0], Tensor)
        inputs = tuple(map(_stack, inputs)) if is_pair else _stack(inputs)
        samples = data.get('data_samples')
        for sample in samples or ():
            padding = sample.metainfo.get('padding_size')  # of training data only
            if padding is not None and any(padding) and 'gt_sem_seg' in sample:
                labels = F.pad(sample.gt_sem_seg.data, tuple(padding), value=self.seg_pad_val)
                sample.gt_sem_seg = PixelData(data=labels)
        return dict(inputs=inputs, data_samples=samples)


def _stack(features: Any) -> Tensor:
    return torch.stack([each.float() for each in features])


class PrecomputedFeatures(FrozenModule):
    """A frozen part without weights, in the place of the encoder whose output it passes on.

    Args:
        what: What it gets, for errors.
        shape: Of each image's features.
        checkpoint: The file of the encoder.
        clip_variant: Of CLIP; None for SAM.
        activation: Of CLIP, as for :class:`CLIPImageEncoder`.
    """

    #: Whether a model can do without its file, which is only compared with that of the samples.
    weights_are_optional = True

    def __init__(
        self,
        what: str,
        shape: Tuple[int, ...],
        checkpoint: Optional[str],
        clip_variant: Optional[str] = None,
        activation: Optional[str] = None,
    ) -> None:
        super().__init__()
        self.what, self.shape = what, shape
        self.checkpoint, self.clip_variant, self.activation = checkpoint, clip_variant, activation
        self.output_shapes = (shape,)
        self.freeze()

    @property
    def fingerprint(self) -> Optional[str]:
        """That of the image encoder; None if its file is not given, or not there."""
        if self.checkpoint is None or not resolve_checkpoint_path(self.checkpoint).is_file():
            return None
        from ...cache.fingerprint import fingerprint_weights

        return fingerprint_weights(self.checkpoint, self.clip_variant, self.activation)

    def forward(self, x: Tensor) -> Tuple[Tensor]:
        """Pass ``x`` on.

        Raises:
            ValueError: If ``x`` is no output of this encoder.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f'expected {self.what}, (B, {str(self.shape)[1:]}, got {tuple(x.shape)}: this '
                'model has no image encoder and takes the samples of an EmbeddedDataset; images '
                'need the config without `_cached`'
            )
        return (x,)


def check_encoder(backbone: nn.Module, data_samples: Optional[Sequence[Any]]) -> None:
    """Refuse embedded samples that another image encoder has made than the model stands for.

    Samples say it themselves (:data:`ENCODER_KEY`), so this holds
    wherever they come from. Where either is not known, nothing is said.

    Args:
        backbone: Of the model: one of :class:`PrecomputedFeatures`, or a pair; with any other
            nothing is done.
        data_samples: Of a batch.

    Raises:
        ValueError: With the first sample, and both encoders.
    """
    for sample in data_samples or ():
        found = getattr(sample, 'metainfo', {}).get(ENCODER_KEY)
        if found is None or found == getattr(backbone, '_known_encoder', None):
            continue
        for name, part in (('sam', backbone), *backbone.named_children()):
            own = part.fingerprint if isinstance(part, PrecomputedFeatures) else None
            made_by = found.get(name) if isinstance(found, dict) else found
            if None not in (own, made_by) and own != made_by:
                raise ValueError(
                    f'image {str(sample.metainfo.get("img_path"))!r}: expected a sample embedded '
                    f'with the weights SHA-256 {own[:12]}... of {str(part.checkpoint)!r}, which '
                    f'model.weights names, found one of SHA-256 {made_by[:12]}.... Delete the '
                    'folder of the cache, or name another cache_dir, then run `python '
                    'mmseg-ssprompt cache CONFIG`; or set model.weights to the file that '
                    'the cache was made with'
                )
        backbone._known_encoder = found


@MODELS.register_module()
class PrecomputedEmbedding(PrecomputedFeatures):
    """A backbone without weights that passes image embeddings on.

    It is a frozen part like the image encoder whose embeddings it gets, so checkpoints of prompts
    fit models with either.

    Args:
        variant: A key of ``SAM_VARIANTS``: of the image encoder.
        checkpoint: The file of the image encoder, of which only the fingerprint is taken, so that
            checkpoints say which encoder the prompts were trained with. Defaults to None.

    Shape:
        - Input: (B, D, h, w).
        - Output: a tuple of the same tensor.
    """

    #: The entry of ``model.weights`` that it reads, unless it has a checkpoint of its own.
    weights_from = 'sam'

    def __init__(self, variant: str, checkpoint: Optional[str] = None) -> None:
        geometry = get_variant(variant)
        shape = (geometry.prompt_embed_dim, *[geometry.embedding_size] * 2)
        super().__init__(f'image embeddings of SAM {variant}', shape, checkpoint)
        self.variant = variant


@MODELS.register_module()
class PrecomputedCLIPTokens(PrecomputedFeatures):
    """CLIP's counterpart of :class:`PrecomputedEmbedding`.

    Args:
        variant: A key of ``CLIP_IMAGE_VARIANTS``: of the image encoder.
        checkpoint: The file of CLIP, of which only the fingerprint is taken. Defaults to None.
        image_size: As for :class:`CLIPImageEncoder`. Defaults to None.
        activation: As for :class:`CLIPImageEncoder`. Defaults to None.

    Shape:
        - Input: (B, 1 + h w, width).
        - Output: a tuple of the same tensor.
    """

    #: The entry of ``model.weights`` that it reads, unless it has a checkpoint of its own.
    weights_from = 'clip'

    def __init__(
        self,
        variant: str = 'ViT-B/16',
        checkpoint: Optional[str] = None,
        image_size: Optional[int] = None,
        activation: Optional[str] = None,
    ) -> None:
        check_activation(activation)
        shape = get_image_variant(variant).tokens_shape(image_size)
        super().__init__(f'tokens of CLIP {variant}', shape, checkpoint, variant, activation)
        self.variant = variant
