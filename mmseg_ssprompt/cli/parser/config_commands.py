"""The commands for configs, their data, and files of prompts."""

from pathlib import Path

from .options import (
    Commands,
    add_command,
    add_config_options,
    add_run_arguments,
    output_file,
)

__all__ = ['COMMANDS', 'PROMPT_PARTS', 'PROMPT_SUFFIXES', 'UNITS']

#: What few-shot draws count: ``datasets.few_shot_manifest.UNITS``.
UNITS = ('images', 'objects')
#: What names of prompt files end with: ``prompt_files.prompt_file.SUFFIXES``.
PROMPT_SUFFIXES = ('.pth', '.pt', '.safetensors')
#: The prompts that can be transferred: ``prompt_files.transfer.PARTS``.
PROMPT_PARTS = ('spatial', 'semantic')
_SPLITS = ('train', 'val', 'test')


def _add_configs(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'configs', 'configs', 'list the configs that come with the package'),
        'Without arguments each has a line. NAME is as in the list, with or without ".py".',
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument('--path', metavar='NAME', help='print the path of a config')
    choice.add_argument(
        '--copy',
        nargs=2,
        metavar=('NAME', 'DEST'),
        help='write a config of your own that inherits from NAME; DEST is a file or a folder',
    )


def _add_check_data(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'check-data', 'check_data', 'check all images and label maps of a config'),
        'The config is compared with itself too. The model is not built, and no weights are '
        'needed. The exit status is 1 if there are errors, and 0 if there are only warnings.',
    )
    parser.add_argument('config', type=Path, help='path of the config')
    parser.add_argument('--json', type=output_file('.json'), help='file for the report')
    add_config_options(parser)


def _add_few_shot(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'few-shot', 'sample_few_shot', 'draw K training images for each class'),
        'They are written down, as FewShotDataset would in its first run.',
    )
    parser.add_argument('config', help='its train_dataloader.dataset is drawn from')
    parser.add_argument(
        '--out', type=output_file('.json'), required=True, help='the manifest, a JSON file'
    )
    group = parser.add_argument_group(
        'the draw', "where not given: as in the config's FewShotDataset, else 16 shots, seed 1"
    )
    group.add_argument('--shots', type=int, help='images or objects of each class')
    group.add_argument('--seed', type=int, help='which draw')
    group.add_argument(
        '--min-pixels',
        type=int,
        help='from how many pixels on an image contains a class, or an object counts',
    )
    group.add_argument('--unit', choices=UNITS, help='what is drawn')
    add_config_options(parser)


def _add_cache(commands: Commands) -> None:
    parser = add_command(
        *(commands, 'cache', 'cache_embeddings', "embed a config's data sets once and store them"),
        'Training then needs neither images nor the image encoder. Run again, it goes on where it '
        'was. On several GPUs: torchrun --nproc_per_node 8 -m mmseg_ssprompt cache CONFIG '
        '--launcher pytorch.',
        goes_on=True,
    )
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--views',
        type=int,
        help='how often each training image goes through the pipeline, where the config has no '
        'EmbeddedDataset that says so',
    )
    parser.add_argument('--cache-dir', help='folder with one folder for each split')
    parser.add_argument('--split', choices=[*_SPLITS, 'all'], default='all')
    add_run_arguments(parser)
    parser.set_defaults(work_dir=None)


def _add_prompts(commands: Commands) -> None:
    summary = 'inspect, convert, merge or transfer files of trained prompts'
    parser = commands.add_parser(
        'prompts',
        help=summary,
        description=f'{summary.capitalize()}. Their names end with '
        f'{", ".join(PROMPT_SUFFIXES[:-1])} (torch) or {PROMPT_SUFFIXES[-1]}. What is read may '
        'also be a folder of "fit" or "publish", or hf://USER/NAME.',
    )
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    suffixed = output_file(*PROMPT_SUFFIXES)
    files = 'prompt_checkpoint'
    inspect = add_command(actions, 'inspect', files, 'print what a file holds')
    inspect.add_argument('file', metavar='FILE')
    convert = add_command(actions, 'convert', files, 'write the same prompts in the other format')
    convert.add_argument('file', metavar='IN')
    convert.add_argument('out', type=suffixed, metavar='OUT')
    merge = add_command(actions, 'merge', files, 'write prompts and frozen weights into one file')
    merge.add_argument(
        'config', type=Path, metavar='CONFIG', help='what the prompts were trained with'
    )
    merge.add_argument('file', metavar='FILE')
    merge.add_argument('out', type=suffixed, metavar='OUT')
    transfer = add_command(
        *(actions, 'transfer', 'transfer_prompts', 'make a checkpoint for another data set'),
        'Semantic prompts are matched by class name, and the handcrafted prompt stands where '
        'there is no match; spatial prompts are taken as they are.',
    )
    transfer.add_argument('source', help='the trained prompts')
    transfer.add_argument('target', type=Path, help='config of the data set they are to be used on')
    transfer.add_argument(
        '--out', type=suffixed, required=True, help='the checkpoint that is written'
    )
    transfer.add_argument(
        '--parts',
        nargs='+',
        choices=PROMPT_PARTS,
        default=PROMPT_PARTS,
        help='which prompts; both by default',
    )
    add_config_options(transfer)


#: In the order of the list in the help.
COMMANDS = (
    _add_configs,
    _add_check_data,
    _add_few_shot,
    _add_cache,
    _add_prompts,
)
