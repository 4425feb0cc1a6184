"""Reading CLIP's text tower from a file into mmseg's ``CLIPTextEncoder``.

Three kinds of file are understood, in float16 or float32:

- OpenAI's own (``ViT-B-16.pt``, ...), a TorchScript archive, of which only the tensors are read;
- its state dict as ``torch.save`` or safetensors write it, under OpenAI's names;
- the file that mmseg's ``tools/model_converters/clip2mmseg.py`` makes of either.
"""

from os import PathLike
from pathlib import Path
from typing import Dict, Mapping, Optional, Tuple, Union

from mmseg.models.text_encoder import CLIPTextEncoder
from torch import Tensor

from ..checkpoint import CheckpointError, load_strictly, resolve_checkpoint_path
from ..clip_file import read_clip_file, rename_in_block
from .variants import CLIP_TEXT_VARIANTS, CLIPTextVariant, get_text_variant

__all__ = ['load_text_checkpoint', 'read_text_checkpoint']

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


def load_text_checkpoint(
    encoder: CLIPTextEncoder, variant: str, checkpoint: Union[str, 'PathLike[str]']
) -> None:
    """Fill ``encoder`` from a file of one of the three kinds.

    Args:
        encoder: The encoder of the geometry of ``variant``.
        variant: A key of :data:`CLIP_TEXT_VARIANTS`.
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read, holds no text tower, or one of another
            variant; then ``encoder`` is as it was.
    """
    geometry = get_text_variant(variant)
    state_dict, patch_size = read_text_checkpoint(checkpoint, geometry)
    source = f'the text tower in {str(resolve_checkpoint_path(checkpoint))!r}'
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


def read_text_checkpoint(
    checkpoint: Union[str, 'PathLike[str]'], variant: CLIPTextVariant
) -> Tuple[Dict[str, Tensor], Optional[int]]:
    """Read a text tower under the names of mmseg's ``CLIPTextEncoder``.

    Args:
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``.
        variant: What is asked for; only names the file to get if there is none.

    Returns:
        The state dict, and the patch size of the image tower if the file holds one.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read or holds no text tower.
    """
    file = resolve_checkpoint_path(checkpoint)
    content = read_clip_file(checkpoint, variant.official_file)
    patches = [content[key] for key in _PATCH_KEYS if key in content]
    patch_size = patches[0].shape[-1] if patches and patches[0].ndim else None
    return _to_mmseg_names(content, file), patch_size


def _to_mmseg_names(content: Mapping[str, Tensor], file: Path) -> Dict[str, Tensor]:
    """Keep the text tower and rename it.

    Raises:
        CheckpointError: If the names are neither OpenAI's nor mmseg's.
    """
    if any(key.startswith(_MMSEG_PREFIX) for key in content):
        named = {
            key[len(_MMSEG_PREFIX) :]: tensor
            for key, tensor in content.items()
            if key.startswith(_MMSEG_PREFIX)
        }
    elif any(key.startswith(_OPENAI_MARK) for key in content):
        named = {
            _rename(key): tensor
            for key, tensor in content.items()
            if not key.startswith(_OPENAI_IGNORED)
        }
    else:
        raise CheckpointError(
            f'checkpoint {str(file)!r} holds no CLIP text tower: expected keys such as '
            f"{_OPENAI_MARK + '0.ln_1.weight'!r} (OpenAI's) or "
            f"{_MMSEG_PREFIX + 'ln_final.weight'!r} (mmseg's), found {sorted(content)[:5]}"
        )
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
