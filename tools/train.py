"""Train a segmentor: the arguments of mmseg's ``tools/train.py``.

python tools/train.py configs/ssprompt_sam-tiny_shapes.py
"""

import argparse
import logging

from command_line import add_arguments, end_process, load_config
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a segmentor')
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume', action='store_true', help='go on from the latest checkpoint in the work_dir'
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    add_arguments(parser)
    return parser.parse_args()


def enable_amp(cfg: Config) -> None:
    """Put mmengine's wrapper for mixed precision around the optimiser.

    Raises:
        ValueError: If the config has a wrapper of another kind.
    """
    wrapper = cfg.optim_wrapper.type
    if wrapper == 'AmpOptimWrapper':
        print_log('the config already uses AMP', logger='current', level=logging.WARNING)
        return
    if wrapper != 'OptimWrapper':
        raise ValueError(f"--amp needs optim_wrapper.type='OptimWrapper', found {wrapper!r}")
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.resume = args.resume
    if args.amp:
        enable_amp(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.train()
    end_process()


if __name__ == '__main__':
    main()
