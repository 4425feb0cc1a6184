"""The command line of ``mmseg-ssprompt``, which is parsed before the package is imported.

Importing the package takes seconds, and ``--help`` must not. So this module needs the standard
library alone and imports nothing of the package: the console script loads it from its file. The
work of each sub-command is in a module of its own, which is imported once the arguments are known.
"""

import argparse
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Optional, Sequence

__all__ = [
    'add_config_options',
    'add_run_arguments',
    'build_parser',
    'main',
    'output_file',
    'output_folder',
    'run_command',
]

_HERE = Path(__file__).resolve().parent
#: Modules of sub-commands that lie outside of this folder. Like this one they need the standard
#: library alone.
_STANDALONE = dict(configs='config_files')
#: What names of prompt files end with: ``prompt_files.prompt_file.SUFFIXES``.
_PROMPT_SUFFIXES = ('.pth', '.pt', '.safetensors')
#: The prompts that can be transferred: ``prompt_files.transfer.PARTS``.
_PROMPT_PARTS = ('spatial', 'semantic')
#: What few-shot draws count: ``datasets.few_shot_manifest.UNITS``.
_UNITS = ('images', 'objects')
_SPLITS = ('train', 'val', 'test')
#: The tasks: ``fitting.fit_data.TASKS``.
_TASKS = ('semantic', 'instance', 'panoptic')
#: The base models: ``fitting.bases.BASES``.
_BASES = (
    *('sam-tiny', 'sam-vit-b', 'sam-vit-l', 'sam-vit-h'),
    *('seem-tiny', 'seem-focal-t', 'seem-focal-l', 'seem-sam-vit-b', 'seem-sam-vit-l'),
)
#: What is trained: ``fitting.bases.ARMS``.
_METHODS = ('auto', 'ssprompt', 'ssprompt-projection', 'projection')

#: Kinds of exported files, and of their weights: ``export.exporting.FORMATS`` and ``PRECISIONS``.
_FORMATS = ('onnx', 'torch')
_PRECISIONS = ('float32', 'float16')

_Commands = Any  # argparse names the type of what add_subparsers() returns with an underscore


def run_command(arguments: Optional[Sequence[str]] = None) -> Optional[int]:
    """:func:`main` of a process: errors that commands leave are one message, without a traceback.

    Args:
        arguments: As for :func:`main`.

    Returns:
        The exit status.
    """
    command_line = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return main(command_line)
    except (ValueError, OSError) as error:  # those of the package are ValueErrors
        print(f'mmseg-ssprompt {command_line[0]}: {error}', file=sys.stderr)
        return 1


def main(arguments: Optional[Sequence[str]] = None) -> Optional[int]:
    """Parse a command line, and do what it says.

    Args:
        arguments: Those after the name of the command. Defaults to None: of this process.

    Returns:
        The exit status; None is 0.

    Raises:
        SystemExit: As argparse does, and with the status of a sub-command that failed.
    """
    command_line = list(sys.argv[1:] if arguments is None else arguments)
    args = build_parser().parse_args(command_line)
    args.command_line = command_line
    status: Optional[int] = _load(args.module).run(args)
    return status


def _load(name: str) -> ModuleType:
    """The module of a sub-command, in which ``run(args)`` does the work."""
    if name not in _STANDALONE:
        return importlib.import_module(f'mmseg_ssprompt.cli.{name}')
    name = _STANDALONE[name]
    if 'mmseg_ssprompt' in sys.modules:
        return importlib.import_module(f'mmseg_ssprompt.{name}')
    spec = importlib.util.spec_from_file_location(name, _HERE.parent / f'{name}.py')
    assert spec is not None and spec.loader is not None  # a file that ends with .py has both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands; ``args.module`` names the module that does the work."""
    parser = argparse.ArgumentParser(
        prog='mmseg-ssprompt',
        description='SSPrompt for MMSegmentation: learn the prompts of a frozen promptable '
        'segmenter. Training and testing are tools of MMSegmentation: tools/train.py and '
        'tools/test.py of a checkout, or "mim train mmseg_ssprompt" and "mim test mmseg_ssprompt".',
    )
    version = re.search(r"__version__ = '(.+)'", (_HERE.parent / 'version.py').read_text())
    assert version is not None
    parser.add_argument('--version', action='version', version=f'mmseg-ssprompt {version[1]}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for add in (
        *(
            _add_demo,
            _add_example,
            _add_fit,
            _add_predict,
            _add_studio,
            _add_export,
            _add_publish,
            _add_configs,
            _add_check_data,
            _add_few_shot,
            _add_cache,
            _add_prompts,
            _add_explain,
            _add_masks,
            _add_failures,
            _add_oracle,
            _add_complexity,
            _add_mmseg,
        ),
    ):
        add(commands)
    return parser


