"""Loading one part of SEEM from an official file, or an error that says what the file is.

Files of SEEM v0 and v1 have the same names and shapes: they cannot be told apart.
"""

import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Callable, Dict, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ...fingerprint import fingerprint_tensors
from ...weights.state_dict_keys import read_model
from ...weights.state_dicts import (
    CheckpointError,
    FilePath,
    check_strictly,
    describe_checkpoint,
    find_file_state,
    load_strictly,
    warn_random_weights,
)
from .backbones import build_backbone
from .pixel_decoders import build_pixel_decoder
from .seem_decoder import SEEMDecoder
from .seem_prompt_encoder import SEEMPromptEncoder
from .seem_text_tower import SEEMTextTower
from .seem_variants import SEEM_VARIANTS, SEEMVariant, get_variant

__all__ = [
    'SEEM_PARTS',
    'fingerprint_parts_of_file',
    'guess_variant',
    'load_parts',
    'read_seem',
    'where_to_get',
]

_PREDICTOR = 'sem_seg_head.predictor.'
_LANGUAGE = f'{_PREDICTOR}lang_encoder.'
#: The parts of SEEM, and what stands before their names in an official file.
SEEM_PARTS: Dict[str, str] = dict(
    backbone='backbone.',
    pixel_decoder='sem_seg_head.pixel_decoder.',
    mask_decoder=_PREDICTOR,
    prompt_encoder=_PREDICTOR,
    text_encoder=_LANGUAGE,
)
_BUILDERS: Dict[str, Callable[[SEEMVariant], nn.Module]] = dict(
    backbone=build_backbone,
    pixel_decoder=build_pixel_decoder,
    mask_decoder=SEEMDecoder,
    prompt_encoder=SEEMPromptEncoder,
    text_encoder=SEEMTextTower,
)
#: Names that a part does not take from its own place.
_ELSEWHERE = {f'{_PREDICTOR}logit_scale': f'{_LANGUAGE}logit_scale'}
#: Buffers of an official file, which need not be there: nothing uses them.
_BUFFERS = ('dilation_kernel', 'criterion.empty_weight')
#: A key of SEEM, with whatever stands before.
_SEEM_KEY = re.compile(r'(?P<prefix>(?:.*?\.)??)sem_seg_head\.(?:pixel_decoder|predictor)\.')
_SPATIAL = f'{_PREDICTOR}pn_indicator.weight'  # which X-Decoder does not have
_PUBLISHED_AT = 'https://huggingface.co/xdecoder/SEEM'


def load_parts(
    modules: Mapping[str, nn.Module],
    checkpoint: Optional[FilePath],
    variant: str,
) -> None:
    """Fill modules with parts of SEEM.

    The whole file must fit the variant, whichever parts are asked for: those of several variants
    have the same shapes, but not the same weights.

    Args:
        modules: By the names of :data:`SEEM_PARTS`, built for ``variant``.
        checkpoint: The file. None leaves the random weights as they are and logs it.
        variant: A key of ``SEEM_VARIANTS``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a SEEM checkpoint, or one of another variant.
        ValueError: If ``variant`` is unknown.
    """
    if checkpoint is None:
        parts = ' and '.join(part.replace('_', ' ') for part in modules)
        warn_random_weights(f'the SEEM {parts} ({variant})', where_to_get(variant))
        return
    tensors = read_seem(checkpoint, variant)
    for part, module in modules.items():
        own = {name: tensors[_official_name(part, name)] for name in module.state_dict()}
        source = f'{describe_checkpoint(checkpoint)}, part {part!r}, variant {variant!r}'
        load_strictly(module, own, source)


def read_seem(checkpoint: FilePath, variant: str) -> Dict[str, Tensor]:
    """Read a file of SEEM, which must fit a variant, by its official names.

    Args:
        checkpoint: As for :func:`load_parts`, without None.
        variant: A key of ``SEEM_VARIANTS``.

    Returns:
        All tensors but those that nothing uses.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is of another variant or model, or not whole.
        ValueError: If ``variant`` is unknown.
    """
    remedy = where_to_get(variant)
    tensors, source = _read(checkpoint, remedy)
    suggestion = _suggest_variant(tensors, variant)
    check_strictly(
        _expected_tensors(variant), tensors, source, f'SEEM variant {variant!r}', remedy=suggestion
    )
    return tensors


def _read(checkpoint: FilePath, remedy: str) -> Tuple[Dict[str, Tensor], str]:
    """Tensors of a file by their official names, without the buffers, and the file in words."""
    own, others, source = read_model(checkpoint, _SEEM_KEY, 'SEEM', remedy)
    own.update(others)  # to be reported
    return {key: tensor for key, tensor in own.items() if key not in _BUFFERS}, source


