"""Files of CLIP: one holds the image tower and the text tower, or one of them.

Whoever published it, its tensors are read under OpenAI's names: OpenAI's own archives and state
dicts, those of open_clip (LAION, DataComp, DFN, ...), and a ``CLIPModel`` of Hugging Face's. What
mmseg's converter makes of the first has a text tower alone.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Dict, Mapping, NamedTuple, Optional

import torch
from mmseg.models.text_encoder import CLIPTextEncoder
from torch import Tensor, nn

from ...fingerprint import fingerprint_tensors
from ...weights.state_dict_keys import describe_model, remove_wrappers, rename, take_off_prefix
from ...weights.state_dicts import (
    CheckpointError,
    FilePath,
    describe_checkpoint,
    find_file_state,
    is_asset,
    is_torchscript_archive,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint_path,
)
from ...weights.torchscript import find_activation, read_torchscript_tensors
from .clip_variants import CLIP_VARIANTS, get_clip_variant, where_to_get

__all__ = ['ACTIVATIONS', 'CLIPFile', 'choose_activation', 'read_clip_file']

QUICK_GELU, GELU = 'quick_gelu', 'gelu'
#: Config of each activation, for mmseg's modules.
ACTIVATIONS: Dict[str, Dict[str, str]] = {
    QUICK_GELU: dict(type='QuickGELU'),
    GELU: dict(type='GELU'),
}
#: A key that each tower has.
_TOWER_KEYS = dict(image='visual.class_embedding', text='token_embedding.weight')
#: Such keys, OpenAI's and open_clip's or Hugging Face's, with whatever stands before. The text
#: tower of SEEM has the second one, too.
_TOWER_KEY = re.compile(
    r'(?P<prefix>(?:.*?\.)??)(?<!lang_encoder\.)'
    r'(?:visual\.class_embedding|(?:text\.)?token_embedding\.weight|'
    r'vision_model\.embeddings\.class_embedding|text_model\.embeddings\.token_embedding\.weight)$'
)
_PATCHES = 'visual.conv1.weight'
#: Parts of Hugging Face's names, and OpenAI's.
_HUGGING_FACE = (
    ('text_model.embeddings.token_embedding.', 'token_embedding.'),
    ('text_model.embeddings.position_embedding.weight', 'positional_embedding'),
    ('text_model.encoder.layers.', 'transformer.resblocks.'),
    ('text_model.final_layer_norm.', 'ln_final.'),
    ('text_projection.weight', 'text_projection'),
    ('vision_model.embeddings.class_embedding', 'visual.class_embedding'),
    ('vision_model.embeddings.patch_embedding.', 'visual.conv1.'),
    ('vision_model.embeddings.position_embedding.weight', 'visual.positional_embedding'),
    ('vision_model.pre_layrnorm.', 'visual.ln_pre.'),  # as they spell it
    ('vision_model.encoder.layers.', 'visual.transformer.resblocks.'),
    ('vision_model.post_layernorm.', 'visual.ln_post.'),
    ('visual_projection.weight', 'visual.proj'),
    ('.self_attn.q_proj.', '.attn.in_proj_'),
    ('.self_attn.out_proj.', '.attn.out_proj.'),
    ('.layer_norm', '.ln_'),
    ('.mlp.fc1.', '.mlp.c_fc.'),
    ('.mlp.fc2.', '.mlp.c_proj.'),
)
#: OpenAI's names of the image tower, and those of :class:`CLIPImageTower`.
_IMAGE_NAMES = (
    (r'class_embedding$', 'transformer.cls_token'),
    (r'positional_embedding$', 'transformer.pos_embed'),
    (r'conv1\.', 'transformer.patch_embed.projection.'),
    (r'ln_pre\.', 'transformer.ln_pre.'),
    (r'ln_post\.', 'transformer.ln1.'),
    (r'proj$', 'projection'),
    (r'transformer\.resblocks\.(\d+)\.attn\.', r'transformer.layers.\1.attn.attn.'),
    (r'transformer\.resblocks\.(\d+)\.ln_([12])\.', r'transformer.layers.\1.ln\2.'),
    (r'transformer\.resblocks\.(\d+)\.mlp\.c_fc\.', r'transformer.layers.\1.ffn.layers.0.0.'),
    (r'transformer\.resblocks\.(\d+)\.mlp\.c_proj\.', r'transformer.layers.\1.ffn.layers.1.'),
)
#: OpenAI's names of the text tower, and those of mmseg's ``CLIPTextEncoder``.
_TEXT_NAMES = (
    (r'transformer\.resblocks\.(\d+)\.attn\.', r'transformer.\1.attentions.0.attn.'),
    (r'transformer\.resblocks\.(\d+)\.ln_1\.', r'transformer.\1.norms.0.'),
    (r'transformer\.resblocks\.(\d+)\.ln_2\.', r'transformer.\1.norms.1.'),
    (r'transformer\.resblocks\.(\d+)\.mlp\.c_fc\.', r'transformer.\1.ffns.0.layers.0.0.'),
    (r'transformer\.resblocks\.(\d+)\.mlp\.c_proj\.', r'transformer.\1.ffns.0.layers.1.'),
)
#: What is no weight of the text tower: the image tower, OpenAI's constants and mmseg's.
_NO_TEXT = re.compile(
    r'visual\.|(input_resolution|context_length|vocab_size)$|(.*\.)?(attn_mask|bg_embed)$'
)


class CLIPFile(NamedTuple):
    """What a file says of CLIP.

    Attributes:
        tensors: By OpenAI's names; by mmseg's if its converter has made the file.
        source: The file in words, for errors.
        activation: A key of :data:`ACTIVATIONS`, if the file says it.
    """

    tensors: Dict[str, Tensor]
    source: str
    activation: Optional[str]


def read_clip_file(checkpoint: Optional[FilePath], variant: str, tower: str) -> Optional[CLIPFile]:
    """Read the tensors of a file of CLIP, whatever was wrapped around them.

    Args:
        checkpoint: Path of the file, or ``mmseg_ssprompt://NAME``; None for random weights.
        variant: What is asked for; it names the file to get where the file is missing.
        tower: ``'image'`` or ``'text'``, which the file must have.

    Returns:
        What it says; None without a file.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be read, has CLIP more than once or no such tower.
        ValueError: If the variant is unknown.
    """
    remedy = where_to_get(variant)
    if checkpoint is None:
        return None
    file = resolve_checkpoint_path(checkpoint)
    source = describe_checkpoint(checkpoint)
    activation = QUICK_GELU if is_asset(file) else None
    if is_torchscript_archive(file):
        content, activation = read_torchscript_tensors(file), find_activation(file)
    else:
        content = read_checkpoint(checkpoint, remedy=remedy)
    tensors, _ = take_off_prefix(remove_wrappers(content), _TOWER_KEY, source)
    patches = content.get('image_encoder.patch_embed.projection.weight')  # of mmseg's converter
    if patches is not None:
        tensors[_PATCHES] = patches
    if any(key.startswith(('text_model.', 'vision_model.')) for key in tensors):
        tensors = _from_hugging_face(tensors)
    elif 'text.token_embedding.weight' in tensors:  # a text tower of open_clip's that is a module
        tensors = {re.sub(r'^text\.', '', key): value for key, value in tensors.items()}
    if _TOWER_KEYS[tower] not in tensors:
        raise CheckpointError(
            f'{source} holds no CLIP {tower} tower that is a transformer, with a key '
            f'{_TOWER_KEYS[tower]!r}: {describe_model(content, "CLIP")}. {remedy}'
        )
    return CLIPFile(tensors, source, activation)


def choose_activation(file: Optional[CLIPFile], given: Optional[str]) -> str:
    """The activation of a tower's MLPs, which the tensors do not say.

    OpenAI trained with QuickGELU, ``x * sigmoid(1.702 x)``, LAION and DataComp with GELU. The other
    one computes embeddings that look well and are wrong, so none is ever assumed.

    Args:
        file: What :func:`read_clip_file` returns.
        given: The setting, a key of :data:`ACTIVATIONS`, or None.

    Returns:
        A key of :data:`ACTIVATIONS`; for random weights QuickGELU, unless it is set.

    Raises:
        CheckpointError: If neither says it, or the file says something else than the setting.
        ValueError: If the setting is not one of the two.
    """
    if given is not None and given not in ACTIVATIONS:
        raise ValueError(f'activation must be one of {tuple(ACTIVATIONS)}, got {given!r}')
    if file is None:
        return given or QUICK_GELU
    said = file.activation
    if said is not None and given not in (None, said):
        raise CheckpointError(
            f'{file.source}: its activation is {said!r}, and activation={given!r} is set: leave '
            'the setting out'
        )
    if said is None and given is None:
        raise CheckpointError(
            f'{file.source}: expected to know its activation, but the tensors do not say it, and '
            f"there is no program of a TorchScript archive. Set activation='{QUICK_GELU}' "
            '(OpenAI, DFN, MetaCLIP and all whose name in open_clip ends in -quickgelu) or '
            f"activation='{GELU}' (LAION, DataComp) beside checkpoint, or for all parts "
            'model.weights=dict(clip=..., clip_activation=...). A config.json beside the file '
            'says it as hidden_act, an open_clip_config.json as quick_gelu'
        )
    return said or str(given)


def fingerprint_with_activation(fingerprint: str, activation: str) -> str:
    """The fingerprint of an encoder, of that of its weights, which it is with QuickGELU."""
    if activation == QUICK_GELU:
        return fingerprint
    return hashlib.sha256(f'{fingerprint} {activation}'.encode()).hexdigest()


def load_image_tower(tower: nn.Module, variant: str, file: CLIPFile) -> None:
    """Fill a :class:`CLIPImageTower` of a variant, or refuse a file that does not fit."""
    source, remedy = f'the image tower in {file.source}', _suggest_variant(file, variant)
    load_strictly(tower, _select_image_tower(file), source, remedy=remedy)


def load_read_out(read_out: nn.Module, variant: str, file: CLIPFile) -> None:
    """Fill the parts of :class:`ReadOut` in a module, and ``logit_scale``, by the last block."""
    last = f'transformer.layers.{get_clip_variant(variant).image.layers - 1}.'
    names = ((re.escape(last), 'block.'), (r'transformer\.ln1\.', 'norm.'))
    tower = {rename(key, names): value for key, value in _select_image_tower(file).items()}
    own = {k: v for k, v in tower.items() if k.startswith(('block.', 'norm.', 'projection'))}
    own.update((k, v) for k, v in file.tensors.items() if k == 'logit_scale')
    source = f'the last block of the image tower in {file.source}'
    load_strictly(read_out, own, source, remedy=_suggest_variant(file, variant))


def load_text_tower(encoder: CLIPTextEncoder, variant: str, file: CLIPFile) -> None:
    """Fill mmseg's encoder of a variant, or refuse a file that does not fit."""
    own = {rename(k, _TEXT_NAMES): v for k, v in file.tensors.items() if not _NO_TEXT.match(k)}
    # A text tower alone has no scale, which class names have no use for.
    own.setdefault('logit_scale', encoder.logit_scale.detach())
    source, remedy = f'the text tower in {file.source}', _suggest_variant(file, variant)
    patches, size = file.tensors.get(_PATCHES), get_clip_variant(variant).patch_size
    if patches is not None and patches.shape[-1:] != (size,):  # text towers may have one shape
        raise CheckpointError(
            f'{source} does not fit: expected an image tower with patches of {size} pixels beside '
            f'it, found weights of shape {tuple(patches.shape)}.\n{remedy}'
        )
    load_strictly(encoder, own, source, remedy=remedy)


