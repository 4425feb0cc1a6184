"""What the keys of a state dict say: what was wrapped around a model, and what the model is."""

import re
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Pattern,
    Sequence,
    Tuple,
)

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
        keys: Of a state dict.
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
    """A model that people have files of.

    Attributes:
        name: What it is called.
        remark: What follows from it.
        marks: Regular expressions, each of which some key has to match from a dot (or its begin)
            on.
    """

    name: str
    remark: str
    marks: Tuple[str, ...]


def _encoder(name: str) -> str:
    return f'its image encoder is a {name}, which is not supported'


_TINY_VIT = r'image_encoder\.patch_embed\.seq\.\d+\.'
#: What stands before is not SAM's own image encoder.
_ALONE = r'(?<!image_encoder\.)'
#: Those with more marks, or parts of others, come first.
_MODELS: Sequence[KnownModel] = (
    KnownModel('SAM 3', _encoder('Perception Encoder'), (r'detector\.backbone\.',)),
    KnownModel('SAM 3', _encoder('Perception Encoder'), (r'(detr_encoder|geometry_encoder)\.',)),
    KnownModel('SAM 2', _encoder('Hiera'), (r'image_encoder\.trunk\.',)),
    KnownModel('SAM 2', _encoder('Hiera'), (r'sam_mask_decoder\.',)),
    KnownModel('SAM 2', _encoder('Hiera'), (r'vision_encoder\.backbone\.',)),
    KnownModel('HQ-SAM Light', _encoder('TinyViT'), (_TINY_VIT, r'mask_decoder\.hf_token\.')),
    KnownModel('MobileSAM, or TinySAM, which has the same keys', _encoder('TinyViT'), (_TINY_VIT,)),
    KnownModel('EdgeSAM', _encoder('RepViT'), (r'image_encoder\.fuse_stage\d\.',)),
    KnownModel('RepViT-SAM', _encoder('RepViT'), (r'image_encoder\.features\.\d+\.',)),
    KnownModel(
        'EfficientViT-SAM', _encoder('EfficientViT'), (r'image_encoder\.backbone\.input_stem\.',)
    ),
    KnownModel(
        'EfficientSAM',
        'its image encoder is a plain ViT and its decoder is not that of SAM, which are not '
        'supported',
        (r'prompt_encoder\.(bbox_top_left_embeddings|invalid_points)\.',),
    ),
    KnownModel('SEEM or X-Decoder', 'it has no parts of SAM', (r'sem_seg_head\.predictor\.',)),
    KnownModel('FastSAM (YOLO)', 'it has no parts of SAM', (r'\d+\.proto\.',)),
    KnownModel('Grounding DINO', 'it has no parts of SAM', (r'bert\.encoder\.', r'bbox_embed\.')),
    KnownModel(
        'a checkpoint of prompts that this package has trained',
        'give it as the checkpoint of a test, or as load_from, beside the weights',
        (r'decode_head\.(spatial|semantic)_prompts\.',),
    ),
    KnownModel(
        'a projection for TokenClassifier',
        'give it as the checkpoint of the classifier',
        (r'projection\.weight$', r'no_object$'),
    ),
    KnownModel(
        "SAM's image encoder as mmpretrain names it",
        'the prompt encoder and the mask decoder are missing',
        (r'layers\.\d+\.attn\.rel_pos_h$', r'patch_embed\.projection\.'),
    ),
    KnownModel('a segmentor of mmseg', 'it is not a base model', (r'decode_head\.conv_seg\.',)),
    KnownModel('BLIP', 'its towers are not those of CLIP', (r'visual_encoder\.blocks\.',)),
    KnownModel('MobileCLIP', _encoder('MobileCLIP'), (r'image_encoder\.model\.',)),
    KnownModel('CoCa', 'its image tower pools by attention', (r'visual\.attn_pool\.',)),
    KnownModel(
        'SigLIP', 'its image tower pools by attention', (r'vision_model\.head\.(probe|attention)',)
    ),
    KnownModel(
        'CLIP with an image tower of timm (SigLIP, ConvNeXt, EVA02)',
        _encoder('model of timm'),
        (r'visual\.trunk\.',),
    ),
    KnownModel('EVA-CLIP', _encoder('ViT of EVA'), (r'visual\.blocks\.\d+\.',)),
    KnownModel('CLIP with a ResNet', _encoder('ResNet'), (r'visual\.layer1\.',)),
    KnownModel(
        'CLIP with a text tower of Hugging Face (XLM-RoBERTa)',
        'its text tower is not supported',
        (r'text\.transformer\.(embeddings|encoder)\.',),
    ),
    KnownModel('Chinese-CLIP', 'its text tower is a BERT', (r'bert\.embeddings\.', r'visual')),
    KnownModel(
        'SAM', 'it has no towers of CLIP', (r'image_encoder\.blocks\.', r'mask_decoder\.iou_token')
    ),
    KnownModel(
        'SAM', 'it has no towers of CLIP', (r'vision_encoder\.layers\.', r'mask_decoder\.iou_token')
    ),
    KnownModel('CLIP', 'it has no parts of SAM', (r'visual\.class_embedding$',)),
    KnownModel('CLIP', 'it has no parts of SAM', (r'(text|vision)_model\.embeddings\.',)),
    KnownModel(
        'CLIP as mmseg converts it',
        "mmseg's clip2mmseg.py splits the image tower in two; give the file that it was made of",
        (r'text_encoder\.transformer\.\d+\.', r'image_encoder\.'),
    ),
    KnownModel('DINOv3', 'it is an image encoder alone', (r'storage_tokens$',)),
    KnownModel('DINOv3', 'it is an image encoder alone', (r'embeddings\.register_tokens$',)),
    KnownModel('DINOv2', 'it is an image encoder alone', (r'blocks\.[\d.]+\.ls1\.gamma$',)),
    KnownModel('DINOv2', 'it is an image encoder alone', (r'encoder\.layer\.\d+\.layer_scale1\.',)),
    KnownModel('MAE', 'it is an image encoder alone', (r'decoder_blocks\.\d+\.', r'mask_token$')),
    KnownModel(
        "SAM's image encoder alone",
        'the prompt encoder and the mask decoder are missing',
        (_ALONE + r'blocks\.\d+\.attn\.rel_pos_h$',),
    ),
    KnownModel(
        'a ViT (of timm, MAE or DINO)',
        'it is an image encoder alone',
        (_ALONE + r'blocks\.\d+\.attn\.qkv\.', r'cls_token$'),
    ),
)


def identify_model(keys: Iterable[str], wanted: str = '') -> Optional[KnownModel]:
    """Tell by its keys what model a state dict is of.

    Args:
        keys: Of the state dict, with whatever prefix.
        wanted: The name of what the file should be, which is passed over. Defaults to ''.

    Returns:
        The model; None if it is not known.
    """
    text = '\n'.join(keys)
    for model in _MODELS:
        patterns = (re.compile(rf'^(?:.*\.)?{mark}', re.MULTILINE) for mark in model.marks)
        if model.name != wanted and all(pattern.search(text) for pattern in patterns):
            return model
    return None
