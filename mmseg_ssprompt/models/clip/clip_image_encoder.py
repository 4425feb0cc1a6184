"""CLIP's image encoder as a frozen mmseg backbone, up to its last block."""

from typing import Any, Dict, Mapping, Optional, Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...weights.state_dicts import FilePath, warn_random_weights
from ..base import Fingerprints, FrozenModule, ImageFeatures, Shape
from . import clip_variants
from .clip_file import (
    choose_activation,
    fingerprint_image_tower,
    fingerprint_with_activation,
    load_image_tower,
    read_clip_file,
)
from .clip_variants import PIXEL_MEAN, PIXEL_STD, get_clip_variant
from .image_tower import CLIPImageTower, encode_patches, init_as_clip

__all__ = ['CLIPImageEncoder']


@MODELS.register_module()
class CLIPImageEncoder(FrozenModule):
    """All blocks of CLIP's image encoder but the last, without gradients.

    What a mask shows is read by the last block (:class:`CLIPRegionReadOut`), so one pass serves
    any masks. Images may come as another encoder wants them normalised, which sees the same frame.

    Args:
        variant: A key of ``CLIP_VARIANTS``. Defaults to 'ViT-B/16'.
        checkpoint: A file of CLIP (OpenAI's, open_clip's or Hugging Face's), or
            ``mmseg_ssprompt://NAME``. With ``None`` the weights are random, and the log says so.
            Defaults to None.
        image_size: Side in pixels to which the frame is resized, a multiple of the patch size.
            Positional embeddings are interpolated. Defaults to None: 32 patches, which is 512
            pixels for ViT-B/16 and 448 for ViT-L/14.
        activation: ``'quick_gelu'`` or ``'gelu'``, of the MLPs; see :func:`choose_activation`.
            Defaults to None.
        pixel_mean: Of R, G and B, by which images come normalised. Defaults to CLIP's own.
        pixel_std: Their standard deviations. Defaults to CLIP's own.

    Shape:
        - Input: (B, 3, H, W), RGB, normalised.
        - Output: features whose embedding is the tokens (B, 1 + h w, width), the class token
          first, with ``h = w = image_size / patch size``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant, or its activation is not known.
        ValueError: If the variant or activation is unknown, or the size no multiple of its patches.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='clip', activation='clip_activation')
    part = 'clip_image_encoder'
    divisor, frame = 1, None  # images of any size are resized

    where_to_get = staticmethod(clip_variants.where_to_get)

    def __init__(
        self,
        variant: str = 'ViT-B/16',
        checkpoint: Optional[FilePath] = None,
        image_size: Optional[int] = None,
        activation: Optional[str] = None,
        pixel_mean: Sequence[float] = PIXEL_MEAN,
        pixel_std: Sequence[float] = PIXEL_STD,
    ) -> None:
        super().__init__()
        geometry = get_clip_variant(variant)
        self.variant = variant
        self.image_size = geometry.count_patches(image_size) * geometry.patch_size
        file = read_clip_file(checkpoint, variant, 'image')
        self.activation = choose_activation(file, activation)
        with torch.random.fork_rng(devices=[]):  # other parts are the same with any checkpoint
            self.tower = CLIPImageTower(geometry, self.activation)
            if file is None:
                init_as_clip(self.tower)
        if file is None:
            warn_random_weights(
                f'the CLIP image encoder {variant}', clip_variants.where_to_get(variant)
            )
        else:
            load_image_tower(self.tower, variant, file)
        self.pretrained = file is not None
        self.pixel_mean, self.pixel_std = tuple(pixel_mean), tuple(pixel_std)
        mean, std, own_mean, own_std = (
            torch.tensor(x).view(1, 3, 1, 1)
            for x in (self.pixel_mean, self.pixel_std, PIXEL_MEAN, PIXEL_STD)
        )
        self.register_buffer('_scale', std / own_std, persistent=False)
        self.register_buffer('_shift', (mean - own_mean) / own_std, persistent=False)
        self.freeze()

    def _describe_weights(self, weights: str) -> str:
        return fingerprint_with_activation(weights, self.activation)

    def _pretrained_part(self) -> nn.Module:
        return self.tower  # as fingerprint_files names it

    @torch.no_grad()
    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode images (B, 3, H, W): tokens (B, 1 + h w, width) as the embedding."""
        tokens, _ = encode_patches(self.tower, self.normalise(x))
        return ImageFeatures((), None, tokens)

    @staticmethod
    def frame_of(config: Mapping[str, Any]) -> None:
        """None: images of any size are resized."""

    @staticmethod
    def feature_shapes(config: Mapping[str, Any]) -> Dict[str, Shape]:
        """Shapes of the features of an encoder of this config, by their names."""
        geometry = get_clip_variant(config.get('variant', 'ViT-B/16'))
        return dict(embedding=geometry.tokens_shape(config.get('image_size')))

    @staticmethod
    def fingerprint_files(config: Mapping[str, Any]) -> Fingerprints:
        """SHA-256 of the image tower and its activation; None if there is no such file."""
        variant = config.get('variant', 'ViT-B/16')
        file, activation = config.get('checkpoint'), config.get('activation')
        return {CLIPImageEncoder.part: fingerprint_image_tower(file, variant, activation)}

    def normalise(self, x: Tensor) -> Tensor:
        """To CLIP's normalisation and size: (B, 3, H, W) to (B, 3, size, size)."""
        x = x * self._scale + self._shift
        size = (self.image_size,) * 2
        if x.shape[-2:] == size:
            return x
        return F.interpolate(x, size, mode='bilinear', align_corners=False, antialias=True)
