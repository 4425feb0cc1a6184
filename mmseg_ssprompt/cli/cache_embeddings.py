"""Embed a config's data sets once, so that training needs neither images nor the image encoder.

    mmseg-ssprompt cache configs/ssprompt_sam-tiny_shapes_cached.py
    torchrun --nproc_per_node 8 -m mmseg_ssprompt cache CONFIG --launcher pytorch

The EmbeddedDatasets of the config say what is made and where. Those of other data sets are made as
``--views``, ``--cache-dir`` and the config's image encoder and data preprocessor say. Run again, it
keeps the shards that are there, if neither their files nor their images have changed.
"""

import argparse
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, init_dist, is_distributed, is_main_process
from mmengine.registry import init_default_scope

from ..cache import (
    CacheError,
    EmbeddedSample,
    Embedder,
    Recipe,
    SourceViews,
    fill_cache,
    finish_cache,
)
from ..cache.embedding_cache import free_bytes, missing_samples
from ..dataset_wrappers import each_dataset_config, find_configs
from ..datasets.checks import explain_dataset_errors
from ..files import check_writable
from ..models.base.precomputed import PrecomputedFeatures
from ..weights.model_weights import hand_down_weights
from .arguments import end_process, load_config

from mmseg.registry import MODELS  # isort: skip  (after mmseg_ssprompt)

SPLITS = ('train', 'val', 'test')
PATIENCE = 7 * 24 * 3600  # seconds that ranks wait for others, which may have more left to do
INTERVAL = 10.0  # seconds between lines of progress


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


def say(line: str) -> None:
    """Print once, whatever the number of ranks."""
    if is_main_process():
        print(line, flush=True)


class CacheMaker:
    """Makes one cache, or goes on making it.

    Args:
        folder: Of the cache; it is made.
        recipe: Of its samples.
        num_workers: Processes that run the pipeline.

    Raises:
        OSError: If the folder cannot be written into.
    """

    def __init__(self, folder: Path, recipe: Recipe, num_workers: int = 0) -> None:
        check_writable(folder)
        self.folder, self.recipe, self.num_workers = folder, recipe, num_workers
        self.dataset = recipe.build_dataset()
        self.key = recipe.key(self.dataset)
        self.views = SourceViews(self.dataset, recipe.views, recipe.seed)
        self._embedded: Dict[int, EmbeddedSample] = {}

    def needed_bytes(self, embed: Embedder) -> int:
        """Bytes of the samples that are not there, each taken to be as large as the first of them.

        That one is embedded for it, and kept.
        """
        missing = missing_samples(self.folder, len(self.views))
        if not missing:
            return 0
        own = missing_samples(self.folder, len(self.views), *get_dist_info())
        first = (own or missing)[0]
        self._embedded[first] = embed(self.views[first])
        sample_bytes = self._embedded[first].nbytes
        say(
            f'{self.folder}: {sample_bytes:,} bytes a sample x {len(self.dataset)} samples x '
            f'{self.recipe.views} views = {sample_bytes * len(self.views) / 1e9:.3f} GB; '
            f'{sample_bytes * len(missing) / 1e9:.3f} GB to write, '
            f'{free_bytes(self.folder) / 1e9:.1f} GB free'
        )
        return sample_bytes * len(missing)

    def make(self, embed: Embedder) -> None:
        """Write what is missing, and the index."""
        start = time.monotonic()
        rank, world_size = get_dist_info()
        computed = fill_cache(
            *(self.folder, self.key, self.views, embed),
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
            report=Progress(),
            files=self.views.files,
            embedded=self._embedded,
        )
        self._embedded.clear()
        barrier()
        if is_main_process():
            index = finish_cache(self.folder, self.key, self.dataset.metainfo, len(self.views))
            size = sum(file.stat().st_size for file in self.folder.iterdir())
            say(
                f'{self.folder}: {len(self.views)} embedded samples in {len(index["sizes"])} '
                f'shards, {size:,} bytes; rank 0 computed {computed} in '
                f'{time.monotonic() - start:.1f} s'
            )
        barrier()


class Progress:
    """Prints now and then how far this rank is."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, total: int, sample: EmbeddedSample) -> None:
        """Note that so many samples are done."""
        now = time.monotonic()
        if now - self.last < INTERVAL and done < total:
            return
        self.last = now
        rate = done / max(now - self.start, 1e-9)
        say(f'  {done}/{total} of rank 0, {rate:.2f} a second, {(total - done) / rate:.0f} s left')


def check_room(makers: Sequence[CacheMaker], needed: Sequence[int]) -> None:
    """Refuse to start where a disk has not enough room for all caches that go there.

    Args:
        makers: Of the caches.
        needed: Bytes that each of them will write.

    Raises:
        CacheError: With the folders on that disk, the bytes needed and free, and what to do.
    """
    disks: Dict[int, List[int]] = {}
    for number, maker in enumerate(makers):
        disks.setdefault(maker.folder.stat().st_dev, []).append(number)
    for numbers in disks.values():
        total = sum(needed[number] for number in numbers)
        writing = [makers[number] for number in numbers if needed[number]]
        if len(writing) > 1:
            say(f'{total / 1e9:.3f} GB to write in all')
        if writing and total > (free := free_bytes(writing[0].folder)):
            folders = ' and '.join(repr(str(maker.folder)) for maker in writing)
            raise CacheError(
                f'no room in {folders}: expected {total:,} bytes, found {free:,} free. '
                f'{_take_less(writing)}'
            )


def _take_less(makers: Sequence[CacheMaker]) -> str:
    """What takes less room than these caches, in sentences."""
    ways = []
    if any(maker.recipe.dtype == 'float32' for maker in makers):
        ways.append("dtype='float16' in the EmbeddedDataset")
    if any(maker.recipe.views > 1 for maker in makers):
        ways.append('fewer views (--views)')
    if len(makers) > 1:
        ways.append('one split alone (--split)')
    ways.append('a config with fewer images, such as a few-shot one')
    return (
        f'What takes less: {", ".join(ways)}. Or name another place, by --cache-dir, which '
        'training takes as cache_dir of its EmbeddedDatasets'
    )


@explain_dataset_errors()
def make_caches(makers: Sequence[CacheMaker]) -> None:
    """Make caches, if there is room for all of them.

    Nothing is written before the first sample of each has said how large it is.

    Raises:
        CacheError: If there is no room.
    """
    embedders: List[Embedder] = []
    for maker in makers:
        config = maker.recipe.encoder
        same = [each.encoder for each in embedders if each.recipe.encoder == config]
        embedders.append(Embedder(maker.recipe, get_device(), same[0] if same else None))
    needed = [maker.needed_bytes(embed) for maker, embed in zip(makers, embedders)]
    check_room(makers, needed)
    barrier()  # no rank writes before all have looked
    for maker, embed in zip(makers, embedders):
        maker.make(embed)


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
