"""Embed a config's data sets once, so that training needs neither images nor the image encoder.

    mmseg-ssprompt cache configs/ssprompt_sam-tiny_shapes_cached.py
    torchrun --nproc_per_node 8 -m mmseg_ssprompt cache CONFIG --launcher pytorch

The EmbeddedDatasets of the config say what is made and where. Those of other data sets are made as
``--views``, ``--cache-dir`` and the config's image encoder and data preprocessor say. Run again, it
keeps the shards that are there, if neither their files nor their images have changed.
"""

import argparse
from pathlib import Path
from typing import Any, Dict, List

from mmengine.config import Config, ConfigDict
from mmengine.dist import init_dist, is_distributed
from mmengine.registry import init_default_scope

from ..cache import CacheError, CacheMaker, Recipe, make_caches
from ..dataset_wrappers import each_dataset_config, find_configs
from ..datasets.checks import explain_dataset_errors
from ..models.base.precomputed import PrecomputedFeatures
from ..weights.model_weights import hand_down_weights
from .arguments import end_process, load_config

from mmseg.registry import MODELS  # isort: skip  (after mmseg_ssprompt)

SPLITS = ('train', 'val', 'test')
PATIENCE = 7 * 24 * 3600  # seconds that ranks wait for others, which may have more left to do


def has_image_encoder(backbone: ConfigDict) -> bool:
    """Whether a backbone, or each of a pair, encodes images."""
    return MODELS.get(backbone.type) is not PrecomputedFeatures


def to_plain(config: Any) -> Any:
    """A config, or a list of configs, without mmengine's types."""
    return Config(dict(it=config)).to_dict()['it']


def embedded_datasets(cfg: Config, split: str) -> List[Dict[str, Any]]:
    """The configs of a split's EmbeddedDatasets, or a made-up one where the split has none.

    An encoder without a checkpoint has the weights of the model.
    """
    weights = cfg.model.get('weights')
    dataset = to_plain(cfg[f'{split}_dataloader'].dataset)
    found = list(find_configs(dataset, 'EmbeddedDataset'))
    if found:
        return [
            {
                **{key: value for key, value in each.items() if key != 'type'},
                **hand_down_weights(dict(encoder=each['encoder'], weights=weights)),
            }
            for each in found
        ]
    if not has_image_encoder(cfg.model.backbone):
        types = [each.get('type') for each in each_dataset_config(dataset)]
        raise CacheError(
            f'{split}_dataloader.dataset: expected an EmbeddedDataset, because the model has no '
            f'image encoder, found {", ".join(map(str, types))}'
        )
    made = dict(
        cache_dir=str(Path('data') / 'embeddings' / Path(cfg.filename).stem / split),
        dataset=dataset,
        encoder=hand_down_weights(cfg.model.to_dict())['backbone'],
        data_preprocessor=cfg.model.data_preprocessor.to_dict(),
        test_mode=split != 'train',
    )
    return [made]


@explain_dataset_errors()
def plan(cfg: Config, args: argparse.Namespace) -> Dict[Path, Recipe]:
    """What is made, by folder; splits that are one data set share one.

    Raises:
        CacheError: If two that are made in other ways would share a folder.
    """
    plans: Dict[Path, Recipe] = {}
    for split in SPLITS if args.split == 'all' else [args.split]:
        if cfg.get(f'{split}_dataloader') is None:
            continue
        for made in embedded_datasets(cfg, split):
            made.pop('lazy_init', None)
            folder = Path(made.pop('cache_dir')).expanduser()
            if args.cache_dir is not None:
                folder = Path(args.cache_dir).expanduser() / folder.name
            if args.views is not None and split == 'train':
                made['views'] = args.views
            recipe = Recipe(**made)
            if plans.get(folder, recipe) != recipe:
                raise CacheError(
                    f'{str(folder)!r}: expected a folder for each data set that is embedded, found '
                    'two in this one. Give each EmbeddedDataset a cache_dir whose last part is its '
                    'own'
                )
            if recipe not in plans.values():
                plans[folder] = recipe
    return plans


def start_processes(cfg: Config) -> None:
    """Join the other ranks, unless ``load_config`` has done so."""
    if cfg.launcher != 'none' and not is_distributed():
        options = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}), timeout=PATIENCE)
        init_dist(cfg.launcher, **options)


@explain_dataset_errors()
def prepare(cfg: Config, args: argparse.Namespace) -> List[CacheMaker]:
    """What the command line asks for."""
    makers = []
    for folder, recipe in plan(cfg, args).items():
        loader = cfg['val_dataloader' if recipe.test_mode else 'train_dataloader']
        makers.append(CacheMaker(folder, recipe, loader.get('num_workers', 0)))
    return makers


def run(args: argparse.Namespace) -> None:
    """Make the caches that the command line asks for."""
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    start_processes(cfg)
    make_caches(prepare(cfg, args))
    end_process()
