"""Building the package's wheel, and environments that have it."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Dict, Iterable, Optional, Set

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, '-m', 'pip', '--disable-pip-version-check')
#: What a wheel is made of.
SOURCES = (
    *('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in', 'model-index.yml'),
    *('mmseg_ssprompt_command.py', 'mmseg_ssprompt', 'requirements', 'configs', 'tools'),
)


def build_wheel(folder: Path, checkout: Path) -> Path:
    """Build the wheel of this checkout.

    Args:
        folder: Where it goes.
        checkout: An empty folder for a copy of the sources, in which pip leaves files.
    """
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(source, checkout / name, ignore=ignored)
        else:
            shutil.copy(source, checkout)
    options = ('--no-deps', '--no-build-isolation', '--no-index', '--quiet', '--wheel-dir')
    subprocess.run([*PIP, 'wheel', *options, str(folder), str(checkout)], check=True, timeout=300)
    return next(folder.glob('mmseg_ssprompt-*.whl'))


def make_environment(
    folder: Path, wheel: Path, outer: Optional[Path] = None, extra: str = ''
) -> Path:
    """An environment that has a wheel, and sees all packages of this one but the checkout.

    A file that ends with ``.pth`` adds a folder of packages, but not what the ``.pth`` files in
    that folder add, among them an editable install.

    Args:
        folder: Is made.
        wheel: Is installed.
        outer: The folder of packages that it sees. Defaults to None: all of this environment.
        extra: Of the wheel, whose packages are installed too, from the index that pip has. Defaults
            to '': none.

    Returns:
        Its folder of programs.

    Raises:
        subprocess.CalledProcessError: If pip fails.
    """
    venv.create(folder, with_pip=False)
    programs = folder / 'bin'
    packages = next(folder.glob('lib/python*/site-packages'))
    (packages / 'outer.pth').write_text(f'{outer or sysconfig.get_path("purelib")}\n')
    what = [f'{wheel}[{extra}]'] if extra else ['--no-deps', '--no-index', str(wheel)]
    install = ['--python', str(programs / 'python'), 'install', '--quiet', *what]
    # What lies in PYTHONPATH would count as installed.
    seen = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    subprocess.run(
        [*PIP, *install], check=True, timeout=900, env=seen, capture_output=bool(extra), text=True
    )
    return programs


def link_packages(folder: Path, requirements: Iterable[str]) -> Path:
    """A folder of links to some packages of this environment, and to all that these need.

    An environment that sees it has none of the others, and takes neither time nor room.

    Args:
        folder: Is made.
        requirements: As pip takes them.
    """
    folder.mkdir()
    found: Dict[str, importlib.metadata.Distribution] = {}
    for each in requirements:
        _add_distribution(Requirement(each), found)
    for distribution in found.values():
        for file in distribution.files or ():
            top = file.parts[0]
            source, link = Path(str(distribution.locate_file(top))), folder / top
            if top != '..' and not link.exists() and not top.endswith('.pth'):
                link.symlink_to(source)
    return folder


def _add_distribution(
    requirement: Requirement, found: Dict[str, importlib.metadata.Distribution]
) -> None:
    name = re.sub(r'[-_.]+', '-', requirement.name).lower()
    extras: Set[str] = set(requirement.extras) or {''}
    if name in found:
        return
    try:
        found[name] = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return  # of another platform
    for line in found[name].requires or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate(dict(extra=extra)) for extra in extras):
            _add_distribution(needed, found)