def _official_name(part: str, name: str) -> str:
    official = f'{SEEM_PARTS[part]}{name}'
    return _ELSEWHERE.get(official, official)


@cache
def _expected_tensors(variant: str) -> Dict[str, Tensor]:
    """Every tensor of an official file, without values and but for the buffers."""
    geometry = get_variant(variant)
    expected: Dict[str, Tensor] = {}
    with torch.device('meta'):
        for part, build in _BUILDERS.items():
            for name, tensor in build(geometry).state_dict().items():
                expected[_official_name(part, name)] = tensor
    return expected


def guess_variant(tensors: Mapping[str, Tensor]) -> Optional[str]:
    """Tell the variant of an official file by the shapes of a few tensors.

    Args:
        tensors: By their official names.

    Returns:
        A key of ``SEEM_VARIANTS``; None if none agrees.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    for name, variant in SEEM_VARIANTS.items():
        if all(shapes.get(key) == shape for key, shape in _signature(variant).items()):
            return name
    return None


def _signature(variant: SEEMVariant) -> Dict[str, Optional[Tuple[int, ...]]]:
    """Shapes by which a variant is told from the others; None for a tensor that it lacks."""
    dims, width = variant.hidden_dims, variant.widths[0]
    kernel = 3 if variant.pixel_decoder == 'fpn' else 1
    signature: Dict[str, Optional[Tuple[int, ...]]] = {
        f'{_PREDICTOR}query_feat.weight': (variant.num_queries, dims),
        f'{SEEM_PARTS["pixel_decoder"]}mask_features.weight': (dims, dims, kernel, kernel),
    }
    if variant.backbone == 'davit':
        down = variant.down_kernel
        signature['backbone.convs.0.proj.weight'] = (width, 3, 7, 7)
        signature['backbone.convs.1.proj.weight'] = (variant.widths[1], width, down, down)
    elif variant.backbone == 'sam_vit':
        signature['backbone.patch_embed.proj.weight'] = (variant.vit_width, 3, 16, 16)
    else:
        depthwise = (width, 1, 3, 3) if variant.backbone == 'focal_dw' else None
        signature['backbone.patch_embed.proj.weight'] = (width, 3, 7, 7)
        signature['backbone.layers.0.blocks.0.dw1.weight'] = depthwise
    return signature


def where_to_get(variant: str) -> str:
    """Say which file a variant needs and where it is published."""
    file = get_variant(variant).official_file
    if file is None:
        return f'No file of variant {variant!r} is published: give one saved for it.'
    return f'Variant {variant!r} needs {file}, which the authors publish at {_PUBLISHED_AT}'


def _suggest_variant(tensors: Mapping[str, Tensor], variant: str) -> str:
    """Say what a file is, and what to do."""
    where = where_to_get(variant)
    guess = guess_variant(tensors)
    if guess is None:
        return f'The file fits none of {sorted(SEEM_VARIANTS)}. {where}'
    if guess != variant:
        return f'The file is of variant {guess!r}: set variant={guess!r} for all of SEEM. {where}'
    lacks = '' if _SPATIAL in tensors else ', perhaps X-Decoder, which has no spatial prompts'
    return f'The file is an altered or damaged {variant!r}{lacks}. {where}'


def fingerprint_parts_of_file(
    checkpoint: Optional[FilePath], parts: Sequence[str]
) -> Optional[str]:
    """SHA-256 of parts of SEEM, read from their file: that of the module that holds them.

    Args:
        checkpoint: As for :func:`load_parts`.
        parts: Names of :data:`SEEM_PARTS`, which are those of the module's own parts.

    Returns:
        None if no file is given, or it is not there.

    Raises:
        CheckpointError: If the file cannot be read, or does not have those parts.
    """
    state = find_file_state(checkpoint)
    return None if state is None else _fingerprint(tuple(parts), *state)


@lru_cache(maxsize=8)  # data sets of training, validation and test ask for the same
def _fingerprint(parts: Tuple[str, ...], file: Path, *_state: int) -> str:
    tensors, source = _read(file, '')
    own: Dict[str, Tensor] = {}
    for part in parts:
        prefix = SEEM_PARTS[part]
        found = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        if not found:
            raise CheckpointError(
                f'{source}: expected tensors named {prefix}*, found {sorted(tensors)[:5]}'
            )
        own.update({f'{part}.{name}': tensor for name, tensor in found.items()})
    return fingerprint_tensors(own)
