"""Loading one part of SAM from the files that people have, or an error that says what they are.

Understood are official files and those with the same keys (MedSAM, SAM-HQ), whatever was wrapped
around them, and files of a ``SamModel`` of Hugging Face's.
"""

import logging
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Dict, Mapping, NamedTuple, Optional, Tuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ...fingerprint import fingerprint_tensors
from ...weights.state_dict_keys import describe_model, read_model, rename
from ...weights.state_dicts import (
    CheckpointError,
    FilePath,
    check_strictly,
    find_file_state,
    load_strictly,
    warn_random_weights,
)
from .sam_variants import SAM_VARIANTS, build_sam, get_variant

__all__ = ['SAM_PARTS', 'SamFile', 'fingerprint_part', 'load_part', 'read_sam', 'where_to_get']

#: The parts of SAM, which are the first components of the keys of an official file.
SAM_PARTS = ('image_encoder', 'prompt_encoder', 'mask_decoder')
_PUBLISHED_AT = 'https://github.com/facebookresearch/segment-anything#model-checkpoints'
#: A key of a part, official or Hugging Face's, with whatever stands before.
_PART_KEY = re.compile(
    r'(?P<prefix>(?:.*?\.)??)(?:image_encoder|vision_encoder|prompt_encoder|mask_decoder)\.'
)
#: What SAM-HQ adds to the mask decoder, by its own names and by those of Hugging Face.
_HQ_MARK = re.compile(r'mask_decoder\.h[fq]_token\.')
_HQ_KEYS = re.compile(
    r'mask_decoder\.(hf_token|hf_mlp|compress_vit_feat|embedding_encoder|embedding_maskfeature|'
    r'hq_token|hq_mask_mlp|(compress_vit|encoder|mask)_(conv1|norm|conv2))\.'
)
#: Constants that older versions of segment_anything save; models have their own.
_CONSTANTS = ('pixel_mean', 'pixel_std')
_POSITIONS = 'prompt_encoder.pe_layer.positional_encoding_gaussian_matrix'
#: What keys of Hugging Face's begin with, and official ones.
_HUGGING_FACE = (
    (r'(shared_image|prompt_encoder\.shared)_embedding\.positional_embedding$', _POSITIONS),
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
    (r'(mask_decoder\.transformer\.layers\.\d+)\.layer_norm([1-4])\.', r'\1.norm\2.'),
    (r'(mask_decoder\.transformer)\.layer_norm_final_attn\.', r'\1.norm_final_attn.'),
    (r'mask_decoder\.upscale_conv1\.', 'mask_decoder.output_upscaling.0.'),
    (r'mask_decoder\.upscale_layer_norm\.', 'mask_decoder.output_upscaling.1.'),
    (r'mask_decoder\.upscale_conv2\.', 'mask_decoder.output_upscaling.3.'),
    # SAM's MLPs have three layers; Hugging Face counts the one in the middle.
    (r'(mask_decoder\.(?:output|iou)_.*)\.proj_in\.', r'\1.layers.0.'),
    (r'(mask_decoder\.(?:output|iou)_.*)\.layers\.0\.', r'\1.layers.1.'),
    (r'(mask_decoder\.(?:output|iou)_.*)\.proj_out\.', r'\1.layers.2.'),
)


class SamFile(NamedTuple):
    """What a file says of SAM.

    Attributes:
        tensors: By their official names; the three parts, if the file is whole.
        left_out: Keys outside of SAM, and those that SAM-HQ adds.
        source: The file in words, for errors.
    """

    tensors: Dict[str, Tensor]
    left_out: Tuple[str, ...]
    source: str