# ---- types of arguments


def output_file(*suffixes: str) -> Callable[[str], Path]:
    """The type of an argument that names a file to be written; nothing is touched yet.

    Args:
        *suffixes: One of those that its name ends with. Defaults to any.
    """

    def to_path(text: str) -> Path:
        path = Path(text)
        if suffixes and path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(
                f'{text!r}: expected a name that ends with {" or ".join(suffixes)}'
            )
        if path.is_dir():
            raise argparse.ArgumentTypeError(
                f'cannot write {text!r}: expected a file or nothing there, found a folder. Rename '
                'or remove it, or give another name'
            )
        return _check_parents(path, path.parent)

    return to_path


def output_folder(text: str) -> Path:
    """The type of an argument that names a folder to be written into; nothing is touched yet.

    Args:
        text: The argument.

    Raises:
        argparse.ArgumentTypeError: If a file has that name.
    """
    return _check_parents(Path(text), Path(text))


def _check_parents(path: Path, folder: Path) -> Path:
    """Refuse a folder that cannot be made because a file is in the way."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise argparse.ArgumentTypeError(
            f'cannot write into {str(folder)!r}: expected a folder, found the file '
            f'{str(existing)!r}. Give another one'
        )
    return path


def _config_file(text: str) -> Path:
    """The type of an argument that names a config, which must exist."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f'config {text!r} does not exist')
    return Path(text)


def _at_least_one(text: str) -> int:
    """The type of an argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number, at least 1, found {text!r}')
    return int(text)


def _from_zero(text: str) -> int:
    """The type of a number that may be zero."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'expected a number, at least 0, found {text!r}')
    return int(text)


def _setting(text: str) -> str:
    """The type of one of ``--cfg-options``; mmengine makes values of them when they are used."""
    if '=' not in text:
        raise argparse.ArgumentTypeError(f'expected key=value, found {text!r}')
    return text


# ---- arguments that several commands have


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, as mmseg's tools have it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        type=_setting,
        metavar='KEY=VALUE',
        help='settings that override those of the config; a list is key="[a,b]" or key=a,b, '
        'without spaces',
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that ``tools/train.py``, ``tools/test.py`` and ``cache`` have."""
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of the job were started',
    )
    # torch.distributed.launch passes the one or the other.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def _add_command(
    commands: _Commands, name: str, module: str, summary: str, details: str = ''
) -> argparse.ArgumentParser:
    """Add a sub-command.

    Args:
        commands: Of the parser above.
        name: What is typed.
        module: Of ``mmseg_ssprompt.cli``, whose ``run(args)`` does the work.
        summary: One line, for the list of commands.
        details: Sentences that stand behind it in the command's own help.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f'{summary[:1].upper()}{summary[1:]}. {details}'.strip()
    )
    parser.set_defaults(module=module)
    return parser


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
    parser.add_argument('--device', help='such as cpu or cuda:0; by default a GPU, if there is one')
    add_config_options(parser)


# ---- the commands


def _add_demo(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'demo', 'demo', 'learn prompts on the embedded data, and show what changes'),
        'No data and no downloads are needed. WORK_DIR/summary.json and WORK_DIR/comparison.png '
        'are written.',
    )
    parser.add_argument('--base', choices=['sam', 'seem'], default='sam', help='the base model')
    parser.add_argument('--seed', type=int, default=0, help='draws training set and noise')
    parser.add_argument(
        '--task',
        choices=_TASKS,
        default='semantic',
        help='what is found: label maps, objects and regions, or objects',
    )
    parser.add_argument(
        '--work-dir',
        type=output_folder,
        help='default: work_dirs/demo, or work_dirs/demo_BASE_TASK',
    )


def _add_example(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'example', 'write_example', 'draw photographs and label maps to try fit with'),
        'OUT has photos, labels, new_photos and classes.txt, as fit and predict take them.',
    )
    parser.add_argument('out', type=output_folder, metavar='OUT', help='a new folder')


