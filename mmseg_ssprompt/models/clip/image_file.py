"""Reading CLIP's image tower from a file into :class:`CLIPImageTower`."""

from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Dict, Mapping, Optional, Union

from torch import Tensor, nn

from ...fingerprint import fingerprint_tensors
from ...weights.state_dicts import CheckpointError, load_strictly, resolve_checkpoint_path
from .activation import fingerprint_with_activation
from .clip_file import CLIPFile, read_clip_file, refuse_known, rename_in_block, where_to_get
from .clip_variants import CLIP_IMAGE_VARIANTS, CLIPImageVariant, get_image_variant
from .image_tower import CLIPImageTower

__all__ = ['fingerprint_image_tower', 'load_image_tower', 'load_read_out', 'read_image_file']

_PREFIX = 'visual.'
#: OpenAI's names outside of blocks, and those of :class:`CLIPImageTower`.
_NAMES = {
    'class_embedding': 'transformer.cls_token',
    'positional_embedding': 'transformer.pos_embed',
    'conv1.weight': 'transformer.patch_embed.projection.weight',
    'ln_pre.weight': 'transformer.ln_pre.weight',
    'ln_pre.bias': 'transformer.ln_pre.bias',
    'ln_post.weight': 'transformer.ln1.weight',
    'ln_post.bias': 'transformer.ln1.bias',
    'proj': 'projection',
}
#: OpenAI's names inside a block, and mmseg's.
_BLOCK_NAMES = (
    ('attn.', 'attn.attn.'),
    ('ln_1.', 'ln1.'),
    ('ln_2.', 'ln2.'),
    ('mlp.c_fc.', 'ffn.layers.0.0.'),
    ('mlp.c_proj.', 'ffn.layers.1.'),
)


def load_image_tower(tower: CLIPImageTower, variant: str, file: CLIPFile) -> None:
    """Fill ``tower`` from a file of CLIP.

    Args:
        tower: Of the geometry of ``variant``; it may be on the meta device.
        variant: A key of :data:`CLIP_IMAGE_VARIANTS`.
        file: What :func:`read_image_file` returns.

    Raises:
        CheckpointError: If the file holds an image tower of another variant; then ``tower`` is as
            it was.
    """
    state_dict = _select_tower(file.tensors)
    source = f'the image tower in {str(file.path)!r}'
    load_strictly(tower, state_dict, source, remedy=_suggest_variant(state_dict, variant))


def load_read_out(read_out: nn.Module, variant: str, file: CLIPFile) -> None:
    """Fill a module that has the parts of :class:`ReadOut`, and ``logit_scale``, from a file.

    Args:
        read_out: Its parts are of the geometry of ``variant``.
        variant: A key of :data:`CLIP_IMAGE_VARIANTS`.
        file: As for :func:`load_image_tower`.

    Raises:
        CheckpointError: As :func:`load_image_tower`.
    """
    content = file.tensors
    state_dict = _select_tower(content)
    last = f'transformer.layers.{get_image_variant(variant).layers - 1}.'
    own = {'logit_scale': content['logit_scale']} if 'logit_scale' in content else {}
    own.update({key: state_dict[key] for key in ('projection',) if key in state_dict})
    for theirs, ours in ((last, 'block.'), ('transformer.ln1.', 'norm.')):
        own.update(
            (f'{ours}{key[len(theirs) :]}', tensor)
            for key, tensor in state_dict.items()
            if key.startswith(theirs)
        )
    source = f'the last block of the image tower in {str(file.path)!r}'
    load_strictly(read_out, own, source, remedy=_suggest_variant(state_dict, variant))


def fingerprint_image_tower(
    checkpoint: Optional[Union[str, 'PathLike[str]']],
    variant: str,
    activation: Optional[str] = None,
) -> Optional[str]:
    """The fingerprint of an image tower, from its file: that of :class:`CLIPImageEncoder`.

    Args:
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``.
        variant: What is asked for; it names the file to get where the file is missing.
        activation: The setting. Defaults to None: what the file says.

    Returns:
        None if no file is given, or it is not there.

    Raises:
        CheckpointError: If the file cannot be read, holds no image tower, or its activation is
            not known.
    """
    if checkpoint is None:
        return None
    file = resolve_checkpoint_path(checkpoint)
    if not file.is_file():
        return None
    state = file.stat()
    return _fingerprint(file, variant, activation, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)  # data sets of training, validation and test ask for the same
def _fingerprint(file: Path, variant: str, activation: Optional[str], *_state: int) -> str:
    content = read_image_file(file, variant)
    weights = fingerprint_tensors(_select_tower(content.tensors))
    return fingerprint_with_activation(weights, content.activation('image', activation))


def read_image_file(checkpoint: Union[str, 'PathLike[str]'], variant: str) -> CLIPFile:
    """Read a file that has an image tower.

    Args:
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``.
        variant: What is asked for; it names the file to get where the file is missing.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read or holds no image tower.
    """
    official_file = get_image_variant(variant).official_file
    file = read_clip_file(checkpoint, official_file)
    if f'{_PREFIX}class_embedding' not in file.tensors:
        refuse_known(file, where_to_get(official_file))
        raise CheckpointError(
            f'{file.source} holds no CLIP image tower '
            f"that is a vision transformer: expected keys such as '{_PREFIX}class_embedding' "
            f"(OpenAI's), found {sorted(file.tensors)[:5]}"
        )
    return file


def _select_tower(content: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """The image tower, under the names of :class:`CLIPImageTower`."""
    return {
        _rename(key[len(_PREFIX) :]): _reshape(key, tensor)
        for key, tensor in content.items()
        if key.startswith(_PREFIX)
    }


def _suggest_variant(state_dict: Mapping[str, Tensor], variant: str) -> str:
    """Name the variant that would fit the file."""
    fitting = [name for name, v in CLIP_IMAGE_VARIANTS.items() if _fits(v, state_dict)]
    return (
        f'The variant asked for is {variant!r}; by its shapes the file is '
        f'{" or ".join(map(repr, fitting)) or "none that is known"}.'
    )


def _rename(key: str) -> str:
    """OpenAI's name to ours; a name that is unknown stays, to be reported as it is."""
    return rename_in_block(key, 'transformer.layers.', _BLOCK_NAMES) or _NAMES.get(key, key)


def _reshape(key: str, tensor: Tensor) -> Tensor:
    """Add the dimension for the batch that OpenAI leaves out."""
    if key == f'{_PREFIX}class_embedding':
        return tensor[None, None]
    return tensor[None] if key == f'{_PREFIX}positional_embedding' else tensor


def _fits(variant: CLIPImageVariant, state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the shapes in ``state_dict`` are those of ``variant``."""
    layers = {key.split('.')[2] for key in state_dict if key.startswith('transformer.layers.')}
    patches = state_dict.get('transformer.patch_embed.projection.weight')
    positions = state_dict.get('transformer.pos_embed')
    places = (variant.image_size // variant.patch_size) ** 2
    return (
        len(layers) == variant.layers
        and patches is not None
        and tuple(patches.shape) == (variant.width, 3, *[variant.patch_size] * 2)
        and positions is not None
        and positions.shape[1:2] == (places + 1,)
    )
