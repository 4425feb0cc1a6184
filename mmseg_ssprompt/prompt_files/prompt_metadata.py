"""What a state dict says of its prompts, and whether that fits a model."""

from itertools import zip_longest
from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from ..models.base import fingerprint_parts
from ..plain import DICT, NAMES, Kind, find_problem, shorten, to_json
from ..version import __version__

__all__ = [
    'METADATA_KEY',
    'PARTS',
    'compare_defaults',
    'compare_metadata',
    'describe_prompts',
    'find_metadata_problem',
    'largest_difference',
]

#: Where it is among a module's own metadata.
METADATA_KEY = 'prompts'
#: Parts of the head that are described one by one.
PARTS = ('spatial_prompts', 'semantic_prompts')
#: Version of the metadata; a later one is refused.
_FORMAT = 2
#: What encoded the handcrafted prompts of each part.
_ENCODERS = dict(zip(PARTS, ('prompt_encoder', 'text_encoder')))
_KINDS = {
    'format': Kind('a positive number', lambda value: type(value) is int and value > 0),
    'class_names': NAMES,
    'trained': NAMES,
    'base': DICT,
    'base.parts': DICT._replace(name='the SHA-256 of each part'),
    **dict.fromkeys(PARTS, DICT),
}
_NEEDED = ('format', 'class_names', 'trained', 'base')


def describe_prompts(model: EncoderDecoder) -> Dict[str, Any]:
    """The metadata of a model's prompts, as plain values.

    Args:
        model: A ``PromptSegmentor``.

    Returns:
        ``format`` and ``package`` (versions), ``base`` (the ``kind`` of base model, and the SHA-256
        of each of its frozen ``parts`` by name, None for random weights), ``class_names``,
        ``trained`` (the parts of the head that train), ``classifier`` (its type, and how it looks
        at masks) and, where there are such prompts, ``spatial_prompts`` and ``semantic_prompts``
        (type, fusion, number, templates, SHA-256 of the text or prompt encoder, and for spatial
        prompts that were transferred the file that they were taken from).
    """
    head = model.decode_head
    metadata: Dict[str, Any] = dict(
        format=_FORMAT,
        package=__version__,
        base=dict(
            kind=getattr(getattr(head, 'segmenter', None), 'kind', 'none'),
            parts=fingerprint_parts(model),
        ),
        class_names=list(getattr(head, 'class_names', ())),
        trained=[name for name, part in head.named_children() if _trains(part)],
    )
    if hasattr(head, 'classifier'):
        metadata['classifier'] = head.classifier.describe()
    for name in PARTS:
        if hasattr(head, name):
            metadata[name] = _describe_learner(getattr(head, name))
    if 'spatial_prompts' in metadata:
        encoder = metadata['base']['parts'].get('prompt_encoder')
        metadata['spatial_prompts']['prompt_encoder'] = encoder
    if model.spatial_prompts_from is not None:
        metadata['spatial_prompts']['taken_from'] = model.spatial_prompts_from
    return metadata


def _trains(part: Any) -> bool:
    """Whether a part of the head is meant to train; a moving average of it does not, itself."""
    if hasattr(part, 'fusion'):
        return bool(part.fusion.mode != 'default_only')
    return bool(getattr(part, 'trainable', next(part.parameters(), None) is not None))


def _describe_learner(learner: Any) -> Dict[str, Any]:
    described: Dict[str, Any] = dict(type=type(learner).__name__)
    if hasattr(learner, 'fusion'):
        described['fusion'] = learner.fusion.describe()
    if hasattr(learner, 'num_prompts'):
        described['num_prompts'] = learner.num_prompts
    if hasattr(learner, 'templates'):
        described['templates'] = list(learner.templates)
        described['text_encoder'] = learner.text_encoder_fingerprint
    if getattr(learner, 'fits_other_classes', False):
        described['fits_other_classes'] = True
    return described


def find_metadata_problem(metadata: Any) -> Optional[str]:
    """Say what in metadata from a file is not as :func:`describe_prompts` makes it.

    Args:
        metadata: What a state dict has under :data:`METADATA_KEY`.

    Returns:
        The first entry that is not, what was expected and what was found; None if all are.
    """
    version = metadata.get('format') if isinstance(metadata, Mapping) else None
    if type(version) is int and version > _FORMAT:
        return (
            f'format: expected at most {_FORMAT}, found {version}, written by version '
            f'{shorten(metadata.get("package"))} of the package: update the package'
        )
    problem = find_problem(metadata, _KINDS, _NEEDED)
    if problem is not None:
        return problem
    try:
        for name, entry in metadata.items():
            to_json(entry, name)
    except (RecursionError, ValueError) as error:
        return str(error)
    return None


