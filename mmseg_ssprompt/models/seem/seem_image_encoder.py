"""SEEM's backbone and pixel decoder as a frozen mmseg backbone."""

from contextlib import nullcontext
from typing import Any, Dict, Mapping, Optional, Tuple

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...weights.state_dicts import FilePath
from ..base import Fingerprints, FrozenModule, ImageFeatures, Shape, find_autocast_dtype
from .backbones import build_backbone
from .pixel_decoders import build_pixel_decoder
from .seem_file import fingerprint_parts_of_file, load_parts, where_to_get
from .seem_variants import PIXEL_MEAN, PIXEL_STD, get_variant

__all__ = ['SEEMImageEncoder']

_PARTS = ('backbone', 'pixel_decoder')
_LEVEL_STRIDES = (8, 16, 32)
_EMBEDDING_STRIDE = 4


@MODELS.register_module()
class SEEMImageEncoder(FrozenModule):
    """SEEM's backbone and pixel decoder: normalised, padded images to features, without gradients.

    Args:
        variant: A key of ``SEEM_VARIANTS``, such as ``'focal_t'``.
        checkpoint: The official file. With ``None`` the weights are random, and the log says so.
            Defaults to None.
        dtype: ``'bfloat16'`` or ``'float16'``, in which matrices are multiplied, whatever
            surrounds the encoder; weights and sums stay in float32, and so does the pixel decoder
            of the variants with SAM's ViT. Defaults to None, as the surroundings, which is float32
            without AMP.
        compile: Whether the encoder is compiled by ``torch.compile`` when the first image comes.
            Defaults to False.

    Shape:
        - Input: (B, 3, H, W), RGB, normalised, then padded with zeros at the right and below to
          multiples of :attr:`divisor`.
        - Output: features whose embedding is SEEM's mask features (B, D, H / 4, W / 4), and whose
          levels are (B, D, h, w) at 1/8, 1/16 and 1/32; of the input's dtype if ``dtype`` is given.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant.
        ImportError: If the variant needs a package that is not installed.
        ValueError: If the variant or the dtype is unknown.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='seem')
    part = 'image_encoder'
    pixel_mean, pixel_std = PIXEL_MEAN, PIXEL_STD

    where_to_get = staticmethod(where_to_get)

    def __init__(
        self,
        variant: str,
        checkpoint: Optional[FilePath] = None,
        dtype: Optional[str] = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.dtype = find_autocast_dtype(dtype)
        self.variant = variant
        geometry = get_variant(variant)
        self.divisor, self.frame = geometry.divisor, geometry.frame
        with torch.device('meta') if checkpoint is not None else nullcontext():
            self.backbone = build_backbone(geometry)
            self.pixel_decoder = build_pixel_decoder(geometry)
        load_parts({part: getattr(self, part) for part in _PARTS}, checkpoint, variant)
        self.pretrained = checkpoint is not None
        self._encode = torch.compile(_encode) if compile else _encode
        self.freeze()

    @torch.no_grad()
    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode images (B, 3, H, W).

        Raises:
            ValueError: If ``x`` has a shape that SEEM does not take.
        """
        self._check_input(x)
        if self.dtype is None:
            levels, embedding = self._encode(self.backbone, self.pixel_decoder, x)
            return ImageFeatures(levels, None, embedding)
        with torch.autocast(x.device.type, self.dtype):
            levels, embedding = self._encode(self.backbone, self.pixel_decoder, x)
        return ImageFeatures(
            tuple(each.to(x.dtype) for each in levels), None, embedding.to(x.dtype)
        )

    @staticmethod
    def frame_of(config: Mapping[str, Any]) -> Optional[Tuple[int, int]]:
        """(H, W) of an encoder of this config with SAM's ViT; None: any multiple of the divisor."""
        return get_variant(config['variant']).frame

    @staticmethod
    def feature_shapes(config: Mapping[str, Any]) -> Dict[str, Shape]:
        """Shapes of the features of an encoder of this config, by their names."""
        geometry = get_variant(config['variant'])

        def shape_of(stride: int) -> Shape:
            sides = geometry.frame or (None, None)
            return (geometry.hidden_dims, *(side and side // stride for side in sides))

        shapes = {'embedding': shape_of(_EMBEDDING_STRIDE)}
        for number, stride in enumerate(_LEVEL_STRIDES):
            shapes[f'level_{number}'] = shape_of(stride)
        return shapes

    @staticmethod
    def fingerprint_files(config: Mapping[str, Any]) -> Fingerprints:
        """SHA-256 of backbone and pixel decoder in the file of a config.

        None if the config names no file, or it is not there.
        """
        checkpoint = config.get('checkpoint')
        return {SEEMImageEncoder.part: fingerprint_parts_of_file(checkpoint, _PARTS)}

    def _check_input(self, x: Tensor) -> None:
        """Refuse images that are no frame of this variant."""
        shape = tuple(x.shape)
        if self.frame is not None:
            height, width = self.frame
            if x.ndim == 4 and shape[1:] == (3, height, width):
                return
            raise ValueError(
                f'SEEM {self.variant} expects images of shape (B, 3, {height}, {width}), got '
                f'{shape}: its positional embeddings cover that frame alone. Resize the longest '
                f'side to {max(height, width)} in the pipeline and pad by data_preprocessor=dict('
                f'size=({height}, {width}), test_cfg=dict(size=({height}, {width})))'
            )
        if (
            x.ndim == 4
            and x.shape[1] == 3
            and all(s > 0 and s % self.divisor == 0 for s in shape[2:])
        ):
            return
        raise ValueError(
            f'SEEM {self.variant} expects images of shape (B, 3, H, W), H and W multiples of '
            f'{self.divisor}, got {shape}: pad by data_preprocessor=dict(size_divisor='
            f'{self.divisor}, test_cfg=dict(size_divisor={self.divisor})), after normalisation'
        )


def _encode(
    backbone: nn.Module, pixel_decoder: nn.Module, x: Tensor
) -> Tuple[Tuple[Tensor, ...], Tensor]:
    """Levels and mask features of images."""
    levels, embedding = pixel_decoder(backbone(x))
    return levels, embedding
