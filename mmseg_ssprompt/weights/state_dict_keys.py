"""What the keys of a state dict say: what was wrapped around a model, and what the model is."""

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Pattern, Tuple

__all__ = ['KnownModel', 'find_prefixes', 'identify_model', 'remove_wrappers', 'split_prefix']

#: Modules of torch that wrap another without changing it, wherever they stand.
_WRAPPERS = ('module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module')


def remove_wrappers(state_dict: Mapping[str, Any]) -> Dict[str, Any]:
    """Take torch's wrappers (``DataParallel``, ``torch.compile``, FSDP) out of all keys.

    Nothing else can be meant by them: neither SAM nor CLIP has a part of such a name. Keys that
    would be the same as another stay as they are.

    Args:
        state_dict: Tensors by name.

    Returns:
        The same tensors, in the same order.
    """
    names = ['.'.join(p for p in key.split('.') if p not in _WRAPPERS) for key in state_dict]
    if len(set(names)) < len(names):
        return dict(state_dict)
    return dict(zip(names, state_dict.values()))


def find_prefixes(keys: Iterable[str], mark: Pattern[str]) -> List[str]:
    """What stands before a model's own names, each once, in the order of the file.

    Args:
        keys: Keys of a state dict.
        mark: Matches a whole key of the model, with whatever stands before as the group
            ``prefix``.
    """
    matches = (mark.match(key) for key in keys)
    return list(dict.fromkeys(match['prefix'] for match in matches if match is not None))


def split_prefix(state_dict: Mapping[str, Any], prefix: str) -> Tuple[Dict[str, Any], List[str]]:
    """Take a prefix off.

    Args:
        state_dict: Tensors by name.
        prefix: What stands before the model's own names, with its dot; may be empty.

    Returns:
        The tensors that have it, by the model's own names; and the keys of others.
    """
    own = {k[len(prefix) :]: value for k, value in state_dict.items() if k.startswith(prefix)}
    return own, [key for key in state_dict if not key.startswith(prefix)]


class KnownModel(NamedTuple):
    """A model that people have files of: its name, and what follows from it."""

    name: str
    remark: str


def _encoder(name: str) -> str:
    return f'its image encoder is a {name}, which is not supported'


def _take(name: str) -> str:
    return f"configs of {name} take it, as model.weights=dict({name.lower()}='FILE')"


