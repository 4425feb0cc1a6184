"""SAM's image encoder as a frozen mmseg backbone."""

from contextlib import nullcontext
from typing import Any, Dict, Mapping, Optional, Tuple

import torch
from mmseg.registry import MODELS
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor

from ...weights.state_dicts import FilePath
from ..base import Fingerprints, FrozenModule, ImageFeatures, Shape, find_autocast_dtype
from . import sam_file
from .sam_variants import PIXEL_MEAN, PIXEL_STD, build_image_encoder, get_variant
from .vit import encode_block, encode_image

__all__ = ['SAMImageEncoder']


@MODELS.register_module()
class SAMImageEncoder(FrozenModule):
    """SAM's image encoder: normalised, padded images to image embeddings, without gradients.

    segment_anything's own modules with fused attention: the same embedding up to rounding.

    Args:
        variant: As for :class:`SAMSegmenter`.
        checkpoint: As for :class:`SAMSegmenter`.
        dtype: ``'bfloat16'`` or ``'float16'``, in which matrices are multiplied, whatever
            surrounds the encoder; weights and sums stay in float32. Defaults to None, as the
            surroundings, which is float32 without AMP.
        compile: Whether blocks are compiled by ``torch.compile`` when the first image comes.
            Defaults to False.

    Shape:
        - Input: (B, 3, S, S), RGB, normalised, then padded with zeros at the right and below.
        - Output: features whose embedding is (B, D, h, w) with ``h = w = S / patch size``, of
          the input's dtype if ``dtype`` is given.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant.
        ValueError: If the variant or the dtype is unknown.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='sam')
    part = 'image_encoder'
    pixel_mean, pixel_std = PIXEL_MEAN, PIXEL_STD
    where_to_get = staticmethod(sam_file.where_to_get)

    def __init__(
        self,
        variant: str,
        checkpoint: Optional[FilePath] = None,
        dtype: Optional[str] = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.dtype = find_autocast_dtype(dtype)
        self._encode_block = torch.compile(encode_block, dynamic=False) if compile else encode_block
        self.variant = variant
        geometry = get_variant(variant)
        self.image_size = self.divisor = geometry.image_size
        self.frame = (geometry.image_size, geometry.image_size)
        with torch.device('meta') if checkpoint is not None else nullcontext():
            self.model = build_image_encoder(variant)  # random weights of vit_h take 8 s
        sam_file.load_part(self.model, checkpoint, variant, self.part)
        self.pretrained = checkpoint is not None
        self.freeze()

    def _pretrained_part(self) -> ImageEncoderViT:
        return self.model  # as fingerprint_part names it

    @torch.no_grad()
    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode images (B, 3, S, S): an embedding (B, D, h, w) without further levels.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, self.image_size, self.image_size):
            size, stride = self.frame, (self.image_size * 2 // 3,) * 2
            raise ValueError(
                f'SAM {self.variant} expects images of shape (B, 3, {size[0]}, {size[1]}), got '
                f'{tuple(x.shape)}: resize the longest side to {size[0]} in the pipeline and pad '
                f'by data_preprocessor=dict(size={size}, test_cfg=dict(size={size})). To keep the '
                f'size of larger pictures, train with RandomCrop(crop_size={size}) and predict '
                f"windows, model.test_cfg=dict(mode='slide', crop_size={size}, stride={stride})"
            )
        if self.dtype is None:
            return ImageFeatures((), None, encode_image(self.model, x, self._encode_block))
        with torch.autocast(x.device.type, self.dtype):
            embedding = encode_image(self.model, x, self._encode_block)
        return ImageFeatures((), None, embedding.to(x.dtype))

    @staticmethod
    def frame_of(config: Mapping[str, Any]) -> Tuple[int, int]:
        """(S, S) of an encoder of this config."""
        size = get_variant(config['variant']).image_size
        return size, size

    @staticmethod
    def feature_shapes(config: Mapping[str, Any]) -> Dict[str, Shape]:
        """Shapes of the features of an encoder of this config, by their names."""
        geometry = get_variant(config['variant'])
        return dict(embedding=(geometry.prompt_embed_dim, *[geometry.embedding_size] * 2))

    @staticmethod
    def fingerprint_files(config: Mapping[str, Any]) -> Fingerprints:
        """SHA-256 of the image encoder in the file of a config; None if there is no such file."""
        part = SAMImageEncoder.part
        return {part: sam_file.fingerprint_part(config.get('checkpoint'), part)}
