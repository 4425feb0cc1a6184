"""The configs of ``fit``: short texts that ``tools/train.py`` runs too."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..config_files import find_home
from .bases import ARMS, Base
from .fit_data import FitData

__all__ = ['METRICS', 'RATES', 'Schedule', 'config_text', 'make_schedule']

_WIDTH = 100
#: What decides, by task.
METRICS = dict(semantic='mIoU', instance='segm_mAP', panoptic='PQ')
_EVALUATORS = dict(
    semantic='GroupedIoUMetric', instance='InstanceMetric', panoptic='PanopticMetric'
)
#: Learning rates that short runs are made with.
RATES = (0.003, 0.01, 0.03)
#: Memory for decoded images where only the projection trains, in bytes.
_REMEMBERED = 2 << 30


class Schedule(NamedTuple):
    """How long one training is.

    Attributes:
        iterations: After which the learning rate is zero.
        max_iters: After which training ends.
        interval: Between validations.
        patience: Validations without progress after which training ends; None: it does not.
    """

    iterations: int
    max_iters: int
    interval: int
    patience: Optional[int] = None


def make_schedule(batch_size: int, cross_validated: bool) -> Tuple[Schedule, Schedule]:
    """The schedules of the short runs and of the others.

    With single images, three short runs and what follows are at most 600 steps: 3 x 60 and 420, or,
    with three folds, 3 x 40, 3 x 120 and a last training of at most 120.
    """
    short, iterations = (40, 120) if cross_validated else (60, 420 if batch_size == 1 else 300)
    return (
        Schedule(short, short, short),
        Schedule(iterations, iterations, iterations // 10, None if cross_validated else 4),
    )


def config_text(
    file: Path,
    data: FitData,
    base: Base,
    weights: Mapping[str, str],
    arm: Optional[str],
    schedule: Schedule,
    rate: float,
    seed: int,
    lists: Mapping[str, Optional[str]],
    batch_size: int,
) -> str:
    """The text of a config.

    Args:
        file: What it will be called, for the commands in its first lines.
        data: The pictures.
        base: The base model.
        weights: ``model.weights``; empty where the base's own are meant.
        arm: What trains; None: nothing, the prompts are handcrafted.
        schedule: How long.
        rate: The learning rate.
        seed: Of all draws.
        lists: The lists of pictures of 'train', 'val' and 'test'; None where there is none.
        batch_size: Pictures of a step.
    """
    configs = find_home() / 'configs' / '_base_'
    bases = [
        base.config_file,
        configs / 'schedules' / 'schedule_few-images.py',
        configs / 'default_runtime.py',
        configs / 'cached.py',
    ]
    what = 'Handcrafted prompts' if arm is None else ARMS[arm]
    command = 'test.py' if arm is None else 'train.py'
    lines = [
        f'# {what} on {base.name}, of embedded photographs, as `mmseg-ssprompt fit` has chosen it:',
        f'#     python {find_home() / "tools" / command} {file}',
        f'_base_ = {_python([str(path) for path in bases])}',
        '',
        f'out = {str(data.out.absolute())!r}',
        f'classes = {_python(tuple(data.classes))}',
        '# What a photograph and its labels pass before they are embedded, once for all trainings.',
        f'pipeline = {_python(_make_pipeline(data, base))}',
        f'photographs = {_photographs(data)}',
        f'embedded = {_embedded(base, data)}',
        *_loaders(lists, batch_size),
        *_evaluation(data.task, lists),
        f'model = {_model(data, base, weights, arm)}',
    ]
    if arm is not None:
        lines += _training(data.task, schedule, rate)
    lines += [f'randomness = dict(seed={seed})']
    return '\n'.join(lines) + '\n'


class _Code(str):
    """A part of a config that is an expression."""


def _python(value: Any, indent: int = 0) -> str:
    """A value as Python text, in several lines where it is long."""
    if isinstance(value, _Code) or not isinstance(value, (dict, list, tuple)):
        return str(value) if isinstance(value, _Code) else repr(value)
    begin, entries, end = _open(value, indent + 4)
    # A tuple of one has a comma behind it.
    flat = f'{begin}{", ".join(entries)}{"," if begin == "(" and len(entries) == 1 else ""}{end}'
    if '\n' not in flat and len(flat) + indent <= _WIDTH - 20:
        return flat
    rows = entries if isinstance(value, dict) else _wrap(entries, _WIDTH - indent - 6)
    body = ''.join(f'{" " * (indent + 4)}{row},\n' for row in rows)
    return f'{begin}\n{body}{" " * indent}{end}'


def _open(value: Any, indent: int) -> Tuple[str, List[str], str]:
    """What begins a dict, list or tuple, its entries as text, and what ends it."""
    if not isinstance(value, dict):
        begin, end = '[]' if isinstance(value, list) else '()'
        return begin, [_python(each, indent) for each in value], end
    pairs = [(key, _python(each, indent)) for key, each in value.items()]
    if all(isinstance(key, str) and key.isidentifier() for key in value):
        return 'dict(', [f'{key}={text}' for key, text in pairs], ')'
    return '{', [f'{key!r}: {text}' for key, text in pairs], '}'


def _wrap(entries: Sequence[str], width: int) -> List[str]:
    """Entries of a list, as many in a line as there is room for."""
    rows: List[str] = []
    for entry in entries:
        if rows and '\n' not in rows[-1] + entry and len(rows[-1]) + len(entry) + 2 < width:
            rows[-1] += f', {entry}'
        else:
            rows.append(entry)
    return rows


def _photographs(data: FitData) -> str:
    """All pictures with their labels, and the pipeline that they were embedded by."""
    config = data.dataset()
    meta = dict(config['metainfo'], classes=_Code('classes'))
    config.update(metainfo=meta, pipeline=_Code('pipeline'))
    return _python({key: value for key, value in config.items() if value is not None})


def _make_pipeline(data: FitData, base: Base) -> List[Dict[str, Any]]:
    """What brings a photograph to the frame, for training and testing alike."""
    pack: Dict[str, Any] = dict(type='PackSegInputs')
    if data.task != 'semantic':
        pack = dict(type='PackSegmentInputs', min_pixels=0)
    return [dict(type='LoadImageFromFile'), dict(base.resize), data.loader(), pack]


def _embedded(base: Base, data: FitData) -> str:
    encoder = _Code(_encoder(base))
    config = dict(
        type='EmbeddedDataset',
        cache_dir=_Code("out + '/embeddings'"),
        dataset=_Code('photographs'),
        encoder=encoder,
        data_preprocessor=_Code('_base_.data_preprocessor'),
        test_mode=True,
    )
    return _python(config)


def _encoder(base: Base) -> str:
    variant = '' if base.variant is None else f', variant={base.variant!r}'
    return f'dict(_base_.model.backbone{variant})' if variant else '_base_.model.backbone'


def _loaders(lists: Mapping[str, Optional[str]], batch_size: int) -> List[str]:
    lines = []
    for split in ('train', 'val', 'test'):
        name = lists.get(split)
        if name is None:
            lines.append(f'{split}_dataloader = None')
            continue
        own = ', resize_labels=True' if split == 'train' else ''
        dataset = _Code(f"dict(embedded, names=out + '/data/{name}.txt'{own})")
        sampler = 'InfiniteSampler' if split == 'train' else 'DefaultSampler'
        config = dict(
            batch_size=batch_size if split == 'train' else 1,
            num_workers=0,
            sampler=dict(type=sampler, shuffle=split == 'train'),
            dataset=dataset,
        )
        lines.append(f'{split}_dataloader = {_python(config)}')
    return lines


def _evaluation(task: str, lists: Mapping[str, Optional[str]]) -> List[str]:
    evaluator = _python(dict(type=_EVALUATORS[task]))
    lines = []
    for split in ('val', 'test'):
        is_there = lists.get(split) is not None
        lines.append(f'{split}_evaluator = {evaluator if is_there else None}')
        if not is_there:
            lines.append(f'{split}_cfg = None')
    return lines


def _model(data: FitData, base: Base, weights: Mapping[str, str], arm: Optional[str]) -> str:
    head: Dict[str, Any] = dict(num_classes=len(data.classes))
    if data.rest_id is not None:
        head['rest_id'] = data.rest_id
    if data.thing_classes is not None:
        head['thing_classes'] = tuple(data.thing_classes)
    segmenter: Dict[str, Any] = {}
    spatial: Dict[str, Any] = {}
    semantic: Dict[str, Any] = dict(class_names=_Code('classes'))
    if base.variant is not None:
        segmenter['variant'] = base.variant
        if base.kind == 'seem':
            semantic['text_encoder'] = dict(variant=base.variant)
    if base.kind == 'sam':
        spatial['extent'] = _extent(data)
        if arm in (None, 'projection'):
            segmenter['remember_bytes'] = _REMEMBERED
    if arm in (None, 'projection'):
        spatial['fusion'] = semantic['fusion'] = dict(mode='default_only')
    head.update(segmenter=segmenter, spatial_prompts=spatial, semantic_prompts=semantic)
    if arm is not None and 'projection' in arm:
        head['classifier'] = dict(trainable=True)
    config: Dict[str, Any] = dict(weights=dict(weights)) if weights else {}
    config.update(
        data_preprocessor=_Code('_base_.embedding_preprocessor'),
        backbone=_Code(f'dict(_base_.precomputed, encoder={_encoder(base)})'),
        decode_head={key: value for key, value in head.items() if value != {}},
    )
    if data.task != 'semantic':
        outputs = 'instances' if data.task == 'instance' else 'panoptic'
        config['test_cfg'] = dict(outputs=(outputs,))
    return _python(config)


def _extent(data: FitData) -> Tuple[float, float]:
    """The part of the square frame that pictures cover, the widest and the highest of them."""
    sides = [(each.width, each.height, max(each.width, each.height)) for each in data.pictures]
    width = max(width / longest for width, _, longest in sides)
    height = max(height / longest for _, height, longest in sides)
    return round(width, 4), round(height, 4)


def _training(task: str, schedule: Schedule, rate: float) -> List[str]:
    iterations, warm_up = schedule.iterations, max(1, schedule.iterations // 20)
    interval = schedule.interval
    # Which iteration of a fold counts is known when all folds are trained.
    kept = ', max_keep_ckpts=-1' if schedule.patience is None else ''
    steps = [
        dict(type='LinearLR', start_factor=0.1, begin=0, end=warm_up, by_epoch=False),
        dict(type='CosineAnnealingLR', eta_min=0.0, begin=warm_up, end=iterations, by_epoch=False),
    ]
    lines = [
        f'optim_wrapper = dict(optimizer=dict(lr={rate}))',
        f'param_scheduler = {_python(steps)}',
        f'train_cfg = dict(max_iters={schedule.max_iters}, val_interval={interval})',
        f'default_hooks = dict(checkpoint=dict(interval={interval}{kept}))',
    ]
    if schedule.patience is not None:
        hook = dict(
            type='ResumableEarlyStoppingHook',
            monitor=METRICS[task],
            rule='greater',
            min_delta=0.0,
            patience=schedule.patience,
        )
        lines.append(f'custom_hooks = {_python([hook])}')
    return lines