def load_part(module: nn.Module, checkpoint: Optional[FilePath], variant: str, part: str) -> None:
    """Fill ``module`` with one part of SAM.

    The whole file must fit the variant, whichever part is asked for: the prompt encoders and mask
    decoders of the three official variants have the same shapes, but not the same weights.

    Args:
        module: segment_anything's module of that part, built for ``variant``.
        checkpoint: The file. None leaves the random weights as they are and logs it.
        variant: A key of ``SAM_VARIANTS``.
        part: One of :data:`SAM_PARTS`.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a SAM checkpoint, or one of another variant.
        ValueError: If ``variant`` is unknown.
    """
    remedy = where_to_get(variant)
    if checkpoint is None:
        warn_random_weights(f'SAM {part} ({variant})', remedy)
        return
    file = read_sam(checkpoint, remedy)
    check_whole(file, variant)
    if file.left_out and part == SAM_PARTS[-1]:  # once for all three
        print_log(
            f"{file.source}: {len(file.left_out)} tensors that are not SAM's own "
            f'({file.left_out[0]} and others) are left out',
            'current',
            logging.WARNING,
        )
    own = {k[len(part) + 1 :]: v for k, v in file.tensors.items() if k.startswith(f'{part}.')}
    load_strictly(module, own, f'{file.source}, part {part!r}, variant {variant!r}')


def read_sam(checkpoint: FilePath, remedy: str = '') -> SamFile:
    """Read a file of SAM, whatever was wrapped around it, under the official names.

    It need not be whole. What to do is added to errors as the remedy.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file holds no part of SAM, or SAM more than once.
    """
    own, others, source = read_model(checkpoint, _PART_KEY, 'SAM', remedy)
    if any(key.startswith('vision_encoder.') for key in own):
        own = {rename(key, _HUGGING_FACE): value for key, value in own.items()}
    is_hq = any(map(_HQ_MARK.match, own))
    of_hq = [key for key in own if is_hq and _HQ_KEYS.match(key)]
    tensors = {k: v for k, v in own.items() if k not in {*of_hq, *_CONSTANTS}}
    return SamFile(tensors, (*of_hq, *others), source)


def check_whole(file: SamFile, variant: str) -> None:
    """Refuse a file that is not all of a variant of SAM.

    Raises:
        CheckpointError: With what differs, and what the file is.
    """
    guess, where = guess_variant(file.tensors), where_to_get(variant)
    if guess is None:
        what = (
            f'The file fits none of {sorted(SAM_VARIANTS)}: {describe_model(file.tensors, "SAM")}'
        )
    elif guess == variant:
        what = f'The file is an altered or damaged {variant!r}, or only a part of it'
    else:
        what = f'The file is of variant {guess!r}: set variant={guess!r}'
    target = f'SAM variant {variant!r}'
    expected = _expected_tensors(variant)
    check_strictly(expected, file.tensors, file.source, target, remedy=f'{what}. {where}')


def guess_variant(state_dict: Mapping[str, Tensor]) -> Optional[str]:
    """Tell the variant by the shape of its positional embedding; None if none agrees."""
    positions = state_dict.get('image_encoder.pos_embed')
    if positions is None:
        return None
    for name, variant in SAM_VARIANTS.items():
        side = variant.embedding_size
        if tuple(positions.shape) == (1, side, side, variant.encoder_embed_dim):
            return name
    return None


@cache
def _expected_tensors(variant: str) -> Dict[str, Tensor]:
    """Every tensor of an official file, without values."""
    with torch.device('meta'):
        tensors: Dict[str, Tensor] = build_sam(variant).state_dict()
    return tensors


def where_to_get(variant: str) -> str:
    """Say which file a variant needs and where it is published."""
    file = get_variant(variant).official_file
    if file is None:
        return f'Variant {variant!r} is not one that Meta AI published: give a file saved for it.'
    return f'Variant {variant!r} needs {file}, which Meta AI publishes at {_PUBLISHED_AT}'


def fingerprint_part(checkpoint: Optional[FilePath], part: str) -> Optional[str]:
    """SHA-256 of one part of SAM, as its module has it, from a file; None if there is no such file.

    Raises:
        CheckpointError: If the file cannot be read, or does not have that part.
    """
    state = find_file_state(checkpoint)
    return None if state is None else _fingerprint(part, *state)


@lru_cache(maxsize=8)  # data sets of training, validation and test ask for the same
def _fingerprint(part: str, path: Path, *_state: int) -> str:
    file = read_sam(path)
    own = {k[len(part) + 1 :]: v for k, v in file.tensors.items() if k.startswith(f'{part}.')}
    if not own:
        raise CheckpointError(
            f'{file.source}: expected tensors named {part}.*, found {sorted(file.tensors)[:5]}'
        )
    return fingerprint_tensors(own)
