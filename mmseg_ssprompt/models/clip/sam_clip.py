"""SAM's image encoder and CLIP's, side by side."""

from typing import Any, Dict, Mapping

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ..base import Fingerprints, ImageFeatures, Shape, fingerprint_parts
from ..base.precomputed import get_encoder_class

__all__ = ['SAMCLIPImageEncoder']


@MODELS.register_module()
class SAMCLIPImageEncoder(BaseModule):
    """Two frozen image encoders as one backbone: masks need SAM's, region labels need CLIP's.

    Args:
        sam: Config of SAM's image encoder, such as ``dict(type='SAMImageEncoder', ...)``.
        clip: Config of CLIP's, such as ``dict(type='CLIPImageEncoder', ...)``, which gets images
            as they are normalised for SAM's.

    Shape:
        - Input: what SAM's encoder takes.
        - Output: its features, with CLIP's tokens (B, 1 + h' w', width) as the companion.
    """

    def __init__(self, sam: Dict[str, Any], clip: Dict[str, Any]) -> None:
        super().__init__()
        self.sam = MODELS.build(sam)
        self.pixel_mean, self.pixel_std = self.sam.pixel_mean, self.sam.pixel_std
        self.divisor, self.frame = self.sam.divisor, self.sam.frame
        normalised = dict(pixel_mean=self.pixel_mean, pixel_std=self.pixel_std)
        self.clip = MODELS.build(clip, default_args=normalised)

    def forward(self, x: Tensor) -> ImageFeatures:
        """Features of both encoders."""
        tokens = self.clip(x).embedding
        features: ImageFeatures = self.sam(x)
        return features._replace(companion=tokens)

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of both encoders."""
        return fingerprint_parts(self)

    @staticmethod
    def frame_of(config: Mapping[str, Any]) -> Any:
        """That of SAM's encoder."""
        return get_encoder_class(config['sam']).frame_of(config['sam'])

    @staticmethod
    def feature_shapes(config: Mapping[str, Any]) -> Dict[str, Shape]:
        """Shapes of the features of an encoder of this config, by their names."""
        sam, clip = (
            get_encoder_class(c).feature_shapes(c) for c in (config['sam'], config['clip'])
        )
        return dict(sam, companion=clip['embedding'])

    @staticmethod
    def fingerprint_files(config: Mapping[str, Any]) -> Fingerprints:
        """Fingerprints of both encoders, from their files."""
        found: Fingerprints = {}
        for each in (config['sam'], config['clip']):
            found.update(get_encoder_class(each).fingerprint_files(each))
        return found

    def init_weights(self) -> None:
        """Do nothing: the weights were loaded when the encoders were built."""
