"""What each study compares."""

from dataclasses import replace
from typing import Dict, Tuple

from .recipes import DEEP_PROMPTS, RECIPES
from .rows import Study, StudyRow
from .rows import fusion_options as _fusion

__all__ = ['STUDIES', 'Study', 'StudyRow']


def _ablation(name: str, config: str) -> StudyRow:
    return StudyRow(name, f'ablations/{config}_sam-tiny_shapes.py')


_SSPROMPT = StudyRow('SSPrompt', 'ssprompt_sam-tiny_shapes.py')
_ZERO_SHOT = StudyRow(
    'handcrafted prompts (zero-shot)', 'ssprompt_sam-tiny_shapes_zero-shot.py', trains=False
)
_COAST = StudyRow('SSPrompt', 'ssprompt_sam-tiny_shapes-coast.py')
_COAST_ZERO_SHOT = StudyRow(
    'handcrafted prompts (zero-shot)', 'ssprompt_sam-tiny_shapes-coast_zero-shot.py', trains=False
)


def _components() -> Study:
    rows = (
        _ZERO_SHOT,
        _ablation('2-D coordinates', 'coordinates'),
        _ablation('SpaPrompt', 'spatial-only'),
        _ablation('SpaPrompt, W = 0.5', 'spatial-only_fixed-weight'),
        _ablation('SpaPrompt, W = 1', 'spatial-only_learned-only'),
        _ablation('SemPrompt', 'semantic-only'),
        _ablation('SemPrompt, W = 0.5', 'semantic-only_fixed-weight'),
        _ablation('SemPrompt, W = 1', 'semantic-only_learned-only'),
        _ablation('SSPrompt, W = 0.5', 'fixed-weight'),
        _ablation('SSPrompt, W = 1', 'learned-only'),
        _SSPROMPT,
        _ablation('CoOp', 'coop'),
        _ablation('CoOp, a context for each class', 'coop_class-specific'),
        _ablation('CoOp and SpaPrompt', 'coop_spatial'),
        _ablation('projection alone', 'projection'),
        _ablation('SSPrompt and projection', 'ssprompt_projection'),
        _ablation('linear classifier on the image embedding', 'linear'),
        _ablation('mask decoder fine-tuned', 'decoder'),
        _ablation("mask_output='best'", 'mask-output-best'),
        _ablation("mask_output='all'", 'mask-output-all'),
        *_oracles(_ZERO_SHOT, 'zero-shot'),
        *_oracles(_SSPROMPT, 'SSPrompt'),
    )
    note = (
        'Each part of the method alone, with learned and fixed weights, beside what else could be '
        'trained.'
    )
    return Study('Components', note, 'SSPrompt', rows)


def _oracles(row: StudyRow, name: str) -> Tuple[StudyRow, ...]:
    return (
        replace(row, name=f'{name}, best masks with true labels', oracle='best_mask'),
        replace(row, name=f'{name}, true masks with predicted labels', oracle='true_mask'),
    )


#: Options of rows by what they learn, and with what weights.
_FUSIONS: Dict[str, Tuple[str, ...]] = {
    'SpaPrompt': _fusion(semantic='default_only'),
    'SpaPrompt, W = 0.5': _fusion('fixed_weight', 'default_only'),
    'SpaPrompt, W = 1': _fusion('learned_only', 'default_only'),
    'SemPrompt': _fusion('default_only'),
    'SemPrompt, W = 0.5': _fusion('default_only', 'fixed_weight'),
    'SemPrompt, W = 1': _fusion('default_only', 'learned_only'),
    'SSPrompt, W = 0.5': _fusion('fixed_weight', 'fixed_weight'),
    'SSPrompt, W = 1': _fusion('learned_only', 'learned_only'),
    'SSPrompt': (),
}
_NOTHING = _fusion('default_only', 'default_only')
_SEEM = StudyRow('SSPrompt', 'ssprompt_seem-tiny_shapes.py')
_SEEM_ZERO_SHOT = replace(
    _SEEM, name="SEEM's own prompts (zero-shot)", options=_NOTHING, trains=False
)
_SEEM_COAST = replace(_SEEM, config='ssprompt_seem-tiny_shapes-coast.py')
_SEEM_COAST_ZERO_SHOT = replace(_SEEM_ZERO_SHOT, config=_SEEM_COAST.config)
_NUM_PROMPTS = 'model.decode_head.spatial_prompts.num_prompts'
_CLICKS = f'{_NUM_PROMPTS}=64'
#: What trains in the studies of layout, on both base models.
_LAYOUT_ROWS = ('SpaPrompt', 'SemPrompt', 'SSPrompt, W = 0.5', 'SSPrompt')


