"""Prompts learned on one data set, for a model of another."""

import copy
from collections import OrderedDict
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.model import BaseModule
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from ..class_names import normalize_class_name
from ..models.heads import SSPromptHead
from ..models.prompts import SemanticPromptLearner
from ..module_metadata import get_module_metadata, set_module_metadata
from .prompt_metadata import METADATA_KEY, TOLERANCE, shorten_fingerprint
from .prompt_source import PromptSource

__all__ = ['PARTS', 'PromptTransferError', 'TransferReport', 'match_classes', 'transfer_prompts']

#: What can be transferred.
PARTS = ('spatial', 'semantic')
_HEAD = 'decode_head.'
_MAX_NAMES_SHOWN = 10


class PromptTransferError(ValueError):
    """Prompts that the target model has no place for."""


class TransferReport(NamedTuple):
    """What was transferred.

    Attributes:
        parts: The parts that were asked for, of :data:`PARTS`.
        matched: The target's classes whose prompts come from the source.
        unmatched: The target's classes with handcrafted prompts; all of them, if the semantic
            part was not asked for.
        unused: The source's classes that the target does not have.
        spatial: What became of the spatial prompts.
        classifier: What became of projection, no-object row and logit scale.
    """

    parts: Tuple[str, ...]
    matched: Tuple[str, ...]
    unmatched: Tuple[str, ...]
    unused: Tuple[str, ...]
    spatial: str
    classifier: str

    def __str__(self) -> str:
        """The report for people, in lines."""
        total = len(self.matched) + len(self.unmatched)
        return '\n'.join(
            [
                f'spatial prompts: {self.spatial}',
                f'semantic prompts: {len(self.matched)} of {total} classes from the source',
                f'  matched: {", ".join(self.matched) or "none"}',
                f'  handcrafted: {", ".join(self.unmatched) or "none"}',
                f'  unused of the source: {", ".join(self.unused) or "none"}',
                f'classifier: {self.classifier}',
            ]
        )


def match_classes(source: Sequence[str], target: Sequence[str]) -> Dict[int, int]:
    """Which class of the source each class of the target is.

    Names are equal if they differ in case or in runs of white space only, which is all the same to
    CLIP's tokenizer.

    Args:
        source: Class names, each once.
        target: Class names, each once.

    Returns:
        Indices in ``source`` by indices in ``target``, of classes that are in both.
    """
    rows = {_key(name): row for row, name in enumerate(source)}
    return {row: rows[_key(name)] for row, name in enumerate(target) if _key(name) in rows}


def _key(name: str) -> str:
    return normalize_class_name(name).lower()


