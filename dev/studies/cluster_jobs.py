"""The jobs of a study on real data, after a look at whether all that they need is there."""

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from mmengine.config import Config
from mmseg.registry import DATASETS

from mmseg_ssprompt.cli.arguments import check_before_building
from mmseg_ssprompt.config_reading import read_config
from mmseg_ssprompt.datasets import explain_dataset_errors
from mmseg_ssprompt.outputs import check_outputs, find_inputs

from ..provenance import describe_code, describe_commit
from .cluster_plan import Cache, Job, Plan, StudyError
from .real_rows import CONFIGS, make_study
from .rows import StudyRow

__all__ = ['make_plan']


def make_plan(
    base: str,
    data: str,
    *,
    few_shot: bool,
    seeds: Sequence[int],
    arms: Optional[Sequence[str]],
    rates: Mapping[str, float],
    cached: bool,
    options: Sequence[str],
    folder: Path,
) -> Plan:
    """The jobs of a study; nothing is written.

    Args:
        base: A key of ``BASES``.
        data: A key of ``DATA``.
        few_shot: Whether to train on 16 images for each class.
        seeds: Those of each row that trains.
        arms: Which rows; None is all.
        rates: Learning rates by arm; ``''`` is that of all others. Defaults to the config's.
        cached: Whether rows whose config has a form for cached embeddings take it.
        options: Settings for all rows.
        folder: Of the study.

    Raises:
        StudyError: If an arm is unknown, or nothing is there to be cached.
        OutputError: If the folder lies in one with data.
        FileNotFoundError: With all data and weights that are not there, and where to get them.
        ConfigError: If an option does not fit.
    """
    _, rows = make_study(base, data, few_shot)
    chosen = list(rows) if arms is None else list(dict.fromkeys(arms))
    for what, names in (('--arms', chosen), ('--lr', [arm for arm in rates if arm])):
        unknown = [name for name in names if name not in rows]
        if unknown:
            raise StudyError(f'{what}: expected arms of {", ".join(rows)}, found {unknown[0]!r}')
    configs = {
        arm: _cached_form(rows[arm].config) if cached else rows[arm].config for arm in chosen
    }
    if cached and all(configs[arm] == rows[arm].config for arm in chosen):
        raise StudyError(
            f'--cached: {rows["ssprompt"].config} has no form for cached embeddings in configs/ '
            '(docs/cache.md says which have one). Leave --cached out'
        )
    for arm in sorted(chosen, key=lambda arm: not rows[arm].trains):  # which need the most, first
        _check(rows[arm], configs[arm], options, folder)
    jobs: List[Job] = []
    caches: Dict[str, Cache] = {}
    for arm in chosen:
        row = rows[arm]
        cfg = read_config(CONFIGS / configs[arm], [*options, *row.options])
        for seed in seeds if row.trains else [None]:
            blank = Job(len(jobs), arm, row.name, seed, row.trains, configs[arm], [], None, 0)
            job, made = _complete(blank, row, cfg, rates, options, folder)
            jobs.append(job)
            caches.update((cache.folder, cache) for cache in made)
    return Plan(
        base=base,
        data=data,
        few_shot=few_shot,
        seeds=list(seeds),
        code=describe_code(),
        commit=describe_commit(),
        started_in=str(Path.cwd()),
        jobs=jobs,
        caches=list(caches.values()),
    )


def _check(row: StudyRow, config: str, options: Sequence[str], folder: Path) -> None:
    """Refuse what a row needs and is not there, but for caches, which are made of what is there."""
    cfg = read_config(CONFIGS / config, [*options, *row.options])
    check_outputs({'--out': folder}, find_inputs(cfg))
    splits = ('train', 'val') if row.trains else ('test',)
    loaders = [cfg[f'{split}_dataloader'] for split in splits]
    for loader in loaders:
        while loader.dataset.type == 'EmbeddedDataset':
            loader.dataset = loader.dataset.dataset
    try:
        check_before_building(cfg, *splits)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{error}\nPaths are relative to {str(Path.cwd())!r}. docs/datasets.md says where each '
            'data set comes from and how it lies, docs/weights.md where the weights come from'
        ) from error
    for loader in loaders:
        dataset = loader.dataset
        while 'dataset' in dataset:  # a few-shot draw reads all label maps
            dataset = dataset.dataset
        with explain_dataset_errors():
            DATASETS.build(dict(dataset, pipeline=[]))  # which refuses one without images


def _cached_form(config: str) -> str:
    form = f'{Path(config).stem}_cached.py'
    return form if (CONFIGS / form).is_file() else config


def _complete(
    job: Job,
    row: StudyRow,
    cfg: Config,
    rates: Mapping[str, float],
    shared: Sequence[str],
    folder: Path,
) -> Tuple[Job, List[Cache]]:
    """A job with its settings, and the caches that it reads."""
    if job.seed is None:
        return dataclasses.replace(job, options=[*shared, *row.options]), []
    draw = _draw_options(cfg, job.seed, folder)
    caches = _caches_of(cfg, job.config, [*shared, *draw], job.seed)
    places = [f'{c.split}_dataloader.dataset.cache_dir={c.folder}' for c in caches]
    iterations = cfg.train_cfg.max_iters
    lr = rates.get(job.arm, rates.get('', cfg.optim_wrapper.optimizer.lr))
    own = [
        f'optim_wrapper.optimizer.lr={lr}',
        f'randomness.seed={job.seed}',
        f'train_cfg.val_interval={iterations}',  # one validation, at the end
    ]
    options = [*shared, *row.options, *draw, *places, *own]
    return dataclasses.replace(job, options=options, lr=lr, iterations=iterations), caches


def _draw_options(cfg: Config, seed: int, folder: Path) -> List[str]:
    """The seed and the manifest of a few-shot draw, which all arms of a seed share."""
    options, key = [], 'train_dataloader.dataset'
    dataset: Any = cfg.train_dataloader.dataset
    while dataset is not None:
        if dataset.type == 'FewShotDataset':
            manifest = folder.absolute() / 'manifests' / f'seed_{seed}.json'
            options += [f'{key}.seed={seed}', f'{key}.manifest={manifest}']
        dataset, key = dataset.get('dataset'), f'{key}.dataset'
    return options


def _caches_of(cfg: Config, config: str, options: Sequence[str], seed: int) -> List[Cache]:
    """Those of a cached config; a few-shot draw has one for each seed."""
    caches = []
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        if dataset.type == 'EmbeddedDataset':
            place = str(dataset.cache_dir)
            if dataset.dataset.type == 'FewShotDataset':
                place += f'_seed_{seed}'
            made = [*options, f'{split}_dataloader.dataset.cache_dir={place}']
            caches.append(Cache(config, split, made, place))
    return caches
