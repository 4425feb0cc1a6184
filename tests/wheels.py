"""Building the package's wheel, and environments that have it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

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


def make_environment(folder: Path, wheel: Path) -> Path:
    """An environment that has a wheel, and sees all packages of this one but the checkout.

    A file that ends with ``.pth`` adds a folder of packages, but not what the ``.pth`` files in
    that folder add, among them an editable install.

    Returns:
        Its folder of programs.
    """
    venv.create(folder, with_pip=False)
    programs = folder / 'bin'
    install = ['--python', str(programs / 'python'), 'install', '--quiet', '--no-deps']
    # What lies in PYTHONPATH would count as installed.
    seen = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    command = [*PIP, *install, '--no-index', str(wheel)]
    subprocess.run(command, check=True, timeout=300, env=seen)
    packages = next(folder.glob('lib/python*/site-packages'))
    (packages / 'outer.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return programs