def fingerprint_image_tower(
    checkpoint: Optional[FilePath], variant: str, activation: Optional[str] = None
) -> Optional[str]:
    """The fingerprint of :class:`CLIPImageEncoder`, from a file; None if there is no such file.

    Raises:
        CheckpointError: As :func:`read_clip_file` and :func:`choose_activation`.
    """
    state = find_file_state(checkpoint)
    return None if state is None else _fingerprint(variant, activation, *state)


@lru_cache(maxsize=8)  # data sets of training, validation and test ask for the same
def _fingerprint(variant: str, given: Optional[str], path: Path, *_state: int) -> Optional[str]:
    file = read_clip_file(path, variant, 'image')
    assert file is not None
    weights = fingerprint_tensors(_select_image_tower(file))
    return fingerprint_with_activation(weights, choose_activation(file, given))


def _from_hugging_face(tensors: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """OpenAI's names for a ``CLIPModel``; a name that is unknown stays, to be reported."""
    named: Dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if re.search(r'\.self_attn\.[kv]_proj\.|\.position_ids$', key):
            continue
        if '.self_attn.q_proj.' in key:
            parts = [tensors.get(key.replace('.q_proj.', f'.{part}_proj.')) for part in 'qkv']
            tensor = torch.cat([part for part in parts if part is not None])
        elif key in ('text_projection.weight', 'visual_projection.weight'):
            tensor = tensor.t()  # OpenAI multiplies from the right
        for theirs, ours in _HUGGING_FACE:
            key = key.replace(theirs, ours)
        named[key] = tensor
    return named


def _select_image_tower(file: CLIPFile) -> Dict[str, Tensor]:
    """The image tower, under the names of :class:`CLIPImageTower`."""
    tower = {
        rename(key[len('visual.') :], _IMAGE_NAMES): tensor
        for key, tensor in file.tensors.items()
        if key.startswith('visual.')
    }
    # The dimension for the batch, which OpenAI leaves out.
    for key, new in (('transformer.cls_token', (None, None)), ('transformer.pos_embed', (None,))):
        if key in tower:
            tower[key] = tower[key][new]
    return tower


def _suggest_variant(file: CLIPFile, variant: str) -> str:
    """Name the variant that would fit the file."""
    patches, projection = (file.tensors.get(key) for key in (_PATCHES, 'text_projection'))
    fitting = [
        name
        for name, v in CLIP_VARIANTS.items()
        if (patches is None or patches.shape[-1:] == (v.patch_size,))
        and (projection is None or projection.shape == (v.text.width, v.embed_dims))
    ]
    return (
        f'The variant asked for is {variant!r}; by its shapes the file is '
        f'{" or ".join(map(repr, fitting)) or "none that is known"}.'
    )