def transfer_prompts(
    source: PromptSource, target: EncoderDecoder, parts: Sequence[str] = PARTS
) -> Tuple[Dict[str, Tensor], TransferReport]:
    """Make a state dict for ``target`` from prompts that were trained on other classes.

    Spatial prompts know no classes and are taken as they are. Semantic prompts are taken row by
    row, by class name; a class that the source does not have gets ``Zhat = Zdefault``, so that
    the fused prompt is the handcrafted one whatever ``W`` is, and so do all prompts of a part that
    was not asked for. The classifier always comes along, since prompts were learned through it,
    and so does a mask decoder that trained. ``target`` is left as it is.

    Args:
        source: The trained prompts.
        target: A new ``PromptSegmentor`` of the target data set, whose prompts are not trained.
        parts: Some of :data:`PARTS`. Defaults to both.

    Returns:
        What ``target.load_state_dict`` takes (copies, on the CPU), which says of itself what a
        state dict of ``target`` does, and whose points these are; and a report.

    Raises:
        PromptTransferError: If the kinds of prompts, their number, widths or fusion differ, the
            base models do, or no class is in both and the semantic part was asked for.
    """
    if not parts or not set(parts) <= set(PARTS):
        raise PromptTransferError(f'parts: expected some of {list(PARTS)}, got {list(parts)}')
    own = target.without_frozen(target.state_dict())
    state = OrderedDict((key, value.detach().cpu().clone()) for key, value in own.items())
    metadata = copy.deepcopy(get_module_metadata(own))
    set_module_metadata(state, metadata)
    described = metadata[''][METADATA_KEY]
    head = target.decode_head
    _check_same_weights(source, described['base']['parts'])
    if not isinstance(head.semantic_prompts, SemanticPromptLearner):
        raise PromptTransferError(
            'the target needs a handcrafted prompt for each class that is not transferred: '
            'expected model.decode_head.semantic_prompts of the type SemanticPromptLearner, found '
            f'{type(head.semantic_prompts).__name__}, which has none'
        )
    for part in PARTS:  # a new Zhat has noise on it
        fusion = f'{_HEAD}{part}_prompts.fusion.'
        if f'{fusion}learned' in state:
            state[f'{fusion}learned'] = state[f'{fusion}default'].clone()
    _take_decoder(state, source, head)
    classifier = _take_classifier(state, source)
    spatial = 'not asked for, handcrafted'
    if 'spatial' in parts:
        spatial = _take_spatial(state, source, head)
        described['spatial_prompts']['taken_from'] = source.name
    matched: Dict[int, int] = {}
    if 'semantic' in parts:
        matched = _take_semantic(state, source, head)
    names = head.semantic_prompts.class_names
    sources = source.class_names if 'semantic' in parts else ()
    report = TransferReport(
        parts=tuple(part for part in PARTS if part in parts),
        matched=tuple(names[row] for row in matched),
        unmatched=tuple(name for row, name in enumerate(names) if row not in matched),
        unused=tuple(n for row, n in enumerate(sources) if row not in matched.values()),
        spatial=spatial,
        classifier=classifier,
    )
    return state, report


def _take_spatial(state: Dict[str, Tensor], source: PromptSource, head: SSPromptHead) -> str:
    """Copy the spatial prompts and say so."""
    learner = head.spatial_prompts
    _check_kind('spatial', learner, source)
    taken = _select(source, state, f'{_HEAD}spatial_prompts.')
    for key, value in taken.items():
        if len(value) != len(state[key]):
            raise PromptTransferError(
                f'{source.name}, {key}: expected {len(state[key])} as the number of prompts, found '
                f'{len(value)}; set model.decode_head.spatial_prompts of the target to as many '
                'prompts'
            )
        _check_shape(key, value, state[key], source)
    state.update(taken)
    return f'all {learner.num_prompts} taken as they are'


def _take_semantic(
    state: Dict[str, Tensor], source: PromptSource, head: SSPromptHead
) -> Dict[int, int]:
    """Copy the rows of classes that are in both; return :func:`match_classes`."""
    learner, names = head.semantic_prompts, source.class_names
    prefix = f'{_HEAD}semantic_prompts.'
    _check_kind('semantic', learner, source)
    taken = _select(source, state, prefix)
    for key, value in taken.items():
        if len(value) != len(names):
            raise PromptTransferError(
                f'{source.name}, {key}: expected {len(names)} as the number of rows, found '
                f'{len(value)}; its class names are {_shorten(names)}: the file is damaged'
            )
        _check_shape(key, value[:1], state[key][:1], source)
    matched = match_classes(names, learner.class_names)
    if not matched:
        raise PromptTransferError(
            f'no class of {source.name} is one of the target: expected a name in both, found '
            f'{_shorten(names)} in the source and {_shorten(learner.class_names)} in the target; '
            'transfer the spatial part alone (--parts spatial), or name the classes alike'
        )
    rows, from_rows = list(matched), list(matched.values())
    default = f'{prefix}fusion.default'
    for row, from_row in matched.items():
        what = f'the class name {learner.class_names[row]!r}'
        _check_same_base(
            state[default][row], taken[default][from_row], what, 'text encoder or templates', source
        )
    for key, value in taken.items():
        state[key][rows] = value[from_rows]
    return matched


def _take_classifier(state: Dict[str, Tensor], source: PromptSource) -> str:
    """Copy the classifier and say whether it trained."""
    trains = source.trains('classifier')
    taken = _select(source, state, f'{_HEAD}classifier.')
    for key, value in taken.items():
        _check_shape(key, value, state[key], source)
        if not trains:
            _check_same_base(state[key], value, key, 'pre-trained classifier', source)
    state.update(taken)
    return 'trained, taken' if trains else 'not trained, the same in both'