_TINY_VIT = r'image_encoder\.patch_embed\.seq\.\d+\.'
#: What stands before is not SAM's own image encoder.
_ALONE = r'(?<!image_encoder\.)'
_NO_BASE_MODEL = 'it is no base model that is supported'
_ENCODER_ONLY = 'it is an image encoder alone'
_NO_DECODER = 'the prompt encoder and the mask decoder are missing'
_POOLS = 'its image tower pools by attention'
_OWN_PROMPTS = 'a checkpoint of prompts that this package has trained'
_OTHER_PARTS = 'its image encoder is a plain ViT and its decoder is not that of SAM'
_LOAD_PROMPTS = 'give it as the checkpoint of a test, or as load_from, beside the weights'
_CONVERTED = (
    "mmseg's clip2mmseg.py splits the image tower in two; give the file that it was made of"
)
#: Names, remarks, and regular expressions, each of which some key has to match from its begin or
#: from a dot on. Those with more of them, or parts of others, come first.
_MODELS: Tuple[Tuple[str, ...], ...] = (
    ('SAM 3', _encoder('Perception Encoder'), r'(detector\.backbone|(detr|geometry)_encoder)\.'),
    ('SAM 2', _encoder('Hiera'), r'(image_encoder\.trunk|sam_mask_decoder)\.'),
    ('SAM 2', _encoder('Hiera'), r'vision_encoder\.backbone\.'),
    ('HQ-SAM Light', _encoder('TinyViT'), _TINY_VIT, r'mask_decoder\.hf_token\.'),
    ('MobileSAM, or TinySAM, which has the same keys', _encoder('TinyViT'), _TINY_VIT),
    ('EdgeSAM', _encoder('RepViT'), r'image_encoder\.fuse_stage\d\.'),
    ('RepViT-SAM', _encoder('RepViT'), r'image_encoder\.features\.\d+\.'),
    ('EfficientViT-SAM', _encoder('EfficientViT'), r'image_encoder\.backbone\.input_stem\.'),
    ('EfficientSAM', _OTHER_PARTS, r'prompt_encoder\.(bbox_top_left_embeddings|invalid_points)\.'),
    ('SEEM or X-Decoder', _take('SEEM'), r'sem_seg_head\.predictor\.'),
    ('FastSAM (YOLO)', _NO_BASE_MODEL, r'\d+\.proto\.'),
    ('Grounding DINO', _NO_BASE_MODEL, r'bert\.encoder\.', r'bbox_embed\.'),
    (_OWN_PROMPTS, _LOAD_PROMPTS, r'decode_head\.(spatial|semantic)_prompts\.'),
    (
        'a projection for TokenClassifier',
        'give it as the checkpoint of the classifier',
        *(r'projection\.weight$', r'no_object$'),
    ),
    (
        "SAM's image encoder as mmpretrain names it",
        _NO_DECODER,
        *(r'layers\.\d+\.attn\.rel_pos_h$', r'patch_embed\.projection\.'),
    ),
    ('a segmentor of mmseg', 'it is not a base model', r'decode_head\.conv_seg\.'),
    ('BLIP', 'its towers are not those of CLIP', r'visual_encoder\.blocks\.'),
    ('MobileCLIP', _encoder('MobileCLIP'), r'image_encoder\.model\.'),
    ('CoCa', _POOLS, r'visual\.attn_pool\.'),
    ('SigLIP', _POOLS, r'vision_model\.head\.(probe|attention)'),
    (
        'CLIP with an image tower of timm (SigLIP, ConvNeXt, EVA02)',
        _encoder('model of timm'),
        r'visual\.trunk\.',
    ),
    ('EVA-CLIP', _encoder('ViT of EVA'), r'visual\.blocks\.\d+\.'),
    ('CLIP with a ResNet', _encoder('ResNet'), r'visual\.layer1\.'),
    (
        'CLIP with a text tower of Hugging Face (XLM-RoBERTa)',
        'its text tower is not supported',
        r'text\.transformer\.(embeddings|encoder)\.',
    ),
    ('Chinese-CLIP', 'its text tower is a BERT', r'bert\.embeddings\.', r'visual'),
    (
        'SAM',
        _take('SAM'),
        r'(image_encoder\.blocks|vision_encoder\.layers)\.',
        r'mask_decoder\.iou_t',
    ),
    ('CLIP', _take('CLIP'), r'(visual\.class_embedding$|(text|vision)_model\.embeddings\.)'),
    (
        'CLIP as mmseg converts it',
        _CONVERTED,
        *(r'text_encoder\.transformer\.\d+\.', r'image_encoder\.'),
    ),
    ('DINOv3', _ENCODER_ONLY, r'(storage_tokens|embeddings\.register_tokens)$'),
    ('DINOv2', _ENCODER_ONLY, r'(blocks\.[\d.]+\.ls1\.gamma$|encoder\.layer\.\d+\.layer_scale1\.)'),
    ('MAE', _ENCODER_ONLY, r'decoder_blocks\.\d+\.', r'mask_token$'),
    ("SAM's image encoder alone", _NO_DECODER, _ALONE + r'blocks\.\d+\.attn\.rel_pos_h$'),
    (
        'a ViT (of timm, MAE or DINO)',
        _ENCODER_ONLY,
        *(_ALONE + r'blocks\.\d+\.attn\.qkv\.', r'cls_token$'),
    ),
)


def identify_model(keys: Iterable[str], wanted: str = '') -> Optional[KnownModel]:
    """Tell by its keys what model a state dict is of.

    Args:
        keys: Keys of the state dict, with whatever prefix.
        wanted: The name of what the file should be, which is passed over. Defaults to ''.

    Returns:
        The model; None if it is not known.
    """
    text = '\n'.join(keys)
    for name, remark, *marks in _MODELS:
        patterns = (re.compile(rf'^(?:.*\.)?{mark}', re.MULTILINE) for mark in marks)
        if name != wanted and all(pattern.search(text) for pattern in patterns):
            return KnownModel(name, remark)
    return None
