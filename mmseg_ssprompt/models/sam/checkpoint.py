"""Loading one part of SAM from an official file, or an error that says what does not fit."""

from functools import cache
from os import PathLike
from typing import Dict, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from ..checkpoint import (
    check_strictly,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint_path,
    warn_random_weights,
)
from .variants import SAM_VARIANTS, SAMVariant, build_sam, get_variant

__all__ = ['SAM_PARTS', 'guess_variant', 'load_part']

#: The parts of SAM, which are the first components of the keys of an official file.
SAM_PARTS = ('image_encoder', 'prompt_encoder', 'mask_decoder')
_PUBLISHED_AT = 'https://github.com/facebookresearch/segment-anything#model-checkpoints'
_HUGGING_FACE_PREFIXES = ('vision_encoder.', 'shared_image_embedding.')


def load_part(
    module: nn.Module,
    checkpoint: Optional[Union[str, 'PathLike[str]']],
    variant: str,
    part: str,
) -> None:
    """Fill ``module`` with one part of an official SAM file.

    The whole file must fit the variant, whichever part is asked for: the prompt encoders and mask
    decoders of the three official variants have the same shapes, but not the same weights.

    Args:
        module: segment_anything's module of that part, built for ``variant``.
        checkpoint: The file, in the forms of
            :func:`~mmseg_ssprompt.models.checkpoint.resolve_checkpoint_path`. ``None`` leaves the
            random weights as they are and logs it.
        variant: A key of ``SAM_VARIANTS``.
        part: ``'image_encoder'``, ``'prompt_encoder'`` or ``'mask_decoder'``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a SAM checkpoint, or one of another variant.
        ValueError: If ``variant`` or ``part`` is unknown.
    """
    get_variant(variant)
    if part not in SAM_PARTS:
        raise ValueError(f'unknown part of SAM {part!r}: expected one of {SAM_PARTS}')
    if checkpoint is None:
        warn_random_weights(f'SAM {part} ({variant})', _where_to_get(variant))
        return
    state_dict = read_checkpoint(checkpoint, remedy=_where_to_get(variant))
    source = f'checkpoint {str(resolve_checkpoint_path(checkpoint))!r}'
    target = f'SAM variant {variant!r}'
    remedy = _suggest_variant(state_dict, variant)
    check_strictly(_expected_tensors(variant), state_dict, source, target, remedy=remedy)
    prefix = f'{part}.'
    of_part = {key[len(prefix) :]: v for key, v in state_dict.items() if key.startswith(prefix)}
    load_strictly(module, of_part, f'{source}, part {part!r}, variant {variant!r}')


def guess_variant(state_dict: Mapping[str, Tensor]) -> Optional[str]:
    """Tell the variant of an official file by the shapes of its image encoder.

    Returns:
        A key of ``SAM_VARIANTS``, or None if none agrees or there is no whole image encoder.
    """
    patches = state_dict.get('image_encoder.patch_embed.proj.weight')
    positions = state_dict.get('image_encoder.pos_embed')
    if patches is None or positions is None:
        return None
    depth = _count_blocks(state_dict)
    for name, variant in SAM_VARIANTS.items():
        if (
            tuple(patches.shape) == _patch_embed_shape(variant)
            and tuple(positions.shape) == _pos_embed_shape(variant)
            and depth == variant.encoder_depth
        ):
            return name
    return None


@cache
def _expected_tensors(variant: str) -> Dict[str, Tensor]:
    """Every tensor of an official file, without values."""
    with torch.device('meta'):
        return build_sam(variant).state_dict()


def _patch_embed_shape(variant: SAMVariant) -> Tuple[int, ...]:
    """Shape of the weight that embeds patches."""
    return (variant.encoder_embed_dim, 3, variant.patch_size, variant.patch_size)


def _pos_embed_shape(variant: SAMVariant) -> Tuple[int, ...]:
    """Shape of the image encoder's absolute positional embedding."""
    return (1, variant.embedding_size, variant.embedding_size, variant.encoder_embed_dim)


def _count_blocks(state_dict: Mapping[str, Tensor]) -> int:
    """Number of transformer blocks of the image encoder."""
    prefix = 'image_encoder.blocks.'
    return len({key[len(prefix) :].split('.')[0] for key in state_dict if key.startswith(prefix)})


def _where_to_get(variant: str) -> str:
    """Say which file the variant needs and where it is published."""
    file = get_variant(variant).official_file
    if file is None:
        return f'Variant {variant!r} is not one that Meta AI published: give a file saved for it.'
    return f'Variant {variant!r} needs {file}, which Meta AI publishes at {_PUBLISHED_AT}'


def _suggest_variant(state_dict: Mapping[str, Tensor], variant: str) -> str:
    """Name the variant that would fit the file."""
    if any(key.startswith(_HUGGING_FACE_PREFIXES) for key in state_dict):
        return f'The file has the key names of Hugging Face transformers. {_where_to_get(variant)}'
    guess = guess_variant(state_dict)
    if guess is None:
        return f'The file fits none of {sorted(SAM_VARIANTS)}. {_where_to_get(variant)}'
    if guess == variant:
        return f'The file is an altered or damaged {variant!r}. {_where_to_get(variant)}'
    return f'The file is of variant {guess!r}: set variant={guess!r}. {_where_to_get(variant)}'
