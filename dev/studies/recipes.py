"""The study of recipes: what brings prompts to where fine-tuning the mask decoder is."""

from dataclasses import replace
from typing import Dict, Tuple

from .rows import Study, StudyRow, fusion_options

__all__ = ['DEEP_PROMPTS', 'RECIPES']

_HEAD = 'model.decode_head'
_NOTHING = fusion_options('default_only', 'default_only')
_SEMANTIC = fusion_options(spatial='default_only')
_POINTS = f'{_HEAD}.spatial_prompts.num_prompts'
_BRIDGE = f'{_HEAD}.classifier.bridge.rank'
_BRIDGES = f'{_HEAD}.decoder_bridges.rank'
_DEEP = f'{_HEAD}.deep_prompts.initial_weight=0.5'
_LATE = 'default_hooks.late_start'
#: Lets a config take what ``candidates.py`` has.
_CANDIDATES = ('custom_imports.imports=[mmseg_ssprompt,dev.studies.candidates]',)
_DECODER = (f'{_HEAD}.segmenter.trainable=True', *_NOTHING)


def _noise(size: float) -> Tuple[str, ...]:
    return tuple(f'{_HEAD}.{side}_prompts.fusion.noise={size}' for side in ('spatial', 'semantic'))


def _rate(part: str, multiplier: float) -> Tuple[str, ...]:
    """A learning rate of a part's own."""
    return (f'optim_wrapper.paramwise_cfg.custom_keys.{part}.lr_mult={multiplier}',)


_MASKS = f'{_HEAD}.decoder_bridges.masks=True'
#: SemPrompt with bridges in the decoder and to the text space; spatial prompts are handcrafted.
_RECIPE = (*_SEMANTIC, f'{_BRIDGE}=None', f'{_BRIDGES}=8')
_RECIPE_MASKS = (*_SEMANTIC, f'{_BRIDGE}=None', f'{_BRIDGES}=4', _MASKS)
#: Beside masks, semantic prompts label pixels.
_PIXELS = (*_CANDIDATES, f'{_HEAD}.type=PixelClassifierHead')
_WITH_PIXELS = 'SemPrompt, bridge, decoder bridges, rank 8, and pixel classifier'
#: What is compared with SSPrompt on both bases.
_ON_BOTH: Dict[str, Tuple[str, ...]] = {
    'SSPrompt': (),
    'mask decoder fine-tuned': _DECODER,
    'SSPrompt and bridge': (f'{_BRIDGE}=None',),
    'SemPrompt and bridge': (*_SEMANTIC, f'{_BRIDGE}=None'),
    'SSPrompt and decoder bridges, rank 4': (f'{_BRIDGES}=4',),
    'SemPrompt, bridge and decoder bridges, rank 4': (*_RECIPE[:-1], f'{_BRIDGES}=4'),
    'SemPrompt, bridge and decoder bridges, rank 8': _RECIPE,
    'SemPrompt, all bridges, rank 4': _RECIPE_MASKS,
    'SSPrompt, all bridges, rank 4': (f'{_BRIDGE}=None', f'{_BRIDGES}=4', _MASKS),
    'SSPrompt, bridge and decoder bridges, rank 4': (f'{_BRIDGE}=None', f'{_BRIDGES}=4'),
    'SemPrompt, bridge, decoder bridges, rank 4, and deep prompts': (
        *_RECIPE[:-1],
        f'{_BRIDGES}=4',
        _DEEP,
    ),
    'SSPrompt, deep': (_DEEP,),
    'SSPrompt, cross-entropy of pixels': (*_PIXELS, f'{_HEAD}.pixels=False'),
    'SSPrompt and pixel classifier': _PIXELS,
    _WITH_PIXELS: (*_PIXELS, *_RECIPE),
    'mask decoder fine-tuned, and pixel classifier': (*_PIXELS, *_DECODER),
}
#: What else is, on SAM.
_ON_SAM: Dict[str, Tuple[str, ...]] = {
    'projection alone': (f'{_HEAD}.classifier.trainable=True', *_NOTHING),
    'SSPrompt and projection': (f'{_HEAD}.classifier.trainable=True',),
    'SemPrompt and decoder bridges, rank 8': (*_SEMANTIC, f'{_BRIDGES}=8'),
    'SemPrompt, bridge and decoder bridges, rank 12': (*_RECIPE[:-1], f'{_BRIDGES}=12'),
    'SSPrompt and bridge, rank 16': (f'{_BRIDGE}=16',),
    'SSPrompt, 4 prompts for each class': (
        *_CANDIDATES,
        f'{_HEAD}.type=SeveralPromptsHead',
        f'{_HEAD}.semantic_prompts.type=SeveralPromptsLearner',
        f'{_HEAD}.semantic_prompts.prompts_per_class=4',
        f'{_HEAD}.semantic_prompts.fusion.noise=0.3',
    ),
    f'{_WITH_PIXELS}, N = 144': (*_PIXELS, *_RECIPE, f'{_POINTS}=144'),
    'SSPrompt, N = 49': (f'{_POINTS}=49',),
    'SSPrompt, N = 100': (f'{_POINTS}=100',),
    'SSPrompt, no noise': _noise(0),
    'SSPrompt, noise of 0.2': _noise(0.2),
    'SSPrompt, spatial prompts at 0.1 of the rate': _rate('spatial_prompts', 0.1),
    'SSPrompt, semantic prompts at 10 times the rate': _rate('semantic_prompts', 10),
    'SSPrompt, spatial prompts from half of the time on': (
        *_CANDIDATES,
        f'{_LATE}.type=LateStartHook',
        f'{_LATE}.parts=[spatial_prompts]',
        f'{_LATE}.begin=150',
    ),
    'SSPrompt, semantic prompts from half of the time on': (
        *_CANDIDATES,
        f'{_LATE}.type=LateStartHook',
        f'{_LATE}.parts=[semantic_prompts]',
        f'{_LATE}.begin=150',
    ),
}
#: Those that are transferred to the other world.
_TRANSFERRED = (
    'SSPrompt',
    'SemPrompt, bridge and decoder bridges, rank 8',
    'SSPrompt and pixel classifier',
    _WITH_PIXELS,
)