def _add_fit(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'fit', 'fit', 'learn from a folder of photographs, and write a report'),
        'All files are checked first; those that cannot be used are named and left out. Killed '
        'and run again, it goes on where it was. OUT/report.html says what was found.',
    )
    data = parser.add_argument_group('photographs and labels')
    data.add_argument('--images', required=True, metavar='DIR', help='folder of photographs')
    data.add_argument(
        '--labels',
        metavar='DIR',
        help='folder of label maps, of the names of the photographs; with a panoptic --coco of '
        'its pictures',
    )
    data.add_argument(
        '--masks', metavar='DIR', help='folder of masks of one class: 0 and 255, or 0 and 1'
    )
    data.add_argument('--foreground', metavar='NAME', help='what masks show')
    data.add_argument(
        '--coco',
        metavar='FILE',
        help="objects in COCO's format; in semantic label maps the smaller lies on top",
    )
    data.add_argument(
        '--classes',
        metavar='NAMES',
        help='"sky,road,car" in the order of the ids in label maps, "7=sky,9=road", or a text '
        'file with one a line; left out, the ids are listed',
    )
    data.add_argument(
        '--ignore',
        metavar='IDS',
        help='"0,11": ids that do not count, besides 255; with --coco names of categories, and '
        '"background" for what no object covers',
    )
    data.add_argument(
        '--val',
        default=0.2,
        metavar='SHARE',
        help='of the photographs for validation, or a folder below that of --images (0.2); few '
        'are cross-validated',
    )
    data.add_argument(
        '--test', default=0.2, metavar='SHARE', help='as --val, looked at once at the end (0.2)'
    )
    data.add_argument(
        '--shots', type=_at_least_one, metavar='K', help='train on K photographs of each class'
    )
    data.add_argument('--task', choices=_TASKS, default=_TASKS[0], help='what is found')
    model = parser.add_argument_group('model')
    model.add_argument(
        '--base', choices=_BASES, default=_BASES[0], help='frozen base model (sam-tiny)'
    )
    model.add_argument('--weights', metavar='FILE', help='published weights of the base model')
    model.add_argument('--clip-weights', metavar='FILE', help="CLIP's, for bases of SAM")
    model.add_argument(
        '--method',
        choices=_METHODS,
        default=_METHODS[0],
        help='what is trained; auto trains all, and takes the best in validation',
    )
    model.add_argument('--device', help='such as cpu or cuda:0; by default a GPU, if there is one')
    model.add_argument('--seed', type=_from_zero, default=0, help='of all draws')
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='new folder, or one to go on with'
    )


def _add_predict(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'predict', 'predict', 'predict pictures and videos with a trained model'),
        'OUT/labels has a label map of each picture: PNG, or GeoTIFF of a GeoTIFF. What cannot be '
        'read is named, and the others go on. Stopped and run again, it goes on where it was.',
    )
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='folder of "fit" or "publish", hf://USER/NAME, or a config with --prompts',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='pictures and videos: folders, files, or patterns such as "*.jpg"',
    )
    parser.add_argument('--out', type=output_folder, required=True, help='folder for the results')
    parser.add_argument(
        '--prompts',
        metavar='FILE',
        help='trained prompts of a config: a file, a folder with one, or hf://USER/NAME',
    )
    parser.add_argument('--weights', metavar='FILE', help='of the base model, where it lies')
    parser.add_argument('--clip-weights', metavar='FILE', help="CLIP's, where it lies")
    parser.add_argument(
        '--overlay', action='store_true', help='write OUT/overlays, pictures to look at'
    )
    parser.add_argument(
        '--coco',
        action='store_true',
        help="write OUT/coco.json, objects or connected regions in COCO's format",
    )
    parser.add_argument(
        '--tile',
        type=_at_least_one,
        metavar='PIXELS',
        help='side of the tiles that larger pictures are cut into; by default those more than '
        'twice as large as the photographs of training are, into tiles of their size',
    )
    parser.add_argument(
        '--overlap', type=_from_zero, metavar='PIXELS', help='what tiles share (a quarter)'
    )
    parser.add_argument(
        '--every', type=_at_least_one, default=1, metavar='N', help='one video frame in N (1)'
    )
    parser.add_argument(
        '--batch-size', type=_at_least_one, metavar='N', help='pictures at once; what fits'
    )
    parser.add_argument('--device', help='such as cpu or cuda:0; by default a GPU, if there is one')
    parser.add_argument(
        '--overwrite', action='store_true', help='predict all again, into an OUT that holds files'
    )


