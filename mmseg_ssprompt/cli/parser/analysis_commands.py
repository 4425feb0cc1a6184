"""The commands that look at a trained run, at a config, or at MMSegmentation."""

import argparse
from pathlib import Path

from .options import (
    Commands,
    add_command,
    add_config_options,
    add_device,
    at_least_one,
    config_file,
    output_file,
    output_folder,
)

__all__ = ['COMMANDS']


def _add_checkpoint(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument('config', type=Path, help='path of the config')
    parser.add_argument(
        'checkpoint', nargs='?', help=f'trained prompts; without it the initial ones are {what}'
    )


def _add_analysis(parser: argparse.ArgumentParser, with_split: bool) -> None:
    """The arguments of what looks at a trained run."""
    _add_checkpoint(parser, 'shown')
    parser.add_argument(
        '--out-dir', type=output_folder, required=True, help='folder for what is written'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='write into an --out-dir that holds files'
    )
    if with_split:
        parser.add_argument('--split', choices=['test', 'val'], default='test')
    add_device(parser)
    add_config_options(parser)


def _add_explain(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'explain', 'explain_prompts', 'say what the learned prompts of a run mean'),
        'prompts.json, semantic_prompts.png and spatial_prompts.png are written. Data need not '
        "be there, only the model's weights.",
    )
    _add_analysis(parser, with_split=False)
    parser.add_argument('--words', type=Path, help='file of words to compare with, one a line')
    parser.add_argument('--seed', type=int, default=0, help='of the random baselines')


def _add_masks(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'masks', 'map_masks', 'map what each spatial prompt is used for'),
        'masks.json and masks.png are written: of each mask its mean over a data set, how many '
        'pixels it wins, and which class it gives them.',
    )
    _add_analysis(parser, with_split=True)


def _add_failures(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'failures', 'find_failures', 'find the worst images, and say why'),
        'failures.json, worst_images.png and error_types.png are written, which say whether '
        'labels or masks are wrong.',
    )
    _add_analysis(parser, with_split=True)
    parser.add_argument('--worst', type=at_least_one, default=8, help='images that are drawn')


def _add_oracle(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'oracle', 'measure_oracle', 'measure mIoU with true labels or true masks'),
        'It says whether masks or labels limit a result. Handcrafted prompts need no checkpoint.',
    )
    _add_checkpoint(parser, 'measured')
    parser.add_argument('--work-dir', help='where the log goes')
    parser.add_argument('--json', type=output_file('.json'), help='file for the figures')
    add_config_options(parser)


def _add_complexity(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'complexity', 'get_complexity', 'say what configs cost'),
        'Parameters, operations, memory and time of one image are measured, training and testing '
        'each in a process of its own. No data are needed. Set OMP_NUM_THREADS.',
    )
    parser.add_argument('configs', nargs='+', type=config_file, metavar='CONFIG')
    parser.add_argument('--out', type=output_file('.md'), help='page of Markdown')
    parser.add_argument('--json', type=output_file('.json'), help='file for the figures')
    parser.add_argument('--device', default='cpu', help='such as cpu or cuda:0')
    parser.add_argument(
        '--images', type=at_least_one, default=3, help='timed images, after one that is not'
    )
    parser.add_argument(
        '--random-weights', action='store_true', help='do without weight files that are not there'
    )
    # Measure the one config in this process, and write --json.
    parser.add_argument('--phase', choices=['test', 'train'], help=argparse.SUPPRESS)


def _add_mmseg(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'mmseg', 'mmseg_tools', "run one of MMSegmentation's own tools"),
        'This package is imported first, so that its components are known, and mmcv-lite serves. '
        'Without TOOL the tools are listed.',
    )
    parser.add_argument('tool', nargs='?', metavar='TOOL', help='such as print_config')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, metavar='ARGUMENTS', help='what the tool takes'
    )


#: In the order of the list in the help.
COMMANDS = (
    _add_explain,
    _add_masks,
    _add_failures,
    _add_oracle,
    _add_complexity,
    _add_mmseg,
)
