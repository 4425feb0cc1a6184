"""Files of CLIP: one holds the image tower and the text tower, or one of them.

Whoever published it, its tensors are read under OpenAI's names: OpenAI's own archives and state
dicts, those of open_clip (LAION, DataComp, DFN, ...), and a ``CLIPModel`` of Hugging Face's. What
mmseg's converter makes of the first keeps its names.
"""

import re
from os import PathLike
from pathlib import Path
from typing import Dict, Iterable, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from ...weights.state_dict_keys import find_prefixes, identify_model, remove_wrappers, split_prefix
from ...weights.state_dicts import (
    CheckpointError,
    is_asset,
    is_torchscript_archive,
    read_checkpoint,
    resolve_checkpoint_path,
)
from ...weights.torchscript import read_torchscript_tensors
from .activation import check_activation, choose_activation

__all__ = ['CLIPFile', 'read_clip_file', 'rename_in_block', 'where_to_get']

#: A key that each tower has, with whatever stands before: OpenAI's and open_clip's, Hugging Face's.
#: SEEM's text tower has the first one, too, and is not CLIP's.
_TOWER_KEY = re.compile(
    r'(?P<prefix>(?:.*?\.)??)(?<!lang_encoder\.)'
    r'(?:visual\.class_embedding|(?:text\.)?token_embedding\.weight|'
    r'vision_model\.embeddings\.class_embedding|text_model\.embeddings\.token_embedding\.weight)$'
)
_MMSEG_KEY = re.compile(r'text_encoder\.transformer\.\d+\.')
_HUGGING_FACE_KEY = re.compile(r'(text|vision)_model\.')
#: Prefix of the text tower in open_clip's models that have one as a module of its own.
_CUSTOM_TEXT = 'text.'
#: What a key of Hugging Face's begins with, and OpenAI's.
_HUGGING_FACE_NAMES: Sequence[Tuple[str, str]] = (
    ('text_model.embeddings.token_embedding.', 'token_embedding.'),
    ('text_model.embeddings.position_embedding.weight', 'positional_embedding'),
    ('text_model.encoder.layers.', 'transformer.resblocks.'),
    ('text_model.final_layer_norm.', 'ln_final.'),
    ('vision_model.embeddings.class_embedding', 'visual.class_embedding'),
    ('vision_model.embeddings.patch_embedding.', 'visual.conv1.'),
    ('vision_model.embeddings.position_embedding.weight', 'visual.positional_embedding'),
    ('vision_model.pre_layrnorm.', 'visual.ln_pre.'),  # as they spell it
    ('vision_model.encoder.layers.', 'visual.transformer.resblocks.'),
    ('vision_model.post_layernorm.', 'visual.ln_post.'),
)
#: Linear layers of Hugging Face's, whose weights OpenAI multiplies from the right.
_HUGGING_FACE_PROJECTIONS = {
    'text_projection.weight': 'text_projection',
    'visual_projection.weight': 'visual.proj',
}
#: Names inside a block.
_HUGGING_FACE_BLOCK = (
    ('.self_attn.out_proj.', '.attn.out_proj.'),
    ('.layer_norm1.', '.ln_1.'),
    ('.layer_norm2.', '.ln_2.'),
    ('.mlp.fc1.', '.mlp.c_fc.'),
    ('.mlp.fc2.', '.mlp.c_proj.'),
)
_SEPARATE = re.compile(r'(?P<before>.*)\.self_attn\.q_proj\.(?P<kind>weight|bias)$')


class CLIPFile(NamedTuple):
    """What a file says of CLIP.

    Attributes:
        tensors: By OpenAI's names, or by mmseg's if its converter has made the file.
        path: Of the file.
        source: It in words, for errors.
        is_hugging_face: Whether its names were Hugging Face's.
    """

    tensors: Dict[str, Tensor]
    path: Path
    source: str
    is_hugging_face: bool = False

    def activation(self, tower: str, given: Optional[str] = None) -> str:
        """The activation of a tower's MLPs, which the tensors do not say.

        Args:
            tower: ``'image'`` or ``'text'``.
            given: The setting, if there is any. Defaults to None.

        Returns:
            ``'quick_gelu'`` or ``'gelu'``.

        Raises:
            CheckpointError: If nothing says it, or the file itself says something else than the
                setting.
            ValueError: If the setting is not one of the two.
        """
        check_activation(given)
        return choose_activation(
            self.path, self.source, self.tensors, tower, given, is_asset(self.path)
        )


def where_to_get(official_file: Optional[str]) -> str:
    """Say where a file of CLIP is published."""
    if official_file is None:
        return 'This variant comes with the package: give mmseg_ssprompt://NAME.'
    return f'Download {official_file} of github.com/openai/CLIP and give its path.'