def _add_export(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'export', 'export', 'write a model as ONNX files that run without PyTorch'),
        'OUT gets encoder.onnx, decoder.onnx with the prompts, model.json, and run.py, which needs '
        'numpy, Pillow and onnxruntime. It is compared with PyTorch before it appears.',
    )
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='folder of "fit" or "publish", hf://USER/NAME, or a config with --prompts',
    )
    parser.add_argument(
        '--out', type=output_folder, required=True, metavar='FOLDER', help='new or empty folder'
    )
    parser.add_argument('--prompts', metavar='FILE', help='trained prompts of a config')
    parser.add_argument('--weights', metavar='FILE', help='of the base model, where it lies')
    parser.add_argument('--clip-weights', metavar='FILE', help="CLIP's, where it lies")
    parser.add_argument(
        '--format', choices=_FORMATS, default=_FORMATS[0], help='torch: programs of torch.export'
    )
    parser.add_argument(
        '--precision',
        choices=_PRECISIONS,
        default=_PRECISIONS[0],
        help='float16: weights are stored in half, and computed with in float32',
    )
    parser.add_argument(
        '--opset', type=_at_least_one, default=18, metavar='N', help="of ONNX's operators (18)"
    )


def _add_studio(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'studio', 'studio', 'look at what prompts do, on a page in the browser'),
        'Drop a photograph, look at each mask, move the trust in learned prompts, try other class '
        'names, click a point, compare two files of prompts. The page is served to this machine '
        'alone. Needs gradio: pip install "gradio>=6.0" (the extra [studio]).',
    )
    parser.add_argument(
        'model',
        nargs='?',
        metavar='MODEL',
        help='as for "predict"; left out, the embedded model with the prompts of "demo"',
    )
    parser.add_argument(
        '--prompts',
        metavar='FILE',
        help='trained prompts of a config: a file, a folder with one, or hf://USER/NAME',
    )
    parser.add_argument(
        '--compare',
        metavar='FILE',
        help='other prompts of the same base model: a file for the same config, a folder of "fit" '
        'or "publish", or hf://USER/NAME',
    )
    parser.add_argument('--weights', metavar='FILE', help='of the base model, where it lies')
    parser.add_argument('--clip-weights', metavar='FILE', help="CLIP's, where it lies")
    parser.add_argument(
        '--port',
        type=_from_zero,
        metavar='N',
        help='where to listen (the first free one from 7860)',
    )
    parser.add_argument('--device', help='such as cpu or cuda:0; by default a GPU, if there is one')


def _add_publish(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'publish', 'publish', 'write a folder of learned prompts for a model hub'),
        'It has the prompts, config.json (plain data) and README.md, a card of what is known. '
        'Paths, names of photographs and photographs stay here. The model is built once, so that '
        'nothing is published that does not load.',
    )
    parser.add_argument(
        'model', metavar='MODEL', help='folder that "fit" has written, or a config with --prompts'
    )
    parser.add_argument('--out', type=output_folder, required=True, help='new or empty folder')
    parser.add_argument('--prompts', metavar='FILE', help='trained prompts of a config')
    parser.add_argument('--weights', metavar='FILE', help='of the base model, where it lies')
    parser.add_argument('--clip-weights', metavar='FILE', help="CLIP's, where it lies")
    parser.add_argument(
        '--licence', '--license', metavar='ID', help='of the prompts, such as cc-by-4.0'
    )
    parser.add_argument('--name', metavar='TITLE', help='of the card; by default its classes')
    parser.add_argument(
        '--author', dest='authors', action='append', default=[], metavar='NAME',
        help='who publishes; may be said several times',
    )  # fmt: skip
    parser.add_argument(
        '--repository', metavar='USER/NAME', help='on the hub, for the commands in the card'
    )
    parser.add_argument(
        '--pictures',
        action='store_true',
        help='add preview.jpg, which shows photographs of the test or validation',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace what an earlier call has written'
    )


def _add_configs(commands: _Commands) -> None:
    parser = _add_command(
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


def _add_cache(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'cache', 'cache_embeddings', "embed a config's data sets once and store them"),
        'Training then needs neither images nor the image encoder. Run again, it goes on where it '
        'was. On several GPUs: torchrun --nproc_per_node 8 -m mmseg_ssprompt cache CONFIG '
        '--launcher pytorch.',
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


def _add_check_data(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'check-data', 'check_data', 'check all images and label maps of a config'),
        'The config is compared with itself too. The model is not built, and no weights are '
        'needed. The exit status is 1 if there are errors, and 0 if there are only warnings.',
    )
    parser.add_argument('config', type=Path, help='path of the config')
    parser.add_argument('--json', type=output_file('.json'), help='file for the report')
    add_config_options(parser)


