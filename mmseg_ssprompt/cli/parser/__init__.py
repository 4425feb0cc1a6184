"""The command line of ``mmseg-ssprompt``, which is parsed before the package is imported.

Importing the package takes seconds, and ``--help`` must not. So the modules of this folder need the
standard library alone and import nothing of the package: the console script loads the folder from
its files. The work of each sub-command is in a module of its own, which is imported once the
arguments are known.
"""

import argparse
import errno
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Optional, Sequence

from . import analysis_commands, config_commands, model_commands
from .options import add_config_options, add_run_arguments, output_file, output_folder

__all__ = [
    'add_config_options',
    'add_run_arguments',
    'build_parser',
    'main',
    'output_file',
    'output_folder',
    'run_command',
]

_PACKAGE = Path(__file__).resolve().parents[2]
#: Modules of sub-commands that lie outside of ``cli``. Like this folder they need the standard
#: library alone.
_STANDALONE = dict(configs='config_files')
#: The status of a command that was interrupted, as shells have it.
_INTERRUPTED = 130
#: A disk without room, or a quota that is used up.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def run_command(arguments: Optional[Sequence[str]] = None) -> Optional[int]:
    """:func:`main` of a process: what is wrong is one message on stderr, without a traceback.

    ``ValueError``, which the errors of the package are, and ``OSError`` end with status 1, and
    Ctrl-C with status 130. Other errors are mistakes of the program, and keep their traceback.

    Args:
        arguments: As for :func:`main`.

    Returns:
        The exit status; None is 0.
    """
    args = _parse(arguments)
    goes_on = ' goes on where it was' if args.goes_on else ''
    try:
        return _run(args)
    except (ValueError, OSError) as error:
        text = _describe(error, goes_on and f', which{goes_on}')
        print(f'mmseg-ssprompt {args.command}: {text}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', goes_on and f': the same command{goes_on}', sep='', file=sys.stderr)
        return _INTERRUPTED


def main(arguments: Optional[Sequence[str]] = None) -> Optional[int]:
    """Parse a command line, and do what it says.

    Args:
        arguments: Those after the name of the command. Defaults to None: of this process.

    Returns:
        The exit status; None is 0.

    Raises:
        SystemExit: As argparse does.
    """
    return _run(_parse(arguments))


def _parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    command_line = list(sys.argv[1:] if arguments is None else arguments)
    args = build_parser().parse_args(command_line)
    args.command_line = command_line
    return args


def _run(args: argparse.Namespace) -> Optional[int]:
    status: Optional[int] = _load(args.module).run(args)
    return status


def _describe(error: Exception, goes_on: str) -> str:
    """An error in words, without the numbers of the operating system."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    text = error.strerror if error.filename is None else f'{error.strerror}: {error.filename!r}'
    if error.errno in _FULL:
        text += f'. Make room, and give the same command again{goes_on}'
    return text


def _load(name: str) -> ModuleType:
    """The module of a sub-command, in which ``run(args)`` does the work."""
    if name not in _STANDALONE:
        return importlib.import_module(f'mmseg_ssprompt.cli.{name}')
    name = _STANDALONE[name]
    if 'mmseg_ssprompt' in sys.modules:
        return importlib.import_module(f'mmseg_ssprompt.{name}')
    spec = importlib.util.spec_from_file_location(name, _PACKAGE / f'{name}.py')
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
    version = re.search(r"__version__ = '(.+)'", (_PACKAGE / 'version.py').read_text())
    assert version is not None
    parser.add_argument('--version', action='version', version=f'mmseg-ssprompt {version[1]}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for module in (model_commands, config_commands, analysis_commands):
        for add in module.COMMANDS:
            add(commands)
    return parser
