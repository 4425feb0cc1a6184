"""List the configs that come with the package, print the path of one, or inherit from one.

    mmseg-ssprompt configs
    mmseg-ssprompt configs --path ssprompt_sam-tiny_shapes
    mmseg-ssprompt configs --copy ssprompt_sam_ade20k my_config.py

Like ``cli/parser`` it needs the standard library alone, so that the console script answers at
once.
"""

import argparse
import difflib
import textwrap
from pathlib import Path
from typing import Dict, List

__all__ = ['find_config', 'find_home', 'list_configs', 'run']

_WIDTH = 100  # of a description
_COPY = """\
# A config of your own: what stands below overrides the settings of the config that it inherits.
_base_ = [{base!r}]
"""


def run(args: argparse.Namespace) -> None:
    """Do what the command line says."""
    if args.path is not None:
        print(find_config(args.path))
    elif args.copy is not None:
        print(inherit(find_config(args.copy[0]), Path(args.copy[1]).expanduser()))
    else:
        configs = list_configs()
        width = max(map(len, configs))
        for name, path in configs.items():
            print(f'{name:{width}}  {describe(path)}'.rstrip())


def find_home() -> Path:
    """The folder that holds ``configs/`` and ``tools/``.

    It is ``mmseg_ssprompt/.mim`` of an installed package, and the checkout of an editable one.

    Raises:
        FileNotFoundError: If neither has configs.
    """
    package = Path(__file__).resolve().parent
    for home in (package / '.mim', package.parent):
        if (home / 'configs' / '_base_').is_dir():
            return home
    raise FileNotFoundError(
        f'{str(package)!r}: expected configs in .mim, or in a checkout around it, found none. '
        'Install the package again, from its wheel or with pip install --editable'
    )


def list_configs() -> Dict[str, Path]:
    """The paths of all configs by name, such as ``ablations/coop_sam-tiny_shapes``; no bases."""
    folder = find_home() / 'configs'
    files = {file.relative_to(folder): file for file in sorted(folder.rglob('*.py'))}
    named = {path.with_suffix('').as_posix(): file for path, file in files.items()}
    named = {name: file for name, file in named.items() if not name.startswith('_base_/')}
    return dict(sorted(named.items(), key=lambda item: ('/' in item[0], item[0])))


def find_config(name: str) -> Path:
    """The path of a config.

    Args:
        name: As in the list, with or without ``.py``; of an ablation also without its folder.

    Raises:
        ValueError: If no config is called so; the message has names that are similar.
    """
    configs, wanted = list_configs(), name.removeprefix('configs/').removesuffix('.py')
    short = {each.rpartition('/')[2]: path for each, path in configs.items()}
    path = configs.get(wanted, short.get(wanted))
    if path is None:
        similar = difflib.get_close_matches(wanted, configs, n=3)
        hint = f'similar ones are {", ".join(similar)}' if similar else 'see the list'
        raise ValueError(
            f'config {name!r}: expected a name that `mmseg-ssprompt configs` lists; {hint}'
        )
    return path


def describe(path: Path) -> str:
    """The first sentence of the comment at a config's beginning, apart from commands."""
    said: List[str] = []
    for line in path.read_text(encoding='utf-8').splitlines():
        if not line.startswith('#'):
            break
        text = line[1:]
        if text.startswith('  ') or text.startswith(' python '):
            if said:
                break
            continue
        said.append(text.strip())
    return textwrap.shorten(' '.join(said).split('. ')[0].rstrip(':.'), _WIDTH, placeholder=' ...')


def inherit(config: Path, destination: Path) -> Path:
    """Write a config that has another as its base.

    Args:
        config: Absolute path of the base.
        destination: A file whose name ends with ``.py``, or a folder. Parents are made.

    Returns:
        The file that was written.

    Raises:
        ValueError: If the file exists, or has another suffix.
    """
    file = destination / config.name if destination.is_dir() else destination
    if file.suffix != '.py':
        raise ValueError(f'{str(file)!r}: expected a folder, or a name that ends with .py')
    if file.exists():
        raise ValueError(f'{str(file)!r} exists: give another name, or remove it')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_COPY.format(base=config.as_posix()), encoding='utf-8')
    return file
