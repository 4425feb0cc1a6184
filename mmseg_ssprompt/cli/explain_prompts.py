"""Say what the learned prompts of a run mean.

    mmseg-ssprompt explain CONFIG CHECKPOINT --out-dir DIR

writes ``prompts.json``, ``semantic_prompts.png`` and ``spatial_prompts.png`` into DIR. Data need
not be there, only the model's weights.

Of each class: its learned weight W, the cosine of its prompt to its own default, and its nearest
words out of a vocabulary, by default the class names of the project's data sets and, for sam-tiny,
the names and synonyms of its worlds; ``--words FILE`` gives others, one a line. The class
names of the run are always among them.

Of each spatial prompt: its weight W, its default point, how far the learned embedding drifted, and
the nearest point and label that the frozen prompt encoder knows.

Each nearest is the nearest of very many, which is near whatever a prompt means. So both stand
beside random prompts that went as far from the same default and had the same choice; how they are
drawn, and why so, is said in ``mmseg_ssprompt/analysis/semantic.py`` and ``spatial.py``.
"""

import argparse
from typing import Any, Dict, List, Optional, Sequence

import torch
import torch.nn.functional as F

from ..analysis import (
    default_vocabulary,
    explain_context_tokens,
    explain_semantic_prompts,
    explain_spatial_prompts,
    mean_by_group,
    merge_words,
    read_words,
)
from ..analysis.class_groups import group_of_each
from ..analysis.figures import draw_semantic_prompts, draw_spatial_prompts
from ..analysis.spatial import default_tokens, explain_coordinates
from ..files import write_json
from ..models.prompts import CoordinatePromptLearner, SpatialPromptLearner
from ..models.sam import SAMSegmenter
from ..weights.model_weights import hand_down_weights
from .loading import Run, load_run

from mmseg.registry import MODELS  # isort: skip  (after mmseg_ssprompt, which makes it possible)

_MODES = dict(
    learned_weight='W is learned',
    fixed_weight='W does not train: it is fixed by the config',
    learned_only='W is 1 by definition: the default prompts are not mixed in',
    default_only='W is 0 by definition: these are the handcrafted prompts, nothing was learned',
)
_SAME = 0.999  # cosine of two encodings of a name, which differ by rounding


def find_gaps(run: Run) -> Dict[str, Optional[str]]:
    """Why the prompts of a side cannot be explained; None if they can.

    Learners and base models from elsewhere need not have what explaining takes.
    """
    head = run.head
    gaps: Dict[str, Optional[str]] = dict(semantic=None, spatial=None)
    if 'text_encoder' not in run.cfg.model.decode_head.semantic_prompts:
        gaps['semantic'] = 'its config names no text_encoder, which would say what other words mean'
    learner = head.spatial_prompts
    if not isinstance(head.segmenter, SAMSegmenter):
        gaps['spatial'] = (
            "what a prompt means is looked up in SAM's prompt encoder, and this one is of "
            f'{head.segmenter.kind.upper()}'
        )
    elif not isinstance(learner, (SpatialPromptLearner, CoordinatePromptLearner)):
        gaps['spatial'] = 'it does not say which points or boxes it began with, in a way known here'
    return gaps


def explain_semantic(run: Run, words: List[str], seed: int) -> Dict[str, Any]:
    """The report on the semantic prompts.

    Raises:
        ValueError: If the text encoder is not the one that the prompts were learned with.
    """
    learner, names = run.head.semantic_prompts, run.head.class_names
    encoder = MODELS.build(
        hand_down_weights(run.cfg.model)['decode_head']['semantic_prompts']['text_encoder']
    )
    fusion = getattr(learner, 'fusion', None)
    encoded = encoder.encode(names)
    defaults = encoded if fusion is None else F.normalize(fusion.default, dim=-1).cpu()
    _check_text_encoder(names, encoded, defaults)
    vocabulary = merge_words(words, names)
    weights = None if fusion is None else fusion.weight.cpu()
    classes = explain_semantic_prompts(
        names, learner().cpu(), defaults, vocabulary, encoder.encode(vocabulary), weights, seed
    )
    for report, group in zip(classes, group_of_each(run.groups)):
        report['group'] = group
    cosines = [report['cosine_to_default'] for report in classes]
    context = {}
    if hasattr(learner, 'context'):
        table = encoder.text_encoder.token_embedding.weight
        context = dict(context_tokens=explain_context_tokens(learner.context.cpu(), table, seed))
    return dict(
        context,
        learner=type(learner).__name__,
        mode=None if fusion is None else fusion.mode,
        weight_says=_describe_weight(fusion),
        text_encoder=getattr(encoder, 'variant', type(encoder).__name__),
        templates=list(encoder.templates),
        vocabulary_size=len(vocabulary),
        weight_by_group=None if weights is None else mean_by_group(weights.tolist(), run.groups),
        cosine_by_group=mean_by_group(cosines, run.groups),
        classes=classes,
    )


