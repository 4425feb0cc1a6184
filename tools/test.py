"""Test a segmentor: the arguments of mmseg's ``tools/test.py``.

    python tools/test.py configs/ssprompt_sam-tiny_shapes.py CHECKPOINT

Handcrafted prompts need no checkpoint:

    python tools/test.py configs/ssprompt_sam-tiny_shapes_zero-shot.py
"""

import argparse
import logging
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.runner import Runner


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test and evaluate a segmentor')
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        'checkpoint', nargs='?', help='trained prompts; without it the initial ones are tested'
    )
    parser.add_argument('--work-dir', help='where the figures go, as JSON')
    parser.add_argument('--out', help='folder for the predictions, as PNG label maps')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between pictures')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings that override those of the config, as key=value; a list is '
        'key="[a,b]" or key=a,b, without spaces',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of the job were started',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args: argparse.Namespace) -> Config:
    """The config with what the command line adds to it."""
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        _enable_visualization(cfg, args)
    if args.tta:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.tta_model.module = cfg.model
        cfg.model = cfg.tta_model
    if args.out is not None:
        cfg.test_evaluator.output_dir = args.out
        cfg.test_evaluator.keep_results = True
    return cfg


def _enable_visualization(cfg: Config, args: argparse.Namespace) -> None:
    if 'visualization' not in cfg.default_hooks:
        raise ValueError(
            '--show and --show-dir need the SegVisualizationHook: '
            "default_hooks=dict(visualization=dict(type='SegVisualizationHook'))"
        )
    cfg.default_hooks.visualization.draw = True
    if args.show:
        cfg.default_hooks.visualization.show = True
        cfg.default_hooks.visualization.wait_time = args.wait_time
    if args.show_dir:
        cfg.visualizer.save_dir = args.show_dir


def main() -> None:
    args = parse_args()
    runner = Runner.from_cfg(load_config(args))
    if args.checkpoint is None:
        message = 'NO CHECKPOINT: the initial prompts are tested'
        print_log(message, logger='current', level=logging.WARNING)
    runner.test()


if __name__ == '__main__':
    main()