def _rows_of(base: str, world: str) -> Tuple[StudyRow, ...]:
    """One base in one world, ``'shapes'`` or ``'shapes-coast'``."""
    where = f'{base}-tiny, {world}'
    reference = f'{where}: SSPrompt'
    method = StudyRow('', f'ssprompt_{base}-tiny_{world}.py', reference=reference)
    zero_shot = replace(
        method, name=f'{where}: handcrafted prompts', options=_NOTHING, trains=False
    )
    chosen = {**_ON_BOTH, **_ON_SAM} if base == 'sam' else _ON_BOTH
    trained = [
        replace(method, name=f'{where}: {name}', options=options)
        for name, options in chosen.items()
    ]
    return (zero_shot, *trained)


def _transfers(base: str, source: str, target: str) -> Tuple[StudyRow, ...]:
    """By name from one world to the other, compared with what SSPrompt's prompts reach there.

    A pixel classifier stays behind: where it was not learned it says nothing.
    """
    rows = []
    for name in _TRANSFERRED:
        learned = StudyRow(name, f'ssprompt_{base}-tiny_{source}.py', _ON_BOTH[name])
        rows.append(
            replace(
                learned,
                name=f'{base}-tiny, {source} to {target}: {name}',
                config=f'ssprompt_{base}-tiny_{target}.py',
                options=tuple(option for option in learned.options if option not in _PIXELS),
                source=learned,
                parts=('spatial', 'semantic'),
                reference=f'{base}-tiny, {source} to {target}: SSPrompt',
            )
        )
    return tuple(rows)


def _recipes() -> Study:
    worlds = ('shapes', 'shapes-coast')
    rows = [row for base in ('sam', 'seem') for world in worlds for row in _rows_of(base, world)]
    for base in ('sam', 'seem'):
        rows += [*_transfers(base, *worlds), *_transfers(base, *worlds[::-1])]
    note = (
        'What is added to SSPrompt, or changed in it, on both bases and in both worlds, beside the '
        'fine-tuned mask decoder. A bridge maps the mask tokens to the text space, bridges in the '
        'decoder map its embeddings to themselves, all bridges are these and one to the mask '
        'embeddings, and a trust weight mixes each with the frozen '
        'map. Each row is compared with SSPrompt on its base and in its world.'
    )
    return Study('Recipes', note, rows[1].name, tuple(rows))


def _deep_prompts(recipes: Study) -> Study:
    ends = (': SSPrompt', ': SSPrompt, deep')
    rows = tuple(row for row in recipes.rows if row.name.endswith(ends) and not row.source)
    note = (
        'Each spatial prompt moves its tokens behind each layer of the decoder, too. Beside the '
        'other recipes, with five seeds, zero was just inside the interval of the first row, so '
        'this comparison alone was made again with ten.'
    )
    return Study('Deep prompts', note, rows[0].name, rows)


RECIPES = _recipes()
DEEP_PROMPTS = _deep_prompts(RECIPES)
