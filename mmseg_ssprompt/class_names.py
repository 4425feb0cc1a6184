"""Class names as configs give them, and the tokens of their texts, with nothing lost."""

import unicodedata
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine import list_from_file
from mmseg.utils import get_predefined_templates, tokenize
from mmseg.utils.get_templates import PREDEFINED_TEMPLATES
from torch import Tensor

__all__ = [
    'CONTEXT_LENGTH',
    'check_class_names',
    'check_templates',
    'find_palette_problem',
    'normalize_class_name',
    'read_class_names',
    'tokenize_class_names',
    'tokenize_texts',
]

#: The longest text that CLIP reads, in tokens.
CONTEXT_LENGTH = 77


def normalize_class_name(name: str) -> str:
    """Unicode in its composed form (NFC), each run of white space as one space."""
    return ' '.join(unicodedata.normalize('NFC', name).split())


def read_class_names(classes: Any) -> Optional[List[str]]:
    """The class names in a setting, which is a list, or a text file with one a line; else None."""
    if isinstance(classes, str):
        try:
            return list(list_from_file(classes))
        except (OSError, TypeError, UnicodeError):
            return None
    is_list = isinstance(classes, (list, tuple))
    return list(classes) if is_list and all(isinstance(name, str) for name in classes) else None


def find_palette_problem(palette: Any, class_names: Sequence[str]) -> Optional[str]:
    """Say what is wrong with the colours of classes, (C, 3) from 0 to 255; None if nothing is."""
    try:
        colours = np.array(palette)
    except ValueError:  # rows of several lengths
        colours = np.array(None)
    fits = colours.shape == (len(class_names), 3) and colours.dtype.kind in 'iu'
    if fits and colours.min() >= 0 and colours.max() <= 255:
        return None
    return (
        f'expected a colour [R, G, B] of whole numbers from 0 to 255 for each of '
        f'{len(class_names)} classes, {list(class_names)}, found {palette!r}'
    )


def check_class_names(class_names: Sequence[str]) -> List[str]:
    """Check class names and return them normalised.

    Names that differ in case only count as equal, since CLIP's tokenizer lower-cases.

    Raises:
        ValueError: If they are no list or an empty one, or if a name is not a string, is blank or
            is there twice; with the indices of all such names.
    """
    if isinstance(class_names, (str, bytes)) or not isinstance(class_names, Sequence):
        raise ValueError(
            f'class names: expected a list of strings, got {type(class_names).__name__} '
            f'{class_names!r}'
        )
    if not class_names:
        raise ValueError('class names: expected at least one, got none')
    others = {i: name for i, name in enumerate(class_names) if not isinstance(name, str)}
    if others:
        raise ValueError(f'class names: expected strings, but by index found {others}')
    names = [normalize_class_name(name) for name in class_names]
    blank = [  # only spaces, control and formatting characters
        i for i, name in enumerate(names) if all(unicodedata.category(c)[0] in 'CZ' for c in name)
    ]
    if blank:
        raise ValueError(f'class names: those at indices {blank} are empty or blank; name them')
    indices: Dict[str, List[int]] = {}
    for i, name in enumerate(names):
        indices.setdefault(name.lower(), []).append(i)
    duplicates = {names[same[0]]: same for same in indices.values() if len(same) > 1}
    if duplicates:
        raise ValueError(
            f'class names: each may be there once (upper and lower case are the same to CLIP), '
            f'but found at indices {duplicates}; rename or merge these classes'
        )
    return names


def check_templates(templates: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    """Check templates and return them as a tuple.

    Args:
        templates: Texts with one ``{}`` each, where the class name goes; or the name of a set
            among mmseg's predefined templates, such as ``'vild'``.

    Raises:
        ValueError: If there is no such set, or no template, or one has not exactly one ``{}``.
    """
    if isinstance(templates, str):
        if templates not in PREDEFINED_TEMPLATES:
            raise ValueError(
                f'templates: no predefined set is called {templates!r}: expected one of '
                f'{sorted(PREDEFINED_TEMPLATES)}, or a list of templates'
            )
        templates = get_predefined_templates(templates)
    if not isinstance(templates, Sequence) or not templates:
        raise ValueError(f'templates: expected a list of at least one, got {templates!r}')
    for i, template in enumerate(templates):
        braces = [char for char in template if char in '{}'] if isinstance(template, str) else []
        if braces != ['{', '}'] or '{}' not in template:
            raise ValueError(
                f"templates: expected '{{}}' once, where the class name goes, and no other brace, "
                f'got {template!r} at index {i}'
            )
    return tuple(templates)


def tokenize_class_names(class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Tokens of every class name in every template.

    Both have been checked.

    Returns:
        Token ids (templates, C, L) with 0 after a text's end, where L <= 77 is the length of the
        longest text. Nothing is cut off: mmseg's own use of the tokenizer does that silently.

    Raises:
        ValueError: If a text is longer than CLIP can read, or has CLIP's marks of a text's start
            and end inside.
    """
    texts = [template.replace('{}', name) for template in templates for name in class_names]
    names = [
        f'class name {name!r} (index {index}) in template {template!r}'
        for template in templates
        for index, name in enumerate(class_names)
    ]
    return tokenize_texts(texts, names).reshape(len(templates), len(class_names), -1)


def tokenize_texts(texts: Sequence[str], names: Optional[Sequence[str]] = None) -> Tensor:
    """Tokens of C texts, (C, L), as :func:`tokenize_class_names`; errors call them by ``names``."""
    # One place more than CLIP has tells a text that just fits from one that was cut off.
    tokens: Tensor = tokenize(list(texts), context_length=CONTEXT_LENGTH + 1)
    marks = tokens >= tokens[0, 0]  # the marks of start and end have the highest ids
    lengths = tokens.argmax(dim=-1) + 1  # the end's is the highest
    wrong = (marks.sum(dim=-1) != 2) | (lengths > CONTEXT_LENGTH)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        name = f'text {texts[first]!r}' if names is None else names[first]
        raise ValueError(f'{name} {_describe_wrong(texts[first], int(marks[first].sum()))}')
    return tokens[:, : int(lengths.max())]


def _describe_wrong(text: str, marks: int) -> str:
    """Say why CLIP cannot read ``text``."""
    if marks != 2:
        return "contains CLIP's own mark of a text's start or end: leave it out"
    # A token stands for a byte at least; decoding entities and lower-casing add a few bytes.
    places = 2 * len(text.encode('utf-8', errors='replace')) + 2
    count = int(tokenize(text, context_length=places).argmax()) + 1
    return (
        f'is too long: it has {count} tokens with those of its start and end, and text encoders '
        f'read at most {CONTEXT_LENGTH}: shorten the name or the template'
    )
