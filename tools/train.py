"""Train a segmentor: the arguments of mmseg's ``tools/train.py``.

python tools/train.py configs/ssprompt_sam-tiny_shapes.py
"""

import argparse
import logging
import signal
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmseg_ssprompt.cli.arguments import (
    check_before_building,
    end_process,
    is_first_process,
    load_config,
)
from mmseg_ssprompt.cli.parser import add_run_arguments
from mmseg_ssprompt.datasets import explain_dataset_errors
from mmseg_ssprompt.hooks import check_unlocked, list_checkpoints
from mmseg_ssprompt.weights import safe_checkpoint_loading


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a segmentor')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume', action='store_true', help='go on from the latest checkpoint in the work_dir'
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    add_run_arguments(parser)
    return parser.parse_args()


def enable_amp(cfg: Config) -> None:
    """Put the wrapper for mixed precision around the optimiser; it works on CPUs too.

    ``optim_wrapper.dtype`` and ``optim_wrapper.loss_scale`` are kept where they are given.

    Raises:
        ValueError: If the config has a wrapper of another kind.
    """
    wrapper = cfg.optim_wrapper.type
    if wrapper in ('AmpOptimWrapper', 'PromptAmpOptimWrapper'):
        print_log('the config already uses AMP', logger='current', level=logging.WARNING)
        return
    if wrapper != 'OptimWrapper':
        raise ValueError(f"--amp needs optim_wrapper.type='OptimWrapper', found {wrapper!r}")
    cfg.optim_wrapper.type = 'PromptAmpOptimWrapper'


@safe_checkpoint_loading()
@explain_dataset_errors()
def main() -> None:
    args = parse_args()
    if hasattr(signal, 'SIGUSR1'):
        # Until PreemptionHook takes it over; workers of data loaders inherit it, and live on when
        # slurm signals them too.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    needs = ('model', 'train_dataloader.dataset', 'train_cfg', 'optim_wrapper')
    cfg = load_config(args, needs)
    cfg.resume = args.resume
    if is_first_process():  # which is the one that takes the lock
        check_unlocked(Path(cfg.work_dir))
    if args.resume and any(list_checkpoints(Path(cfg.work_dir))):
        cfg.load_from = None  # mmengine would go on from it, and a requeued job would start again
    if args.amp:
        enable_amp(cfg)
    check_before_building(cfg, 'train', 'val')
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    try:
        runner.train()
    except SystemExit as left:  # of PreemptionHook
        if isinstance(left.code, int):
            end_process(left.code)
        raise
    end_process()


if __name__ == '__main__':
    main()