def _check_text_encoder(
    names: Sequence[str], encoded: torch.Tensor, defaults: torch.Tensor
) -> None:
    cosines = (encoded * defaults).sum(dim=-1)
    worst = int(cosines.argmin())
    if cosines[worst] < _SAME:
        raise ValueError(
            "the default prompts of the checkpoint are not what the config's text encoder says of "
            f'the class names (at {names[worst]!r} their cosine is {cosines[worst]:.3f}): use the '
            'config that the checkpoint was trained with (class names, templates, variant and '
            'weights of decode_head.semantic_prompts.text_encoder)'
        )


def _describe_weight(fusion: Any) -> str:
    if fusion is None:
        return 'there is no W: these prompts are not a mixture with their default'
    return _MODES[fusion.mode]


def explain_spatial(run: Run, seed: int) -> Dict[str, Any]:
    """The report on the spatial prompts."""
    learner, encoder = run.head.spatial_prompts, run.head.segmenter.prompt_encoder
    start = default_tokens(learner.handcrafted.cpu(), encoder.image_size)
    fusion = getattr(learner, 'fusion', None)
    if fusion is None:
        report = explain_coordinates(start, learner.coordinates.cpu(), encoder.image_size)
    else:
        report = explain_spatial_prompts(
            encoder.cpu(), start, fusion().cpu(), fusion.default.cpu(), fusion.weight.cpu(), seed
        )
    return dict(
        learner=run.cfg.model.decode_head.spatial_prompts.type,
        mode=None if fusion is None else fusion.mode,
        weight_says=_describe_weight(fusion),
        frame_size=encoder.image_size,
        **report,
    )


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    """Write the reports and the figures."""
    run = load_run(args)
    learners = run.cfg.model.decode_head
    gaps = find_gaps(run)
    if all(gaps.values()):
        raise ValueError(
            f'config {str(args.config)!r}: expected prompts that can be explained, found '
            f'semantic_prompts of {learners.semantic_prompts.type} ({gaps["semantic"]}) and '
            f'spatial_prompts of {learners.spatial_prompts.type} ({gaps["spatial"]}). masks and '
            'failures take them'
        )
    report = dict(
        run.source, words='default' if args.words is None else str(args.words), seed=args.seed
    )
    paths = []
    for side, gap in gaps.items():
        learner = learners[f'{side}_prompts'].type
        if gap is not None:
            report[side] = dict(learner=learner, left_out=gap)
            print(f'{side} prompts ({learner}): left out, because {gap}')
            continue
        paths.append(args.out_dir / f'{side}_prompts.png')
        if side == 'semantic':
            is_tiny = learners.semantic_prompts.text_encoder.get('variant') == 'tiny'
            words = default_vocabulary(is_tiny) if args.words is None else read_words(args.words)
            report[side] = explain_semantic(run, words, args.seed)
            draw_semantic_prompts(report[side], paths[-1])
        else:
            report[side] = explain_spatial(run, args.seed)
            draw_spatial_prompts(report[side], paths[-1])
        print(f'{side} prompts ({learner}): {report[side]["weight_says"]}')
    paths.append(args.out_dir / 'prompts.json')
    write_json(report, paths[-1])
    print('\n'.join(map(str, paths)))
