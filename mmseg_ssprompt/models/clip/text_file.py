"""Reading CLIP's text tower from a file into mmseg's ``CLIPTextEncoder``.

All that :mod:`..clip_file` reads is understood, and the file that mmseg's
``tools/model_converters/clip2mmseg.py`` makes of OpenAI's.
"""

from os import PathLike
from typing import Dict, Mapping, Optional, Union

from mmseg.models.text_encoder import CLIPTextEncoder
from torch import Tensor

from ...weights.state_dicts import CheckpointError, load_strictly
from .clip_file import CLIPFile, read_clip_file, refuse_known, rename_in_block, where_to_get
from .text_variants import CLIP_TEXT_VARIANTS, CLIPTextVariant, get_text_variant

__all__ = ['load_text_checkpoint', 'read_text_file']

_MMSEG_PREFIX = 'text_encoder.'
_OPENAI_MARK = 'transformer.resblocks.'
#: Entries of OpenAI's files that are no weights of the text tower.
_OPENAI_IGNORED = ('visual.', 'input_resolution', 'context_length', 'vocab_size')
#: Constants and rows of mmseg's that the class names have no use for.
_UNUSED = ('attn_mask', 'bg_embed')
#: The image tower's patch embedding under OpenAI's name and mmseg's.
_PATCH_KEYS = ('visual.conv1.weight', 'image_encoder.patch_embed.projection.weight')
#: OpenAI's names inside a block, and mmseg's.
_BLOCK_NAMES = (
    ('attn.', 'attentions.0.attn.'),
    ('ln_1.', 'norms.0.'),
    ('ln_2.', 'norms.1.'),
    ('mlp.c_fc.', 'ffns.0.layers.0.0.'),
    ('mlp.c_proj.', 'ffns.0.layers.1.'),
)


def load_text_checkpoint(encoder: CLIPTextEncoder, variant: str, file: CLIPFile) -> None:
    """Fill ``encoder`` from a file of CLIP.

    Args:
        encoder: The encoder of the geometry of ``variant``.
        variant: A key of :data:`CLIP_TEXT_VARIANTS`.
        file: What :func:`read_text_file` returns.

    Raises:
        CheckpointError: If the file holds a text tower of another variant; then ``encoder`` is as
            it was.
    """
    geometry = get_text_variant(variant)
    state_dict, patch_size = _to_mmseg_names(file), _find_patch_size(file.tensors)
    if file.is_hugging_face:  # a text tower alone has no scale, which class names have no use for
        state_dict.setdefault('logit_scale', encoder.logit_scale.detach())
    source = f'the text tower in {str(file.path)!r}'
    fitting = [n for n, v in CLIP_TEXT_VARIANTS.items() if _fits(v, state_dict, patch_size)]
    remedy = (
        f'The variant asked for is {variant!r}; by its shapes the file is '
        f'{" or ".join(map(repr, fitting)) or "none that is known"}.'
    )
    if patch_size and geometry.patch_size and patch_size != geometry.patch_size:
        raise CheckpointError(
            f'{source} does not fit: expected an image tower with patches of '
            f'{geometry.patch_size} pixels beside it, found {patch_size}.\n{remedy}'
        )
    load_strictly(encoder, state_dict, source, remedy=remedy)


def read_text_file(checkpoint: Union[str, 'PathLike[str]'], variant: CLIPTextVariant) -> CLIPFile:
    """Read a file that has a text tower.

    Args:
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``.
        variant: What is asked for; it names the file to get where the file is missing.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read or holds no text tower.
    """
    file = read_clip_file(checkpoint, variant.official_file)
    if not any(key.startswith((_MMSEG_PREFIX, _OPENAI_MARK)) for key in file.tensors):
        refuse_known(file, where_to_get(variant.official_file))
        raise CheckpointError(
            f'{file.source} holds no CLIP text tower: expected keys such as '
            f"{_OPENAI_MARK + '0.ln_1.weight'!r} (OpenAI's) or "
            f"{_MMSEG_PREFIX + 'ln_final.weight'!r} (mmseg's), found {sorted(file.tensors)[:5]}"
        )
    return file


def _find_patch_size(content: Mapping[str, Tensor]) -> Optional[int]:
    """The patch size of the image tower, if the file holds one."""
    patches = [content[key] for key in _PATCH_KEYS if key in content]
    return patches[0].shape[-1] if patches and patches[0].ndim else None


def _to_mmseg_names(file: CLIPFile) -> Dict[str, Tensor]:
    """Keep the text tower and rename it."""
    content = file.tensors
    if any(key.startswith(_MMSEG_PREFIX) for key in content):
        named = {
            key[len(_MMSEG_PREFIX) :]: tensor
            for key, tensor in content.items()
            if key.startswith(_MMSEG_PREFIX)
        }
    else:
        named = {
            _rename(key): tensor
            for key, tensor in content.items()
            if not key.startswith(_OPENAI_IGNORED)
        }
    return {key: value for key, value in named.items() if key.split('.')[-1] not in _UNUSED}


def _rename(key: str) -> str:
    """OpenAI's name to mmseg's; a name that is unknown stays, to be reported as it is."""
    return rename_in_block(key, 'transformer.', _BLOCK_NAMES) or key


def _fits(
    variant: CLIPTextVariant, state_dict: Mapping[str, Tensor], patch_size: Optional[int]
) -> bool:
    """Whether the shapes in ``state_dict`` are those of ``variant``."""
    layers = {key.split('.')[1] for key in state_dict if key.startswith('transformer.')}
    projection = state_dict.get('text_projection')
    return (
        len(layers) == variant.layers
        and projection is not None
        and tuple(projection.shape) == (variant.width, variant.embed_dims)
        and (patch_size is None or variant.patch_size in (None, patch_size))
    )
