"""The geometry of each SAM variant, and segment_anything's own modules built from it."""

from dataclasses import dataclass
from functools import partial
from typing import Dict, Optional, Tuple

from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import nn

from ..base import find_variant

__all__ = ['PIXEL_MEAN', 'PIXEL_STD', 'SAM_VARIANTS', 'SAMVariant', 'build_sam', 'get_variant']

#: RGB mean and standard deviation of SAM's input (``segment_anything.build_sam``).
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SAMVariant:
    """Sizes of one SAM variant, as segment_anything names them.

    The defaults are those that the official three share.
    """

    encoder_embed_dim: int
    encoder_depth: int
    encoder_num_heads: int
    encoder_global_attn_indexes: Tuple[int, ...]  # blocks that attend globally, not in windows
    official_file: Optional[str] = None  # of Meta AI
    image_size: int = 1024  # side of the square input, in pixels
    patch_size: int = 16  # in pixels
    window_size: int = 14  # in patches
    prompt_embed_dim: int = 256  # D: image embedding, prompts and mask tokens
    decoder_num_heads: int = 8
    decoder_mlp_dim: int = 2048
    attention_downsample_rate: int = 2
    iou_head_hidden_dim: int = 256

    @property
    def embedding_size(self) -> int:
        """Side of the image embedding, ``h = w``."""
        return self.image_size // self.patch_size


#: SAM's variants by name.
SAM_VARIANTS: Dict[str, SAMVariant] = dict(
    vit_b=SAMVariant(768, 12, 12, (2, 5, 8, 11), 'sam_vit_b_01ec64.pth'),
    vit_l=SAMVariant(1024, 24, 16, (5, 11, 17, 23), 'sam_vit_l_0b3195.pth'),
    vit_h=SAMVariant(1280, 32, 16, (7, 15, 23, 31), 'sam_vit_h_4b8939.pth'),
    tiny=SAMVariant(
        encoder_embed_dim=128,
        encoder_depth=4,
        encoder_num_heads=4,
        encoder_global_attn_indexes=(1, 3),
        image_size=96,
        patch_size=8,
        window_size=6,
        prompt_embed_dim=96,
        decoder_num_heads=4,
        decoder_mlp_dim=256,
        attention_downsample_rate=1,
        iou_head_hidden_dim=64,
    ),
)


def get_variant(name: str) -> SAMVariant:
    """Look a variant up by name.

    Raises:
        ValueError: If ``name`` is not a key of :data:`SAM_VARIANTS`.
    """
    return find_variant(SAM_VARIANTS, name, 'SAM')


def build_image_encoder(name: str) -> ImageEncoderViT:
    """segment_anything's image encoder: (B, 3, H, W) -> (B, D, h, w)."""
    variant = get_variant(name)
    return ImageEncoderViT(
        depth=variant.encoder_depth,
        embed_dim=variant.encoder_embed_dim,
        img_size=variant.image_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=variant.encoder_num_heads,
        patch_size=variant.patch_size,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=variant.encoder_global_attn_indexes,
        window_size=variant.window_size,
        out_chans=variant.prompt_embed_dim,
    )


def build_prompt_encoder(name: str) -> PromptEncoder:
    """segment_anything's prompt encoder: points and boxes -> sparse prompts (N, T, D)."""
    variant = get_variant(name)
    return PromptEncoder(
        embed_dim=variant.prompt_embed_dim,
        image_embedding_size=(variant.embedding_size, variant.embedding_size),
        input_image_size=(variant.image_size, variant.image_size),
        mask_in_chans=16,
    )


def build_mask_decoder(name: str) -> MaskDecoder:
    """segment_anything's mask decoder: three ambiguity masks and one single mask."""
    variant = get_variant(name)
    return MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(
            depth=2,
            embedding_dim=variant.prompt_embed_dim,
            mlp_dim=variant.decoder_mlp_dim,
            num_heads=variant.decoder_num_heads,
            attention_downsample_rate=variant.attention_downsample_rate,
        ),
        transformer_dim=variant.prompt_embed_dim,
        iou_head_depth=3,
        iou_head_hidden_dim=variant.iou_head_hidden_dim,
    )


def build_sam(name: str) -> Sam:
    """The whole official model with random weights, in eval mode."""
    return Sam(
        image_encoder=build_image_encoder(name),
        prompt_encoder=build_prompt_encoder(name),
        mask_decoder=build_mask_decoder(name),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    ).eval()
