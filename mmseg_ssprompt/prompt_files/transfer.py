"""Prompts learned on one data set, for a model of another."""

import copy
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from ..class_names import normalize_class_name
from ..module_metadata import get_module_metadata, set_module_metadata
from ..plain import shorten
from .prompt_file import PromptSource
from .prompt_metadata import METADATA_KEY, compare_metadata, largest_difference

__all__ = ['PARTS', 'PromptTransferError', 'TransferReport', 'match_classes', 'transfer_prompts']

#: What can be transferred.
PARTS = ('spatial', 'semantic')
_HEAD = 'decode_head.'


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
        classifier: What became of projection, no-object row and logit scale, or of the learned
            embedding of "no object".
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
    rows = {normalize_class_name(name).lower(): row for row, name in enumerate(source)}
    found = [(row, rows.get(normalize_class_name(name).lower())) for row, name in enumerate(target)]
    return {row: from_row for row, from_row in found if from_row is not None}


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
    _check_fits(source, target, described, parts)
    for part in PARTS:  # a new Zhat has noise on it
        fusion = f'{_HEAD}{part}_prompts.fusion.'
        if f'{fusion}learned' in state:
            state[f'{fusion}learned'] = state[f'{fusion}default'].clone()
    if 'segmenter' in source.metadata['trained']:
        _take(state, source, 'segmenter')
    trained = 'classifier' in source.metadata['trained']
    # What did not train was there before, and must be the same in both.
    fixed = _select(state, 'classifier') if not trained else []
    _take(state, source, 'classifier', fixed=fixed)
    _take(state, source, 'decoder_bridges')
    spatial = 'not asked for, handcrafted'
    if 'spatial' in parts:
        _take(state, source, 'spatial_prompts')
        _take(state, source, 'deep_prompts')
        spatial = f'all {target.decode_head.spatial_prompts.num_prompts} taken as they are'
        described['spatial_prompts']['taken_from'] = source.name
    names = target.decode_head.class_names
    matched: Dict[int, int] = {}
    if 'semantic' in parts:
        matched = _match(source, names)
        fixed = [f'{_HEAD}semantic_prompts.fusion.default']
        _take(state, source, 'semantic_prompts', matched, fixed)
    return state, TransferReport(
        parts=tuple(part for part in PARTS if part in parts),
        matched=tuple(names[row] for row in matched),
        unmatched=tuple(name for row, name in enumerate(names) if row not in matched),
        unused=tuple(
            name
            for row, name in enumerate(source.class_names)
            if 'semantic' in parts and row not in matched.values()
        ),
        spatial=spatial,
        classifier='trained, taken' if trained else 'not trained, the same in both',
    )


def _check_fits(
    source: PromptSource, target: EncoderDecoder, described: Mapping[str, Any], parts: Sequence[str]
) -> None:
    """Compare what is known of both before any tensor is."""
    head = target.decode_head
    if not hasattr(head.semantic_prompts, 'fusion'):
        raise PromptTransferError(
            'the target needs a handcrafted prompt for each class that is not transferred: '
            'expected model.decode_head.semantic_prompts with a fusion, such as '
            f'SemanticPromptLearner, found {type(head.semantic_prompts).__name__}, which has none'
        )
    if 'segmenter' in source.metadata['trained'] and not head.segmenter.trainable:
        raise PromptTransferError(
            f'{source.name}: its mask decoder trained, but that of the target is frozen: expected '
            'the same in both; set model.decode_head.segmenter.trainable=True in the target'
        )
    compared = [f'{part}_prompts' for part in parts]
    problems = compare_metadata(source.metadata, described, parts=compared, names=False)
    if problems:
        raise PromptTransferError(
            f'{source.name} does not fit the target:\n  '
            + '\n  '.join(problems)
            + '\nUse the base model and the weights that the prompts were trained with, and in '
            'model.decode_head of the target the classifier, and the kind, number and fusion of '
            'the prompts; or leave a part out (--parts)'
        )


def _match(source: PromptSource, names: Sequence[str]) -> Dict[int, int]:
    """:func:`match_classes` of the source and the target, which must have some in common."""
    matched = match_classes(source.class_names, names)
    if not matched:
        raise PromptTransferError(
            f'no class of {source.name} is one of the target: expected a name in both, found '
            f'{shorten(list(source.class_names))} in the source and {shorten(list(names))} in the '
            'target; transfer the spatial part alone (--parts spatial), or name the classes alike'
        )
    return matched


def _take(
    state: Dict[str, Tensor],
    source: PromptSource,
    part: str,
    matched: Optional[Dict[int, int]] = None,
    fixed: Sequence[str] = (),
) -> None:
    """Copy the tensors of a part of the head, or some of their rows.

    Args:
        state: Of the target, changed in place.
        source: The trained prompts.
        part: By its name in the head.
        matched: Rows of the source by rows of the target. Defaults to None: all there is.
        fixed: The tensors that only the base model makes, and which must be the same in both.
    """
    expected, found = _select(state, part), _select(source.state_dict, part)
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    if missing or unexpected:
        raise PromptTransferError(
            f'{source.name}: expected the tensors of the target, but missing are {missing} and '
            f'unexpected {unexpected}; use the config that it was trained with'
        )
    for key in expected:
        own, value = state[key], source.state_dict[key].detach().cpu()
        if matched is not None and len(value) != len(source.class_names):
            raise PromptTransferError(
                f'{source.name}, {key}: expected {len(source.class_names)} as the number of rows, '
                f'one for each class name, found {len(value)}: the file is damaged'
            )
        if matched is not None:
            own, value = own[list(matched)], value[list(matched.values())]
        if value.shape != own.shape:
            raise PromptTransferError(
                f'{source.name}, {key}: expected the shape {tuple(own.shape)}, found '
                f'{tuple(value.shape)}; use the base model that the prompts were trained with'
            )
        difference = largest_difference(value, own) if key in fixed else 0
        if difference:
            raise PromptTransferError(
                f'{source.name}, {key}: expected the numbers of the target, found others (largest '
                f'difference: {difference:.3g}): the base models differ (text encoder, templates '
                'or pre-trained classifier); use the one that the prompts were trained with'
            )
        if matched is None:
            state[key] = value.clone().to(own.dtype)
        else:
            state[key][list(matched)] = value.to(own.dtype)


def _select(tensors: Mapping[str, Tensor], part: str) -> List[str]:
    return [key for key in tensors if key.startswith(f'{_HEAD}{part}.')]
