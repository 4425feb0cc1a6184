"""The config of a row, as the tools read it, and the embedded samples that it trains on."""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from mmengine.config import Config, ConfigDict, DictAction

from .processes import ROOT
from .rows import StudyRow

__all__ = ['CONFIGS', 'SPLITS', 'make_config']

CONFIGS = ROOT / 'configs'
SPLITS = ('train', 'val', 'test')


def make_config(
    row: StudyRow, samples: Path, lr: Optional[float] = None, seed: Optional[int] = None
) -> Config:
    """The config of a row with its options.

    Args:
        row: What is trained or measured.
        samples: Folder of all embedded samples.
        lr: The optimiser's learning rate, of a training.
        seed: Of a training: whatever draws training images, or noise on the prompts.

    Returns:
        A config that validates once, at the end.
    """
    cfg = Config.fromfile(CONFIGS / row.config)
    cfg.train_cfg.val_interval = cfg.train_cfg.max_iters
    if lr is not None:
        cfg.optim_wrapper.optimizer.lr = lr
    if seed is not None:
        cfg.merge_from_dict({'randomness.seed': seed})
        dataset = cfg.train_dataloader.dataset
        while dataset is not None:  # one that draws few images wraps another
            dataset.seed = seed
            dataset = dataset.get('dataset')
    cfg.merge_from_dict(_read_options(row.options))
    if row.embedded and cfg.train_dataloader.dataset.type != 'EmbeddedDataset':
        _embed(cfg)
    for split in SPLITS:
        dataset = cfg[f'{split}_dataloader'].dataset
        if dataset.type == 'EmbeddedDataset':
            dataset.cache_dir = str(_sample_folder(dataset, samples))
    return cfg


def _read_options(options: Sequence[str]) -> Dict[str, Any]:
    """Options as ``--cfg-options`` takes them."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = ['--cfg-options', *options] if options else []
    read: Dict[str, Any] = parser.parse_args(args).cfg_options
    return read


def _embed(cfg: Config) -> None:
    """Put embedded samples in float32 in the place of images, as the configs ``_cached`` do."""
    encoder = cfg.model.backbone
    for split in SPLITS:
        loader = cfg[f'{split}_dataloader']
        loader.dataset = ConfigDict(
            type='EmbeddedDataset',
            cache_dir='',
            encoder=encoder,
            data_preprocessor=cfg.model.data_preprocessor,
            dtype='float32',
            test_mode=split != 'train',
            dataset=loader.dataset,
        )
    cfg.model.data_preprocessor = ConfigDict(type='EmbeddingPreProcessor')
    cfg.model.backbone = ConfigDict(type='PrecomputedFeatures', encoder=encoder)


def _sample_folder(dataset: ConfigDict, samples: Path) -> Path:
    """Where the embedded samples of a data set lie: equal data sets share a folder."""
    plain = {key: value for key, value in dataset.to_dict().items() if key != 'cache_dir'}
    name = hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return samples / name
