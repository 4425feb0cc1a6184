"""What a state dict says of its prompts, and whether that fits a model."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from ..models.base import fingerprint_parts
from ..plain import BOOLEAN, COUNT, DICT, TEXT, Kind, find_problem, shorten
from ..version import __version__

__all__ = [
    'DEFAULTS',
    'FORMAT',
    'METADATA_KEY',
    'PARTS',
    'TOLERANCE',
    'compare_defaults',
    'compare_metadata',
    'describe_prompts',
    'find_metadata_problem',
    'shorten_fingerprint',
]

#: Where it is among a module's own metadata.
METADATA_KEY = 'prompts'
#: Version of the metadata; a later one is refused.
FORMAT = 2
#: Embeddings of the same weights differ by rounding between machines, those of other points,
#: weights or templates by a hundred times as much.
TOLERANCE: Dict[str, Any] = dict(rtol=1e-3, atol=1e-4)
#: Parts of the head that are described one by one.
PARTS = ('spatial_prompts', 'semantic_prompts')
#: The handcrafted prompts of each part, by their names in a state dict.
DEFAULTS = {part: f'decode_head.{part}.fusion.default' for part in PARTS}
_NAMES = Kind('a list of names', lambda x: type(x) is list and all(type(y) is str for y in x))
_SHA256 = TEXT._replace(name='a SHA-256').or_none()
_LEARNER = DICT.of(
    type=TEXT,
    fusion=TEXT.or_none(),
    num_prompts=COUNT,
    templates=_NAMES,
    text_encoder=_SHA256,
    prompt_encoder=_SHA256,
    fits_other_classes=BOOLEAN,
    taken_from=TEXT,
)
_NEEDED = ('format', 'class_names', 'trained', 'base')
_METADATA = DICT.of(
    format=Kind('a positive number', lambda x: type(x) is int and x > 0),
    package=TEXT,
    class_names=_NAMES,
    classifier=TEXT,
    trained=_NAMES,
    base=DICT.of(kind=TEXT, parts=DICT._replace(name='the SHA-256 of each part').of(_SHA256)),
    **dict.fromkeys(PARTS, _LEARNER),
)
_DIGITS = 12


def describe_prompts(model: EncoderDecoder) -> Dict[str, Any]:
    """The metadata of a model's prompts, as plain values.

    Args:
        model: A ``PromptSegmentor``.

        ``format`` and ``package`` (versions), ``base`` (the ``kind`` of base model, and the SHA-256
        of each of its frozen ``parts`` by name, None for random weights), ``class_names``,
        ``trained`` (the parts of the head that train), ``classifier`` (its type, and how it looks
        at masks) and, where there are such prompts, ``spatial_prompts`` and ``semantic_prompts``
        (type, fusion, number, templates, SHA-256 of the text or prompt encoder, and for spatial
        prompts that were transferred the file that they were taken from).
    """
    head = model.decode_head
    metadata: Dict[str, Any] = dict(
        format=FORMAT,
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
    if not isinstance(metadata, Mapping):
        return find_problem(metadata, _METADATA)
    version = metadata.get('format')
    if type(version) is int and version > FORMAT:
        return (
            f'format: expected at most {FORMAT}, found {version}, written by version '
            f'{shorten(metadata.get("package"))} of the package: update the package'
        )
    return find_problem({**dict.fromkeys(_NEEDED), **metadata}, _METADATA)


def compare_metadata(
    found: Mapping[str, Any], expected: Mapping[str, Any], replaced: Sequence[str] = ()
) -> List[str]:
    """Say in what two kinds of metadata differ.

    Args:
        found: Of a state dict, in which :func:`find_metadata_problem` finds nothing.
        expected: Of the model that it is loaded into.
        replaced: The frozen parts, by the names of their fingerprints, whose weights are in the
            state dict.

    Returns:
        A line for each difference; none if the state dict fits.
    """
    problems = []
    kinds = [metadata['base'].get('kind') for metadata in (expected, found)]
    if kinds[0] != kinds[1]:
        problems.append('base model: expected {}, found {}'.format(*kinds))
    parts = found['base'].get('parts', {})
    for part, fingerprint in expected['base']['parts'].items():
        if part not in replaced:
            problems += _compare_weights(part, parts.get(part), fingerprint)
    if not expected.get('semantic_prompts', {}).get('fits_other_classes'):
        problems += _compare_names(found['class_names'], expected['class_names'])
    classifiers = [metadata.get('classifier') for metadata in (expected, found)]
    if None not in classifiers and len(set(classifiers)) > 1:  # older files do not say it
        problems.append('classifier: expected {}, found {}'.format(*classifiers))
    for name in PARTS:
        if name in expected:
            problems += _compare_learners(name, found.get(name, {}), expected[name])
    return problems


def _compare_weights(part: str, found: Optional[str], expected: Optional[str]) -> List[str]:
    if found is None or expected is None or found == expected:
        return []
    return [
        f'{part}: expected the weights {shorten_fingerprint(expected)}, found '
        f'{shorten_fingerprint(found)}: the prompts were trained with another base model'
    ]


def _compare_names(found: Sequence[str], expected: Sequence[str]) -> List[str]:
    shared = min(len(found), len(expected))
    # The tokenizer lower-cases names, so that case makes no other prompt.
    pairs = enumerate(zip(found, expected))
    first = next((i for i, (a, b) in pairs if a.lower() != b.lower()), shared)
    pair = ', found '.join(
        repr(names[first]) if first < len(names) else 'none' for names in (expected, found)
    )
    if len(found) != len(expected):
        return [
            f'class names: expected {len(expected)}, found {len(found)}; the first that differs is '
            f'number {first}: expected {pair}'
        ]
    return [f'class names: expected {pair} as number {first}'] if first < shared else []


def _compare_learners(
    name: str, found: Mapping[str, Any], expected: Mapping[str, Any]
) -> List[str]:
    problems = []
    for key in ('type', 'fusion', 'num_prompts', 'templates'):
        if found.get(key) != expected.get(key):
            values = ', found '.join(shorten(side.get(key)) for side in (expected, found))
            problems.append(f'{name}, {key}: expected {values}')
    part = f'{name}, text encoder'
    return problems + _compare_weights(
        part, found.get('text_encoder'), expected.get('text_encoder')
    )


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
    weights = [
        dict(
            spatial_prompts=metadata.get('spatial_prompts', {}).get('prompt_encoder'),
            semantic_prompts=metadata.get('semantic_prompts', {}).get('text_encoder'),
        )
        for metadata in (found, expected)
    ]
    problems = []
    for part, key in DEFAULTS.items():
        encoders = {fingerprints[part] for fingerprints in weights}
        taken = any('taken_from' in metadata.get(part, {}) for metadata in (found, expected))
        if len(encoders) == 1 and None not in encoders and not taken:
            problems += _compare_default(key, found_tensors.get(key), expected_tensors.get(key))
    return problems


def _compare_default(key: str, found: Optional[Tensor], expected: Optional[Tensor]) -> List[str]:
    if found is None or expected is None or found.shape != expected.shape:
        return []  # which the comparison of shapes says
    found, expected = found.detach().float().cpu(), expected.detach().float().cpu()
    if torch.allclose(found, expected, **TOLERANCE):
        return []
    what = 'class names' if 'semantic' in key else 'points or boxes'
    difference = (found - expected).abs().max().item()
    return [
        f'{key}: expected the handcrafted prompts of the configured {what}, found those of others '
        f'(largest difference: {difference:.3g})'
    ]


def shorten_fingerprint(fingerprint: Optional[str]) -> str:
    """The first digits of a SHA-256, for people to compare."""
    return 'random weights' if fingerprint is None else f'SHA-256 {fingerprint[:_DIGITS]}...'
