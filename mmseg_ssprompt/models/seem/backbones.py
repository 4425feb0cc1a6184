"""The backbones that SEEM has."""

from typing import Callable, Dict

from torch import nn

from .davit import DaViT
from .focalnet import FocalNet
from .sam_vit_pyramid import SAMViTPyramid
from .seem_variants import SEEMVariant

__all__ = ['build_backbone']

_BACKBONES: Dict[str, Callable[[SEEMVariant], nn.Module]] = dict(
    focal_dw=FocalNet, focal=FocalNet, davit=DaViT, sam_vit=SAMViTPyramid
)


def build_backbone(variant: SEEMVariant) -> nn.Module:
    """Build the backbone of a variant with random weights: images to four maps, fine to coarse."""
    return _BACKBONES[variant.backbone](variant)