def _take_decoder(state: Dict[str, Tensor], source: PromptSource, head: SSPromptHead) -> None:
    """Copy a mask decoder that trained with the prompts."""
    if not source.trains('segmenter'):
        return
    if not head.segmenter.trainable:
        raise PromptTransferError(
            f'{source.name}: its mask decoder trained, but that of the target is frozen: expected '
            'the same in both; set model.decode_head.segmenter.trainable=True in the target'
        )
    taken = _select(source, state, f'{_HEAD}segmenter.')
    for key, value in taken.items():
        _check_shape(key, value, state[key], source)
    state.update(taken)


def _select(source: PromptSource, state: Mapping[str, Tensor], prefix: str) -> Dict[str, Tensor]:
    """Copies of the source's tensors of one part, which must be those that the target has."""
    found = {
        key: value.detach().cpu().clone().to(state[key].dtype if key in state else value.dtype)
        for key, value in source.state_dict.items()
        if key.startswith(prefix)
    }
    expected = [key for key in state if key.startswith(prefix)]
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    if missing or unexpected:
        raise PromptTransferError(
            f'{source.name}: expected the tensors {expected}, as in the target, but missing are '
            f'{missing} and unexpected {unexpected}; use the config that it was trained with'
        )
    return found


def _check_same_weights(source: PromptSource, target: Mapping[str, Optional[str]]) -> None:
    """Compare the fingerprints of the frozen parts, where both sides have them."""
    for part, found in source.metadata['base']['parts'].items():
        expected = target.get(part)
        if found is not None and expected is not None and found != expected:
            raise PromptTransferError(
                f'{source.name}, {part}: expected the weights of the target, '
                f'{shorten_fingerprint(expected)}, found {shorten_fingerprint(found)}: the base '
                'models differ; use the weights that the prompts were trained with'
            )


def _check_kind(part: str, learner: BaseModule, source: PromptSource) -> None:
    """Compare the types of prompts and their fusion."""
    kind, fusion = source.kind(part)
    found, expected = [kind], [type(learner).__name__]
    if found == expected and hasattr(learner, 'fusion'):
        found.append(f'with fusion {fusion}')
        expected.append(f'with fusion {learner.fusion.describe()}')
    if found != expected:
        raise PromptTransferError(
            f'{source.name}: expected {part} prompts of the kind {" ".join(expected)}, as in the '
            f'target, found {" ".join(found)}; set model.decode_head.{part}_prompts of the target '
            f'to that of the source, or leave "{part}" out of parts'
        )


def _check_shape(key: str, found: Tensor, expected: Tensor, source: PromptSource) -> None:
    if found.shape != expected.shape:
        raise PromptTransferError(
            f'{source.name}, {key}: expected the shape {tuple(expected.shape)}, found '
            f'{tuple(found.shape)}: the width is that of another base model; use the base model '
            'that the prompts were trained with'
        )


def _check_same_base(
    expected: Tensor, found: Tensor, what: str, part: str, source: PromptSource
) -> None:
    """Compare what the base model of the target says of something with what the source's said."""
    if found.shape != expected.shape:
        difference = f'shape {tuple(found.shape)} instead of {tuple(expected.shape)}'
    else:
        expected, found = expected.detach().cpu().float(), found.float()
        if torch.allclose(found, expected, **TOLERANCE):
            return
        difference = f'largest difference: {(found - expected).abs().max():.3g}'
    raise PromptTransferError(
        f'{source.name}: expected the numbers of the target for {what}, found others '
        f'({difference}): the base models differ ({part}); use the weights that the prompts were '
        'trained with'
    )


def _shorten(names: Sequence[str]) -> List[str]:
    hidden = len(names) - _MAX_NAMES_SHOWN
    return [*names[:_MAX_NAMES_SHOWN], *([f'and {hidden} more'] if hidden > 0 else [])]
