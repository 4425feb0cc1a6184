"""What the commands for interpretation share: a run, loaded from its config and checkpoint."""

import argparse
import logging
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from ..analysis import find_class_groups
from ..datasets.checks import check_classes, explain_dataset_errors
from ..models.heads import SSPromptHead
from ..outputs import find_inputs
from ..weights.checkpoint_loader import safe_checkpoint_loading
from .inputs import prepare_outputs, read_config

from mmseg.apis import init_model  # isort: skip  (after mmseg_ssprompt, which makes it possible)
from mmseg.models.segmentors import BaseSegmentor  # isort: skip
from mmseg.registry import DATASETS  # isort: skip

__all__ = ['Run', 'load_run', 'samples']

_MESSAGES = 10  # while a data set is gone through


class Run(NamedTuple):
    """A trained model and the data set it is looked at on.

    Attributes:
        cfg: The config, with the options of the command line.
        model: The segmentor, in eval mode.
        dataset: The split; empty if it was not asked for, with its metainfo.
        groups: Class ids by group: things and stuff, or all.
        source: What was loaded, for the JSON.
    """

    cfg: Config
    model: BaseSegmentor
    dataset: Any
    groups: Dict[str, List[int]]
    source: Dict[str, Optional[str]]

    @property
    def head(self) -> SSPromptHead:
        """The model's head."""
        head: SSPromptHead = self.model.decode_head
        return head


@safe_checkpoint_loading()
@explain_dataset_errors()
def load_run(args: argparse.Namespace) -> Run:
    """Build model and data set; only a tool with ``--split`` reads the data.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ConfigError: If the config cannot be read, or has no model.
        OutputError: If something that is read, or of another run, would be overwritten.
        CheckpointError: If the checkpoint is damaged.
        PromptStateError: If it is of another model.
        DatasetError: If the data set is empty, or its classes are not those of the prompts.
        ValueError: If the config has no prompts, or no such split.
    """
    cfg = read_config(args.config, args.cfg_options, needs=['model'])
    files = [args.config, args.checkpoint, getattr(args, 'words', None)]
    outputs = {'--out-dir': args.out_dir}
    prepare_outputs(outputs, find_inputs(cfg, files=files), outputs, args.overwrite)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    model = init_model(cfg, args.checkpoint, device=device)
    if not isinstance(model.decode_head, SSPromptHead):
        raise ValueError(
            f'config {str(args.config)!r}: expected decode_head.type SSPromptHead, found '
            f'{type(model.decode_head).__name__}, which has no prompts to interpret'
        )
    if args.checkpoint is None:
        print_log('NO CHECKPOINT: the initial prompts are shown', level=logging.WARNING)
    split = getattr(args, 'split', None)
    dataset_cfg = _dataset_config(cfg, split or 'test')
    dataset = _build_dataset(dataset_cfg, read=split is not None)
    check_classes(dataset, model.decode_head.class_names, split or 'test')
    return Run(
        cfg=cfg,
        model=model,
        dataset=dataset,
        groups=find_class_groups(dataset.metainfo, dataset_cfg.type),
        source=dict(config=str(args.config), checkpoint=args.checkpoint, split=split),
    )


def _dataset_config(cfg: Config, split: str) -> ConfigDict:
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise ValueError(f'config {cfg.filename!r} has no {split}_dataloader: add one')
    return loader.dataset


def _build_dataset(cfg: ConfigDict, read: bool) -> Any:
    return DATASETS.build(cfg if read else dict(cfg, lazy_init=True))


def samples(run: Run) -> Iterator[Dict[str, Any]]:
    """The samples of the split one by one, saying now and then how far it is."""
    total = len(run.dataset)
    for index in range(total):
        with explain_dataset_errors():
            data = run.dataset[index]
        yield data
        if (index + 1) * _MESSAGES // total > index * _MESSAGES // total:
            print_log(f'{index + 1} of {total} images')