def compare_metadata(
    found: Mapping[str, Any],
    expected: Mapping[str, Any],
    replaced: Sequence[str] = (),
    parts: Sequence[str] = PARTS,
    names: bool = True,
) -> List[str]:
    """Say in what two kinds of metadata differ.

    Args:
        found: Of a state dict, in which :func:`find_metadata_problem` finds nothing.
        expected: Of the model that it is meant for.
        replaced: The frozen parts, by the names of their fingerprints, whose weights are in the
            state dict. Defaults to none.
        parts: Those of :data:`PARTS` that are compared. Defaults to both.
        names: Whether class names are compared, unless the model's prompts fit any. Defaults to
            True.

    Returns:
        A line for each difference; none if the state dict fits.
    """
    bases = found['base'], expected['base']
    problems = _compare('base model', *(base.get('kind') for base in bases))
    weights = bases[0].get('parts', {})
    for part, fingerprint in bases[1]['parts'].items():
        if part not in replaced:
            problems += _compare_weights(part, weights.get(part), fingerprint)
    if names and not expected.get('semantic_prompts', {}).get('fits_other_classes'):
        problems += _compare_names(found['class_names'], expected['class_names'])
    problems += _compare('classifier', found.get('classifier'), expected.get('classifier'))
    for part in parts:
        if part in expected:
            both = found.get(part, {}), expected[part]
            for key in ('type', 'fusion', 'num_prompts', 'templates'):
                problems += _compare(f'{part}, {key}', *(each.get(key) for each in both))
            encoders = (each.get('text_encoder') for each in both)
            problems += _compare_weights(f'{part}, text encoder', *encoders)
    return problems


def _compare(what: str, found: Any, expected: Any) -> List[str]:
    if found == expected:
        return []
    return [f'{what}: expected {shorten(expected)}, found {shorten(found)}']


def _compare_weights(part: str, found: Optional[str], expected: Optional[str]) -> List[str]:
    if found is None or expected is None or found == expected:  # None: random weights
        return []
    return [
        f'{part}: expected the weights SHA-256 {expected[:12]}..., found SHA-256 '
        f'{str(found)[:12]}...: the prompts were trained with another base model'
    ]


def _compare_names(found: Sequence[str], expected: Sequence[str]) -> List[str]:
    for number, pair in enumerate(zip_longest(expected, found)):
        # The tokenizer lower-cases names, so that case makes no other prompt.
        if None in pair or pair[0].lower() != pair[1].lower():
            sizes = f'expected {len(expected)}, found {len(found)}; '
            texts = ['none' if name is None else repr(name) for name in pair]
            return [
                f'class names: {sizes if len(found) != len(expected) else ""}'
                f'expected {texts[0]}, found {texts[1]} as number {number}'
            ]
    return []


def compare_defaults(
    found: Mapping[str, Any],
    expected: Mapping[str, Any],
    found_tensors: Mapping[str, Tensor],
    expected_tensors: Mapping[str, Tensor],
) -> List[str]:
    """Say which handcrafted prompts are others, though the same weights encoded them.

    Random weights encode differently in each run, so nothing is said of them; and spatial prompts
    that were transferred have brought the points of their own data set.

    Args:
        found: Metadata of a state dict.
        expected: Metadata of the model that it is loaded into.
        found_tensors: The state dict.
        expected_tensors: That of the model.

    Returns:
        A line for each part whose handcrafted prompts differ; none if they agree.
    """
    problems = []
    for part, encoder in _ENCODERS.items():
        key = f'decode_head.{part}.fusion.default'
        both = found.get(part, {}), expected.get(part, {})
        weights, own = (each.get(encoder) for each in both)
        if weights is None or weights != own or any('taken_from' in each for each in both):
            continue
        tensors = [each[key] for each in (found_tensors, expected_tensors) if key in each]
        if len(tensors) < 2 or tensors[0].shape != tensors[1].shape:
            continue  # which the comparison of shapes says
        difference = largest_difference(*tensors)
        if difference:
            what = 'class names' if part == 'semantic_prompts' else 'points or boxes'
            problems.append(
                f'{key}: expected the handcrafted prompts of the configured {what}, found those of '
                f'others (largest difference: {difference:.3g})'
            )
    return problems


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """How far two tensors of one shape are apart; 0 if they agree but for rounding.

    Embeddings of the same weights differ by rounding between machines, those of other points,
    weights or templates by a hundred times as much.
    """
    found, expected = (each.detach().cpu().float() for each in (found, expected))
    if torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        return 0.0
    return (found - expected).abs().max().item()
