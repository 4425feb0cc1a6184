"""Loading one part of SAM from the files that people have, or an error that says what they are.

Understood are official files and those with the same keys (MedSAM, SAM-HQ), whatever was wrapped
around them, and files of a ``SamModel`` of Hugging Face's.
"""

import logging
import re
from functools import cache, lru_cache
from os import PathLike
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ...fingerprint import fingerprint_tensors
from ...weights.state_dict_keys import find_prefixes, identify_model, remove_wrappers, split_prefix
from ...weights.state_dicts import (
    CheckpointError,
    check_strictly,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint_path,
    warn_random_weights,
)
from .hugging_face import to_official_names
from .sam_variants import SAM_VARIANTS, SAMVariant, build_sam, get_variant

__all__ = [
    'SAM_PARTS',
    'SamFile',
    'fingerprint_part',
    'guess_variant',
    'load_part',
    'read_sam',
    'where_to_get',
]

#: The parts of SAM, which are the first components of the keys of an official file.
SAM_PARTS = ('image_encoder', 'prompt_encoder', 'mask_decoder')
_PUBLISHED_AT = 'https://github.com/facebookresearch/segment-anything#model-checkpoints'
#: A key of a part, official or Hugging Face's, with whatever stands before.
_PART_KEY = re.compile(
    r'(?P<prefix>(?:.*?\.)??)(?:image_encoder|vision_encoder|prompt_encoder|mask_decoder)\.'
)
_SAM = 'SAM'
#: What SAM-HQ adds to the mask decoder, by its own names and by those of Hugging Face.
_HQ_MARK = re.compile(r'mask_decoder\.h[fq]_token\.')
_HQ_KEYS = re.compile(
    r'mask_decoder\.(hf_token|hf_mlp|compress_vit_feat|embedding_encoder|embedding_maskfeature|'
    r'hq_token|hq_mask_mlp|(compress_vit|encoder|mask)_(conv1|norm|conv2))\.'
)
#: Constants that older versions of segment_anything save; models have their own.
_CONSTANTS = ('pixel_mean', 'pixel_std')


class SamFile(NamedTuple):
    """What a file says of SAM.

    Attributes:
        tensors: By their official names; the three parts, if the file is whole.
        of_hq: Keys that SAM-HQ adds, which are left out of ``tensors``.
        others: Keys outside of SAM, which are left out of ``tensors``.
    """

    tensors: Dict[str, Tensor]
    of_hq: Tuple[str, ...]
    others: Tuple[str, ...]


