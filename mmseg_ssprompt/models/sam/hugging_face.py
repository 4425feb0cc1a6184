"""The names that Hugging Face's ``SamModel`` gives the weights of SAM, and the official ones."""

import re
from typing import Any, Dict, Mapping, Sequence, Tuple

import torch

from ...weights.state_dicts import CheckpointError

__all__ = ['MARK', 'to_official_names']

#: A key that all files of a ``SamModel`` have, and no official file.
MARK = re.compile(r'(?P<prefix>(?:.*\.)?)vision_encoder\.patch_embed\.projection\.weight$')
_POSITIONS = 'prompt_encoder.pe_layer.positional_encoding_gaussian_matrix'
#: What each begins with, in the order in which they are tried.
_BEGINNINGS: Sequence[Tuple[str, str]] = (
    (r'shared_image_embedding\.positional_embedding$', _POSITIONS),
    (r'prompt_encoder\.shared_embedding\.positional_embedding$', _POSITIONS),
    (r'vision_encoder\.patch_embed\.projection\.', 'image_encoder.patch_embed.proj.'),
    (r'vision_encoder\.layers\.(\d+)\.layer_norm([12])\.', r'image_encoder.blocks.\1.norm\2.'),
    (r'vision_encoder\.layers\.', 'image_encoder.blocks.'),
    (r'vision_encoder\.neck\.conv1\.', 'image_encoder.neck.0.'),
    (r'vision_encoder\.neck\.layer_norm1\.', 'image_encoder.neck.1.'),
    (r'vision_encoder\.neck\.conv2\.', 'image_encoder.neck.2.'),
    (r'vision_encoder\.neck\.layer_norm2\.', 'image_encoder.neck.3.'),
    (r'vision_encoder\.pos_embed$', 'image_encoder.pos_embed'),
    (r'prompt_encoder\.point_embed\.', 'prompt_encoder.point_embeddings.'),
    (r'prompt_encoder\.mask_embed\.conv1\.', 'prompt_encoder.mask_downscaling.0.'),
    (r'prompt_encoder\.mask_embed\.layer_norm1\.', 'prompt_encoder.mask_downscaling.1.'),
    (r'prompt_encoder\.mask_embed\.conv2\.', 'prompt_encoder.mask_downscaling.3.'),
    (r'prompt_encoder\.mask_embed\.layer_norm2\.', 'prompt_encoder.mask_downscaling.4.'),
    (r'prompt_encoder\.mask_embed\.conv3\.', 'prompt_encoder.mask_downscaling.6.'),
    (
        r'mask_decoder\.transformer\.layers\.(\d+)\.layer_norm([1-4])\.',
        r'mask_decoder.transformer.layers.\1.norm\2.',
    ),
    (
        r'mask_decoder\.transformer\.layer_norm_final_attn\.',
        'mask_decoder.transformer.norm_final_attn.',
    ),
    (r'mask_decoder\.upscale_conv1\.', 'mask_decoder.output_upscaling.0.'),
    (r'mask_decoder\.upscale_layer_norm\.', 'mask_decoder.output_upscaling.1.'),
    (r'mask_decoder\.upscale_conv2\.', 'mask_decoder.output_upscaling.3.'),
    # SAM's MLPs have three layers, of which Hugging Face counts the one in the middle.
    (r'(mask_decoder\.(?:output|iou)_.*)\.proj_in\.', r'\1.layers.0.'),
    (r'(mask_decoder\.(?:output|iou)_.*)\.layers\.0\.', r'\1.layers.1.'),
    (r'(mask_decoder\.(?:output|iou)_.*)\.proj_out\.', r'\1.layers.2.'),
)


def to_official_names(state_dict: Mapping[str, Any], source: str) -> Dict[str, Any]:
    """Give the weights of a ``SamModel`` their official names; no number changes.

    The positional encoding has two names in a ``SamModel``, and files have one or both.

    Args:
        state_dict: By the names of Hugging Face, without prefix.
        source: The file, for the error.

    Returns:
        The same tensors; a name that is not known stays, to be reported as it is.

    Raises:
        CheckpointError: If the positional encoding is there twice, with different numbers.
    """
    named: Dict[str, Any] = {}
    for key, value in state_dict.items():
        name = _rename(key)
        if name in named and not torch.equal(named[name], value):
            raise CheckpointError(
                f"{source}: expected one positional encoding, as in a SamModel of Hugging Face's, "
                f'found two that differ, the second under {key!r}; download the file again'
            )
        named[name] = value
    return named


def _rename(key: str) -> str:
    for pattern, name in _BEGINNINGS:
        renamed, count = re.subn(f'^{pattern}', name, key)
        if count:
            return renamed
    return key
