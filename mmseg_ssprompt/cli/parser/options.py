"""Types of arguments, and arguments that several commands have."""

import argparse
from pathlib import Path
from typing import Any, Callable

__all__ = [
    'Commands',
    'add_command',
    'add_config_options',
    'add_device',
    'add_run_arguments',
    'at_least_one',
    'config_file',
    'from_zero',
    'output_file',
    'output_folder',
]

Commands = Any  # argparse names the type of what add_subparsers() returns with an underscore


# ---- types


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


def config_file(text: str) -> Path:
    """The type of an argument that names a config, which must exist."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f'config {text!r} does not exist')
    return Path(text)


def at_least_one(text: str) -> int:
    """The type of an argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a number, at least 1, found {text!r}')
    return int(text)


def from_zero(text: str) -> int:
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


def add_device(parser: 'argparse._ActionsContainer') -> None:
    """Add ``--device`` to a parser, or to a group of arguments."""
    parser.add_argument('--device', help='such as cpu or cuda:0; by default a GPU, if there is one')


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


def add_command(
    commands: Commands,
    name: str,
    module: str,
    summary: str,
    details: str = '',
    goes_on: bool = False,
) -> argparse.ArgumentParser:
    """Add a sub-command.

    Args:
        commands: Of the parser above.
        name: What is typed.
        module: Of ``mmseg_ssprompt.cli``, whose ``run(args)`` does the work.
        summary: One line, for the list of commands.
        details: Sentences that stand behind it in the command's own help.
        goes_on: Whether a command that was interrupted goes on where it was when it is given again.
            Defaults to False.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f'{summary[:1].upper()}{summary[1:]}. {details}'.strip()
    )
    parser.set_defaults(module=module, goes_on=goes_on)
    return parser
