"""What a state dict of prompts says of itself, and of the base model that it was trained with.

It is kept where torch keeps the versions of modules, ``state_dict._metadata``, and so comes along
wherever a state dict is saved, loaded or handed on.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from ...version import __version__
from ..frozen import FrozenModule

__all__ = ['FORMAT', 'METADATA_KEY', 'compare_metadata', 'compare_points', 'describe_prompts']

#: Where it is among a module's own metadata.
METADATA_KEY = 'prompts'
#: Of the metadata; a later one is refused.
FORMAT = 1
#: Embeddings of the same weights differ by rounding between machines, those of other points by a
#: hundred times as much.
_TOLERANCE = dict(rtol=1e-3, atol=1e-4)
_LEARNERS = ('spatial_prompts', 'semantic_prompts')
_DIGITS = 12


def describe_prompts(model: EncoderDecoder) -> Dict[str, Any]:
    """The metadata of a model's prompts, as plain values.

    Args:
        model: A segmentor.

    Returns:
        ``format`` and ``package`` (versions), ``base`` (SHA-256 of each frozen part by name, None
        for random weights), ``class_names``, and, where there are such prompts,
        ``spatial_prompts`` and ``semantic_prompts`` (type, fusion, number, templates, SHA-256 of
        the text encoder).
    """
    head = model.decode_head
    parts = {name: part for name, part in model.named_modules() if isinstance(part, FrozenModule)}
    metadata = dict(
        format=FORMAT,
        package=__version__,
        base={name: part.fingerprint for name, part in parts.items() if part.frozen},
        class_names=list(getattr(head, 'class_names', ())),
    )
    for name in _LEARNERS:
        if hasattr(head, name):
            metadata[name] = _describe_learner(getattr(head, name))
    return metadata


def _describe_learner(learner: Any) -> Dict[str, Any]:
    described: Dict[str, Any] = dict(type=type(learner).__name__)
    if hasattr(learner, 'fusion'):
        described['fusion'] = learner.fusion.mode
    if hasattr(learner, 'num_prompts'):
        described['num_prompts'] = learner.num_prompts
    if hasattr(learner, 'templates'):
        described['templates'] = list(learner.templates)
        described['text_encoder'] = learner.text_encoder_fingerprint
    return described


def compare_metadata(
    found: Mapping[str, Any], expected: Mapping[str, Any], replaced: Sequence[str] = ()
) -> List[str]:
    """Say in what two kinds of metadata differ.

    Args:
        found: Of a state dict.
        expected: Of the model that it is loaded into.
        replaced: Names of frozen parts whose weights are in the state dict.

    Returns:
        A line for each difference; none if the state dict fits.
    """
    if found.get('format', 0) > FORMAT:
        return [f'format: expected at most {FORMAT}, found {found["format"]}: update the package']
    problems = []
    for part, fingerprint in expected['base'].items():
        if part not in replaced:
            other = found.get('base', {}).get(part)
            problems += _compare_weights(part, other, fingerprint)
    problems += _compare_names(found.get('class_names', []), expected['class_names'])
    for name in _LEARNERS:
        if name in expected:
            problems += _compare_learners(name, found.get(name, {}), expected[name])
    return problems


def _compare_weights(part: str, found: Optional[str], expected: Optional[str]) -> List[str]:
    if found is None or expected is None or found == expected:
        return []
    return [
        f'{part}: expected the weights {expected[:_DIGITS]}..., found {found[:_DIGITS]}... '
        '(SHA-256): the prompts were trained with another base model'
    ]


def _compare_names(found: Sequence[str], expected: Sequence[str]) -> List[str]:
    if len(found) != len(expected):
        return [f'class names: expected {len(expected)}, found {len(found)}']
    for index, (name, other) in enumerate(zip(expected, found)):
        if name != other:
            return [f'class names: expected {name!r} as number {index}, found {other!r}']
    return []


def _compare_learners(
    name: str, found: Mapping[str, Any], expected: Mapping[str, Any]
) -> List[str]:
    problems = []
    for key in ('type', 'fusion', 'num_prompts', 'templates'):
        if found.get(key) != expected.get(key):
            problems.append(f'{name}: expected {key} {expected.get(key)}, found {found.get(key)}')
    part = f'{name}, text encoder'
    return problems + _compare_weights(
        part, found.get('text_encoder'), expected.get('text_encoder')
    )


def compare_points(key: str, found: Optional[Tensor], expected: Tensor) -> List[str]:
    """Say whether handcrafted spatial prompts are those of other points or boxes.

    Args:
        key: Their name, for the message.
        found: (N, T, D) in a state dict, made by the same prompt encoder.
        expected: (N, T, D) in the model.

    Returns:
        A line if they differ, else none.
    """
    if found is None or found.shape != expected.shape:
        return []  # which the comparison of shapes says
    found, expected = found.detach().float().cpu(), expected.detach().float().cpu()
    if torch.allclose(found, expected, **_TOLERANCE):
        return []
    difference = (found - expected).abs().max().item()
    return [
        f'{key}: expected those of the configured points or boxes, found others (largest '
        f'difference: {difference:.3g})'
    ]
