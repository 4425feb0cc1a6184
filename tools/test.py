"""Test a segmentor: the arguments of mmseg's ``tools/test.py``.

    python tools/test.py configs/ssprompt_sam-tiny_shapes.py CHECKPOINT

Handcrafted prompts need no checkpoint:

    python tools/test.py configs/ssprompt_sam-tiny_shapes_zero-shot.py

Other class names than the data set's, with handcrafted or with learned prompts:

    python tools/test.py configs/ssprompt_sam-clip-tiny_shapes_zero-shot.py --classes "ball,sky,dog"
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import List

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmseg_ssprompt.cli.arguments import (
    check_before_building,
    end_process,
    load_config,
)
from mmseg_ssprompt.cli.inputs import ConfigError, require
from mmseg_ssprompt.cli.parser import add_run_arguments, output_folder
from mmseg_ssprompt.config_entries import each_evaluator, innermost_model
from mmseg_ssprompt.dataset_wrappers import each_dataset_config, find_configs
from mmseg_ssprompt.datasets import explain_dataset_errors
from mmseg_ssprompt.datasets.label_maps import allow_unlabelled
from mmseg_ssprompt.main_process import on_main_process
from mmseg_ssprompt.outputs import check_outputs, find_inputs
from mmseg_ssprompt.prompt_files.open_vocabulary import (
    rename_prompts,
    split_class_names,
    with_class_names,
)
from mmseg_ssprompt.weights import safe_checkpoint_loading

#: Evaluators that can write predictions, by what the model makes of masks; the first is ours.
_WRITERS = dict(
    semantic=('GroupedIoUMetric', 'IoUMetric'),
    panoptic=('PanopticMetric',),
    instances=('InstanceMetric', 'CityscapesInstanceMetric'),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test and evaluate a segmentor')
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        'checkpoint', nargs='?', help='trained prompts; without it the initial ones are tested'
    )
    parser.add_argument('--work-dir', help='where the figures go, as JSON')
    parser.add_argument(
        '--out',
        type=output_folder,
        help='folder for the predictions: PNG label maps; panoptic maps and objects as COCO has '
        'them',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='write into folders that hold files'
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir', type=output_folder, help='folder for a picture of each prediction'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between pictures')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--classes',
        type=class_names,
        help='other class names with commas between them, such as "road,sky,dog": nothing is '
        'trained for them',
    )
    add_run_arguments(parser)
    return parser.parse_args()


def class_names(text: str) -> List[str]:
    """The value of ``--classes``."""
    try:
        return split_class_names(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def enable_visualization(cfg: Config, args: argparse.Namespace) -> None:
    """Let a hook draw the prediction of each image."""
    hook = cfg.default_hooks.setdefault('visualization', dict())
    hook.update(type='PromptVisualizationHook', draw=True, interval=1)
    if (cfg.get('visualizer') or {}).get('type') == 'SegLocalVisualizer':
        cfg.visualizer.type = 'SegmentVisualizer'  # which draws objects and panoptic maps too
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if args.show_dir:
        hook.update(out_dir=str(args.show_dir))


def enable_tta(cfg: Config) -> None:
    """Predict several views of each image, and average.

    Raises:
        ConfigError: If the config has no settings for it.
        ValueError: If a test data set has no pipeline that could be replaced.
    """
    require(cfg, 'tta_model', cfg.filename)
    if not cfg.get('tta_pipeline'):
        raise ConfigError(
            f'config {cfg.filename!r}: expected tta_pipeline=[...], the pipeline of --tta, found '
            'none. Add one, as in configs/_base_/datasets'
        )
    if is_embedded(cfg):
        raise ValueError(
            '--tta needs images, but test_dataloader.dataset is an EmbeddedDataset, which has no '
            'pipeline: give the config that it was made from, without "_cached"'
        )
    for dataset in each_dataset_config(cfg.test_dataloader.dataset):
        dataset['pipeline'] = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def is_embedded(cfg: Config) -> bool:
    """Whether test samples come out of an embedding cache."""
    return any(find_configs(cfg.test_dataloader.dataset, 'EmbeddedDataset'))


def enable_writing(cfg: Config, folder: Path) -> None:
    """Let evaluators write the predictions.

    Label maps are PNG files in the folder; with other outputs beside them, in its ``semantic``.
    Panoptic maps and objects are in the formats of COCO (``PanopticMetric``, ``InstanceMetric``),
    or of Cityscapes where its evaluator is set.

    Of the evaluators that can write an output of the model, the first does; without one, a writer
    that measures nothing is added. Images without annotations are predicted too.
    """
    evaluators = [config for _, config in each_evaluator(cfg, 'test_evaluator')]
    outputs = (innermost_model(cfg).get('test_cfg') or {}).get('outputs') or ('semantic',)
    for output in outputs:
        kinds = _WRITERS[output]
        writers = [each for each in evaluators if each.get('type') in kinds]
        if not writers:
            writers = [ConfigDict(type=kinds[0], format_only=True)]
            evaluators += writers
        if output == 'semantic':
            for writer in writers:
                writer['type'] = kinds[0]  # mmseg's own takes no image without a label map
        beside = output == 'semantic' and len(outputs) > 1
        writers[0]['output_dir'] = str(folder / 'semantic' if beside else folder)
    cfg.test_evaluator = evaluators
    # What a cache was made of is part of its key.
    for dataset in [] if is_embedded(cfg) else each_dataset_config(cfg.test_dataloader.dataset):
        allow_unlabelled(dataset)


def rename_classes(cfg: Config, args: argparse.Namespace) -> Config:
    """The config for other class names, and the checkpoint's prompts for them.

    Raises:
        SystemExit: If the config cannot have other names.
    """
    try:
        cfg = with_class_names(cfg, args.classes)
    except ValueError as error:
        sys.exit(f'test.py: error: argument --classes: {error}')
    if args.checkpoint is not None:
        cfg.load_from = str(Path(cfg.work_dir) / 'renamed_prompts.pth')
        # An earlier test has written one, which may be what is given now.
        renamed = {'--work-dir: the renamed prompts': cfg.load_from}
        check_outputs(renamed, find_inputs(files=[args.checkpoint]))
        on_main_process(lambda: rename_prompts(args.checkpoint, cfg, Path(cfg.load_from)))
    return cfg


@safe_checkpoint_loading()
@explain_dataset_errors()
def main() -> None:
    args = parse_args()
    outputs = {'--out': args.out, '--show-dir': args.show_dir}
    cfg = load_config(args, ('model', 'test_dataloader.dataset'), outputs)
    cfg.load_from = args.checkpoint
    if args.classes is not None:
        cfg = rename_classes(cfg, args)
    if args.show or args.show_dir:
        enable_visualization(cfg, args)
    if args.tta:
        enable_tta(cfg)
    if args.out is not None:
        enable_writing(cfg, args.out)
    check_before_building(cfg, 'test')
    runner = Runner.from_cfg(cfg)
    if args.checkpoint is None:
        message = 'NO CHECKPOINT: the initial prompts are tested'
        print_log(message, logger='current', level=logging.WARNING)
    runner.test()
    end_process()


if __name__ == '__main__':
    main()