def _components_of_seem() -> Study:
    coop = StudyRow('CoOp', 'ablations/coop_seem-tiny_shapes.py')
    fusions = {
        name: replace(_SEEM, name=name, options=options) for name, options in _FUSIONS.items()
    }
    rows = (
        _SEEM_ZERO_SHOT,
        *fusions.values(),
        replace(
            _SEEM,
            name='SSPrompt, and "no object" learned',
            options=('model.decode_head.classifier.fusion.mode=learned_weight',),
        ),
        replace(_SEEM_ZERO_SHOT, name='64 clicks (zero-shot)', options=(_CLICKS, *_NOTHING)),
        StudyRow('64 clicks, 2-D coordinates', 'ablations/coordinates_seem-tiny_shapes.py'),
        replace(
            fusions['SpaPrompt'],
            name='64 clicks, SpaPrompt',
            options=(_CLICKS, *_FUSIONS['SpaPrompt']),
        ),
        replace(_SEEM, name='64 clicks, SSPrompt', options=(_CLICKS,)),
        coop,
        replace(
            coop,
            name='CoOp, a context for each class',
            options=('model.decode_head.semantic_prompts.class_specific=True',),
        ),
        replace(
            coop,
            name='CoOp and SpaPrompt',
            options=('model.decode_head.spatial_prompts.fusion.mode=learned_weight',),
        ),
        StudyRow(
            'linear classifier on the image embedding', 'ablations/linear_seem-tiny_shapes.py'
        ),
        replace(
            _SEEM,
            name='mask decoder fine-tuned',
            options=('model.decode_head.segmenter.trainable=True', *_NOTHING),
        ),
        *_oracles(_SEEM_ZERO_SHOT, 'zero-shot'),
        *_oracles(_SEEM, 'SSPrompt'),
    )
    note = (
        "Each part of the method on seem-tiny, whose handcrafted spatial prompts are SEEM's own "
        'queries; with 64 clicks where the line says so.'
    )
    return Study('Components on SEEM', note, 'SSPrompt', rows)


def _layout_of_seem() -> Study:
    rows = (
        _SEEM_COAST_ZERO_SHOT,
        *(replace(_SEEM_COAST, name=name, options=_FUSIONS[name]) for name in _LAYOUT_ROWS),
        *_oracles(_SEEM_COAST_ZERO_SHOT, 'zero-shot'),
        *_oracles(_SEEM_COAST, 'SSPrompt'),
    )
    note = "On the coast, the second downstream world, with SEEM's own 32 queries."
    return Study('Small and thin things on SEEM', note, 'SSPrompt', rows)


def _task(task: str, metric: str, title: str) -> Study:
    """One task on both miniatures: each part of the method, and the decoder tuned."""
    rows = []
    for base, own in (('sam', 'handcrafted prompts'), ('seem', "SEEM's own prompts")):
        method = StudyRow('SSPrompt', f'ssprompt_{base}-tiny_shapes_{task}.py', metric=metric)
        options = {
            f'{own} (zero-shot)': _NOTHING,
            'SemPrompt': _FUSIONS['SemPrompt'],
            'SpaPrompt': _FUSIONS['SpaPrompt'],
            'SSPrompt': (),
            'mask decoder fine-tuned': (
                'model.decode_head.segmenter.trainable=True',
                *_NOTHING,
            ),
        }
        rows += [
            replace(
                method,
                name=f'{base}-tiny: {name}',
                options=chosen,
                trains=chosen != _NOTHING,
                reference=f'{base}-tiny: SSPrompt',
            )
            for name, chosen in options.items()
        ]
    reference = rows[3].name
    rows += [
        replace(
            rows[3],
            name=f'sam-tiny: SSPrompt, N = {n}',
            options=(f'{_NUM_PROMPTS}={n}',),
            reference=reference,
        )
        for n in (4, 16, 144)
    ]
    note = (
        'Both miniatures on ShapesWorld. sam-tiny has 64 prompts where the line says nothing else, '
        'seem-tiny 32.'
    )
    return Study(title, note, reference, tuple(rows))


