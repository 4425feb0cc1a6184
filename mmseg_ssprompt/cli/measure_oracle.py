"""Say whether masks or labels limit the result: the mIoU if the one or the other were known.

    mmseg-ssprompt oracle CONFIG CHECKPOINT --json oracle.json

measures, over the test data, ``mIoU`` (the ordinary prediction), ``mIoU.best_mask`` (for each class
of an image the candidate mask that fits it best, with the true label) and ``mIoU.true_mask`` (the
true region of each class, as a whole with the predicted label), in percent. They are defined in
``mmseg_ssprompt/analysis/oracle.py``. Handcrafted prompts need no checkpoint.
"""

import argparse
import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils import track_iter_progress

from ..analysis.oracle import measure_oracle
from ..datasets.checks import check_classes, explain_dataset_errors
from ..files import write_json
from ..models import SSPromptHead
from ..outputs import find_inputs
from ..weights.checkpoint_loader import safe_checkpoint_loading
from .inputs import prepare_outputs, read_config


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and apply the arguments."""
    needs = ['model', 'test_dataloader.dataset']
    cfg = read_config(args.config, args.cfg_options, needs)
    inputs = find_inputs(cfg, files=[args.config, args.checkpoint])
    prepare_outputs({'--json': args.json}, inputs)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    cfg.setdefault('work_dir', str(Path('work_dirs') / args.config.stem))
    cfg.load_from = args.checkpoint
    return cfg


@safe_checkpoint_loading()
def build_runner(cfg: Config, config: Path) -> Runner:
    """A runner whose model is loaded.

    Raises:
        ValueError: If the model has no masks with labels, or predicts an image in pieces.
    """
    runner = Runner.from_cfg(cfg)
    model = runner.model
    if not isinstance(model.decode_head, SSPromptHead):
        raise ValueError(
            f'config {str(config)!r}: expected decode_head.type SSPromptHead, found '
            f'{type(model.decode_head).__name__}, which has no candidate masks'
        )
    mode = model.test_cfg.get('mode', 'whole')
    if mode != 'whole':
        raise ValueError(
            f"config {str(config)!r}: expected model.test_cfg.mode='whole', found {mode!r}, where "
            'no mask is of the whole image'
        )
    runner.load_or_resume()
    if cfg.load_from is None:
        message = 'NO CHECKPOINT: the initial prompts are measured'
        print_log(message, logger='current', level=logging.WARNING)
    model.eval()
    return runner


@explain_dataset_errors()
def run(args: argparse.Namespace) -> None:
    """Measure, print, and write the figures."""
    cfg = load_config(args)
    runner = build_runner(cfg, args.config)
    loader = runner.build_dataloader(cfg.test_dataloader)
    check_classes(loader.dataset, runner.model.decode_head.class_names, 'test')
    batches = track_iter_progress((loader, len(loader)))
    figures = measure_oracle(runner.model, batches, loader.dataset.metainfo)
    print('\n'.join(f'{name}: {value:.2f}' for name, value in figures.items()))
    if args.json is not None:
        write_json(figures, args.json)