def _add_few_shot(commands: _Commands) -> None:
    parser = _add_command(
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
    group.add_argument('--unit', choices=_UNITS, help='what is drawn')
    add_config_options(parser)


def _add_prompts(commands: _Commands) -> None:
    summary = 'inspect, convert, merge or transfer files of trained prompts'
    parser = commands.add_parser(
        'prompts',
        help=summary,
        description=f'{summary.capitalize()}. Their names end with '
        f'{", ".join(_PROMPT_SUFFIXES[:-1])} (torch) or {_PROMPT_SUFFIXES[-1]}. What is read may '
        'also be a folder of "fit" or "publish", or hf://USER/NAME.',
    )
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    suffixed = output_file(*_PROMPT_SUFFIXES)
    files = 'prompt_checkpoint'
    inspect = _add_command(actions, 'inspect', files, 'print what a file holds')
    inspect.add_argument('file', metavar='FILE')
    convert = _add_command(actions, 'convert', files, 'write the same prompts in the other format')
    convert.add_argument('file', metavar='IN')
    convert.add_argument('out', type=suffixed, metavar='OUT')
    merge = _add_command(actions, 'merge', files, 'write prompts and frozen weights into one file')
    merge.add_argument(
        'config', type=Path, metavar='CONFIG', help='what the prompts were trained with'
    )
    merge.add_argument('file', metavar='FILE')
    merge.add_argument('out', type=suffixed, metavar='OUT')
    transfer = _add_command(
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
        choices=_PROMPT_PARTS,
        default=_PROMPT_PARTS,
        help='which prompts; both by default',
    )
    add_config_options(transfer)


def _add_explain(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'explain', 'explain_prompts', 'say what the learned prompts of a run mean'),
        'prompts.json, semantic_prompts.png and spatial_prompts.png are written. Data need not '
        "be there, only the model's weights.",
    )
    _add_analysis(parser, with_split=False)
    parser.add_argument('--words', type=Path, help='file of words to compare with, one a line')
    parser.add_argument('--seed', type=int, default=0, help='of the random baselines')


def _add_masks(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'masks', 'map_masks', 'map what each spatial prompt is used for'),
        'masks.json and masks.png are written: of each mask its mean over a data set, how many '
        'pixels it wins, and which class it gives them.',
    )
    _add_analysis(parser, with_split=True)


def _add_failures(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'failures', 'find_failures', 'find the worst images, and say why'),
        'failures.json, worst_images.png and error_types.png are written, which say whether '
        'labels or masks are wrong.',
    )
    _add_analysis(parser, with_split=True)
    parser.add_argument('--worst', type=_at_least_one, default=8, help='images that are drawn')


def _add_oracle(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'oracle', 'measure_oracle', 'measure mIoU with true labels or true masks'),
        'It says whether masks or labels limit a result. Handcrafted prompts need no checkpoint.',
    )
    _add_checkpoint(parser, 'measured')
    parser.add_argument('--work-dir', help='where the log goes')
    parser.add_argument('--json', type=output_file('.json'), help='file for the figures')
    add_config_options(parser)


def _add_complexity(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'complexity', 'get_complexity', 'say what configs cost'),
        'Parameters, operations, memory and time of one image are measured, training and testing '
        'each in a process of its own. No data are needed. Set OMP_NUM_THREADS.',
    )
    parser.add_argument('configs', nargs='+', type=_config_file, metavar='CONFIG')
    parser.add_argument('--out', type=output_file('.md'), help='page of Markdown')
    parser.add_argument('--json', type=output_file('.json'), help='file for the figures')
    parser.add_argument('--device', default='cpu', help='such as cpu or cuda:0')
    parser.add_argument(
        '--images', type=_at_least_one, default=3, help='timed images, after one that is not'
    )
    parser.add_argument(
        '--random-weights', action='store_true', help='do without weight files that are not there'
    )
    # Measure the one config in this process, and write --json.
    parser.add_argument('--phase', choices=['test', 'train'], help=argparse.SUPPRESS)


def _add_mmseg(commands: _Commands) -> None:
    parser = _add_command(
        *(commands, 'mmseg', 'mmseg_tools', "run one of MMSegmentation's own tools"),
        'This package is imported first, so that its components are known, and mmcv-lite serves. '
        'Without TOOL the tools are listed.',
    )
    parser.add_argument('tool', nargs='?', metavar='TOOL', help='such as print_config')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, metavar='ARGUMENTS', help='what the tool takes'
    )