def _prompts() -> Study:
    rows = [
        replace(_SSPROMPT, name=f'N = {count}', options=(f'{_NUM_PROMPTS}={count}',))
        for count in (1, 4, 16, 25, 49, 100, 225, 400)
    ]
    rows.insert(5, replace(_SSPROMPT, name='N = 64'))
    note = 'SSPrompt with regular grids of N points.'
    return Study('Number of spatial prompts', note, 'N = 64', tuple(rows))


def _prompts_of_seem() -> Study:
    own = replace(_SEEM, name="SEEM's own 32 queries")
    clicks = [
        replace(_SEEM, name=f'{count} clicks', options=(f'{_NUM_PROMPTS}={count}',))
        for count in (4, 16, 64, 144)
    ]
    note = "SSPrompt with regular grids of clicks, and with SEEM's own queries."
    return Study('Number of spatial prompts on SEEM', note, own.name, (own, *clicks))


def _shots(base: str, title: str) -> Study:
    method = f'ssprompt_{base}-tiny_shapes'
    few = [
        StudyRow(
            f'{shots} shot{"s" if shots > 1 else ""}',
            f'{method}_16shot.py',
            (f'train_dataloader.dataset.shots={shots}',),
        )
        for shots in (1, 2, 4, 8, 16)
    ]
    everything = StudyRow(
        'all 512 images', f'{method}.py', ('train_dataloader.dataset.num_images=512',)
    )
    note = 'SSPrompt on the images that `FewShotDataset` draws from 512, and on all of them.'
    return Study(title, note, everything.name, (*few, everything))


def _decoding() -> Study:
    handcrafted = replace(_ZERO_SHOT, name='handcrafted prompts, joint')
    independent = 'model.decode_head.segmenter.decoding=independent'
    rows = (
        handcrafted,
        replace(handcrafted, name='handcrafted prompts, independent', options=(independent,)),
        replace(_SSPROMPT, name='SSPrompt, joint'),
        _ablation('SSPrompt, independent', 'independent'),
    )
    note = (
        'sam-tiny was pre-trained in both ways (zero-shot mIoU in its own world: 79.4 joint, 80.0 '
        'independent).'
    )
    return Study('Joint and independent decoding', note, 'SSPrompt, joint', rows)


def _transfer() -> Study:
    to_coast = _transfer_rows('to the coast', _SSPROMPT, _COAST, _COAST_ZERO_SHOT)
    from_coast = _transfer_rows('from the coast', _COAST, _SSPROMPT, _ZERO_SHOT)
    return _transfer_study('Transfer between two worlds', (*to_coast, *from_coast))


def _transfer_of_seem() -> Study:
    to_coast = _transfer_rows('to the coast', _SEEM, _SEEM_COAST, _SEEM_COAST_ZERO_SHOT)
    from_coast = _transfer_rows('from the coast', _SEEM_COAST, _SEEM, _SEEM_ZERO_SHOT)
    return _transfer_study('Transfer between two worlds on SEEM', (*to_coast, *from_coast))


def _transfer_study(title: str, rows: Tuple[StudyRow, ...]) -> Study:
    note = (
        'Prompts learned in one downstream world, tested in the other. Five of the ten class names '
        'are in both; the other semantic prompts are the handcrafted ones of the target.'
    )
    return Study(title, note, rows[0].name, rows)


def _transfer_rows(
    direction: str, source: StudyRow, target: StudyRow, zero_shot: StudyRow
) -> Tuple[StudyRow, ...]:
    handcrafted = replace(zero_shot, name=f'{direction}: handcrafted prompts')
    handcrafted = replace(handcrafted, reference=handcrafted.name)
    parts = dict(spatial=('spatial',), semantic=('semantic',), all=('spatial', 'semantic'))
    transferred = [
        replace(
            target,
            name=f'{direction}: {which} prompts',
            source=source,
            parts=taken,
            reference=handcrafted.name,
        )
        for which, taken in parts.items()
    ]
    learned = replace(target, name=f'{direction}: learned there', reference=handcrafted.name)
    return (handcrafted, *transferred, learned)


