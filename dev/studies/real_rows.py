"""What is compared on a base model with published weights and a published data set."""

from dataclasses import replace
from typing import Callable, Dict, Tuple

from .row_configs import CONFIGS
from .rows import Study, StudyRow, fusion_options

__all__ = ['BASES', 'CONFIGS', 'DATA', 'SHOTS', 'make_study']

SHOTS = 16  # those of the configs
#: The data sets by what ``--data`` is given: title, and images for training and validation.
DATA = {
    'cityscapes': ('Cityscapes', 2975, 500),
    'ade20k': ('ADE20K', 20210, 2000),
    'bdd100k': ('BDD100K', 7000, 1000),
    'mapillary': ('Mapillary Vistas', 18000, 2000),
    'pascal_context': ('Pascal Context, with background', 4998, 5105),
    'pascal_context-59': ('Pascal Context', 4998, 5105),
    'acdc': ('ACDC', 1600, 406),
}
_HEAD = 'model.decode_head'
_NOTHING = fusion_options('default_only', 'default_only')
_SPATIAL = fusion_options(semantic='default_only')
_SEMANTIC = fusion_options(spatial='default_only')
_FIXED = fusion_options('fixed_weight', 'fixed_weight')
_DECODER = (f'{_HEAD}.segmenter.trainable=True', *_NOTHING)


def _sam(data: str, suffix: str) -> Dict[str, StudyRow]:
    """SAM has no text space: the projection of its mask tokens trains in each row of its own."""
    reference = 'SSPrompt and projection'
    config = StudyRow('', f'ssprompt_sam_{data}{suffix}.py')
    options = {
        'projection': ('projection alone', _NOTHING),
        'spatial': ('SpaPrompt and projection', _SPATIAL),
        'semantic': ('SemPrompt and projection', _SEMANTIC),
        'ssprompt-fixed': ('SSPrompt and projection, W = 0.5', _FIXED),
        'ssprompt': (reference, ()),
        'decoder': ('mask decoder fine-tuned, and projection', _DECODER),
    }
    arms = {
        'zero-shot': StudyRow(
            'handcrafted prompts, labels by CLIP (zero-shot)',
            f'ssprompt_sam-clip_{data}_zero-shot.py',
            trains=False,
        ),
        **{
            arm: replace(config, name=name, options=chosen)
            for arm, (name, chosen) in options.items()
        },
    }
    clip = StudyRow('SSPrompt, labels by CLIP', f'ssprompt_sam-clip_{data}{suffix}.py')
    if (CONFIGS / clip.config).is_file():
        arms['ssprompt-clip'] = clip
    return arms


def _seem(data: str, suffix: str) -> Dict[str, StudyRow]:
    config = StudyRow('', f'ssprompt_seem_focal-t_{data}{suffix}.py')
    learned = f'{_HEAD}.classifier.fusion.mode=learned_weight'
    options = {
        'spatial': ('SpaPrompt', _SPATIAL),
        'semantic': ('SemPrompt', _SEMANTIC),
        'ssprompt-fixed': ('SSPrompt, W = 0.5', _FIXED),
        'ssprompt': ('SSPrompt', ()),
        'no-object': ('SSPrompt, and "no object" learned', (learned,)),
        'decoder': ('mask decoder fine-tuned', _DECODER),
    }
    zero_shot = replace(
        config,
        name="SEEM's own prompts (zero-shot)",
        config=f'ssprompt_seem_focal-t_{data}.py',
        options=_NOTHING,
        trains=False,
    )
    trained = {
        arm: replace(config, name=name, options=chosen) for arm, (name, chosen) in options.items()
    }
    return {'zero-shot': zero_shot, **trained}


#: The rows of each base model, by what ``--base`` is given: title, and rows by arm.
BASES: Dict[str, Tuple[str, Callable[[str, str], Dict[str, StudyRow]]]] = {
    'sam-vit-b': ('SAM ViT-B', _sam),
    'seem-focal-t': ('SEEM Focal-T', _seem),
}


def make_study(base: str, data: str, few_shot: bool = False) -> Tuple[Study, Dict[str, StudyRow]]:
    """The study of a base model on a data set, and its rows by arm.

    Args:
        base: A key of ``BASES``.
        data: A key of ``DATA``.
        few_shot: Whether training is on 16 images for each class, which each seed draws.
    """
    title, rows_of = BASES[base]
    arms = rows_of(data, f'_{SHOTS}shot' if few_shot else '')
    drawn = f'{SHOTS} training images for each class, ' if few_shot else 'all training images, '
    note = f'{title} on {DATA[data][0]}, {drawn}measured on the validation split.'
    if base == 'sam-vit-b':
        note += (
            ' SAM gives its masks no classes: a projection of its mask tokens to the text space '
            'trains from nothing in each row, but where CLIP labels the masks.'
        )
    study = Study(f'{title} on {DATA[data][0]}', note, arms['ssprompt'].name, tuple(arms.values()))
    return study, arms