def load_part(
    module: nn.Module,
    checkpoint: Optional[Union[str, 'PathLike[str]']],
    variant: str,
    part: str,
) -> None:
    """Fill ``module`` with one part of SAM.

    The whole file must fit the variant, whichever part is asked for: the prompt encoders and mask
    decoders of the three official variants have the same shapes, but not the same weights.

    Args:
        module: segment_anything's module of that part, built for ``variant``.
        checkpoint: The file, in the forms of
            :func:`~mmseg_ssprompt.weights.state_dicts.resolve_checkpoint_path`. ``None`` leaves the
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
        warn_random_weights(f'SAM {part} ({variant})', where_to_get(variant))
        return
    file = read_sam(checkpoint, variant)
    source = _describe(checkpoint)
    check_whole(file, source, variant)
    if part == SAM_PARTS[-1]:  # once for all three
        _log_left_out(file, source)
    own, _ = split_prefix(file.tensors, f'{part}.')
    load_strictly(module, own, f'{source}, part {part!r}, variant {variant!r}')


def read_sam(checkpoint: Union[str, 'PathLike[str]'], variant: Optional[str] = None) -> SamFile:
    """Read a file of SAM, whatever was wrapped around it, under the official names.

    Args:
        checkpoint: As for :func:`load_part`, without None.
        variant: What is asked for; it only says which file to get. Defaults to None.

    Returns:
        What the file says of SAM, which need not be whole.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file holds no part of SAM, or SAM more than once.
    """
    remedy = '' if variant is None else where_to_get(variant)
    content = read_checkpoint(checkpoint, remedy=remedy, is_wanted=_has_parts)
    source = _describe(checkpoint)
    state_dict = remove_wrappers(content)
    own, others = split_prefix(state_dict, _choose_prefix(state_dict, source, remedy))
    if any(key.startswith('vision_encoder.') for key in own):
        own = to_official_names(own, source)
    is_hq = any(_HQ_MARK.match(key) for key in own)
    of_hq = [key for key in own if is_hq and _HQ_KEYS.match(key)]
    tensors = {k: v for k, v in own.items() if k not in {*of_hq, *_CONSTANTS}}
    return SamFile(tensors, tuple(of_hq), tuple(others))


def _describe(checkpoint: Union[str, 'PathLike[str]']) -> str:
    return f'checkpoint {str(resolve_checkpoint_path(checkpoint))!r}'


def _has_parts(keys: Iterable[str]) -> bool:
    """Whether keys are those of SAM or a part of it."""
    return any(_PART_KEY.match(key) for key in keys)


def _choose_prefix(state_dict: Mapping[str, Tensor], source: str, remedy: str) -> str:
    """What stands before SAM's own names.

    Raises:
        CheckpointError: If no part of SAM is there, or several prefixes could be meant.
    """
    prefixes = find_prefixes(state_dict, _PART_KEY)
    whole = [prefix for prefix in prefixes if _is_whole(state_dict, prefix)]
    if len(whole) == 1 or (not whole and len(prefixes) == 1):
        return (whole or prefixes)[0]
    _refuse_known(state_dict, source, remedy)
    if not prefixes:
        raise CheckpointError(
            f'{source} holds no SAM: expected keys such as {SAM_PARTS[0] + ".pos_embed"!r}, found '
            f'{list(state_dict)[:5]}. {remedy}'.rstrip()
        )
    raise CheckpointError(
        f'{source} holds parts of SAM under several prefixes: '
        f'{", ".join(map(repr, whole or prefixes))}. Save those that are meant alone, without '
        f'their prefix, by torch.save({{k[len(PREFIX):]: v for k, v in state_dict.items() if '
        f"k.startswith(PREFIX)}}, 'sam.pth')"
    )


def _is_whole(state_dict: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether all three parts have a prefix."""
    own = {key[len(prefix) :].split('.')[0] for key in state_dict if key.startswith(prefix)}
    return own >= {*SAM_PARTS[1:]} and not own.isdisjoint({SAM_PARTS[0], 'vision_encoder'})


def _refuse_known(keys: Iterable[str], source: str, remedy: str) -> None:
    """Raise a :class:`CheckpointError` if keys are those of another model that is known."""
    model = identify_model(keys, wanted=_SAM)
    if model is not None:
        raise CheckpointError(
            f'{source}: expected SAM, but this is {model.name}; {model.remark}. {remedy}'.rstrip()
        )


def check_whole(file: SamFile, source: str, variant: str) -> None:
    """Refuse a file that is not all of a variant of SAM.

    Args:
        file: What :func:`read_sam` returns.
        source: Where it comes from, for the error.
        variant: A key of ``SAM_VARIANTS``.

    Raises:
        CheckpointError: With what the file is, where that is known, or else what differs.
    """
    expected, remedy = _expected_tensors(variant), _suggest_variant(file.tensors, variant)
    try:
        check_strictly(expected, file.tensors, source, f'SAM variant {variant!r}', remedy=remedy)
    except CheckpointError:
        keys = [*file.tensors, *file.of_hq]
        if guess_variant(file.tensors) is None:
            _refuse_known(keys, source, where_to_get(variant))
        raise