def _layout() -> Study:
    """The coast, where a coarse grid misses small things, with few and with many prompts."""
    rows = []
    for count in (16, 64):
        size = f'{_NUM_PROMPTS}={count}'
        reference = f'N = {count}: SSPrompt'
        rows.append(
            replace(
                _COAST_ZERO_SHOT,
                name=f'N = {count}: handcrafted prompts',
                options=(size,),
                reference=reference,
            )
        )
        rows += [
            replace(
                _COAST,
                name=f'N = {count}: {name}',
                options=(size, *_FUSIONS[name]),
                reference=reference,
            )
            for name in _LAYOUT_ROWS
        ]
    oracles = (
        *_oracles(_COAST_ZERO_SHOT, 'N = 64: handcrafted'),
        *_oracles(rows[-1], 'N = 64: SSPrompt'),
    )
    rows += [replace(row, reference=reference) for row in oracles]
    note = 'On the coast, the second downstream world, with grids of 16 and of 64 points.'
    return Study('Small and thin things', note, 'N = 64: SSPrompt', tuple(rows))


def _precision() -> Study:
    amp = 'optim_wrapper.type=PromptAmpOptimWrapper'
    images = replace(_SSPROMPT, embedded=False)
    rows = (
        replace(images, name='float32'),
        replace(images, name='bfloat16', options=(amp, 'optim_wrapper.dtype=bfloat16')),
        replace(images, name='float16', options=(amp, 'optim_wrapper.dtype=float16')),
        StudyRow('float32, float16 cache', 'ssprompt_sam-tiny_shapes_cached.py'),
    )
    note = (
        'SSPrompt trained in float32, in mixed precision (`--amp`), and on cached embeddings that '
        'were stored in float16.'
    )
    return Study('Precision of training', note, 'float32', rows)


def _classifiers() -> Study:
    """Each classifier, with nothing, either part and both parts of the prompts learned."""
    learned = {
        'handcrafted prompts (zero-shot)': _NOTHING,
        **{name: _FUSIONS[name] for name in ('SpaPrompt', 'SemPrompt', 'SSPrompt')},
    }
    configs = dict(
        token='ablations/token_sam-clip-tiny_shapes.py',
        region='ssprompt_sam-clip-tiny_shapes.py',
        ensemble='ablations/ensemble_sam-clip-tiny_shapes.py',
    )
    rows = {
        f'{classifier}: {name}': StudyRow(
            f'{classifier}: {name}',
            config,
            options,
            trains=len(options) < 2,
            reference=f'token: {name}',
        )
        for classifier, config in configs.items()
        for name, options in learned.items()
    }
    dense = 'model.decode_head.classifier.read_out=dense'
    for name in ('handcrafted prompts (zero-shot)', 'SSPrompt'):
        row = rows[f'region: {name}']
        row = replace(row, name=f'region, dense: {name}', options=(dense, *row.options))
        rows[row.name] = row
    unlearned = 'model.decode_head.classifier.checkpoint=None'
    row = rows['token: SSPrompt']
    row = replace(row, name='token, projection learned too: SSPrompt', options=(unlearned,))
    rows[row.name] = row
    note = (
        'What labels the masks of sam-tiny: its mask tokens, projected to the text space of the '
        "miniature's CLIP (token; the projection is pre-trained, or learned with the prompts as on "
        'the real SAM); what that CLIP sees under each mask, by a class token or by the mean of '
        'dense features (region); or token and region together (ensemble). Each row is compared '
        'with the same prompts under the token classifier.'
    )
    return Study('Classifiers', note, 'token: SSPrompt', tuple(rows.values()))


STUDIES: Dict[str, Study] = dict(
    components=_components(),
    prompts=_prompts(),
    shots=_shots('sam', 'Shots: training images with each class'),
    decoding=_decoding(),
    transfer=_transfer(),
    layout=_layout(),
    precision=_precision(),
    classifiers=_classifiers(),
    components_seem=_components_of_seem(),
    layout_seem=_layout_of_seem(),
    prompts_seem=_prompts_of_seem(),
    shots_seem=_shots('seem', 'Shots on SEEM'),
    transfer_seem=_transfer_of_seem(),
    recipes=RECIPES,
    deep_prompts=DEEP_PROMPTS,
    tasks_panoptic=_task('panoptic', 'PQ', 'Panoptic segmentation'),
    tasks_instance=_task('instance', 'segm_mAP', 'Instance segmentation'),
)
