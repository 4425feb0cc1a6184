"""What the keys of a state dict say: what was wrapped around a model, and what the model is."""

import re
from typing import Any, Dict, Iterable, List, Mapping, Pattern, Sequence, Tuple

from torch import Tensor

from .state_dicts import CheckpointError, FilePath, describe_checkpoint, read_checkpoint

__all__ = ['describe_model', 'read_model', 'remove_wrappers', 'rename', 'take_off_prefix']

#: Modules of torch that wrap another without changing it, wherever they stand.
_WRAPPERS = ('module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')


def read_model(
    checkpoint: FilePath, mark: Pattern[str], wanted: str, remedy: str = ''
) -> Tuple[Dict[str, Tensor], Dict[str, Tensor], str]:
    """Read a base model from a file, whatever was wrapped around it.

    Args:
        checkpoint: The file.
        mark: As for :func:`take_off_prefix`; some key has to match it.
        wanted: Name of the base model, for the error.
        remedy: What to do, for errors. Defaults to none.

    Returns:
        The tensors of the model, by its own names; those of others; and the file in words.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file holds no part of the model, or the model more than once.
    """
    state_dict = remove_wrappers(read_checkpoint(checkpoint, remedy=remedy))
    source = describe_checkpoint(checkpoint)
    if not any(map(mark.match, state_dict)):
        raise CheckpointError(f'{source}: {describe_model(state_dict, wanted)}. {remedy}'.rstrip())
    own, others = take_off_prefix(state_dict, mark, source)
    return own, {key: state_dict[key] for key in others}, source


def remove_wrappers(state_dict: Mapping[str, Any]) -> Dict[str, Any]:
    """Take torch's wrappers (``DataParallel``, ``torch.compile``, FSDP) out of all keys.

    Nothing else can be meant by them: no base model has a part of such a name.
    """
    return {
        '.'.join(part for part in key.split('.') if part not in _WRAPPERS): value
        for key, value in state_dict.items()
    }


def take_off_prefix(
    state_dict: Mapping[str, Any], mark: Pattern[str], source: str
) -> Tuple[Dict[str, Any], List[str]]:
    """Find what stands before a model's own names, and take it off.

    Args:
        state_dict: Tensors by name.
        mark: Matches a key of the model, with whatever stands before as the group ``prefix``.
        source: Where the state dict comes from, for the error.

    Returns:
        The tensors of the model, by its own names; and the keys of others. Without any key of the
        model all tensors are returned as they are.

    Raises:
        CheckpointError: If several prefixes could be meant.
    """
    matches = [match['prefix'] for match in map(mark.match, state_dict) if match is not None]
    prefixes = list(dict.fromkeys(matches)) or ['']
    if len(prefixes) > 1:
        raise CheckpointError(
            f'{source} holds a model under several prefixes: {", ".join(map(repr, prefixes))}. '
            'Save the one that is meant alone: torch.save({k[len(PREFIX):]: v for k, v in '
            "state_dict.items() if k.startswith(PREFIX)}, 'weights.pth')"
        )
    (prefix,) = prefixes
    own = {k[len(prefix) :]: value for k, value in state_dict.items() if k.startswith(prefix)}
    return own, [key for key in state_dict if not key.startswith(prefix)]


def rename(key: str, names: Sequence[Tuple[str, str]]) -> str:
    """Replace what a key begins with.

    Args:
        key: A key of a state dict.
        names: Regular expressions and what takes their place; the first that matches counts.

    Returns:
        The other name. A key that is unknown stays, to be reported as it is.
    """
    for pattern, name in names:
        renamed, count = re.subn(f'^{pattern}', name, key)
        if count:
            return renamed
    return key


#: Models that people have files of, and what some key of each has from its begin or a dot on.
_MODELS = (
    ('SAM 3', r'(detector\.backbone|(detr|geometry)_encoder)\.'),
    ('SAM 2', r'(image_encoder\.trunk|sam_mask_decoder|vision_encoder\.backbone)\.'),
    ('MobileSAM, TinySAM or HQ-SAM Light', r'image_encoder\.patch_embed\.seq\.\d+\.'),
    ('RepViT-SAM or EdgeSAM', r'image_encoder\.(fuse_stage\d|features\.\d+)\.'),
    ('EfficientViT-SAM', r'image_encoder\.backbone\.input_stem\.'),
    ('EfficientSAM', r'prompt_encoder\.(bbox_top_left_embeddings|invalid_points)\.'),
    ('SEEM or X-Decoder', r'sem_seg_head\.predictor\.'),
    ('FastSAM (YOLO)', r'\d+\.proto\.'),
    ('a checkpoint of prompts', r'decode_head\.(spatial|semantic)_prompts\.'),
    ('SigLIP', r'vision_model\.head\.(probe|attention)'),
    ('CLIP with an image tower of timm', r'visual\.trunk\.'),
    ('EVA-CLIP', r'visual\.blocks\.\d+\.'),
    ('CLIP with a ResNet', r'visual\.layer1\.'),
    ('SAM', r'(image_encoder\.blocks|vision_encoder\.layers|mask_decoder)\.'),
    ('CLIP', r'(visual\.class_embedding$|(text|vision)_model\.embeddings\.)'),
    ("CLIP as mmseg's clip2mmseg.py splits it", r'text_encoder\.transformer\.\d+\.'),
    ('a vision transformer alone', r'blocks\.\d+\.(attn\.(qkv|rel_pos_h)|norm1)'),
)
#: Entries of ``model.weights`` for files of the base models, by their names above.
_ENTRIES = {'SAM': 'sam', 'SEEM or X-Decoder': 'seem', 'CLIP': 'clip'}


def describe_model(keys: Iterable[str], wanted: str) -> str:
    """Say what model a state dict is of, where it is another one than is wanted.

    Args:
        keys: Keys of the state dict, with whatever prefix.
        wanted: The name of what the file should be.

    Returns:
        What was expected and found: a model that is known, and where its files go if it is a base
        model; or else the first keys.
    """
    keys = list(keys)
    text = '\n'.join(keys)
    for name, mark in _MODELS:
        if re.search(rf'^(?:.*\.)?{mark}', text, re.MULTILINE):
            found = f'by its keys this is {name}' if name != wanted else f'found {keys[:5]}'
            entry = _ENTRIES.get(name)
            if entry is not None and name != wanted:
                where = f"model.weights=dict({entry}='FILE')"
                found = f'{found}: give it as {where} to a config of {entry.upper()}'
            return f'expected {wanted}, but {found}'
    return f'expected {wanted}, found {keys[:5]}'