def read_clip_file(
    checkpoint: Union[str, 'PathLike[str]'], official_file: Optional[str]
) -> CLIPFile:
    """Read the tensors of a file of CLIP, whatever was wrapped around them.

    Args:
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``.
        official_file: Name of the file to get if there is none; None for a variant that OpenAI
            has not published.

    Returns:
        What it says; a file of something else keeps its names.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read, or has CLIP more than once.
    """
    file = resolve_checkpoint_path(checkpoint)
    source = f'checkpoint {str(file)!r}'
    if is_torchscript_archive(file):
        content = read_torchscript_tensors(file)
    else:
        remedy = where_to_get(official_file)
        content = read_checkpoint(checkpoint, remedy=remedy, is_wanted=_has_towers)
    if any(_MMSEG_KEY.match(key) for key in content):
        return CLIPFile(content, file, source)
    tensors = remove_wrappers(content)
    prefixes = find_prefixes(tensors, _TOWER_KEY)
    if len(prefixes) > 1:
        raise CheckpointError(
            f'{source} holds towers of CLIP under several prefixes: '
            f'{", ".join(map(repr, prefixes))}. Save those that are meant alone, without their '
            'prefix'
        )
    tensors, _ = split_prefix(tensors, prefixes[0] if prefixes else '')
    is_hugging_face = any(_HUGGING_FACE_KEY.match(key) for key in tensors)
    tensors = _from_hugging_face(tensors) if is_hugging_face else _from_open_clip(tensors)
    return CLIPFile(tensors, file, source, is_hugging_face)


def _has_towers(keys: Iterable[str]) -> bool:
    """Whether keys are those of CLIP."""
    return any(_TOWER_KEY.match(key) for key in keys)


def refuse_known(file: CLIPFile, remedy: str) -> None:
    """Raise a :class:`CheckpointError` if a file is of another model that is known.

    Args:
        file: What :func:`read_clip_file` returns.
        remedy: What to give instead.
    """
    model = identify_model(file.tensors, wanted='CLIP')
    if model is not None:
        raise CheckpointError(
            f'{file.source}: expected CLIP, but this is {model.name}; {model.remark}. {remedy}'
        )


def _from_open_clip(tensors: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """OpenAI's names for open_clip's models whose text tower is a module of its own."""
    if not any(key.startswith(f'{_CUSTOM_TEXT}token_embedding.') for key in tensors):
        return dict(tensors)
    return {
        key[key.startswith(_CUSTOM_TEXT) and len(_CUSTOM_TEXT) :]: v for key, v in tensors.items()
    }


def _from_hugging_face(tensors: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """OpenAI's names for a ``CLIPModel``; a name that is unknown stays, to be reported."""
    named: Dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        separate = _SEPARATE.match(key)
        if key in _HUGGING_FACE_PROJECTIONS:
            named[_HUGGING_FACE_PROJECTIONS[key]] = tensor.t()
        elif separate is not None:
            found = [tensors.get(key.replace('.q_proj.', f'.{part}_proj.')) for part in 'qkv']
            parts = [part for part in found if part is not None and part.ndim > 0]
            if len(parts) == len(found):
                name = f'{separate["before"]}.attn.in_proj_{separate["kind"]}'
                named[_rename_hugging_face(name)] = torch.cat(parts)
            else:
                named[key] = tensor
        elif not re.search(r'\.self_attn\.[kv]_proj\.|\.position_ids$', key):
            named[_rename_hugging_face(key)] = tensor
    return named


def _rename_hugging_face(key: str) -> str:
    for theirs, ours in _HUGGING_FACE_NAMES:
        if key.startswith(theirs):
            key = f'{ours}{key[len(theirs) :]}'
            break
    for theirs, ours in _HUGGING_FACE_BLOCK:
        key = key.replace(theirs, ours)
    return key


def rename_in_block(key: str, prefix: str, names: Sequence[Tuple[str, str]]) -> Optional[str]:
    """Give a weight of a transformer's block another name.

    Args:
        key: OpenAI's name, without the tower's prefix.
        prefix: What stands before the number of the block in the other name.
        names: What names inside a block begin with, OpenAI's and the other.

    Returns:
        The other name; None if it is no weight of a block, or one that is not known.
    """
    match = re.match(r'transformer\.resblocks\.(\d+)\.(.+)', key)
    layer, name = match.groups() if match else ('', '')
    for old, new in names:
        if name.startswith(old):
            return f'{prefix}{layer}.{new}{name[len(old) :]}'
    return None