def _log_left_out(file: SamFile, source: str) -> None:
    """Say which tensors of a file are not used."""
    if file.of_hq:
        print_log(
            f'{source} is of SAM-HQ: the {len(file.of_hq)} tensors that it adds to the mask '
            f"decoder ({file.of_hq[0]} and others) are left out, so this is SAM's own decoder",
            'current',
            logging.WARNING,
        )
    if file.others:
        print_log(
            f'{source}: {len(file.others)} tensors outside of SAM ({file.others[0]} and others) '
            'are left out',
            'current',
            logging.WARNING,
        )


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
        tensors: Dict[str, Tensor] = build_sam(variant).state_dict()
    return tensors


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


def where_to_get(variant: str) -> str:
    """Say which file a variant needs and where it is published."""
    file = get_variant(variant).official_file
    if file is None:
        return f'Variant {variant!r} is not one that Meta AI published: give a file saved for it.'
    return f'Variant {variant!r} needs {file}, which Meta AI publishes at {_PUBLISHED_AT}'


def _suggest_variant(state_dict: Mapping[str, Tensor], variant: str) -> str:
    """Say what the file is, and what to do."""
    where = where_to_get(variant)
    guess = guess_variant(state_dict)
    if guess is None:
        return (
            f'The file fits none of {sorted(SAM_VARIANTS)}{_describe_encoder(state_dict)}. {where}'
        )
    if guess == variant:
        return f'The file is an altered or damaged {variant!r}: {_say_how(state_dict)}. {where}'
    return f'The file is of variant {guess!r}: set variant={guess!r}. {where}'


def _say_how(state_dict: Mapping[str, Tensor]) -> str:
    """In what way a file of a variant differs from it, and what that means."""
    expected = _expected_tensors(guess_variant(state_dict))
    missing, added = expected.keys() - state_dict.keys(), state_dict.keys() - expected.keys()
    remarks: List[str] = []
    if missing:
        remarks.append(f'{len(missing)} tensors of SAM are not in it, so it was saved in part')
    if added:
        remarks.append(
            f'{len(added)} tensors are none of SAM, such as adapters, without which the others '
            'mean something else'
        )
    return ', and '.join(remarks) or 'a tensor has another shape or kind of numbers'


def _describe_encoder(state_dict: Mapping[str, Tensor]) -> str:
    """The geometry of the image encoder, if there is one."""
    patches = state_dict.get('image_encoder.patch_embed.proj.weight')
    if patches is None or patches.ndim != 4:
        return ''
    positions = state_dict.get('image_encoder.pos_embed')
    side = positions.shape[1] if positions is not None and positions.ndim == 4 else 'no'
    return (
        f': its image encoder has {_count_blocks(state_dict)} blocks of width {patches.shape[0]}, '
        f'patches of {patches.shape[-1]} pixels and {side} positions along a side'
    )


def fingerprint_part(checkpoint: Optional[Union[str, 'PathLike[str]']], part: str) -> Optional[str]:
    """SHA-256 of one part of SAM, read from its file: that of the module that holds it.

    Args:
        checkpoint: As for :func:`load_part`.
        part: As for :func:`load_part`.

    Returns:
        None if no file is given, or it is not there.

    Raises:
        CheckpointError: If the file cannot be read, or does not have that part.
    """
    if checkpoint is None:
        return None
    file = resolve_checkpoint_path(checkpoint)
    if not file.is_file():
        return None
    state = file.stat()
    return _fingerprint(file, part, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)  # data sets of training, validation and test ask for the same
def _fingerprint(file: Path, part: str, *_state: int) -> str:
    tensors = read_sam(file).tensors
    own = {k[len(part) + 1 :]: v for k, v in tensors.items() if k.startswith(f'{part}.')}
    if not own:
        raise CheckpointError(
            f'checkpoint {str(file)!r}: expected tensors named {part}.*, found '
            f'{sorted(tensors)[:5]}'
        )
    return fingerprint_tensors(own)
