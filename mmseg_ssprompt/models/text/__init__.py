"""Class names and templates to the default semantic prompts."""

from .class_names import check_class_names, check_templates, normalize_class_name
from .text_encoder import CLIPClassNameEncoder, build_text_encoder, encode_class_names
from .variants import CLIP_TEXT_VARIANTS

__all__ = [
    'CLIP_TEXT_VARIANTS',
    'CLIPClassNameEncoder',
    'build_text_encoder',
    'check_class_names',
    'check_templates',
    'encode_class_names',
    'normalize_class_name',
]
