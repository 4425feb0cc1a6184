"""The geometry of each SEEM variant."""

from dataclasses import dataclass, replace
from typing import Dict, Optional, Tuple

from ..base import find_variant

__all__ = ['PIXEL_MEAN', 'PIXEL_STD', 'SEEM_VARIANTS', 'SEEMVariant', 'get_variant']

#: RGB mean and standard deviation of SEEM's input.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SEEMVariant:
    """Sizes of one SEEM variant; the defaults are those shared by the official ones.

    Attributes:
        backbone: ``'focal_dw'`` (SEEM's own FocalNet with depthwise convolutions), ``'focal'``
            (FocalNet), ``'davit'`` or ``'sam_vit'`` (SAM's ViT with a feature pyramid).
        widths: Channels of the backbone's maps at 1/4, 1/8, 1/16 and 1/32 of the image.
        depths: Blocks of each stage (DaViT: pairs of a spatial and a channel block); for SAM's
            ViT, which has one stage, its blocks.
        heads: Attention heads of each stage of the backbone; DaViT's channel groups are as many.
            Empty for FocalNet.
        focal_levels: Depthwise convolutions of FocalNet's modulation, with kernels 3, 5, 7, ...
        down_kernel: Side of the convolutions between DaViT's stages.
        vit_width: Width of SAM's ViT.
        global_attn_indexes: Blocks of SAM's ViT that attend globally.
        pixel_decoder: ``'fpn'`` (a transformer on the coarsest map, and a feature pyramid) or
            ``'deformable'`` (deformable attention on three maps).
        divisor: What sides of the frame are multiples of, in pixels.
        frame: (H, W) in pixels, if only one size is taken.
        official_file: Name of the file with which the weights were published, if they were.
        hidden_dims: SEEM's width ``D``: features, queries and texts.
        num_heads: Attention heads of pixel decoder and decoder.
        feedforward_dims: Hidden width of the decoder's FFNs, and of the pixel decoder ``'fpn'``.
        deformable_dims: Hidden width of the FFNs of the pixel decoder ``'deformable'``.
        encoder_layers: Transformer layers of the pixel decoder.
        decoder_layers: Layers of the decoder.
        num_queries: Object queries.
        num_memories: Memory tokens, for second and later clicks.
        queries_per_prompt: Queries that answer a spatial prompt.
        text_dims: Width of the text tower, before it is projected to ``D``.
        text_layers: Transformer blocks of the text tower.
        text_heads: Attention heads of the text tower.
        vocab_size: Tokens of the byte-pair encoding.
        context_length: Longest text, in tokens, with those of its start and end.
    """

    backbone: str
    widths: Tuple[int, int, int, int]
    depths: Tuple[int, ...]
    heads: Tuple[int, ...] = ()
    focal_levels: int = 0
    down_kernel: int = 0
    vit_width: int = 0
    global_attn_indexes: Tuple[int, ...] = ()
    pixel_decoder: str = 'fpn'
    divisor: int = 32
    frame: Optional[Tuple[int, int]] = None
    official_file: Optional[str] = None
    hidden_dims: int = 512
    num_heads: int = 8
    feedforward_dims: int = 2048
    deformable_dims: int = 1024
    encoder_layers: int = 6
    decoder_layers: int = 9
    num_queries: int = 101
    num_memories: int = 32
    queries_per_prompt: int = 3
    text_dims: int = 512
    text_layers: int = 12
    text_heads: int = 8
    vocab_size: int = 49408
    context_length: int = 77


_SAM_VIT = SEEMVariant(
    backbone='sam_vit',
    widths=(128, 256, 512, 1024),
    depths=(),
    pixel_decoder='deformable',
    divisor=1024,
    frame=(1024, 1024),
)
_FOCAL_TINY = SEEMVariant(
    backbone='focal_dw',
    widths=(16, 32, 64, 128),
    depths=(1, 1, 2, 1),
    focal_levels=3,
    hidden_dims=32,
    num_heads=4,
    feedforward_dims=64,
    encoder_layers=2,
    decoder_layers=4,
    num_queries=11,
    text_dims=32,
    text_layers=2,
    text_heads=4,
)

#: SEEM's variants by name.
SEEM_VARIANTS: Dict[str, SEEMVariant] = dict(
    focal_t=SEEMVariant(
        backbone='focal_dw',
        widths=(96, 192, 384, 768),
        depths=(2, 2, 6, 2),
        focal_levels=3,
        official_file='seem_focalt_v1.pt',
    ),
    focal_l=SEEMVariant(
        backbone='focal',
        widths=(192, 384, 768, 1536),
        depths=(2, 2, 18, 2),
        focal_levels=4,
        official_file='seem_focall_v1.pt',
    ),
    davit_d3=SEEMVariant(
        backbone='davit',
        widths=(128, 256, 512, 1024),
        depths=(1, 1, 9, 1),
        heads=(4, 8, 16, 32),
        down_kernel=2,
    ),
    davit_d5=SEEMVariant(
        backbone='davit',
        widths=(256, 512, 1024, 2048),
        depths=(1, 1, 9, 1),
        heads=(8, 16, 32, 64),
        down_kernel=3,
    ),
    sam_vit_b=replace(
        _SAM_VIT,
        depths=(12,),
        heads=(12,),
        vit_width=768,
        global_attn_indexes=(2, 5, 8, 11),
        official_file='seem_samvitb_v1.pt',
    ),
    sam_vit_l=replace(
        _SAM_VIT,
        depths=(24,),
        heads=(16,),
        vit_width=1024,
        global_attn_indexes=(5, 11, 17, 23),
        official_file='seem_samvitl_v1.pt',
    ),
    tiny=SEEMVariant(  # the miniature, pre-trained on ShapesWorld
        backbone='focal_dw',
        widths=(32, 64, 96, 128),
        depths=(1, 2, 2, 1),
        focal_levels=3,
        hidden_dims=64,
        num_heads=4,
        feedforward_dims=256,
        encoder_layers=2,
        decoder_layers=6,
        num_queries=32,
        text_dims=32,  # the table of tokens is half of all weights
        text_layers=2,
        text_heads=2,
    ),
    focal_tiny=_FOCAL_TINY,
    focal_tiny_deform=replace(_FOCAL_TINY, pixel_decoder='deformable'),
)


def get_variant(name: str) -> SEEMVariant:
    """Look a variant up by name.

    Raises:
        ValueError: If ``name`` is not a key of :data:`SEEM_VARIANTS`.
    """
    return find_variant(SEEM_VARIANTS, name, 'SEEM')
