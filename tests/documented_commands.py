"""Commands as pages have them, parsed by what they would run, which stops after its arguments."""

import argparse
import contextlib
import os
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence
from unittest import mock

from mmseg_ssprompt.cli.mmseg_tools import find_tool
from mmseg_ssprompt.cli.parser import build_parser
from mmseg_ssprompt.config_files import find_config

ROOT = Path(__file__).resolve().parents[1]
#: What stands on pages in the place of names.
PLACEHOLDERS = dict(
    CONFIG='configs/ssprompt_sam-tiny_shapes.py',
    TARGET_CONFIG='configs/ssprompt_sam-tiny_shapes.py',
    GPUS='2',
)
MAKEFILE = (ROOT / 'Makefile').read_text(encoding='utf-8')
EXTRAS = set(
    re.findall(r"^        '(\w+)': ", (ROOT / 'setup.py').read_text('utf-8'), re.MULTILINE)
)
_LEFT = frozenset(('cd', 'export', 'git', 'hf', 'mkdir', 'pre-commit', 'source'))


class ArgumentsParsed(Exception):
    """In the place of the work that a program does after it has parsed its arguments."""


def commands_of(code: str) -> Iterator[List[str]]:
    """The words of each command in a block; of variables their values, without comments."""
    values: Dict[str, str] = {}
    for line in re.sub(r'\\\n\s*', ' ', code).splitlines():
        for name, value in values.items():
            line = re.sub(rf'\$(?:{name}\b|\{{{name}\}})', value, line)
        words = shlex.split(line, comments=True)
        while words and re.match(r'[A-Z_a-z]+=', words[0]):
            name, _, value = words.pop(0).partition('=')
            values[name] = value
        if words:
            yield [PLACEHOLDERS.get(word, word) for word in words]


def check_command(words: Sequence[str], page: str = '') -> None:
    """Fail unless what a command names is there and takes its arguments.

    Args:
        words: Of the command.
        page: The text of its page, which may define files.

    Raises:
        AssertionError: If the program is not known here, or a file or target is not there.
        SystemExit: Of argparse, if it does not take these arguments.
    """
    program, *rest = words
    if program in ('torchrun', 'srun'):
        start = next(n for n, word in enumerate(rest) if word in ('-m', 'python'))
        start += rest[start] == 'python'
        check_command(['python', *[word for word in rest[start:] if word != '-u']], page)
    elif program == 'mmseg-ssprompt':
        if rest == ['--help']:
            return
        args = build_parser().parse_args(rest)
        if args.command == 'mmseg' and args.tool is not None:
            # Converters of mmseg import packages that are not here.
            with contextlib.suppress(ModuleNotFoundError):
                parse_only(runpy.run_path, find_tool(args.tool), args.arguments)
    elif program.startswith('python'):
        _check_python(rest, page)
    elif program == 'make':
        for word in rest:
            rule = rf'^{re.escape(word.partition("=")[0])} ?[?:]?[:=]'
            assert re.search(rule, MAKEFILE, re.MULTILINE), f'make {word}'
    elif program in ('pip', 'mim') and rest[0] == 'install':
        named = re.findall(r'(?:\.|\.whl|mmseg[-_]ssprompt)\[([\w,]+)\]', ' '.join(rest))
        unknown = set(','.join(named).split(',')) - {''} - EXTRAS
        assert not unknown, f'setup.py has no extras {unknown}'
    elif program == 'mim':
        assert rest[0] in ('train', 'test')
        assert rest[1] in ('mmseg_ssprompt', 'mmsegmentation')
        assert (rest[1] == 'mmsegmentation') or find_config(rest[2])
    elif program == 'pip' or program in _LEFT:
        return
    else:
        script = next((word for word in words if word.startswith('tools/')), program)
        assert (ROOT / script).is_file(), f'{script} is not there'
        assert program == 'sbatch' or os.access(ROOT / script, os.X_OK), f'{script} is no program'


def _check_python(rest: List[str], page: str) -> None:
    if rest[0] == '-m' and rest[1] == 'mmseg_ssprompt':
        build_parser().parse_args(rest[2:])
    elif rest[0] == '-m' and rest[1] == 'pytest':
        assert all((ROOT / word).exists() for word in rest[2:] if not word.startswith('-'))
    elif rest[0] == '-m':
        assert rest[1].startswith('dev.'), rest
        parse_only(runpy.run_module, rest[1], rest[2:])
    elif f'--out {Path(rest[0]).parent}\n' in page:
        return  # a program that another command of the page writes
    elif f'```python\n# {rest[0]}\n' not in page:
        parse_only(runpy.run_path, ROOT / rest[0], rest[1:])


def parse_only(run: Callable[..., Any], what: Any, arguments: Sequence[str]) -> None:
    """Run a program until it has parsed its arguments.

    Raises:
        AssertionError: If it parses none.
        SystemExit: If it does not take them.
    """
    parse_args = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        parse_args(self, *args, **kwargs)
        raise ArgumentsParsed

    with mock.patch.object(sys, 'argv', [str(what), *arguments]):
        with mock.patch.object(argparse.ArgumentParser, 'parse_args', stop):
            try:
                run(str(what), run_name='__main__')
            except ArgumentsParsed:
                return
    raise AssertionError(f'{what} parses no arguments')
